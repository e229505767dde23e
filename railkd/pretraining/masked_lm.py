"""Masked-language-model pre-training of the miniature backbones, and DistilBERT's recipe for their students.

Real ``transformers`` architectures, built from configurations and trained on MiniGLUE's corpus for a minute or two on
one CPU core; the result is an ordinary checkpoint folder. Deep post-layer-norm stacks learn very little in so few
steps (12 layers: unigram statistics; 3 layers: most of the grammar), so a deep backbone starts shallow and doubles.

Shapes: B rows, T tokens per row, M masked positions, V words, D width.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from railkd.benchmark.defaults import PRETRAINING
from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.errors import Diverged, UserError, unknown
from railkd.pretraining.training_text import batches, packed_rows, save_tokenizer, separator, train_tokenizer
from railkd.records.files import atomic_folder
from railkd.records.hashes import sha256_file
from railkd.records.sealed_files import require, seal

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

WARMUP = 0.1  # share of the steps
TEMPERATURE = 2.0  # of the distillation on MLM logits
HEADING_WEIGHT = 2.0  # of the cross entropy of headings, beside that of words
WEIGHTS = {"kd": 5.0, "mlm": 2.0, "cosine": 1.0}  # DistilBERT's
INITIAL_STD = 0.06  # BERT's 0.02 at width 768, for a width of 64: grows as the width shrinks


def resolve(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec`` with defaults filled in; :class:`UserError` names an unknown, missing or impossible key."""
    for key in spec:
        if key not in PRETRAINING:
            raise unknown("key", key, PRETRAINING, "pretraining")
    full = PRETRAINING | spec
    if full["family"] not in ("bert", "roberta", "distilbert"):
        raise unknown("family", full["family"], ("bert", "roberta", "distilbert"), "pretraining")
    full["intermediate"] = full["intermediate"] or 4 * full["width"]
    full["first_layers"] = full["first_layers"] or full["layers"]
    for key in ("layers", "width", "heads", "vocabulary", "max_length", "row_length", "steps", "batch_size"):
        if not isinstance(full[key], int) or full[key] <= 0:
            raise UserError(f"{key}: expected a positive whole number, got {full[key]!r}")
    if full["width"] % full["heads"]:
        raise UserError(f"heads: {full['heads']} heads do not divide width {full['width']}")
    if full["row_length"] > full["max_length"]:
        raise UserError(f"row_length: {full['row_length']} is more than max_length {full['max_length']}")
    if full["layers"] not in [full["first_layers"] * 2**n for n in range(8)]:
        raise UserError(f"first_layers: doubling {full['first_layers']} never gives {full['layers']} layers")
    return full


# --- models -------------------------------------------------------------------------------------------------------
def build(spec: dict[str, Any], vocabulary: int) -> Any:
    """A fresh ``*ForMaskedLM`` with tied embeddings, of the global random state (fork and seed it)."""
    size, dropout = spec["max_length"], spec["dropout"]
    if spec["family"] == "distilbert":
        from transformers.models.distilbert.configuration_distilbert import DistilBertConfig
        from transformers.models.distilbert.modeling_distilbert import DistilBertForMaskedLM

        return DistilBertForMaskedLM(
            DistilBertConfig(
                vocab_size=vocabulary, max_position_embeddings=size, n_layers=spec["layers"], n_heads=spec["heads"],
                dim=spec["width"], hidden_dim=spec["intermediate"], dropout=dropout, attention_dropout=dropout,
                seq_classif_dropout=dropout, initializer_range=INITIAL_STD, pad_token_id=0,
            )
        )  # fmt: skip
    common: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": spec["width"], "num_hidden_layers": spec["layers"],
        "num_attention_heads": spec["heads"], "intermediate_size": spec["intermediate"],
        "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "initializer_range": INITIAL_STD,
    }  # fmt: skip
    if spec["family"] == "bert":
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertForMaskedLM

        return BertForMaskedLM(BertConfig(max_position_embeddings=size, pad_token_id=0, **common))
    from transformers.models.roberta.configuration_roberta import RobertaConfig
    from transformers.models.roberta.modeling_roberta import RobertaForMaskedLM

    # positions of real tokens start at pad_token_id + 1 = 2
    return RobertaForMaskedLM(
        RobertaConfig(
            max_position_embeddings=size + 2,
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            **common,
        )
    )


# DistilBERT's names of what BERT calls otherwise
RENAMED = (
    ("bert.encoder.layer.", "distilbert.transformer.layer."),
    ("bert.embeddings.", "distilbert.embeddings."),
    ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"),
    ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
    ("cls.predictions.transform.dense", "vocab_transform"),
    ("cls.predictions.transform.LayerNorm", "vocab_layer_norm"),
    ("cls.predictions.decoder", "vocab_projector"),
)


def inherit(student: Any, parent: Any, layers: int, parent_layers: int) -> int:
    """Copy the parent's embeddings, MLM head and every other layer into ``student``; returns tensors copied."""
    import torch

    from railkd.models.checkpoints import taken_layers

    to_distil = student.config.model_type == "distilbert" and parent.config.model_type == "bert"
    target = student.state_dict()
    source: dict[str, torch.Tensor] = {}
    kept = {number - 1: i for i, number in enumerate(taken_layers(parent_layers, layers, "every_other", "student"))}
    for name, tensor in parent.state_dict().items():
        head, found, tail = name.partition("encoder.layer.")
        if found:
            number, _, rest = tail.partition(".")
            if int(number) not in kept:
                continue
            name = f"{head}{found}{kept[int(number)]}.{rest}"
        if to_distil:
            for old, new in RENAMED:
                name = name.replace(old, new)
        source[name] = tensor
    fitting = {n: t for n, t in source.items() if n in target and t.shape == target[n].shape}
    student.load_state_dict(fitting, strict=False)
    return len(fitting)


def grow(deep: Any, shallow: Any) -> None:
    """Put a new layer after each of ``shallow``'s, starting as (almost) the identity: the function stays what it was.

    The new layer's two output projections start at zero, so that its layer norms see what came in; the last of them
    restores the mean and the scale that the layer norm below gave it (cf. Net2DeeperNet, Chen et al., 2016).
    """
    import torch

    source, target = shallow.state_dict(), deep.state_dict()
    grown: dict[str, torch.Tensor] = {}
    for name, tensor in source.items():
        head, found, tail = name.partition("encoder.layer.")
        if not found:
            grown[name] = tensor
            continue
        number, _, rest = tail.partition(".")
        grown[f"{head}{found}{2 * int(number)}.{rest}"] = tensor
        new = f"{head}{found}{2 * int(number) + 1}.{rest}"
        norm = f"{head}{found}{number}.output.LayerNorm"
        if rest.startswith(("attention.output.dense", "output.dense")):
            grown[new] = torch.zeros_like(tensor)
        elif rest == "output.LayerNorm.weight":
            scale = (source[f"{norm}.weight"].square().mean() + source[f"{norm}.bias"].var(unbiased=False)).sqrt()
            grown[new] = torch.full_like(tensor, float(scale))
        elif rest == "output.LayerNorm.bias":
            grown[new] = torch.full_like(tensor, float(tensor.mean()))
        else:
            grown[new] = target[new]
    deep.load_state_dict(grown)


def masked_logits(model: Any, x_BT: "torch.Tensor", positions: "torch.Tensor", sep: int) -> tuple[Any, Any]:
    """Last hidden state (B, T, D) and MLM logits at ``positions`` only (M, V): the head is not paid for elsewhere."""
    import torch.nn.functional as F

    kind = model.config.model_type
    if kind == "bert":  # the second segment starts after the first separator, as in a pair of a task
        before_BT = (x_BT == sep).cumsum(dim=1) - (x_BT == sep).long()
        hidden_BTD = model.bert(x_BT, token_type_ids=before_BT.clamp(max=1)).last_hidden_state
    else:
        hidden_BTD = getattr(model, kind)(x_BT).last_hidden_state
    h_MD = hidden_BTD[positions[:, 0], positions[:, 1]]
    if kind == "bert":
        return hidden_BTD, model.cls(h_MD)
    if kind == "roberta":
        return hidden_BTD, model.lm_head(h_MD)
    return hidden_BTD, model.vocab_projector(model.vocab_layer_norm(F.gelu(model.vocab_transform(h_MD))))


# --- training -----------------------------------------------------------------------------------------------------
def made_of(
    benchmark: Benchmark, layout: Layout, model: str, digest: Callable[[Path], str] = sha256_file
) -> dict[str, Any]:
    """What the seal of a miniature names: its keys, the seed, the SHA-256 of the corpus and of its parent's weights."""
    parent = layout.weights(benchmark, benchmark.pretraining_teacher(model))
    read = {"text": layout.generated(benchmark), "teacher": parent}
    found = {key: digest(path) for key, paths in read.items() for path in paths if path.is_file()}
    return {**benchmark.pretraining_config(model), **found}


def pretrain(
    spec: dict[str, Any],
    corpus: Path,
    directory: Path,
    seed: int,
    parent: Path | None = None,
    progress: Callable[[str], None] = print,
    made_of: Any = None,
) -> dict[str, Any]:
    """Pre-train one backbone on ``corpus`` (parquet with a ``text`` column) and save it to ``directory``.

    ``spec`` takes the keys of ``defaults.PRETRAINING``. With ``parent`` (a folder this function wrote) the model is its
    student: same tokenizer, every other layer copied (Sanh et al., 2019), trained with 5·KD + 2·MLM + 1·cosine.
    ``made_of`` goes into the folder's seal.
    Returns ``loss`` (MLM, nats per masked token, mean of the last tenth), ``seconds``, ``steps``, ``parameters``.
    Raises :class:`UserError` for a bad spec. The folder appears whole or not at all; one already there is replaced.
    """
    import pyarrow.parquet
    import torch

    started = time.perf_counter()
    full = resolve(spec)
    require(corpus.parent.parent, f"{corpus.parent.name}/{corpus.name}")
    lines = pyarrow.parquet.read_table(corpus, columns=["text"])["text"].to_pylist()
    if parent is None:
        teacher, tokenizer = None, train_tokenizer(full["family"], lines, full["vocabulary"])
    else:
        teacher, tokenizer = read_parent(parent, full["layers"])
    text = packed_rows(lines, tokenizer, full["family"], full["row_length"], Random(f"{seed}/rows"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        words = tokenizer.get_vocab_size()
        model = build(full | {"layers": full["first_layers"]}, words)
        if teacher is not None:
            inherit(model, teacher, full["first_layers"], teacher.config.num_hidden_layers)
        stream, loss = batches(text, full, tokenizer, seed), math.nan
        for stage in stages(full):
            if stage.start:
                shallow = model
                model = build(full | {"layers": 2 * shallow.config.num_hidden_layers}, words)
                grow(model, shallow)
            progress(f"{model.config.num_hidden_layers} layers")
            loss = train(model, teacher, stream, full, stage, separator(tokenizer), progress)
    model.eval()

    with atomic_folder(directory) as unfinished:
        model.save_pretrained(unfinished)
        save_tokenizer(tokenizer, full["family"], full["max_length"], unfinished)
        seal(unfinished, [file.name for file in unfinished.iterdir()], made_of=made_of)
    return {
        "loss": loss,
        "seconds": time.perf_counter() - started,
        "steps": full["steps"],
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def read_parent(folder: Path, layers: int) -> "tuple[Any, Tokenizer]":
    """A pre-trained model and its tokenizer; raises UserError when it is damaged or shallower than its student."""
    from tokenizers import Tokenizer
    from transformers.models.auto.modeling_auto import AutoModelForMaskedLM

    require(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = AutoModelForMaskedLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False).eval()
    if layers > model.config.num_hidden_layers:
        raise UserError(f"layers: a student of {layers} layers has a parent of fewer")
    return model, tokenizer


def stages(spec: dict[str, Any]) -> Iterator[range]:
    """The steps of each stage: of ``first_layers`` layers, and of twice as many from stage to stage up to ``layers``.

    The first stage has ``first_share`` of all steps, the others share the rest evenly.
    """
    growths, done = round(math.log2(spec["layers"] / spec["first_layers"])), 0
    for number in range(growths):
        share = (1 - spec["first_share"]) / growths if number else spec["first_share"]
        until = done + max(1, round(share * spec["steps"]))
        yield range(done, until)
        done = until
    yield range(done, spec["steps"])


def train(
    model: Any,
    teacher: Any | None,
    stream: Iterator[tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]],
    spec: dict[str, Any],
    stage: range,
    sep: int,
    progress: Callable[[str], None],
) -> float:
    """The steps of ``stage``: MLM, plus distillation from ``teacher`` if there is one.

    The learning rate decays over all steps of the run and warms up in each stage. Returns the MLM loss of the last
    tenth of the stage.
    """
    import torch

    steps, warmup = spec["steps"], max(1, round(WARMUP * len(stage)))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=spec["learning_rate"], betas=(0.9, 0.98), eps=1e-6, fused=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * (1 - (stage.start + step) / (steps + 1))
    )
    model.train()
    last: list[float] = []
    every = max(1, len(stage) // 10)
    for step, batch in zip(stage, stream, strict=False):
        mlm, loss = losses(model, teacher, batch, sep)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        last.append(float(mlm.detach()))
        if not math.isfinite(last[-1]):
            values = f"mlm loss {last[-1]:g}; the step before: {f'{last[-2]:g}' if len(last) > 1 else 'none'}"
            raise Diverged(f"learning_rate: pre-training diverged at step {step + 1} ({values}); lower it")
        if len(last) % every == 0:
            progress(f"step {step + 1}/{steps}: mlm loss {sum(last[-every:]) / every:.3f}")
    return sum(last[-every:]) / every


def losses(
    model: Any, teacher: Any | None, batch: "tuple[torch.Tensor, torch.Tensor, torch.Tensor]", sep: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The MLM loss of a batch, for the log, and the loss that is trained, with the teacher's terms if there is one."""
    import torch
    import torch.nn.functional as F

    x_BT, positions, targets = batch
    hidden_BTD, logits_MV = masked_logits(model, x_BT, positions, sep)
    words, headed = positions[:, 1] > 0, positions[:, 1] == 0
    mlm = F.cross_entropy(logits_MV[words], targets[words])
    loss = mlm
    if headed.any():  # few positions among many, and the ones that classifiers will read
        loss = loss + HEADING_WEIGHT * F.cross_entropy(logits_MV[headed], targets[headed])
    if teacher is None:
        return mlm, loss
    with torch.no_grad():
        goal_BTD, goal_MV = masked_logits(teacher, x_BT, positions, sep)
    log_student, log_teacher = (F.log_softmax(x_MV / TEMPERATURE, -1) for x_MV in (logits_MV, goal_MV))
    kd = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    loss = WEIGHTS["kd"] * TEMPERATURE**2 * kd + WEIGHTS["mlm"] * loss
    if hidden_BTD.shape == goal_BTD.shape:
        loss = loss + WEIGHTS["cosine"] * (1 - F.cosine_similarity(hidden_BTD, goal_BTD, dim=-1)).mean()
    return mlm, loss
