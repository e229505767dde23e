"""The miniature language of MiniGLUE: its words, its small world, and clauses with exact entailments.

The world is a taxonomy of things per topic (``farm``, ``harbour``, ``lab``), verbs that select for animate or
inanimate objects, adjectives in antonym pairs, and synonym sets. A :class:`Clause` is a meaning; :func:`render` says
it in words, choosing synonyms, voice and word order; :func:`edits` gives the clauses one step weaker (entailed) or
stronger (not entailed), by the monotonicity of its quantifier and negation.
Everything here is invented for this suite; the numbers obtained on it say nothing about English.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True)
class Topic:
    """One topical sub-lexicon: ``kinds`` maps a category to its members, ``places`` are exclusive to the topic."""

    animate: dict[str, tuple[str, ...]]
    inanimate: dict[str, tuple[str, ...]]
    places: tuple[str, ...]


TOPICS = {
    "farm": Topic(
        {"beast": ("dog", "goat", "horse"), "worker": ("farmer", "miller")},
        {"tool": ("rake", "spade"), "snack": ("pear", "loaf")},
        ("barn", "field", "yard"),
    ),
    "harbour": Topic(
        {"bird": ("gull", "raven", "stork"), "sailor": ("captain", "pilot")},
        {"vessel": ("boat", "raft"), "garment": ("coat", "scarf")},
        ("dock", "tower", "bay"),
    ),
    "lab": Topic(
        {"germ": ("dax", "wug", "fep"), "robot": ("drone", "rover")},
        {"mineral": ("lorp", "tark"), "device": ("lens", "pump")},
        ("vault", "hall", "cellar"),
    ),
}
TOPS = {"animate": "creature", "inanimate": "thing"}  # the roots of the taxonomy, shared by all topics

SYNONYMS = {
    "dog": "hound", "farmer": "grower", "spade": "shovel", "raven": "crow", "captain": "skipper", "boat": "dinghy",
    "wug": "blick", "rover": "golem", "pump": "motor",
    "big": "large", "fast": "quick", "happy": "glad",
    "chase": "pursue", "fear": "dread", "carry": "haul", "break": "smash", "sleep": "doze",
    "film": "movie", "plot": "story", "good": "fine", "clever": "smart", "dull": "boring", "love": "adore",
}  # fmt: skip
ANTONYMS = {"big": "small", "fast": "slow", "happy": "sad", "rich": "poor"}
ANTONYMS |= {b: a for a, b in list(ANTONYMS.items())}
ADJECTIVES = tuple(sorted(ANTONYMS))

TO_ANIMATE = ("chase", "fear", "watch", "help")
TO_ITEM = ("carry", "break", "buy", "find")
ALONE = ("sleep", "run", "sing", "swim", "wait")
PARTICIPLES = {
    "chase": "chased", "pursue": "pursued", "fear": "feared", "dread": "dreaded", "watch": "watched", "help": "helped",
    "carry": "carried", "haul": "hauled", "break": "broken", "smash": "smashed", "buy": "bought", "find": "found",
}  # fmt: skip
COMPARATIVES = {"older": "younger", "faster": "slower", "richer": "poorer"}
NAMES = ("anna", "ben", "carl", "dora", "emil", "fay")

ASPECTS = ("film", "plot", "cast", "acting", "ending", "music")
PRAISE = ("good", "funny", "clever", "charming")
BLAME = ("bad", "dull", "weak", "silly")
LIKING, DISLIKING = ("love", "enjoy"), ("hate", "regret")

SINGULAR = ("the", "the", "the", "the", "a", "every", "no")
PLURAL = ("some", "these")
DEFINITE = ("the", "these")


def s_form(word: str) -> str:
    """Third person of a verb, plural of a noun: both take the same ending here."""
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "sh", "ch")) else "s")


def category(noun: str, topic: Topic) -> str | None:
    """The category ``noun`` belongs to; the root for a category; None for a root."""
    for root, kinds in (("animate", topic.animate), ("inanimate", topic.inanimate)):
        for kind, members in kinds.items():
            if noun in members:
                return kind
            if noun == kind:
                return TOPS[root]
    return None


def below(noun: str, topic: Topic) -> tuple[str, ...]:
    """The nouns one step below ``noun`` in the taxonomy of ``topic``."""
    kinds = topic.animate | topic.inanimate
    if noun == TOPS["animate"]:
        return tuple(topic.animate)
    if noun == TOPS["inanimate"]:
        return tuple(topic.inanimate)
    return kinds.get(noun, ())


def members(topic: Topic, animate: bool) -> tuple[str, ...]:
    """All basic-level nouns of one half of the taxonomy."""
    return tuple(n for kind in (topic.animate if animate else topic.inanimate).values() for n in kind)


@dataclass(frozen=True)
class Clause:
    """A meaning: who does what to whom where. Words are canonical (synonyms are chosen by :func:`render`).

    ``predicate`` set means a copular clause (“the dog is big”) and then ``verb`` and ``object`` are empty.
    ``negated`` denies the verb under a definite subject and the quantifier under “every”/“all”.
    """

    quantifier: str
    subject: str
    verb: str = ""
    object: str = ""
    object_quantifier: str = "the"
    place: str = ""
    adjective: str = ""
    object_adjective: str = ""
    predicate: str = ""
    negated: bool = False


def say(word: str, rng: Random, synonyms: float) -> str:
    """``word`` or, with probability ``synonyms``, its synonym."""
    return SYNONYMS[word] if word in SYNONYMS and rng.random() < synonyms else word


def render(c: Clause, rng: Random, synonyms: float = 0.3, passive: float = 0.1, fronted: float = 0.05) -> str:
    """``c`` in words, without the full stop; the three probabilities choose synonyms, passive voice, place first."""

    def noun_phrase(quantifier: str, adjective: str, noun: str) -> str:
        word = say(noun, rng, synonyms)
        word = s_form(word) if quantifier in PLURAL else word
        return " ".join(w for w in (quantifier, say(adjective, rng, synonyms), word) if w)

    plural = c.quantifier in PLURAL
    denied = c.negated and c.quantifier in DEFINITE
    subject = noun_phrase(c.quantifier, c.adjective, c.subject)
    if c.negated and not denied:
        subject = f"not {subject}"
    verb = say(c.verb, rng, synonyms)
    place = f"in the {say(c.place, rng, synonyms)}" if c.place else ""
    if c.predicate:
        core = [subject, "are" if plural else "is", "not" if denied else "", say(c.predicate, rng, synonyms)]
    elif c.object and can_be_passive(c) and rng.random() < passive:
        object_ = noun_phrase(c.object_quantifier, c.object_adjective, c.object)
        core = [object_, "is", "not" if denied else "", PARTICIPLES[verb], "by", subject]
    else:
        finite = [("do" if plural else "does"), "not", verb] if denied else [verb if plural else s_form(verb)]
        object_ = noun_phrase(c.object_quantifier, c.object_adjective, c.object) if c.object else ""
        core = [subject, *finite, object_]
    words = [place, ",", *core] if place and rng.random() < fronted else [*core, place]
    return " ".join(w for w in words if w)


def can_be_passive(c: Clause) -> bool:
    """Whether the passive of ``c`` means the same: no quantifier may change its scope."""
    return c.quantifier in DEFINITE and bool(c.object) and (not c.negated or c.object_quantifier == "the")


def random_clause(
    rng: Random,
    topic: Topic,
    *,
    shape: str = "",
    general: float = 0.2,
    details: float = 0.1,
    quantifiers: tuple[str, ...] = SINGULAR,
) -> Clause:
    """A sensible clause. ``shape``: “alone”, “animate”, “item” or “is” (drawn when empty).

    ``general`` is the probability that a noun is a category, ``details`` that an adjective or a place is given; the
    subject's quantifier is one of ``quantifiers``.
    """

    def noun(animate: bool) -> str:
        kinds = topic.animate if animate else topic.inanimate
        if rng.random() < general:
            return rng.choice([*kinds, TOPS["animate" if animate else "inanimate"]])
        return rng.choice(members(topic, animate))

    shape = shape or rng.choice(("alone", "alone", "animate", "item", "is"))
    quantifier = rng.choice(quantifiers)
    place = rng.choice(topic.places) if rng.random() < details else ""
    adjective = rng.choice(ADJECTIVES) if rng.random() < details / 2 else ""
    subject = noun(True)
    if shape == "is":
        predicate = rng.choice([a for a in ADJECTIVES if a not in (adjective, ANTONYMS.get(adjective))])
        clause = Clause(quantifier, subject, predicate=predicate, adjective=adjective)
    elif shape == "alone":
        clause = Clause(quantifier, subject, rng.choice(ALONE), place=place, adjective=adjective)
    else:
        verb = rng.choice(TO_ANIMATE if shape == "animate" else TO_ITEM)
        object_ = noun(shape == "animate")
        while object_ == subject:
            object_ = noun(shape == "animate")
        clause = Clause(quantifier, subject, verb, object_, rng.choice(("the", "a")), place, adjective)
        if rng.random() < details / 3:
            clause = replace(clause, object_adjective=rng.choice(ADJECTIVES))
    return clause


def negate(c: Clause) -> Clause:
    """The contradictory of ``c``."""
    if c.quantifier in ("a", "some", "no"):
        return replace(c, quantifier={"a": "no", "some": "no", "no": "a"}[c.quantifier])
    return replace(c, negated=not c.negated)


def edits(c: Clause, topic: Topic, rng: Random, weaker: bool) -> Iterator[tuple[str, Clause]]:
    """Every ``(slot, clause)`` one step weaker than ``c`` (``weaker``) or one step stronger, in random order.

    A subject may be generalised in an upward context (the, a, some; not every) and specialised in a downward one
    (every, no); the predicate may be generalised unless it is denied. Going the other way is never entailed.
    """
    every = c.quantifier == "every"
    subject_up = (c.quantifier != "no" and not every) or (every and c.negated)
    predicate_up = c.quantifier != "no" and not c.negated
    found: list[tuple[str, Clause]] = []
    if subject_up == weaker:
        parent = category(c.subject, topic)
        found += [("subject", replace(c, subject=parent))] if parent else []
        found += [("adjective", replace(c, adjective=""))] if c.adjective else []
    else:
        children = below(c.subject, topic)
        found += [("subject", replace(c, subject=rng.choice(children)))] if children else []
        free = [a for a in ADJECTIVES if a not in (c.predicate, ANTONYMS.get(c.predicate))]
        found += [] if c.adjective else [("adjective", replace(c, adjective=rng.choice(free)))]
    if c.verb and predicate_up == weaker:
        parent = category(c.object, topic) if c.object else None
        found += [("object", replace(c, object=parent))] if parent else []
        found += [("object_adjective", replace(c, object_adjective=""))] if c.object_adjective else []
        found += [("place", replace(c, place=""))] if c.place else []
    elif c.verb:
        if c.object and below(c.object, topic):
            found.append(("object", replace(c, object=rng.choice(below(c.object, topic)))))
        found += [] if c.place else [("place", replace(c, place=rng.choice(topic.places)))]
        if c.object and not c.object_adjective:
            found.append(("object_adjective", replace(c, object_adjective=rng.choice(ADJECTIVES))))
    if not c.negated:  # existential import: “every dog” speaks of dogs that exist
        step = {"every": "a"} if weaker else {"a": "every"}
        if c.quantifier in step:
            found.append(("quantifier", replace(c, quantifier=step[c.quantifier])))
    rng.shuffle(found)
    yield from found


def vary(
    c: Clause,
    topic: Topic,
    rng: Random,
    among: tuple[str, ...] = ("subject", "verb", "object", "place", "predicate"),
) -> Clause:
    """``c`` with one content word (a slot of ``among``) changed for another of its class: another statement."""

    def other(options: tuple[str, ...], now: str) -> str:
        return rng.choice([o for o in options if o != now])

    def other_noun(now: str) -> str:
        animate = now in members(topic, True) or now in topic.animate or now == TOPS["animate"]
        taken = {c.subject, c.object, category(now, topic), *below(now, topic)}
        return rng.choice([n for n in members(topic, animate) if n not in taken and category(n, topic) not in taken])

    slot = rng.choice([s for s in among if getattr(c, s)])
    now = getattr(c, slot)
    if slot in ("subject", "object"):
        try:
            changed = other_noun(now)
            return replace(c, subject=changed) if slot == "subject" else replace(c, object=changed)
        except IndexError:  # a root noun: everything is below it
            slot, now = ("verb", c.verb) if c.verb else ("predicate", c.predicate)
    if slot == "verb":
        return replace(c, verb=other(next(v for v in (TO_ANIMATE, TO_ITEM, ALONE) if now in v), now))
    if slot == "place":
        return replace(c, place=other(topic.places, now))
    return replace(c, predicate=other(tuple(a for a in ADJECTIVES if a != ANTONYMS[now]), now))


def swap(c: Clause) -> Clause | None:
    """``c`` with its roles exchanged, where that makes sense (both animate)."""
    if c.verb not in TO_ANIMATE or c.quantifier not in DEFINITE or c.quantifier in PLURAL:
        return None
    return replace(
        c, subject=c.object, object=c.subject, adjective=c.object_adjective, object_adjective=c.adjective,
        quantifier="the", object_quantifier="the",
    )  # fmt: skip
