"""Checks what can be known of a benchmark before its first job, for ``railkd check`` and for the workflow."""

from typing import Any

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.errors import UserError
from railkd.tracking import require


def check(benchmark: Benchmark, layout: Layout, reach: bool = True) -> None:
    """Checks the local data's files, rows and columns, what every checkpoint's files show (see ``models.inspection``),
    and that every method can be built for every pair.

    Raises UserError naming the key or file. ``reach=False``: the hub is not asked (a dry run works without network).
    """
    try:
        _check(benchmark, layout, reach)
    except UserError as error:
        if str(error).startswith(("models.", "data.")):  # a key of the benchmark file
            raise UserError(f"{benchmark.path}: {error}") from None
        raise


def _check(benchmark: Benchmark, layout: Layout, reach: bool) -> None:
    from railkd.data.checking import advise_on_scores
    from railkd.data.reading import check_files
    from railkd.jobs.model_sizes import setting_for, shape
    from railkd.models.inspection import look_at_all, on_hub, require_readable
    from railkd.pretraining import general_distillation

    require(benchmark.tracker, f"{benchmark.path}: tracker")
    check_files(benchmark)
    for name in benchmark.tasks:
        task = benchmark.task(name)
        if task.own and task.regression:
            advise_on_scores(*task.score_range, f"{benchmark.path}: data.tasks.{name}.regression")
    for method in benchmark.spec["methods"]:
        if not benchmark.external(method):
            try:
                benchmark.method_config(method)
            except UserError as error:
                raise UserError(f"{benchmark.path}: methods.{method}: {error}") from None
    used = dict.fromkeys(spec[role] for spec in benchmark.pairs.values() for role in ("teacher", "student"))
    distilled = [model for model, entry in benchmark.models.items() if "general_distillation" in entry]
    used |= dict.fromkeys(distilled)
    known = [model for model in used if reach or not on_hub(benchmark, model)]
    seen = look_at_all(benchmark, layout, known)
    shapes = {model: shape(benchmark, layout, model) for model in known}
    for model in distilled:
        setting = None
        if model in shapes:
            sizes = shape(benchmark, layout, benchmark.models[model]["layers_of"]), shapes[model]
            setting = setting_for(*sizes, benchmark.task(benchmark.tasks[0]))
        general_distillation.check(benchmark, model, setting, seen.get(model))
    for cell in benchmark.cells():
        pair = benchmark.pairs[cell.pair]
        if benchmark.external(cell.method) or not {pair["teacher"], pair["student"]} <= shapes.keys():
            continue
        setting = setting_for(shapes[pair["teacher"]], shapes[pair["student"]], benchmark.task(cell.task))
        settings = benchmark.student_training(cell.pair, cell.task)
        epochs = {point.get("epochs", settings["epochs"]) for point in benchmark.grid(cell.method) or [{}]}
        for options in benchmark.options_of_points(cell.method):
            method = _built(benchmark, cell.method, options, setting, epochs)
            require_readable(seen, method, pair["teacher"], pair["student"], f"{benchmark.path}: methods.{cell.method}")


def _built(benchmark: Benchmark, name: str, options: dict[str, Any], setting: Any, epochs: set[int]) -> Any:
    """A method of the file with these options, built without memory, that can train for any of these epochs."""
    from railkd.methods import build_unused

    kind = benchmark.method_class(name)
    try:
        method = build_unused(kind, setting, options)
        for method.epochs in epochs:
            method.check_run()
    except UserError as error:
        text = str(error).replace(f"methods.{kind}", f"methods.{name}", 1)
        raise UserError(f"{benchmark.path}: {text}") from None
    return method
