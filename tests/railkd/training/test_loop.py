"""The training loop: one seed decides everything, the best epoch is what is left, the teacher never moves."""

import copy
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from railkd import devices
from railkd.benchmark.defaults import TRAINING
from railkd.devices import to_device
from railkd.errors import Diverged, UserError
from railkd.evaluation.scoring import logits_of, scores_of
from railkd.jobs.model_sizes import setting_for
from railkd.method_sources import available
from railkd.methods import build, find
from railkd.methods.base import Method
from railkd.methods.parts.stages import TwoStage
from railkd.models.forward import forward
from railkd.signals import Batch, Signals
from railkd.tasks import TASKS
from railkd.teacher.live import LiveTeacher
from railkd.training import loop
from railkd.training.loop import no_log, train
from railkd.training.schedule import learning_rate_factor, parameter_groups
from railkd.training.settings import TrainingSettings

CPU = torch.device("cpu")
METHODS = available()
WIDTH = {"distilbert2": 16, "bert2": 32}
FAST = {**TRAINING, "learning_rate": 3e-3, "batch_size": 16, "epochs": 2, "precision": "float32"}


class Run:
    """One run on the tiny pipeline, taken apart."""

    def __init__(
        self, pipeline: Any, method: str, task: str = "mrpc", student: str = "distilbert2", seed: int = 1,
        teacher: Any = None, log: Any = no_log, **settings: Any,
    ) -> None:  # fmt: skip
        self.data = pipeline.prepared(task)
        outputs = self.data.task.outputs
        whole = find(method).whole_last_layer
        self.model = pipeline.student(student, seed, outputs, settings.get("dropout"), whole)
        labels = self.data.splits["train"].labels
        setting = setting_for((4, 32), (2, WIDTH[student]), TASKS[task], labels)
        torch.manual_seed(seed)
        self.method = build(method, setting, pipeline.benchmark.options(method))
        source = teacher or pipeline.source(self.method, task)
        given = TrainingSettings.of({**FAST, **settings}, seed, CPU)
        self.outcome = train(self.model, self.method, source, self.data, given, log)

    def dev(self) -> dict[str, float]:
        return scores_of(self.data, "dev", logits_of(self.model, self.data.splits["dev"], 0, CPU, torch.float32))

    @property
    def curve(self) -> list[tuple[Any, ...]]:
        return [(e["dev"], e["loss"], e["learning_rate"]) for e in self.outcome.epochs]


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("method", ["no_kd", "codir", "rail_kd_l"])
def test_a_seed_decides_every_bit(pipeline: Any, method: str) -> None:
    first, again = Run(pipeline, method), Run(pipeline, method)
    assert states_equal(first.model, again.model) and states_equal(first.method, again.method)
    assert first.curve == again.curve and first.method.record() == again.method.record()
    other = Run(pipeline, method, seed=2)
    assert not states_equal(first.model, other.model) and first.curve != other.curve


def spied(pipeline: Any, monkeypatch: pytest.MonkeyPatch, method: str, seed: int = 1) -> tuple[list[Any], Run]:
    seen: list[Any] = []
    original = Method.loss

    def loss(self: Method, batch: Batch, student: Signals, teacher: Signals | None) -> Any:
        seen.append((batch.index_B.tolist(), batch.labels_B.tolist(), batch.inputs["input_ids"].tolist()))
        torch.rand(len(seen))  # a method that draws from the global generator must not change the data order
        return original(self, batch, student, teacher)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "loss", loss)
        run = Run(pipeline, method, seed=seed)
    return seen, run


def test_all_methods_see_the_same_batches(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, run = spied(pipeline, monkeypatch, "no_kd")
    for method in ("codir", "rail_kd_c", "alp_kd"):
        assert spied(pipeline, monkeypatch, method)[0] == first
    assert spied(pipeline, monkeypatch, "no_kd", seed=2)[0] != first
    split = run.data.splits["train"]
    half = len(first) // 2
    for epoch in (first[:half], first[half:]):
        assert sorted(i for batch in epoch for i in batch[0]) == list(range(len(split)))
    assert first[:half] != first[half:]
    for rows, labels, ids in first:
        assert labels == split.labels[rows].tolist()
        own = split.collate(torch.tensor(rows), run.data.facts["pad_id"], False)
        assert ids == own["input_ids"].tolist()


@pytest.mark.parametrize("where", ["start_training", "start_epoch"])
def test_a_global_draw_of_a_method_depends_on_seed_and_epoch_alone(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Not on dropout or the batch size, nor on whether the run was resumed."""
    drawn: list[float] = []
    original = getattr(Method, where)

    @functools.wraps(original)
    def start(self: Method, *given: Any) -> None:
        original(self, *given)
        drawn.append(float(torch.rand(())))

    monkeypatch.setattr(Method, where, start)
    Run(pipeline, "vanilla_kd", epochs=3)
    first, drawn[:] = list(drawn), []
    Run(pipeline, "vanilla_kd", epochs=3, batch_size=8, dropout=0.0)
    assert drawn == first and len({*first}) == len(first) == (3 if where == "start_epoch" else 1)
    drawn.clear()
    Run(pipeline, "vanilla_kd", epochs=1, seed=2)
    assert drawn[0] != first[0]


def test_the_best_epoch_is_what_is_left(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.3, 0.8, 0.5, 0.8, 0.1])
    states: list[dict[str, Tensor]] = []

    def fake(data: Any, split: str, logits: Any) -> dict[str, float]:
        return {"f1": next(answers), "accuracy": 0.0}

    models: list[Any] = []

    def spy(model: Any, *arguments: Any, **keywords: Any) -> Any:
        models.append(model)
        return forward(model, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "scores_of", fake)
        patch.setattr("railkd.training.steps.forward", spy)
        run = Run(pipeline, "no_kd", epochs=5, log=lambda *_: states.append(copy.deepcopy(models[0].state_dict())))
    assert run.outcome.best_epoch == 2 and len(states) == 5  # the first of equals
    left = run.model.state_dict()
    whole = {
        k for k in left if not k.endswith("word_embeddings.weight")
    }  # in training, only the rows it uses are there
    assert len(whole) == len(left) - 1 and all(torch.equal(left[k], states[1][k]) for k in whole)
    assert not all(torch.equal(left[k], states[4][k]) for k in left)


def test_dev_recomputed_is_the_recorded_score(pipeline: Any) -> None:
    for epochs in (1, 4):
        run = Run(pipeline, "pkd", epochs=epochs, learning_rate=2e-2)
        best = run.outcome.epochs[run.outcome.best_epoch - 1]
        assert best["dev"]["f1"] == max(e["dev"]["f1"] for e in run.outcome.epochs)
        assert run.dev() == best["dev"]


def test_metrics_are_logged_after_every_epoch(pipeline: Any) -> None:
    """Numbers by name, as trackers take them."""
    logged: list[tuple[dict[str, float], int]] = []
    run = Run(pipeline, "vanilla_kd", log=lambda metrics, step: logged.append((dict(metrics), step)))
    assert [step for _, step in logged] == [len_steps(run), 2 * len_steps(run)]
    for (metrics, _), epoch in zip(logged, run.outcome.epochs, strict=True):
        assert metrics == {
            "epoch": epoch["epoch"],
            "train/total": epoch["loss"]["total"],
            "train/ce": epoch["loss"]["ce"],
            "train/kd": epoch["loss"]["kd"],
            **{f"dev/{name}": score for name, score in epoch["dev"].items()},
            "learning_rate": epoch["learning_rate"],
            "seconds": epoch["seconds"],
        }


@pytest.mark.parametrize("patience, epochs", [(1, 3), (2, 6), (None, 7)])
def test_patience(pipeline: Any, monkeypatch: pytest.MonkeyPatch, patience: int | None, epochs: int) -> None:
    answers = iter([0.3, 0.4, 0.4, 0.5, 0.1, 0.1, 0.9])
    monkeypatch.setattr(loop, "scores_of", lambda *_: {"f1": next(answers)})
    run = Run(pipeline, "no_kd", epochs=7, patience=patience)
    assert len(run.outcome.epochs) == epochs and run.outcome.cost["steps"] == epochs * len_steps(run)


def len_steps(run: Run) -> int:
    return math.ceil(len(run.data.splits["train"]) / 16)


def test_learning_rate_schedule(pipeline: Any) -> None:
    factors = [learning_rate_factor(s, 100, 0.1) for s in range(100)]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert factors[10:] == pytest.approx([(100 - s) / 90 for s in range(10, 100)])
    assert learning_rate_factor(0, 100, 0) == 1 and learning_rate_factor(100, 100, 0) == 0
    for steps in (1, 2, 3):
        for warmup in (0, 0.06, 0.5, 1):
            assert all(0 < learning_rate_factor(s, steps, warmup) <= 1 for s in range(steps))
    run = Run(pipeline, "no_kd", warmup=0.0)
    steps = 2 * len_steps(run)
    rates = [e["learning_rate"] for e in run.outcome.epochs]
    assert rates == pytest.approx([3e-3 * learning_rate_factor(s, steps, 0.0) for s in (steps // 2 - 1, steps - 1)])


def test_weight_decay_spares_biases_and_norms(pipeline: Any) -> None:
    model = pipeline.student("bert2")
    method = build("rail_kd_l", setting_for((4, 32), (2, 32), TASKS["mrpc"]), {"projection_dim": 8})
    decayed, spared = parameter_groups((model, method), 0.1)
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0.0
    names = {id(p): n for module in (model, method) for n, p in module.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} | {names[id(p)] for p in spared["params"]} == set(names.values())
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert all("bias" not in names[id(p)] and "LayerNorm" not in names[id(p)] for p in decayed["params"])
    assert any(id(p) in names for p in method.parameters()) and {id(p) for p in method.parameters()} <= set(names)
    bare = Run(pipeline, "no_kd", learning_rate=1e-9, weight_decay=0.0).model
    start = pipeline.student("distilbert2")
    heavy = Run(pipeline, "no_kd", learning_rate=1e-3, weight_decay=900.0, warmup=0.0, max_gradient_norm=1e-12).model
    key = "distilbert.transformer.layer.0.attention.q_lin.weight"
    torch.testing.assert_close(bare.state_dict()[key], start.state_dict()[key], atol=1e-6, rtol=0)
    assert heavy.state_dict()[key].norm() < 0.2 * start.state_dict()[key].norm()
    norm = "distilbert.transformer.layer.0.sa_layer_norm.weight"
    assert heavy.state_dict()[norm].norm() > 0.9 * start.state_dict()[norm].norm()


@pytest.mark.parametrize(
    ("at", "factor", "said", "last"),
    [
        (7, "nan", "loss is not finite at step 7: total nan, ce nan", "step 6: total 0."),
        (6, "1e30", "loss explodes, beyond 1e+08, at step 6: total ", "step 5: total 0."),  # the first of an epoch
        (1, "inf", "loss is not finite at step 1: total inf, ce inf", "none"),
    ],
)
def test_a_loss_that_is_not_finite_names_its_step(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch, at: int, factor: str, said: str, last: str
) -> None:
    calls = []
    original = Method.loss

    def loss(self: Method, *arguments: Any) -> Any:
        calls.append(1)
        total, terms = original(self, *arguments)
        by = float(factor) if len(calls) == at else 1.0
        return total * by, {"ce": terms["ce"] * by}

    monkeypatch.setattr(Method, "loss", loss)
    with pytest.raises(Diverged) as caught:
        Run(pipeline, "no_kd")
    text = str(caught.value)
    assert text.startswith(said) and f"; last finite values: {last}" in text and "\n" not in text


def test_weights_that_are_not_finite_after_the_last_step(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the last step is finite, its gradient is not: the scores of such a model mean nothing."""
    original = Method.loss

    def loss(self: Method, batch: Batch, student: Signals, teacher: Signals | None) -> Any:
        total, terms = original(self, batch, student, teacher)
        zero = (student.logits_BC * 0).sum()
        return total + zero.sqrt(), terms  # the slope of the root at 0 is infinite

    monkeypatch.setattr(Method, "loss", loss)
    with pytest.raises(UserError, match="not finite"):
        Run(pipeline, "no_kd", epochs=1, batch_size=72)


@pytest.mark.parametrize("student", ["distilbert2", "bert2"])
@pytest.mark.parametrize(
    "method, task", [(m, t) for m in METHODS for t in ("mrpc", "stsb") if t == "mrpc" or find(m).regression]
)
def test_every_method_trains(pipeline: Any, method: str, task: str, student: str) -> None:
    staged = issubclass(find(method), TwoStage)
    run = Run(pipeline, method, task, student, epochs=2 if staged else 1)
    stages = [run.method.first_weights, run.method.second_weights] if staged else [run.method.weights]
    for epoch, weights in zip(run.outcome.epochs, stages, strict=True):
        assert set(epoch["loss"]) == {"total", *weights}
        assert all(math.isfinite(v) for v in epoch["loss"].values())
        weighted = sum(w * epoch["loss"][name] for name, w in weights.items())
        assert epoch["loss"]["total"] == pytest.approx(weighted, rel=1e-4)
    assert set(run.dev()) >= set(run.data.task.metrics)


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_the_loss_falls(pipeline: Any, task: str) -> None:
    run = Run(pipeline, "no_kd", task, "bert2", epochs=8, dropout=0.0)
    losses = [e["loss"]["ce"] for e in run.outcome.epochs]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("method", ["vanilla_kd", "alp_kd", "rail_kd_l", "ckd"])
def test_cached_and_live_teachers_train_alike_and_stay_frozen(pipeline: Any, method: str) -> None:
    cached = Run(pipeline, method, dropout=0.0)
    data, model = pipeline.prepared("mrpc"), pipeline.teacher("mrpc")
    teacher = LiveTeacher(model, data, CPU, "float32")
    before = copy.deepcopy(model.state_dict())
    live = Run(pipeline, method, dropout=0.0, teacher=teacher)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert cached.method.record().keys() == live.method.record().keys()
    for a, b in zip(cached.outcome.epochs, live.outcome.epochs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=5e-3, abs=5e-4)
    difference = [
        float((x - y).detach().abs().max())
        for x, y in zip(cached.model.parameters(), live.model.parameters(), strict=True)
    ]
    assert max(difference) < 0.05


@pytest.mark.parametrize("method", ["vanilla_kd", "rail_kd_c"])
def test_the_regime_moves_a_score_less_than_the_seed(pipeline: Any, method: str) -> None:
    data = pipeline.prepared("mrpc")

    def score(run: Run) -> float:  # dev's cross entropy: unlike accuracy, no two of these tiny runs share it
        logits = logits_of(run.model, run.data.splits["dev"], 0, CPU, torch.float32)
        return nn.functional.cross_entropy(torch.from_numpy(logits), run.data.splits["dev"].labels).item()

    cached, live = (
        [score(Run(pipeline, method, student="bert2", seed=seed, teacher=teacher)) for seed in (1, 2, 3)]
        for teacher in (None, LiveTeacher(pipeline.teacher("mrpc"), data, CPU, "float32"))
    )
    noise = float(np.std(cached, ddof=1))
    assert noise > 0 and abs(np.mean(cached) - np.mean(live)) <= noise


def test_logits_keep_the_splits_order_and_the_models_mode(pipeline: Any) -> None:
    data, model = pipeline.prepared("mrpc"), pipeline.student("bert2")
    split = data.splits["dev"]
    model.train()
    whole = logits_of(model, split, data.facts["pad_id"], CPU, torch.float32)
    assert model.training
    model.eval()
    with torch.no_grad():
        for row in (0, 11, 29):
            inputs = to_device(split.collate(torch.tensor([row]), data.facts["pad_id"], True), CPU)
            np.testing.assert_allclose(whole[row], model(**inputs).logits[0].numpy(), atol=1e-5)


def test_devices_and_precision() -> None:
    assert devices.device_for("cpu") == CPU
    if not torch.cuda.is_available():
        assert devices.device_for("auto") == CPU
        with pytest.raises(UserError, match="^device cuda: no CUDA device is visible"):
            devices.device_for("cuda")
    assert devices.precision("bfloat16", CPU, 8) == torch.bfloat16
    assert devices.precision("float32", CPU, 999) == devices.precision("auto", CPU, 64) == torch.float32
