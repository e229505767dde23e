"""Whatever stands in a record, a returned score or the ledger of claims: tables, or one line that names the file."""

import contextlib
import json
from collections import Counter
from typing import Any

import strange
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_records import Folder, record
from strange import answered, fuzz, mutated

from analysis import load, reported_benchmark
from analysis.claims import evaluation, ledger
from analysis.report import catalogue, contents, html_page
from analysis.tables import formats
from railkd.records import hashes

PAIR, TEACHER = "bert12-distilbert6", "bert12"


def test_records(examples: int, small: Folder) -> None:
    """A record that is taken fills tables, figures and the page; of another repository's there is no checksum."""
    name = "seed-1.json"
    small.spec["pairs"][PAIR].update(
        methods=["no_kd", "pkd", "alp_kd", "rail_kd_l"], tables=[1, 2, 5, 6, "figure2", "figure3"]
    )
    small.save()
    small.fill()
    read, said = reported_benchmark.read(small.file), Counter[bool]()
    made = [record(PAIR, TEACHER, method, "cola", 1) for method in ("pkd", "alp_kd", "rail_kd_l")]

    def use(whole: bool) -> None:
        runs = load.read(read, small.results)
        for table in catalogue.tables_of(read, runs, small.results):
            for text in (formats.to_csv(table), formats.to_markdown(table), formats.to_latex(table)):
                text.encode()
        if whole:
            html_page.compose(contents.gather(read, runs, small.results)).encode()

    path = small.path(PAIR, "pkd", "cola", 1)
    before = path.read_bytes()
    assert answered(lambda: use(True), name)
    path.write_bytes(b"{}")
    assert not answered(lambda: use(True), name)
    path.write_bytes(before)

    @fuzz(max(20, examples // 10))
    @given(st.sampled_from(made), st.data())
    def run(good: dict[str, Any], choice: st.DataObject) -> None:
        changed = choice.draw(mutated(good))
        if isinstance(changed.get("config"), dict) and choice.draw(st.booleans()):
            with contextlib.suppress(ValueError):
                changed["config_hash"] = hashes.sha256_text(hashes.canonical(changed["config"]))
        path = small.path(PAIR, good["method"], "cola", 1)
        before = path.read_bytes()
        path.write_bytes(json.dumps(changed).encode())
        said[answered(lambda: use(choice.draw(st.integers(0, 9)) == 0), name)] += 1
        path.write_bytes(before)

    run()
    print(f"{said.total()} records, {said[False]} refused")


def test_returned_scores(examples: int, small: Folder) -> None:
    small.spec["data"]["test"] = "hidden"
    small.save()
    read, said = reported_benchmark.read(small.file), Counter[bool]()
    file = small.results / "leaderboard.csv"
    file.write_text(f"pair,method,seed,task,score\n{PAIR},pkd,1,cola,71.3\n")
    assert answered(lambda: load.read(read, small.results), "leaderboard.csv")
    file.write_text("x")
    assert not answered(lambda: load.read(read, small.results), "leaderboard.csv")
    words = st.one_of(
        strange.SCALARS.map(str), st.sampled_from([PAIR, "pkd", "teacher", "cola", "mnli", "1", "71.3", '"', ","])
    )

    @fuzz(examples)
    @given(
        st.lists(st.lists(words, max_size=6), max_size=4),
        st.sampled_from(["pair,method,seed,task,score\n", "", "\0", "x"]),
    )
    def run(rows: list[list[str]], head: str) -> None:
        file.write_bytes((head + "\n".join(",".join(row) for row in rows)).encode("utf-8", "surrogatepass"))
        said[answered(lambda: load.read(read, small.results), "leaderboard.csv")] += 1

    run()
    print(f"{said.total()} files, {said[False]} refused")


def test_the_ledger(examples: int, small: Folder) -> None:
    said, path = Counter[bool](), small.root / "claims.yaml"
    content = yaml.safe_load(ledger.LEDGER.read_text())
    read = reported_benchmark.read(small.file)
    runs = load.read(read, small.results)
    for text, good in ((ledger.LEDGER.read_text(), True), ("{}", False)):
        path.write_text(text)
        assert answered(lambda: ledger.read(path), "claims.yaml") is good

    @fuzz(max(20, examples // 10))
    @given(mutated(content, strange.YAML))
    def run(changed: Any) -> None:
        path.write_text(yaml.safe_dump(changed), "utf-8", errors="surrogatepass")
        ok = answered(lambda: ledger.read(path), "claims.yaml")
        said[ok] += 1
        if ok and said[True] % 20 == 1:
            evaluation.evaluate(read, runs, small.results, path)

    run()
    print(f"{said.total()} files, {said[False]} refused")
