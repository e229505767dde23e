"""The pre-training text of MiniGLUE: definitions, statements, reviews, and short arguments that tell what follows.

A miniature backbone sees about a million tokens, so the text has to teach quickly what words have to do with each
other: which mean the same, which exclude each other, what is a kind of what, and which statement follows from which.
"""

from collections.abc import Callable
from random import Random

from railkd.miniglue import sentence_pairs, single_sentences
from railkd.miniglue.lexicon import (
    ADJECTIVES,
    ALONE,
    ANTONYMS,
    BLAME,
    COMPARATIVES,
    DISLIKING,
    LIKING,
    NAMES,
    PRAISE,
    SYNONYMS,
    TO_ANIMATE,
    TO_ITEM,
    TOPICS,
    category,
    members,
    random_clause,
    render,
    say,
)
from railkd.miniglue.rows import texts

VERBS = (*TO_ANIMATE, *TO_ITEM, *ALONE)
HEADS = {0: "surely", 1: "maybe", 2: "never"}  # by MNLI's labels
DEGREES = ("unlike", "far", "apart", "near", "close", "alike")  # by STS-B's scores, rounded down


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


def thesaurus(rng: Random) -> str:
    """Two words and how they relate: one meaning, a thing and its kind, opposites, or neither; half in a phrase."""
    nouns = tuple(n for topic in TOPICS.values() for n in members(topic, True) + members(topic, False))
    word = rng.choice((*nouns, *nouns, *ADJECTIVES, *VERBS))
    relation = rng.choice(("same", "other", "surely" if word in nouns else "never" if word in ANTONYMS else "same"))
    if relation == "surely":
        topic = next(t for t in TOPICS.values() if word in members(t, True) + members(t, False))
        kind = category(word, topic) or ""
        second = kind if rng.random() < 0.7 else category(kind, topic) or ""
    elif relation == "other":
        alike = nouns if word in nouns else ADJECTIVES if word in ANTONYMS else VERBS
        second = rng.choice([w for w in alike if w not in (word, ANTONYMS.get(word))])
    else:
        second = word if relation == "same" else ANTONYMS[word]
    before, after = "", ""
    if rng.random() < 0.5:
        if word in nouns:
            before = rng.choice(("the", "a", *ADJECTIVES))
        else:
            after, before = ("", rng.choice(nouns)) if word in VERBS else (rng.choice(nouns), "")
    first, other = (" ".join(w for w in (say(w, rng, 0.3) for w in (before, x, after)) if w) for x in (word, second))
    return f"{relation} : {first} . {other} ."


def primer(rng: Random) -> str:
    """The smallest cases of what reviews, comparisons and questions say."""
    kind = rng.randrange(4)
    if kind == 0:
        positive, denial = rng.random() < 0.5, rng.choice(("", "", "not", "never", "very", "really"))
        good = positive != (denial in ("not", "never"))
        word = say(rng.choice((*PRAISE, *LIKING) if good else (*BLAME, *DISLIKING)), rng, 0.4)
        return f"{'praise' if positive else 'blame'} : {denial} {word} .".replace("  ", " ")
    if kind == 1:
        a, b = rng.sample(NAMES, 2)
        holds, (more, less) = rng.random() < 0.5, rng.choice(tuple(COMPARATIVES.items()))
        said = (f"{a} is {more} than {b}", f"{b} is {less} than {a}")
        denied = (f"{b} is {more} than {a}", f"{a} is {less} than {b}")
        return f"{'surely' if holds else 'wrong'} : {rng.choice(said)} . {rng.choice(said if holds else denied)} ."
    row = sentence_pairs.qnli(rng, fair=True, alone=1)
    return f"{'known' if not row['label'] else 'unknown'} : {row['question']} {row['sentence']}"


def company(rng: Random) -> str:
    """Three opinions of one mind, or three statements of one topic: the company that words keep."""
    if rng.random() < 0.7:
        positive = rng.random() < 0.5
        said = [single_sentences.opinion(rng, positive) for _ in range(3)]
    else:
        topic = rng.choice(tuple(TOPICS.values()))
        said = [render(random_clause(rng, topic), rng) for _ in range(3)]
    return " ".join(f"{sentence} ." for sentence in said)


def argument(rng: Random) -> str:
    """A premise, what may be concluded, and with what confidence."""
    label = rng.randrange(3)
    while (pair := sentence_pairs.inference(rng, rng.choice(tuple(TOPICS.values())), label, fair=True)) is None:
        pass
    return f"{HEADS[label]} : {pair[0]} {pair[1]}"


def restatement(rng: Random) -> str:
    """The same thing said twice, or two things that only look alike."""
    row = sentence_pairs.mrpc(rng, fair=True) if rng.random() < 0.5 else sentence_pairs.qqp(rng, fair=True)
    first, second = texts(row)
    return f"{'same' if row['label'] else 'other'} : {first} {second}"


def likeness(rng: Random) -> str:
    """Two statements and how much they have in common."""
    row = sentence_pairs.stsb(rng)
    return f"{DEGREES[int(row['label'])]} : {row['sentence1']} {row['sentence2']}"


def answer(rng: Random) -> str:
    """Facts and a question about them, answerable or not."""
    row = sentence_pairs.qnli(rng, fair=True)
    return f"{'known' if not row['label'] else 'unknown'} : {row['question']} {row['sentence']}"


def order(rng: Random) -> str:
    """Who is older than whom, and what follows from it."""
    row = sentence_pairs.rte(rng)
    return f"{'surely' if not row['label'] else 'wrong'} : {row['sentence1']} {row['sentence2']}"


def verdict(rng: Random) -> str:
    """A review and its verdict."""
    row = single_sentences.sst2(rng)
    return f"{'praise' if row['label'] else 'blame'} : {row['sentence']}"


def speech(rng: Random) -> str:
    """A sentence, well formed or a slip of the tongue."""
    row = single_sentences.cola(rng)
    return f"{'said' if row['label'] else 'slip'} : {row['sentence']}"


MIXTURE: dict[Callable[[Random], str], float] = {
    definition: 0.02, thesaurus: 0.12, primer: 0.09, company: 0.04, argument: 0.16, restatement: 0.18, likeness: 0.1,
    answer: 0.12, order: 0.07, verdict: 0.06, speech: 0.04,
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
