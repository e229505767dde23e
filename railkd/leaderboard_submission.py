"""Writes a GLUE leaderboard file: one zip with one method's and seed's predictions on GLUE's hidden test sets.

The predictions are those beside the run records of a benchmark with ``data.test: hidden``. The format is that of the
benchmark's site (gluebenchmark.com; Wang et al., 2019): eleven files ``<task>.tsv`` with the header
``index<TAB>prediction``, an index from 0 in the order of the test file, and the label as a word or number. A submission
has all files, so what was not trained is filled with predictions that look at no input, and the zip's comment says so.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark, Cell
from railkd.errors import UserError
from railkd.metrics import predicted
from railkd.outdated import differences, misplaced
from railkd.records import files, run_record
from railkd.tasks import DIAGNOSTIC, TASKS
from railkd.tasks import GLUE_TEST_ROWS as ROWS

HEADER = "index\tprediction"
BINARY = ("0", "1")
INFERENCE = ("entailment", "not_entailment")


@dataclass(frozen=True)
class SubmissionFile:
    """One file of a submission."""

    name: str
    task: str  # whose model predicts it: MNLI's the diagnostic set
    split: str  # of that task's predictions
    rows: int  # of GLUE's test file
    labels: tuple[str, ...]  # what each class is called, in the task's order of classes; empty: a score in [0, 5]

    @property
    def filler(self) -> tuple[str, ...]:
        """What stands for predictions, in turn, where nothing was trained: one class, or two scores, because the
        correlation with a constant is undefined."""
        return self.labels[:1] or ("0.000", "5.000")

    def filled(self) -> list[str]:
        """Every row of a file of fillers."""
        return [self.filler[row % len(self.filler)] for row in range(self.rows)]


_MNLI = TASKS["mnli"].labels
SUBMISSION_FILES = (
    SubmissionFile("CoLA.tsv", "cola", "test", ROWS["cola"], BINARY),
    SubmissionFile("SST-2.tsv", "sst2", "test", ROWS["sst2"], BINARY),
    SubmissionFile("MRPC.tsv", "mrpc", "test", ROWS["mrpc"], BINARY),
    SubmissionFile("STS-B.tsv", "stsb", "test", ROWS["stsb"], ()),
    SubmissionFile("QQP.tsv", "qqp", "test", ROWS["qqp"], BINARY),
    SubmissionFile("MNLI-m.tsv", "mnli", "test", ROWS["mnli"], _MNLI),
    SubmissionFile("MNLI-mm.tsv", "mnli", "test_mismatched", ROWS["mnli_mismatched"], _MNLI),
    SubmissionFile("QNLI.tsv", "qnli", "test", ROWS["qnli"], INFERENCE),
    SubmissionFile("RTE.tsv", "rte", "test", ROWS["rte"], INFERENCE),
    SubmissionFile("WNLI.tsv", "wnli", "test", ROWS["wnli"], BINARY),  # not a task of this suite: always filled
    SubmissionFile("AX.tsv", "mnli", DIAGNOSTIC, ROWS[DIAGNOSTIC], _MNLI),  # GLUE's diagnostic set
)


def spelled(file: SubmissionFile, logits: NDArray[np.float32]) -> list[str]:
    """Predictions as the leaderboard spells them, from logits (examples, C).

    Raises UserError when there are not as many as the leaderboard's test file has, or one is not finite.
    """
    if len(logits) != file.rows:
        raise UserError(
            f"{file.name}: {len(logits):,} predictions, but GLUE's test file has {file.rows:,} rows; expected GLUE's "
            f"own test set of {file.task}"
        )
    if not np.isfinite(logits).all():
        raise UserError(
            f"{file.name}: row {int((~np.isfinite(logits)).any(axis=1).argmax())}: prediction is not finite"
        )
    values = predicted(logits)
    if not file.labels:
        return [f"{value:.3f}" for value in np.clip(values, 0, 5)]
    return [file.labels[int(value)] for value in values]


def tsv(predictions: list[str]) -> bytes:
    """One file of the zip."""
    return "".join([f"{HEADER}\n", *(f"{i}\t{p}\n" for i, p in enumerate(predictions))]).encode()


def write(benchmark: Benchmark, layout: Layout, pair: str, method: str, seed: int, out: Path) -> str:
    """Writes the zip, checks it, and returns its comment: which files are predictions and which are filled.

    Raises UserError when a run is missing or is not the one that the benchmark file asks for, or no test set was
    predicted at all.
    """
    tasks = benchmark.pair_tasks(pair)
    logits: dict[tuple[str, str], NDArray[np.float32]] = {}
    for cell in benchmark.cells():
        if (cell.pair, cell.method) == (pair, method):
            path = layout.run(cell, seed)
            record = run_record.read(path)
            found = run_record.predictions(path, record)
            if benchmark.data["test"] == "hidden":  # else "test" is no test set of GLUE's
                _require_asked_for(benchmark, layout, cell, seed, record)
                logits.update({(cell.task, split): values for split, values in found.items()})
    made: dict[str, bytes] = {}
    own, filled = [], []
    for file in SUBMISSION_FILES:
        values = logits.get((file.task, file.split))
        if values is None:
            reason = f"no predictions of '{file.split}'" if file.task in tasks else "not a task of this benchmark"
            what = f"always {file.filler[0]}" if file.labels else f"{' and '.join(file.filler)} in turn"
            filled.append(f"{file.name} ({what}: {reason})")
            made[file.name] = tsv(file.filled())
        else:
            own.append(file.name)
            made[file.name] = tsv(spelled(file, values))
    if not own:
        raise UserError(
            f"{benchmark.path}: data.test is '{benchmark.data['test']}' and no run predicted a test set of GLUE's; "
            "expected data.test: hidden, with GLUE's test files on the hub or in the local mirror"
        )
    text = (
        f"railkd {benchmark.name}: {method}, {pair}, seed {seed}\n"
        f"predicted: {', '.join(own)}\nfilled, their scores mean nothing: {', '.join(filled) or 'none'}"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in made.items():  # a fixed date: equal predictions give equal bytes
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
        archive.comment = text.encode()[:65_535]
    files.write_bytes(out, buffer.getvalue())
    check(out)
    return text


def _require_asked_for(benchmark: Benchmark, layout: Layout, cell: Cell, seed: int, record: Mapping[str, Any]) -> None:
    """Raises UserError for a record of another run, or of another configuration than the benchmark file's."""
    path = layout.run(cell, seed)
    for line in misplaced(record, {"stage": "distil", **cell._asdict(), "seed": seed}):
        raise UserError(f"{path}: {line} in this place")
    config = run_record.expected_config(benchmark, layout, cell)
    if config is not None and (differ := differences(record, config, benchmark.method_class(cell.method))):
        raise UserError(
            f"{path}: is not the run that {benchmark.path} asks for ({', '.join(differ)} differ); run the benchmark "
            "first"
        )


def check(path: Path) -> None:
    """Checks a zip against the leaderboard's format: files, header, row counts, indices, label strings.

    Raises UserError naming file and row of the first fault.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            contents = {name: archive.read(name) for name in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable zip ({error})") from None
    expected = [file.name for file in SUBMISSION_FILES]
    for name in expected:
        if names.count(name) != 1:
            raise UserError(f"{path}: has {names.count(name)} files {name}, expected one, at the top of the zip")
    for name in names:
        if name not in expected:
            raise UserError(f"{path}: {name} is no file of a submission; expected {', '.join(expected)}")
    for file in SUBMISSION_FILES:
        _check_file(f"{path}: {file.name}", file, contents[file.name])


def _check_file(place: str, file: SubmissionFile, content: bytes) -> None:
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 text ({error})") from None
    if lines.pop() or "\r" in lines[0]:
        raise UserError(f"{place}: expected lines that end with a newline alone")
    if lines[0] != HEADER:
        raise UserError(f"{place}: the header is {lines[0]!r}, expected {HEADER!r}")
    if len(lines) - 1 != file.rows:
        raise UserError(f"{place}: {len(lines) - 1:,} rows, expected {file.rows:,}")
    for row, line in enumerate(lines[1:]):
        index, _, answer = line.partition("\t")
        if index != str(row):
            raise UserError(f"{place}: row {row}: index {index!r}, expected {row}")
        if file.labels and answer not in file.labels:
            raise UserError(f"{place}: row {row}: prediction {answer!r}, expected one of {', '.join(file.labels)}")
        if not file.labels and not _is_score(answer):
            raise UserError(f"{place}: row {row}: prediction {answer!r}, expected a number from 0 to 5")


def _is_score(text: str) -> bool:
    try:
        return 0 <= float(text) <= 5
    except ValueError:
        return False
