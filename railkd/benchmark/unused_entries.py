"""Finds what a benchmark file declares and nothing uses or writes: the file is valid, and these are not trained."""

from collections.abc import Iterator

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark


def unused(benchmark: Benchmark) -> Iterator[str]:
    """A line, which begins with the key, for each entry of methods and models that no pair uses."""
    yield from _unused_methods(benchmark)
    used = _used_models(benchmark)
    for model in benchmark.models:
        if model not in used:
            yield f"models.{model}: nothing uses it; add it to a pair, such as pairs.{next(iter(benchmark.pairs))}"


def unwritten(benchmark: Benchmark, layout: Layout) -> Iterator[str]:
    """A line where the file has external methods without their records and no rules that could write them."""
    if benchmark.spec.get("rules"):
        return
    outside = [cell for cell in benchmark.cells() if benchmark.external(cell.method)]
    missing = [cell for cell in outside if not all(layout.run(cell, seed).is_file() for seed in benchmark.seeds)]
    if missing:
        methods = ", ".join(dict.fromkeys(cell.method for cell in missing))
        yield f"rules: none in this file, so nothing can write the missing records of external methods ({methods})"


def _unused_methods(benchmark: Benchmark) -> Iterator[str]:
    named = {method for pair in benchmark.pairs.values() for method in pair["methods"]}
    with_variants = {variant.entry for variant in benchmark.variants.values()}
    by_variants = {variant.entry for name, variant in benchmark.variants.items() if name in named}
    place = f"pairs.{next(iter(benchmark.pairs))}.methods"
    for entry in benchmark.spec["methods"]:
        if entry in benchmark.variants or entry in by_variants:
            continue
        if entry not in named:
            yield f"methods.{entry}: no pair names it, so it is never trained; add {entry} to a pair, such as {place}"
        elif entry in with_variants:
            yield f"methods.{entry}: no pair names a variant of it; add {entry}.* to a pair, such as {place}"


def _used_models(benchmark: Benchmark) -> set[str]:
    """The teachers and students of the pairs, and the models that these are made from."""
    found: set[str] = set()
    waiting: list[str | None] = [pair[role] for pair in benchmark.pairs.values() for role in ("teacher", "student")]
    while waiting:
        model = waiting.pop()
        if model is not None and model not in found:
            found.add(model)
            waiting.append(benchmark.pretraining_teacher(model))
    return found
