"""Tokenises examples in memory, a `datasets.Dataset` or a list, into the splits that a run on a prepared task reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from railkd.api.models import names_of, outputs_of, tokens_at_most
from railkd.data.batches import Prepared
from railkd.data.checking import (
    Raw,
    advise_on_scores,
    checked,
    compare_splits,
    require_classes,
    require_columns,
    require_rows,
)
from railkd.data.preparation import tells_texts_apart, tokenise
from railkd.errors import UserError, unknown
from railkd.metrics import METRICS
from railkd.models.fine_tuned import plain_label
from railkd.tasks import OF_CLASSES, OF_SCORES, OF_TWO_CLASSES, Task

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LISTED = ("text", "second text")  # what messages call the texts of a list
SCORES = (-1e9, 1e9)  # of a regression: any number that float32 holds well
MAX_LENGTH = 128  # tokens, where the model can take as many


@dataclass(frozen=True)
class Reading:
    """How examples are read: by which tokenizer, from which columns, cut at how many tokens, scored by what."""

    tokenizer: "PreTrainedTokenizerBase"
    columns: Sequence[str] | None = None  # of the texts, one or two; None: the columns of text that there are
    label: str = "label"  # its column
    max_length: int | None = None  # in tokens with special ones; None: MAX_LENGTH, or what the model can take
    metric: str | None = None  # that chooses the epoch; None: accuracy, or the mean of two correlations for scores


def prepared(splits: Mapping[str, Any], models: Mapping[str, "PreTrainedModel"], reading: Reading) -> Prepared:
    """Splits by the name of their argument, tokenised for models, whose last is the one that is trained or scored.

    A split is a `datasets.Dataset`, a list of rows (text, label) or (text, second text, label), or a pair of lists,
    (texts, labels). Labels are class numbers, or names that ``id2label`` of a model's configuration has. Raises
    UserError, which names the argument and the row, for what is none of these, before anything is computed.
    """
    frames = {name: _frame(name, data, reading) for name, data in splits.items()}
    names = names_of(models)
    for name, data in splits.items():
        _check_class_names(name, data, reading.label, names)
    task = _task(frames, models, reading, names)
    raw: Raw = {}
    for name, frame in frames.items():
        require_columns(name, (*task.columns, task.label_column), frame.columns)
        require_rows(name, name, len(frame))
        raw[name] = checked(frame, name, task)
    if "train" in raw and task.regression:
        scores = raw["train"][1]
        advise_on_scores(float(scores.min()), float(scores.max()), "train")
    elif "train" in raw:
        require_classes(raw["train"][1], task, "train")
    if {"train", "dev"} <= raw.keys():
        compare_splits(raw, task)
    length = _max_length(models, reading)
    facts = {"pad_id": reading.tokenizer.pad_token_id, "max_length": length}
    tokenised = {name: tokenise(reading.tokenizer, texts, labels, length) for name, (texts, labels, _) in raw.items()}
    if not tells_texts_apart(reading.tokenizer):
        tokenised = {name: split.of_one_type() for name, split in tokenised.items()}
    return Prepared(task, tokenised, facts, {})


def _frame(name: str, data: Any, reading: Reading) -> "pd.DataFrame":
    """The rows of a split as a data frame."""
    import pandas as pd

    columns = getattr(data, "column_names", None)
    if isinstance(columns, dict):
        first = next(iter(columns), "train")
        raise UserError(f"{name}: is a {type(data).__name__}, expected one of its splits, such as data['{first}']")
    if columns is not None and hasattr(data, "to_pandas"):
        frame: pd.DataFrame = data.to_pandas()
        return frame
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, list) for part in data):
        texts, labels = data
        if len(texts) != len(labels):
            raise UserError(f"{name}: has {len(texts)} texts and {len(labels)} labels, expected as many of each")
        data = [(*_parts(text), label) for text, label in zip(texts, labels, strict=True)]
    if not isinstance(data, list):
        raise UserError(
            f"{name}: is a {type(data).__name__}, expected a datasets.Dataset, a list of rows (text, label) or "
            "(text, second text, label), or two lists (texts, labels)"
        )
    widths = [len(row) if isinstance(row, tuple | list) else 0 for row in data]
    for row, width in enumerate(widths):
        if width not in (2, 3) or width != widths[0]:
            expected = "(text, label) or (text, second text, label)" if row == 0 else f"{widths[0]} parts as row 0 has"
            raise UserError(f"{name}: row {row}: {data[row]!r:.80}, expected {expected}")
    names = [*LISTED[: (widths or [2])[0] - 1], reading.label]
    return pd.DataFrame([tuple(row) for row in data], columns=names, dtype=object)


def _parts(text: Any) -> Sequence[Any]:
    """One text, or the two of a pair."""
    return text if isinstance(text, tuple | list) else (text,)


def _check_class_names(name: str, data: Any, label: str, names: Sequence[str] | None) -> None:
    """Raises UserError where a data set gives its class numbers the models' names in another order."""
    feature = (getattr(data, "features", None) or {}).get(label)
    own = list(getattr(feature, "names", None) or [])
    theirs = [plain_label(class_name) for class_name in names or ()]
    ours = [plain_label(class_name) for class_name in own]
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise UserError(
            f"{name}: its classes are {', '.join(own)[:200]} in this order, and the models' id2label has "
            f"{', '.join(names or ())[:200]}; expected one order"
        )


def _task(
    frames: Mapping[str, "pd.DataFrame"],
    models: Mapping[str, "PreTrainedModel"],
    reading: Reading,
    names: Sequence[str] | None,
) -> Task:
    """The task that the examples and the models' heads declare together."""
    first = next(iter(frames))
    columns = _text_columns(first, frames[first], reading)
    outputs = outputs_of(models)
    metrics: tuple[str, ...] = OF_SCORES
    default = "pearson_spearman"
    labels: tuple[str, ...] = ()
    stored: dict[str, int] = {}
    if outputs > 1:
        metrics = (*OF_CLASSES, *(OF_TWO_CLASSES if outputs == 2 else ()))
        default = "accuracy"
        labels = tuple(names or map(str, range(outputs)))
        stored = {str(number): number for number in range(outputs)}
        for number, label in enumerate(names or ()):
            if stored.setdefault(label, number) != number:
                raise UserError(
                    f"{first}: a label {label} may be the class of that number or, by id2label, class {number}; "
                    f"expected an id2label whose names are no numbers, such as 'grade {label}'"
                )
    shown = reading.metric or default
    if shown not in metrics:
        scored = "a score" if outputs == 1 else f"{outputs} classes"
        raise unknown(f"metric of {scored}" if shown in METRICS else "metric", shown, metrics, "metric")
    return Task(
        name="examples", title="examples", columns=columns, labels=labels, metrics=metrics, shown=shown,
        label_column=reading.label, stored=tuple(stored.items()), score_range=SCORES,
    )  # fmt: skip


def _text_columns(name: str, frame: "pd.DataFrame", reading: Reading) -> tuple[str, ...]:
    """The columns of the texts: as given, else all that hold text."""
    if reading.columns is not None:
        columns = (reading.columns,) if isinstance(reading.columns, str) else tuple(reading.columns)
        if len(columns) not in (1, 2):
            raise UserError(f"columns: names {len(columns)} columns, expected one or two columns of text")
        return columns
    others = [column for column in frame.columns if column != reading.label]
    found = tuple(column for column in others if len(frame) and isinstance(frame[column].iloc[0], str))
    if len(found) not in (1, 2):
        listed = ", ".join(map(str, found)) or "none"
        raise UserError(
            f"{name}: the columns of text are {listed}, expected one or two; name them, as in columns=['text']"
            if len(frame)
            else f"{name}: has no row, expected at least 2"
        )
    return found


def _max_length(models: Mapping[str, "PreTrainedModel"], reading: Reading) -> int:
    """The longest input in tokens, which every model can take."""
    limits = {name: tokens_at_most(model) for name, model in models.items()}
    if reading.max_length is None:
        return min(MAX_LENGTH, *limits.values())
    if isinstance(reading.max_length, bool) or not isinstance(reading.max_length, int) or reading.max_length < 8:
        raise UserError(f"max_length: {reading.max_length!r}, expected a whole number of tokens from 8")
    for name, limit in limits.items():
        if reading.max_length > limit:
            raise UserError(f"max_length: {reading.max_length} tokens, expected at most the {limit} of the {name}")
    return reading.max_length
