"""The pre-training text of MiniGLUE: definitions, statements, reviews, and short arguments that tell what follows.

A miniature backbone sees about a million tokens, so the text has to teach quickly what words have to do with each
other: which mean the same, which exclude each other, what is a kind of what, and which statement follows from which.
"""

from collections.abc import Callable
from random import Random

from railkd.miniglue import grammars
from railkd.miniglue.lexicon import ANTONYMS, COMPARATIVES, SYNONYMS, TOPICS, category, members, random_clause, render

HEADS = {0: "surely", 1: "maybe", 2: "never"}  # by MNLI's labels


def definition(rng: Random) -> str:
    """What a word means, or what kind of thing something is."""
    topic = rng.choice(tuple(TOPICS.values()))
    kind = rng.randrange(4)
    if kind == 0:
        a, b = rng.choice(tuple(SYNONYMS.items()))
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        return f"{a} means {b} ."
    if kind == 1:
        a, b = rng.choice(tuple((ANTONYMS | COMPARATIVES).items()))
        return f"{a} is the opposite of {b} ."
    noun = rng.choice(members(topic, rng.random() < 0.5))
    parent = category(noun, topic)
    if kind == 2:
        other = rng.choice([n for n in members(topic, True) + members(topic, False) if category(n, topic) != parent])
        return f"no {noun} is a {category(other, topic)} ."
    grand = category(parent or "", topic)
    return f"every {noun} is a {parent} and every {parent} is a {grand} ."


def statement(rng: Random) -> str:
    """Two statements of one topic."""
    topic = rng.choice(tuple(TOPICS.values()))
    return f"{render(random_clause(rng, topic), rng)} . {render(random_clause(rng, topic), rng)} ."


def argument(rng: Random) -> str:
    """A premise, what may be concluded, and with what confidence."""
    label = rng.randrange(3)
    while (pair := grammars.inference(rng, rng.choice(tuple(TOPICS.values())), label, fair=True)) is None:
        pass
    return f"{HEADS[label]} : {pair[0]} {pair[1]}"


def restatement(rng: Random) -> str:
    """The same thing said twice, or two things that only look alike."""
    row = grammars.mrpc(rng) if rng.random() < 0.6 else grammars.qqp(rng)
    first, second = grammars.texts(row)
    return f"{'same' if row['label'] else 'other'} : {first} {second}"


def likeness(rng: Random) -> str:
    """Two statements and how much they have in common."""
    row = grammars.stsb(rng)
    degree = ("far", "far", "apart", "apart", "near", "near")[int(row["label"])]
    return f"{degree} : {row['sentence1']} {row['sentence2']}"


def answer(rng: Random) -> str:
    """Facts and a question about them, answerable or not."""
    row = grammars.qnli(rng)
    return f"{'known' if not row['label'] else 'unknown'} : {row['question']} {row['sentence']}"


def order(rng: Random) -> str:
    """Who is older than whom, and what follows from it."""
    row = grammars.rte(rng)
    return f"{'surely' if not row['label'] else 'wrong'} : {row['sentence1']} {row['sentence2']}"


def verdict(rng: Random) -> str:
    """A review and its verdict."""
    row = grammars.sst2(rng)
    return f"{'praise' if row['label'] else 'blame'} : {row['sentence']}"


def speech(rng: Random) -> str:
    """A sentence, well formed or a slip of the tongue."""
    row = grammars.cola(rng)
    return f"{'said' if row['label'] else 'slip'} : {row['sentence']}"


MIXTURE: dict[Callable[[Random], str], float] = {
    definition: 0.05, statement: 0.03, argument: 0.18, restatement: 0.25, likeness: 0.15, answer: 0.1, order: 0.08,
    verdict: 0.08, speech: 0.08,
}  # fmt: skip


def corpus_lines(rng: Random, number: int, held_out: set[tuple[str, ...]]) -> list[str]:
    """``number`` lines of text, none of which holds a held-out example (its texts, one after the other)."""
    forbidden = {" ".join(example) for example in held_out}
    kinds, weights = list(MIXTURE), list(MIXTURE.values())
    lines: list[str] = []
    while len(lines) < number:
        line = rng.choices(kinds, weights)[0](rng)
        body = line.split(" : ", 1)[-1]
        if body not in forbidden:
            lines.append(line)
    return lines
