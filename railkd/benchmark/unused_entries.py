"""Finds what a benchmark file declares and nothing of it uses: it is valid, and is not trained."""

from collections.abc import Iterator

from railkd.benchmark.specification import Benchmark


def unused(benchmark: Benchmark) -> Iterator[str]:
    """A line, which begins with the key, for each entry of methods and models that no pair uses."""
    yield from _unused_methods(benchmark)
    used = _used_models(benchmark)
    for model in benchmark.models:
        if model not in used:
            yield f"models.{model}: nothing uses it; add it to a pair, such as pairs.{next(iter(benchmark.pairs))}"


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
