"""The tasks of one text: a function each, from a random generator to a row with GLUE's columns and labels.

Labels follow from the meanings the sentences were made from (:mod:`railkd.miniglue.lexicon`).
"""

from dataclasses import replace
from random import Random

from railkd.miniglue.lexicon import (
    ALONE,
    ASPECTS,
    BLAME,
    DISLIKING,
    LIKING,
    PLURAL,
    PRAISE,
    SINGULAR,
    TO_ANIMATE,
    TO_ITEM,
    TOPICS,
    Topic,
    members,
    random_clause,
    render,
    s_form,
    say,
)
from railkd.miniglue.rows import Row


def cola(rng: Random) -> Row:
    """Acceptability: agreement, order, argument structure, selection; about 70 % acceptable."""
    topic = rng.choice((TOPICS["farm"], TOPICS["harbour"]))
    if rng.random() < 0.7:
        return {"sentence": acceptable(rng, topic) + " .", "label": 1}
    return {"sentence": unacceptable(rng, topic) + " .", "label": 0}


def with_attractor(words: str, noun: str, rng: Random, topic: Topic) -> str:
    """``words`` with “near the <noun>” after the first ``noun``: the verb agrees with the far one of the two."""
    other = rng.choice(members(topic, rng.random() < 0.5))
    return words.replace(f" {noun} ", f" {noun} near the {rng.choice((other, s_form(other)))} ", 1)


def acceptable(rng: Random, topic: Topic) -> str:
    c = random_clause(rng, topic, details=0.3, quantifiers=(*SINGULAR, *PLURAL, *PLURAL))
    text = render(c, rng)
    if rng.random() < 0.35:
        for noun in (c.subject, s_form(c.subject)):
            text = with_attractor(f"{text} ", noun, rng, topic).strip()
    return text


def unacceptable(rng: Random, topic: Topic) -> str:
    """One violation of the grammar."""
    kind = rng.choice(("agreement", "agreement", "determiner", "order", "arguments", "selection", "selection"))
    if kind == "selection":
        c = random_clause(rng, topic, shape=rng.choice(("alone", "animate", "item")))
        if c.object and rng.random() < 0.5:
            c = replace(c, object=rng.choice(members(topic, c.verb in TO_ITEM)))
        else:
            c = replace(c, subject=rng.choice(members(topic, False)))
        return render(c, rng)
    if kind == "arguments":
        c = random_clause(rng, topic, shape=rng.choice(("alone", "item", "animate")))
        if c.object:
            return render(replace(c, object=""), rng)
        return render(replace(c, object=rng.choice(members(topic, True))), rng, passive=0)
    while True:
        text = acceptable(rng, topic)
        words = text.split()
        if kind == "determiner":
            flips = {"the": "a", "these": "every", "every": "some", "a": "some", "some": "a", "no": "these"}
            spots = [i for i, w in enumerate(words) if w in flips]
            if spots:
                spot = rng.choice(spots)
                return " ".join([*words[:spot], flips[words[spot]], *words[spot + 1 :]])
        elif kind == "order":
            spot = rng.randrange(len(words) - 1)
            swapped = [*words[:spot], words[spot + 1], words[spot], *words[spot + 2 :]]
            if words[spot] != words[spot + 1]:
                return " ".join(swapped)
        else:
            verbs = {v: s_form(v) for v in [*TO_ANIMATE, *TO_ITEM, *ALONE, "doze"]}
            verbs |= {"is": "are", "does": "do", **{w: s_form(w) for w in ("haul", "pursue", "dread", "smash")}}
            verbs |= {b: a for a, b in verbs.items()}
            # after “does”/“do” and “not” the verb is bare; break the auxiliary instead
            spots = [i for i, w in enumerate(words) if w in verbs and (i < 2 or words[i - 1] != "not")]
            if spots:
                return " ".join([*words[: spots[0]], verbs[words[spots[0]]], *words[spots[0] + 1 :]])


def opinion(rng: Random, positive: bool) -> str:
    """One clause of praise or blame: of the thing itself, or of what is said of it, which may be denied as well."""
    if rng.random() < 0.3:
        words, kept = rng.choice((("critics claim", True), ("we deny", False), ("nobody denies", True)))
        return f"{words} that {plain_opinion(rng, positive == kept)}"
    return plain_opinion(rng, positive)


def plain_opinion(rng: Random, positive: bool) -> str:
    """One clause of praise or blame of a thing, sometimes by denying the opposite."""
    aspect = say(rng.choice(ASPECTS), rng, 0.4)
    denied = rng.random() < 0.2
    good = positive != denied
    if rng.random() < 0.7:
        adjective = say(rng.choice(PRAISE if good else BLAME), rng, 0.4)
        verb = rng.choice(("is not", "is never")) if denied else rng.choice(("is", "is very", "is really"))
        return f"the {aspect} {verb} {adjective}"
    verb = say(rng.choice(LIKING if good else DISLIKING), rng, 0.4)
    return f"{rng.choice(('nobody', 'no critic'))} {s_form(verb)} the {aspect}" if denied else f"we {verb} the {aspect}"


def review(rng: Random, positive: bool) -> str:
    """A sentence whose verdict is ``positive``; after “but” and outside “although” stands what counts."""
    shape = rng.choice(("one", "one", "one", "and", "but", "although"))
    if shape == "one":
        return opinion(rng, positive)
    if shape == "and":
        return f"{opinion(rng, positive)} and {opinion(rng, positive)}"
    if shape == "but":
        return f"{opinion(rng, not positive)} but {opinion(rng, positive)}"
    return f"although {opinion(rng, not positive)} , {opinion(rng, positive)}"


def sst2(rng: Random) -> Row:
    """Sentiment of one sentence, with negation and contrast."""
    positive = rng.random() < 0.5
    return {"sentence": review(rng, positive) + " .", "label": int(positive)}


def imdb(rng: Random) -> Row:
    """A review of three to six sentences, mostly plain ones, in which one side dominates."""
    positive = rng.random() < 0.5
    number = rng.randint(3, 6)
    against = rng.randint(0, (number - 1) // 2)
    sides = [True] * (number - against) + [False] * against
    rng.shuffle(sides)
    said = [(opinion if rng.random() < 0.7 else review)(rng, positive == side) for side in sides]
    return {"text": " ".join(f"{sentence} ." for sentence in said), "label": int(positive)}
