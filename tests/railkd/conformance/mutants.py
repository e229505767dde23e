"""Methods broken on purpose: each breaks what one check is for."""

HEAD = """
import torch
from torch.nn import functional as F

from railkd.conformance.checks import Example
from railkd.methods.base import Batch, Method, Setting, cross_entropy, kd
from railkd.methods.rail_kd_l import RailKDLayerwise
from railkd.methods.vanilla_kd import VanillaKD
from railkd.models.forward import Forward
"""

# check -> class bodies that break what it checks, and what the check says of them
MUTANTS: dict[str, list[tuple[str, str]]] = {
    "padding invariance": [
        (
            """
class Mutant(VanillaKD):  # divides by the positions of the batch, padding included
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] / batch.inputs["input_ids"].shape[1]}
""",
            "term 'kd' is ",
        ),
        (
            """
class Mutant(RailKDLayerwise):  # pools over padding and does not say so
    def terms(self, batch, student, teacher):
        class Padded:
            logits_BC = student.logits_BC
            def pooled(self, kind, layers):
                return student.pooled("mean_padded", layers)
        return super().terms(batch, Padded(), teacher)
""",
            "padded to 16",
        ),
    ],
    "gradient targets": [
        (
            """
class Mutant(VanillaKD):  # the student's side of the soft loss is detached: it trains nothing
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"].detach()}
""",
            "term 'kd' gives the student no gradient",
        ),
        (
            """
class Mutant(VanillaKD):  # writes into the signals that others read too
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        teacher.logits_BC.data.zero_()
        return found
""",
            "changes a teacher tensor in place",
        ),
        (
            """
class Mutant(VanillaKD):
    def terms(self, batch, student, teacher):
        teacher.logits_BC.requires_grad_()
        return super().terms(batch, student, teacher)
""",
            "a teacher tensor gets a gradient",
        ),
        (
            """
class Mutant(VanillaKD):
    def __init__(self, setting):
        super().__init__(setting)
        self.forgotten = torch.nn.Linear(3, 3)
""",
            "parameter 'forgotten.bias' gets no gradient",
        ),
        (
            """
class Mutant(VanillaKD):  # the classes that are not the label's, as in decoupled KD: of two classes it is one alone
    regression = False
    def terms(self, batch, student, teacher):
        label_BC = 1000.0 * F.one_hot(batch.labels_B, self.setting.outputs)
        soft = kd(student.logits_BC - label_BC, teacher.logits_BC - label_BC, 1.0, False)
        return {**super().terms(batch, student, teacher), "kd": soft}
""",
            "term 'kd' trains the student on three classes but not on two",
        ),
    ],
    "batch-split invariance": [
        (
            """
class Mutant(VanillaKD):  # a sum over the batch
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * len(batch.labels_B)}
""",
            "as the mean of its parts of 3 and 5",
        ),
        (
            """
class Mutant(VanillaKD):  # compares with the batch's mean, and declares no such thing
    def terms(self, batch, student, teacher):
        centred_BC = student.logits_BC - student.logits_BC.mean(0)
        own = F.mse_loss(centred_BC, teacher.logits_BC - teacher.logits_BC.mean(0))
        return {**super().terms(batch, student, teacher), "kd": own}
""",
            "term 'kd' is ",
        ),
        (
            """
class Mutant(VanillaKD):  # every score against every label: (B, 1) and (B,) are broadcast
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        if self.setting.regression:
            found["ce"] = (student.logits_BC - batch.labels_B).square().mean()
        return found
""",
            "on scores, term 'ce' is ",
        ),
    ],
    "cached = live": [
        (
            """
class Mutant(RailKDLayerwise):  # reads another pooling of the teacher than it declares
    def terms(self, batch, student, teacher):
        class Other:
            logits_BC = teacher.logits_BC
            def pooled(self, kind, layers):
                return teacher.pooled("cls", layers)
        return super().terms(batch, student, Other())
""",
            "cls.npy: these signals were not asked for",
        ),
        (
            """
class Mutant(VanillaKD):  # knows the two regimes apart
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * (1.01 if hasattr(teacher, "hidden") else 1)}
""",
            "with cached signals",
        ),
    ],
    "determinism": [
        (
            """
class Mutant(VanillaKD):  # draws from the global generator
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * (1 + torch.rand(()))}
""",
            "global generator?",
        ),
        (
            """
class Mutant(VanillaKD):  # a draw of each epoch from there
    def start_epoch(self, epoch, generator):
        super().start_epoch(epoch, generator)
        self.temperature = 1 + 4 * torch.rand(()).item()
""",
            "step 1 (global generator?)",
        ),
        (
            """
class Mutant(VanillaKD):  # a draw of the whole training from there
    def start_training(self, generator):
        self.temperature = 1 + 4 * torch.rand(()).item()
""",
            "step 1 (global generator?)",
        ),
    ],
    "resume": [
        (
            """
class Mutant(RailKDLayerwise):  # goes on drawing from the run's first stream: epoch k depends on the epochs before
    def start_training(self, generator):
        super().start_training(generator)
        self.kept = generator
    def start_epoch(self, epoch, generator):
        super().start_epoch(epoch, self.kept)
""",
            "in a run resumed there",
        ),
        (
            """
class Mutant(VanillaKD):  # a moving average that is no part of the state
    def __init__(self, setting):
        super().__init__(setting)
        self.seen = 0
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": found["kd"] * (1 + self.seen)}
    def end_epoch(self):
        self.seen += 1
""",
            "term 'kd' is ",
        ),
        (
            """
class Mutant(VanillaKD):  # halves a weight after each epoch, and does not halve it again when it resumes
    def end_epoch(self):
        self.weights["kd"] /= 2
""",
            "weight 'kd' is 0.25 in epoch 2 and 0.5 in a run resumed there",
        ),
        (
            """
class Mutant(VanillaKD):  # reads what it has not kept
    def resume(self, history):
        super().resume(history)
        self.temperature = history["temperature"]
""",
            "Mutant.resume() raises KeyError: 'temperature'",
        ),
        (
            """
class Mutant(VanillaKD):  # a moving parameter that no checkpoint has
    def __init__(self, setting):
        super().__init__(setting)
        self.register_buffer("scale", torch.ones(()), persistent=False)
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        self.scale += self.training
        return {**found, "kd": found["kd"] * self.scale}
""",
            "term 'kd' is ",
        ),
    ],
    "regression": [
        (
            """
class Mutant(VanillaKD):  # softmax over the one score: always 0
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        return {**found, "kd": kd(student.logits_BC, teacher.logits_BC, 1.0, False)}
""",
            "term 'kd' trains the student on classes but not on scores",
        ),
        (
            """
class Mutant(VanillaKD):  # cross entropy of scores
    def terms(self, batch, student, teacher):
        return {**super().terms(batch, student, teacher), "ce": F.cross_entropy(student.logits_BC, batch.labels_B)}
""",
            "raises ",
        ),
        (
            """
class Mutant(VanillaKD):  # every score against every label, of which torch warns
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        if self.setting.regression:
            found["ce"] = F.mse_loss(student.logits_BC.float(), batch.labels_B.float())
        return found
""",
            "(B, 1), and labels (B,): give both one shape",
        ),
    ],
    "mixed precision": [
        (
            """
class Mutant(VanillaKD):  # log(1 - p) in the precision of the logits: p rounds to 1
    def terms(self, batch, student, teacher):
        found = super().terms(batch, student, teacher)
        if self.setting.regression:
            return found
        p_BC = student.logits_BC.softmax(-1, dtype=student.logits_BC.dtype)
        return {**found, "kd": found["kd"] - (1 - p_BC).log().mean()}
""",
            "term 'kd' is inf in bfloat16",
        )
    ],
    "hand-computed value": [
        (
            """
class Mutant(VanillaKD):  # log 2 by hand, from the bits: the class says 1
    @classmethod
    def by_hand(cls):
        setting, mask = Setting(2, 2, 2, 2, 2, False), torch.ones(1, 1)
        batch = Batch(torch.tensor([0]), torch.tensor([0]), {})
        even = Forward(torch.zeros(1, 2), [], mask)
        return Example(setting, {}, batch, even, even, {"ce": 1.0, "kd": 0.0})
""",
            "term 'ce' is 0.6931472 here and 1 by hand",
        )
    ],
}
