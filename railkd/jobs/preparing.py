"""Tokenises a task for a teacher and its students."""

from railkd.benchmark.paths import Layout
from railkd.benchmark.specification import Benchmark
from railkd.data import preparation, reading
from railkd.models import checkpoints, inspection


def prepare(benchmark: Benchmark, layout: Layout, teacher: str, task: str) -> None:
    """Tokenises one task for a teacher and its students, whose vocabularies must be the same."""
    for pair in benchmark.pairs.values():
        if pair["teacher"] == teacher and benchmark.pretrained(pair["student"]) is None:  # else it may not be there yet
            require_same_vocabulary(benchmark, layout, teacher, pair["student"])
    checkpoint = checkpoints.locate(benchmark, layout, teacher)
    tokenizer = checkpoints.load_tokenizer(checkpoint, f"models.{teacher}")
    made_of = {
        "data": benchmark.data_config(task),
        "tokenizer": checkpoints.tokenizer_fingerprint(checkpoint),
        "files": reading.file_digests(benchmark, task),
    }
    mirror = reading.locate(benchmark, layout.data())
    preparation.prepare(benchmark, task, tokenizer, mirror, layout.prepared(teacher, task), made_of)


def require_same_vocabulary(benchmark: Benchmark, layout: Layout, teacher: str, student: str) -> None:
    """Raises UserError unless a student reads the token ids that were made for its teacher."""
    places = {name: checkpoints.locate(benchmark, layout, name) for name in (teacher, student)}
    if len({checkpoints.tokenizer_fingerprint(place) for place in places.values()}) == 1:
        return
    tokenizers = [checkpoints.load_tokenizer(place, f"models.{name}") for name, place in places.items()]
    inspection.require_same_tokens(tokenizers[0], tokenizers[1], teacher, student)
