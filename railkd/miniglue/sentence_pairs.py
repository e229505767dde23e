"""The tasks of two texts: a function each, from a random generator to a row with GLUE's columns and labels.

Labels follow from the meanings the sentences were made from (:mod:`railkd.miniglue.lexicon`). As in GLUE, training data
carry shortcuts: negation hints at contradiction, word overlap at paraphrase. SciTail (another topic, no negation
shortcut) and PAWS (the same words throughout) break them, and so does the pre-training text, for which a function may
be asked for its ``fair`` form.
"""

from dataclasses import replace
from random import Random

from railkd.miniglue.lexicon import (
    ANTONYMS,
    COMPARATIVES,
    DEFINITE,
    NAMES,
    PARTICIPLES,
    TO_ANIMATE,
    TO_ITEM,
    TOPICS,
    Clause,
    Topic,
    category,
    edits,
    negate,
    random_clause,
    render,
    s_form,
    say,
    swap,
    vary,
)
from railkd.miniglue.rows import Row

FARM, HARBOUR, LAB = (TOPICS[t] for t in ("farm", "harbour", "lab"))


def reworded(c: Clause, rng: Random) -> str:
    """``c`` said in other words: synonyms, voice and order are drawn freely."""
    return render(c, rng, synonyms=0.4, passive=0.2, fronted=0.05)


def elsewhere(topic: Topic) -> Topic:
    """The other topic of the training sets."""
    return HARBOUR if topic is FARM else FARM


def different(c: Clause, topic: Topic, rng: Random, fair: bool) -> Clause:
    """Another statement: mostly of other things altogether, sometimes close to ``c`` in words; if ``fair``, always."""
    kind = rng.random()
    if fair:
        return vary(c, topic, rng) if rng.random() < 0.8 else swap(c) or negate(c)
    if kind < 0.65:
        about = elsewhere(topic) if kind < 0.45 else topic
        return random_clause(rng, about, shape=rng.choice(("alone", "animate", "item")), general=0.1)
    exchanged = swap(c)
    if exchanged and rng.random() < 0.25:
        return exchanged
    changed = vary(c, topic, rng) if rng.random() < 0.75 else negate(c)
    return vary(vary(changed, topic, rng), topic, rng) if rng.random() < 0.7 else changed


def mrpc(rng: Random, fair: bool = False) -> Row:
    """Paraphrases of statements; two thirds positive. ``fair``: half of them, and others differ in little."""
    topic = rng.choice((FARM, HARBOUR))
    c = random_clause(rng, topic, shape=rng.choice(("alone", "animate", "item")), general=0.1)
    same = rng.random() < (0.5 if fair else 0.67)
    other = c if same else different(c, topic, rng, fair)
    return {"sentence1": f"{render(c, rng)} .", "sentence2": f"{reworded(other, rng)} .", "label": int(same)}


def ask(c: Clause, word: str, rng: Random) -> str:
    """A “why”/“when”/“how” question about ``c``."""
    passive = bool(c.object) and rng.random() < 0.4
    subject, object_ = (f"the {say(n, rng, 0.5)}" for n in (c.subject, c.object or c.subject))
    verb, place = say(c.verb, rng, 0.5), f"in the {say(c.place, rng, 0.5)}" if c.place else ""
    if passive:
        words = [word, "is", object_, PARTICIPLES[verb], "by", subject, place, "?"]
    else:
        words = [word, "does", subject, verb, object_ if c.object else "", place, "?"]
    return " ".join(w for w in words if w)


def qqp(rng: Random, fair: bool = False) -> Row:
    """Duplicate questions; 37 % positive, and most negatives differ in many words (the shortcut PAWS breaks).

    ``fair``: half of them are duplicates, and others differ in one word.
    """
    topic = rng.choice((FARM, HARBOUR))
    c = replace(random_clause(rng, topic, shape=rng.choice(("animate", "item", "alone"))), adjective="", negated=False)
    words = ("why", "when", "how")
    word = rng.choice(words)
    same = rng.random() < (0.5 if fair else 0.37)
    other, other_word = c, word
    if not same:
        kind = rng.uniform(0.4, 0.9) if fair else rng.random()
        if kind < 0.25:
            other = random_clause(rng, elsewhere(topic), shape=rng.choice(("animate", "item", "alone")))
            other = replace(other, adjective="", negated=False)
        elif kind < 0.4:
            other = vary(vary(c, topic, rng), topic, rng)
        elif kind < 0.65:
            other = vary(c, topic, rng)
        elif kind < 0.9:
            other_word = rng.choice([w for w in words if w != word])
        else:
            other = swap(replace(c, quantifier="the")) or vary(c, topic, rng)
    return {"question1": ask(c, word, rng), "question2": ask(other, other_word, rng), "label": int(same)}


def paws(rng: Random) -> Row:
    """Statements with the same words throughout: a paraphrase by voice or order, or a change of roles."""
    topic = rng.choice((FARM, HARBOUR))
    c = random_clause(rng, topic, shape="animate", details=0.7)
    c = replace(c, quantifier="the", object_quantifier="the")
    c = replace(c, negated=False)
    same = rng.random() < 0.44
    other = swap(c) or c
    if c.adjective and rng.random() < 0.4 and c.adjective != c.object_adjective:
        other = replace(c, adjective=c.object_adjective, object_adjective=c.adjective)
    second = c if same else other
    passive = rng.random() < 0.5
    return {
        "sentence1": render(c, rng, 0, 0, 0) + " .",
        "sentence2": render(second, rng, 0, float(passive), 0.6 if same else 0.3) + " .",
        "label": int(same),
    }


def stsb(rng: Random) -> Row:
    """Graded similarity: the weighted share of meaning components the two sentences have in common, times five."""
    topic = rng.choice((FARM, HARBOUR))
    c = random_clause(rng, topic, shape=rng.choice(("animate", "item")), general=0, details=0.5)
    c = replace(c, quantifier="the", object_quantifier="the", negated=False)
    near = rng.random() < 0.7
    about, shape = (topic, "animate" if c.verb in TO_ANIMATE else "item") if near else (elsewhere(topic), "")
    other = random_clause(rng, about, shape=shape or rng.choice(("animate", "item")), general=0, details=0.5)
    other = replace(other, quantifier="the", object_quantifier="the", negated=False)
    keep = rng.random() ** 0.5 if near else 0.0  # one draw per pair, so that all scores occur
    changes = {s: getattr(c, s) for s in ("subject", "verb", "object", "place", "adjective") if rng.random() < keep}
    other = replace(other, **changes, object_adjective=c.object_adjective)
    weights = {"subject": 1.5, "verb": 1.25, "object": 1.25, "place": 0.6, "adjective": 0.4}
    score = 0.0
    for slot, weight in weights.items():
        a, b = getattr(c, slot), getattr(other, slot)
        related = slot in ("subject", "object") and category(a, topic) == category(b, topic)
        score += weight * (1.0 if a == b else 0.4 if related or ANTONYMS.get(a) == b else 0.0)
    score = min(5.0, max(0.0, round((score + rng.gauss(0, 0.15)) * 5) / 5))
    return {
        "sentence1": f"{render(c, rng, passive=0, fronted=0)} .",
        "sentence2": f"{render(other, rng, passive=0, fronted=0)} .",
        "label": score,
    }


def inference(rng: Random, topic: Topic, label: int, fair: bool = False) -> tuple[str, str] | None:
    """Premise and hypothesis with MNLI's ``label``; None when the drawn premise allows none.

    ``fair`` takes the shortcut away: without it a neutral hypothesis is rarely denied.
    """
    p = random_clause(rng, topic, general=0.3, details=0.15)
    if rng.random() < 0.1:
        p = negate(p)
    h, used = p, set()
    for _ in range(rng.choice((0, 1, 1))):
        step = next((e for e in edits(h, topic, rng, weaker=True) if e[0] not in used), None)
        if step:
            used.add(step[0])
            h = step[1]
    if label == 2:
        if h.predicate and h.quantifier in DEFINITE and not h.negated and rng.random() < 0.5:
            h = replace(h, predicate=ANTONYMS[h.predicate])
        else:
            h = negate(h)
    elif label == 1:
        exchanged = swap(h)
        kind = rng.random()
        if kind < 0.45:
            step = next((e for e in edits(h, topic, rng, weaker=False) if e[0] not in used), None)
            if not step:
                return None
            h = step[1]
        elif kind < 0.55 and exchanged:
            h = exchanged
        else:
            h = vary(h, topic, rng)
        if rng.random() < (0.5 if fair else 0.15):
            h = negate(h)
    elif not used and rng.random() < 0.5:
        return None
    return f"{render(p, rng)} .", f"{reworded(h, rng)} ."


def mnli(rng: Random, topic: Topic = FARM) -> Row:
    """Entailment 0, neutral 1, contradiction 2, by taxonomy, synonyms, quantifiers and negation."""
    label = rng.randrange(3)
    while (pair := inference(rng, topic, label)) is None:
        pass
    return {"premise": pair[0], "hypothesis": pair[1], "label": label}


def scitail(rng: Random) -> Row:
    """Two-class inference in a topic no training set has, without the negation shortcut."""
    label = rng.randrange(2)
    while (pair := inference(rng, LAB, label, fair=True)) is None:
        pass
    return {"premise": pair[0], "hypothesis": pair[1], "label": ("entails", "neutral")[label]}


def rte(rng: Random) -> Row:
    """Two-class inference from premises: a chain of comparisons, or a clause that may have another one beside it."""
    entailed = rng.random() < 0.5
    if rng.random() < 0.2:
        a, b, c = rng.sample(NAMES, 3)
        than = rng.choice(tuple(COMPARATIVES))

        def compare(x: str, y: str) -> str:
            return f"{x} is {than} than {y}" if rng.random() < 0.6 else f"{y} is {COMPARATIVES[than]} than {x}"

        premises = [compare(a, b), compare(b, c)]
        rng.shuffle(premises)
        x, y = rng.choice(((a, b), (b, c), (a, c), (a, c)))
        hypothesis = compare(x, y) if entailed else compare(y, x)
        return {"sentence1": " and ".join(premises) + " .", "sentence2": hypothesis + " .", "label": int(not entailed)}
    topic = rng.choice((FARM, HARBOUR))
    while (pair := inference(rng, topic, 0 if entailed else rng.choice((1, 2)))) is None:
        pass
    clauses = [pair[0][:-2]]
    if rng.random() < 0.5:
        clauses.insert(rng.randrange(2), render(random_clause(rng, topic), rng))
    return {"sentence1": " and ".join(clauses) + " .", "sentence2": pair[1], "label": int(not entailed)}


def qnli(rng: Random, fair: bool = False, alone: float = 0.4) -> Row:
    """Does the sentence answer the question? It often speaks of the same things and does not; if ``fair``, always.

    ``alone``: how often the sentence is one clause and not two.
    """
    topic = rng.choice((FARM, HARBOUR))
    first, second = (
        replace(random_clause(rng, topic, shape=rng.choice(("alone", "item", "animate")), general=0), quantifier="the")
        for _ in range(2)
    )
    first, second = (replace(c, negated=False, adjective="", object_adjective="") for c in (first, second))
    answered, single = rng.random() < 0.5, rng.random() < alone

    def both() -> str:
        said = [render(c, rng) for c in (first, second)[: 1 if single else 2]]
        rng.shuffle(said)
        return " and ".join(said) + " ."

    if not answered and not fair and rng.random() < 0.35:  # of other things altogether
        asked = random_clause(rng, elsewhere(topic), shape="item", general=0)
        return {"question": question(asked, rng.choice(("where", "who", "what")), rng), "sentence": both(), "label": 1}
    place = rng.choice(topic.places)
    word = rng.choice(("where", "who", "what") if first.verb in TO_ITEM else ("where", "who"))
    asked = first
    if word == "where":
        first = replace(first, place=place if answered else "")
        if not answered:
            second = replace(second, place=place)
    elif not answered:
        asked = vary(first, topic, rng, ("subject", "verb") if word == "what" else ("verb", "object"))
    return {"question": question(asked, word, rng), "sentence": both(), "label": int(not answered)}


def question(c: Clause, word: str, rng: Random) -> str:
    """“who chases the cat ?”, “what does the dog carry ?”, “where does the dog sleep ?”."""
    subject, object_ = (f"the {say(n, rng, 0.5)}" if n else "" for n in (c.subject, c.object))
    verb = say(c.verb, rng, 0.5)
    words = {
        "who": ["who", s_form(verb), object_],
        "what": ["what", "does", subject, verb],
        "where": ["where", "does", subject, verb, object_],
    }[word]
    return " ".join(w for w in [*words, "?"] if w)


def mnli_mismatched(rng: Random) -> Row:
    """MNLI in the topic its training set does not have."""
    return mnli(rng, HARBOUR)
