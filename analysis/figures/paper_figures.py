"""Draws Figures 2 and 3: layer similarity of student and teacher, and ALP-KD's attention over teacher layers."""

import numpy as np
import pandas as pd

from analysis.figures import draw, style
from analysis.figures.style import Sheet
from analysis.load import Runs
from analysis.reported_benchmark import Pair, ReportedBenchmark
from analysis.tables import captions
from analysis.tables.measures import layers_shown

FIRST = ("pkd", "alp_kd", "rail_kd_l", "rail_kd_c")
POOLINGS = {"mean": "mean over tokens", "cls": "first token (CLS)"}


def similarity_task(pair: Pair) -> str:
    """The paper's SST-2; of a pair without it, its first task (the claims are of SST-2 alone)."""
    return "sst2" if "sst2" in pair.tasks else pair.tasks[0]


def similarity_data(
    benchmark: ReportedBenchmark, runs: Runs, pair: Pair, pooling: str
) -> tuple[dict[str, np.ndarray], list[tuple[int, int]], list[str]]:
    """method -> similarity: (runs × shown layers); the (student, teacher) layers; titles of methods without any."""
    similarities: dict[str, np.ndarray] = {}
    layers: list[tuple[int, int]] = []
    missing = []
    for method in pair.rows(FIRST):
        matrices = []
        for seed in sorted(benchmark.seeds):
            record = runs.students.get((pair.name, method, similarity_task(pair), seed))
            if record and record["similarity"].get(pooling):
                matrices.append(np.asarray(record["similarity"][pooling], dtype=float))
        if not matrices:
            missing.append(benchmark.title_of(method))
            continue
        m, n = matrices[0].shape[0], matrices[0].shape[1] + 1
        layers = layers_shown(m, n)
        similarities[method] = np.array([[matrix[i - 1, j - 1] for i, j in layers] for matrix in matrices])
    return similarities, layers, missing


def attention_data(benchmark: ReportedBenchmark, runs: Runs, pair: Pair, method: str, task: str) -> np.ndarray | None:
    """Attention of a method on a task, mean over runs: (student layers × teacher layers); None without any run."""
    matrices = []
    for seed in sorted(benchmark.seeds):
        record = runs.students.get((pair.name, method, task, seed))
        if record and record["method_record"].get("attention"):
            matrices.append(np.asarray(record["method_record"]["attention"], dtype=float))
    return np.mean(matrices, axis=0) if matrices else None


def _spread_note(benchmark: ReportedBenchmark) -> str:
    n = len(benchmark.seeds)
    return f"mean and standard deviation over {n} runs" if n > 1 else "one run"


def similarity_caption(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """Caption of Figure 2, without its number."""
    pairs = benchmark.drawn_from("figure2")
    tasks = " and ".join(dict.fromkeys(benchmark.task(similarity_task(pair)).title for pair in pairs))
    without = []
    for pair in pairs:
        missing = similarity_data(benchmark, runs, pair, "mean")[2]
        if missing:
            without.append((f"{pair.title}: " if len(pairs) > 1 else "") + ", ".join(missing))
    return " ".join(
        part
        for part in (
            f"Cosine similarity of student and teacher layers on dev examples of {tasks}, {benchmark.title}, "
            f"{captions.backbones(pairs)}; {_spread_note(benchmark)}. Above: mean over tokens; below: first token.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            f"Missing (no run, or widths differ): {'; '.join(without)}." if without else "",
        )
        if part
    )


def similarity_frame(benchmark: ReportedBenchmark, runs: Runs) -> pd.DataFrame:
    """What Figure 2 shows: mean over runs, and one standard deviation to either side (NaN with one run)."""
    rows = []
    for pair in benchmark.drawn_from("figure2"):
        for pooling in POOLINGS:
            similarities, layers, _ = similarity_data(benchmark, runs, pair, pooling)
            for method, values in similarities.items():
                for k, (i, j) in enumerate(layers):
                    mean = float(values[:, k].mean())
                    sd = float(values[:, k].std(ddof=1)) if len(values) > 1 else np.nan
                    rows.append((pair.name, pooling, method, i, j, mean, mean - sd, mean + sd, len(values)))
    columns = ["pair", "pooling", "method", "student_layer", "teacher_layer", "mean", "low", "high", "runs"]
    return pd.DataFrame(rows, columns=columns)


def similarity(benchmark: ReportedBenchmark, runs: Runs) -> Sheet:
    """Figure 2: for each pair a panel of mean pooling, and below it one of the first token."""
    data = similarity_frame(benchmark, runs)
    data["layers"] = data["student_layer"].astype(str) + " – " + data["teacher_layer"].astype(str)
    panels = [(pair, pooling) for pair in benchmark.drawn_from("figure2") for pooling in POOLINGS]
    marks = style.marks_of(benchmark)
    sheet = Sheet(style.COLUMN, 0.9 + 1.45 * max(len(panels), 1))
    for axis, (pair, pooling) in zip(sheet.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        own = data[(data["pair"] == pair.name) & (data["pooling"] == pooling)]
        style.tag(axis, "panel", pair.name, task=similarity_task(pair))
        if pooling == "mean":
            axis.set_title(style.plain(pair.title))
        if own.empty:
            draw.missing(axis)
            continue
        layers = list(dict.fromkeys(own["layers"]))
        shown = {m: marks[m] for m in pair.rows(FIRST) if (own["method"] == m).any()}
        draw.dots(axis, own, shown, draw.Dots("layers", "method", layers))
        sheet.measures(axis, least=0.1, most=1.0)  # a cosine: what differs by less does not differ
        for edge in range(1, len(layers)):
            axis.axvline(edge - 0.5, color=style.EDGE, linewidth=0.6)
        axis.set_xlim(-0.5, len(layers) - 0.5)
        axis.set_ylabel(f"cosine similarity\n{POOLINGS[pooling]}")
        if pooling == list(POOLINGS)[-1]:
            axis.set_xlabel("student layer – teacher layer")
    methods = [m for pair in benchmark.drawn_from("figure2") for m in pair.rows(FIRST) if (data["method"] == m).any()]
    sheet.key({benchmark.title_of(m): marks[m] for m in methods})
    sheet.foot(captions.warnings(benchmark, runs))
    return sheet


def attention_rows(benchmark: ReportedBenchmark, runs: Runs) -> list[tuple[Pair, str]]:
    """The rows of Figure 3, of every pair that names it: ALP-KD, and whatever else recorded its attention."""
    pairs = benchmark.drawn_from("figure3")
    recorded = {key[:2] for key, record in runs.students.items() if record["method_record"].get("attention")}
    return [(p, m) for p in pairs for m in p.rows() if benchmark.base(m) == "alp_kd" or (p.name, m) in recorded]


def attention_caption(benchmark: ReportedBenchmark, runs: Runs) -> str:
    """Caption of Figure 3, without its number."""
    rows = attention_rows(benchmark, runs)
    missing = [
        f"{benchmark.title_of(method)} {benchmark.task(task).title} ({pair.title})"
        for pair, method in rows
        for task in _attention_tasks(benchmark)
        if attention_data(benchmark, runs, pair, method, task) is None
    ]
    if not rows:
        missing = ["no pair of this figure runs ALP-KD"]
    n = len(benchmark.seeds)
    titles = list(dict.fromkeys(benchmark.title_of(method) for _, method in rows)) or ["ALP-KD"]
    return " ".join(
        part
        for part in (
            f"Attention weights that {' and '.join(titles)} give{'s' if len(titles) == 1 else ''} "
            f"to each teacher layer, {benchmark.title}, "
            f"{captions.backbones(benchmark.drawn_from('figure3'))}; mean over the training examples"
            + (f" and {n} runs." if n > 1 else ", one run."),
            "A row sums to 1; the triangle at the colour bar marks equal weights.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            f"Missing: {', '.join(missing)}." if missing else "",
        )
        if part
    )


def _attention_tasks(benchmark: ReportedBenchmark) -> list[str]:
    return [t for t in ("cola", "rte", "mrpc") if t in benchmark.tasks] or list(benchmark.tasks[:3])


def attention_frame(benchmark: ReportedBenchmark, runs: Runs) -> pd.DataFrame:
    """What Figure 3 shows: the weight, mean over runs, that a student layer gives to a teacher layer."""
    rows = []
    for pair, method in attention_rows(benchmark, runs):
        for task in _attention_tasks(benchmark):
            values = attention_data(benchmark, runs, pair, method, task)
            for (i, j), weight in np.ndenumerate(np.empty((0, 0)) if values is None else values):
                rows.append((pair.name, method, task, i + 1, j + 1, float(weight)))
    return pd.DataFrame(rows, columns=["pair", "method", "task", "student_layer", "teacher_layer", "weight"])


def attention(benchmark: ReportedBenchmark, runs: Runs) -> Sheet:
    """Figure 3: CoLA, RTE and MRPC side by side, x teacher layer, y student layer, one colour bar for all."""
    rows, tasks, data = attention_rows(benchmark, runs), _attention_tasks(benchmark), attention_frame(benchmark, runs)
    sheet = Sheet(style.COLUMN, 0.5 + 1.4 * max(len(rows), 1))  # each row has its titles: a page can show it alone
    axes = sheet.subplots(max(len(rows), 1), len(tasks), squeeze=False)
    top = float(data["weight"].max()) if len(data) else 1.0
    image, widths = None, set()
    for (r, c), axis in np.ndenumerate(axes):
        own = data.iloc[:0]
        if rows:
            pair, method = rows[r]
            own = data[(data["pair"] == pair.name) & (data["method"] == method) & (data["task"] == tasks[c])]
            style.tag(axis, "panel", pair.name, method, tasks[c])
        if own.empty:
            draw.missing(axis)
        else:
            values = own.pivot(index="student_layer", columns="teacher_layer", values="weight").to_numpy()
            image = draw.heat(axis, values, top)
            widths.add(values.shape[1])
        axis.set(xlabel="teacher layer", ylabel="", title=benchmark.task(tasks[c]).title)
        if c == 0:
            label = axis.set_ylabel("\n".join([*(_names(benchmark, rows, r) if rows else []), "student layer"]))
            style.tag(label, "row")
    if image is not None:
        bar = sheet.colorbar(image, ax=axes.ravel().tolist(), label="attention weight", aspect=15, pad=0.03)
        bar.outline.set_visible(False)
        style.tag(bar.ax, "scale")
        equal = [1 / n for n in sorted(widths)]
        bar.ax.plot([-0.4] * len(equal), equal, ">", color=style.INK, markersize=3, clip_on=False)
    sheet.foot(captions.warnings(benchmark, runs))
    return sheet


def _names(benchmark: ReportedBenchmark, rows: list[tuple[Pair, str]], r: int) -> list[str]:
    """What tells a row of Figure 3 from the others: its method, its pair, in short lines."""
    pair, method = rows[r]
    names = [benchmark.title_of(method)] if len({m for _, m in rows}) > 1 else []
    names += [f"{pair.teacher} →", pair.student] if len({p.name for p, _ in rows}) > 1 else []
    return [style.plain(name) for name in names]
