"""Figures 2 and 3: layer similarity of student and teacher, and ALP-KD's attention over teacher layers."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis import captions
from analysis.benchmark import Benchmark, Pair
from analysis.load import Runs
from analysis.measures import layers_shown
from railkd.tasks import TASKS

# Okabe–Ito; grey and black fall to the students without intermediate layers, which follow FIRST in the order of rows
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999", "#000000", "#CC79A7", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
FIRST = ("pkd", "alp_kd", "rail_kd_l", "rail_kd_c")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "figure.dpi": 100,
}


def similarity_task(pair: Pair) -> str:
    """The paper's SST-2; of a pair without it, its first task (the claims are of SST-2 alone)."""
    return "sst2" if "sst2" in pair.tasks else pair.tasks[0]


def similarity_data(
    benchmark: Benchmark, runs: Runs, pair: Pair, pooling: str
) -> tuple[dict[str, np.ndarray], list[tuple[int, int]], list[str]]:
    """method -> similarity: (runs × shown layers); the (student, teacher) layers; titles of methods without any."""
    found: dict[str, np.ndarray] = {}
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
        found[method] = np.array([[matrix[i - 1, j - 1] for i, j in layers] for matrix in matrices])
    return found, layers, missing


def attention_data(benchmark: Benchmark, runs: Runs, pair: Pair, method: str, task: str) -> np.ndarray | None:
    """Attention of a method on a task, mean over runs: (student layers × teacher layers); None without any run."""
    matrices = []
    for seed in sorted(benchmark.seeds):
        record = runs.students.get((pair.name, method, task, seed))
        if record and record["method_record"].get("attention"):
            matrices.append(np.asarray(record["method_record"]["attention"], dtype=float))
    return np.mean(matrices, axis=0) if matrices else None


def _spread_note(benchmark: Benchmark) -> str:
    n = len(benchmark.seeds)
    return f"mean and standard deviation over {n} runs" if n > 1 else "one run"


def similarity_caption(benchmark: Benchmark, runs: Runs) -> str:
    """Caption of Figure 2, without its number."""
    pairs = benchmark.drawn_from("figure2")
    tasks = " and ".join(dict.fromkeys(TASKS[similarity_task(pair)].title for pair in pairs))
    gone = []
    for pair in pairs:
        missing = similarity_data(benchmark, runs, pair, "mean")[2]
        if missing:
            gone.append((f"{pair.title}: " if len(pairs) > 1 else "") + ", ".join(missing))
    return " ".join(
        part
        for part in (
            f"Cosine similarity of student and teacher layers on dev examples of {tasks}, {benchmark.title}, "
            f"{captions.backbones(pairs)}; {_spread_note(benchmark)}. Above: mean over tokens; below: first token.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            f"Missing (no run, or widths differ): {'; '.join(gone)}." if gone else "",
        )
        if part
    )


def similarity(benchmark: Benchmark, runs: Runs) -> Figure:
    """Figure 2: one column of panels for each pair, mean pooling above, CLS below."""
    pairs = benchmark.drawn_from("figure2")
    figure = Figure(figsize=(max(6.3, 4.6 * len(pairs)), 5.4), layout="constrained")
    axes = figure.subplots(2, len(pairs), squeeze=False, sharey="row", sharex="col")
    order = list(dict.fromkeys(method for pair in pairs for method in pair.rows(FIRST)))
    handles: dict[str, Any] = {}
    for column, pair in enumerate(pairs):
        for row, (pooling, label) in enumerate((("mean", "mean over tokens"), ("cls", "first token (CLS)"))):
            axis = axes[row][column]
            found, layers, _ = similarity_data(benchmark, runs, pair, pooling)
            for k, (method, values) in enumerate(found.items()):
                place = order.index(method)
                x = np.arange(len(layers)) + (k - (len(found) - 1) / 2) * 0.8 / max(len(found), 1)
                spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
                bars = axis.errorbar(
                    x,
                    values.mean(axis=0),
                    yerr=spread,
                    fmt=MARKERS[place % len(MARKERS)],
                    color=COLOURS[place % len(COLOURS)],
                    markersize=5.5,
                    capsize=2,
                    linewidth=1,
                    label=benchmark.title_of(method),
                )
                handles.setdefault(method, bars)
            axis.grid(axis="y", color="0.9", linewidth=0.6)
            axis.set_axisbelow(True)
            if not found:
                axis.text(0.5, 0.5, "missing", ha="center", va="center", transform=axis.transAxes, color="0.4")
                axis.set_xticks([])
                continue
            for edge in range(1, len(layers)):
                axis.axvline(edge - 0.5, color="0.8", linewidth=0.6)
            axis.set_xlim(-0.5, len(layers) - 0.5)
            axis.set_xticks(range(len(layers)), [f"{i} – {j}" for i, j in layers])
            if column == 0:
                axis.set_ylabel(f"cosine similarity\n{label}")
            if row == 1:
                axis.set_xlabel("student layer – teacher layer")
        axes[0][column].set_title(_plain(pair.title))
    if handles:
        shown = [method for method in order if method in handles]
        figure.legend(
            [handles[m] for m in shown],
            [_plain(benchmark.title_of(m)) for m in shown],
            loc="outside upper center",
            ncols=min(len(shown), 5),
            frameon=False,
        )
    _footer(figure, similarity_caption(benchmark, runs))
    return figure


def attention_rows(benchmark: Benchmark, runs: Runs) -> list[tuple[Pair, str]]:
    """The rows of Figure 3, of every pair that names it: ALP-KD, and whatever else recorded its attention."""
    pairs = benchmark.drawn_from("figure3")
    said = {key[:2] for key, record in runs.students.items() if record["method_record"].get("attention")}
    return [(p, m) for p in pairs for m in p.rows() if benchmark.base(m) == "alp_kd" or (p.name, m) in said]


def attention_caption(benchmark: Benchmark, runs: Runs) -> str:
    """Caption of Figure 3, without its number."""
    rows = attention_rows(benchmark, runs)
    gone = [
        f"{benchmark.title_of(method)} {TASKS[task].title} ({pair.title})"
        for pair, method in rows
        for task in _attention_tasks(benchmark)
        if attention_data(benchmark, runs, pair, method, task) is None
    ]
    if not rows:
        gone = ["no pair of this figure runs ALP-KD"]
    n = len(benchmark.seeds)
    titles = list(dict.fromkeys(benchmark.title_of(method) for _, method in rows)) or ["ALP-KD"]
    return " ".join(
        part
        for part in (
            f"Attention weights that {' and '.join(titles)} give{'s' if len(titles) == 1 else ''} "
            f"to each teacher layer, {benchmark.title}, "
            f"{captions.backbones(benchmark.drawn_from('figure3'))}; mean over the training examples"
            + (f" and {n} runs." if n > 1 else ", one run."),
            "A row sums to 1; a white line on the colour bar marks equal weights.",
            captions.synthetic(benchmark, runs),
            captions.outdated(runs),
            f"Missing: {', '.join(gone)}." if gone else "",
        )
        if part
    )


def _attention_tasks(benchmark: Benchmark) -> list[str]:
    return [t for t in ("cola", "rte", "mrpc") if t in benchmark.tasks] or list(benchmark.tasks[:3])


def attention(benchmark: Benchmark, runs: Runs) -> Figure:
    """Figure 3: CoLA, RTE and MRPC side by side, x teacher layer, y student layer, one colour bar for all."""
    rows, tasks = attention_rows(benchmark, runs), _attention_tasks(benchmark)
    data = {
        (r, c): attention_data(benchmark, runs, pair, method, task)
        for r, (pair, method) in enumerate(rows)
        for c, task in enumerate(tasks)
    }
    present = [d for d in data.values() if d is not None]
    top = max((float(d.max()) for d in present), default=1.0)
    figure = Figure(figsize=(7.2, 1.3 + 1.65 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots(max(len(rows), 1), len(tasks), squeeze=False)
    image = None
    for r in range(max(len(rows), 1)):
        for c, task in enumerate(tasks):
            axis, values = axes[r][c], data.get((r, c))
            for side in ("top", "right"):
                axis.spines[side].set_visible(True)
            if r == 0:
                axis.set_title(TASKS[task].title)
            if c == 0:
                names = ["student layer"]
                if len(rows) > 1:
                    names = [_plain(benchmark.title_of(rows[r][1])), _plain(rows[r][0].title), *names]
                axis.set_ylabel("\n".join(names), fontsize=8)
            if values is None:
                axis.text(0.5, 0.5, "missing", ha="center", va="center", transform=axis.transAxes, color="0.4")
                axis.set_xticks([])
                axis.set_yticks([])
                continue
            m, n = values.shape
            image = axis.imshow(values, cmap="viridis", vmin=0, vmax=top, aspect="auto", origin="upper")
            step = 1 if n <= 12 else 2
            axis.set_xticks(range(0, n, step), [str(j + 1) for j in range(0, n, step)], fontsize=6.5)
            axis.set_yticks(range(m), [str(i + 1) for i in range(m)], fontsize=6.5)
            if r == len(rows) - 1:
                axis.set_xlabel("teacher layer")
    if image is not None:
        bar = figure.colorbar(image, ax=axes.ravel().tolist(), label="attention weight", shrink=0.9)
        for n in sorted({d.shape[1] for d in present}):
            bar.ax.axhline(1 / n, color="white", linewidth=1.5)
    _footer(figure, attention_caption(benchmark, runs))
    return figure


def _plain(text: str) -> str:
    """Text from data as matplotlib prints it: no mathematics, superscripts of the paper's two methods as letters."""
    text = " ".join(text.replace("$", r"\$").split())
    return text.replace("^l", "ˡ").replace("^c", "ᶜ")


def _footer(figure: Figure, caption: str) -> None:
    lines = textwrap.wrap(caption, int(figure.get_figwidth() * 19), break_on_hyphens=False)
    figure.supxlabel("\n".join(_plain(line) for line in lines), fontsize=7)
