"""Small problems whose answer can be computed: made from a seed, never the same twice in a set.

In: how many. Out: that many `GuardItem`s, kinds in turn; the first of a larger number are those of a smaller.
No answer stands among the numbers of its question, so that repeating the question is never right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count, islice
from random import Random

from tracemill.evaluate.guard.items import GuardItem, Rule

SEED = 1
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
THINGS = ("apples", "books", "coins", "eggs", "flowers", "pencils", "stamps", "tickets")
ANIMALS = ("cat", "dog", "horse", "cow", "sheep", "goat", "duck", "rabbit")
OBJECTS = ("table", "lamp", "window", "spoon", "carpet", "clock", "bottle", "ladder")

Problem = tuple[str, Rule, str, tuple[str, ...]]
"""What is asked, the rule, the answer, the options of a choice."""


def reasoning_items(number: int) -> list[GuardItem]:
    """The first `number` problems."""
    return list(islice(_all(), number))


def _all() -> Iterator[GuardItem]:
    seen: set[str] = set()
    for position in count():
        kind = _KINDS[position % len(_KINDS)]
        name = kind.__name__.strip("_")
        tries = (kind(Random(f"{SEED}/{name}/{position}/{attempt}")) for attempt in count())
        ask, rule, right, options = next(
            one for one in tries if one[0] not in seen and one[2] not in re.findall(r"\d+", one[0])
        )
        seen.add(ask)
        yield GuardItem(
            id=f"{name}-{position}",
            category="reasoning",
            ask=ask,
            rule=rule,
            source=f"guard/reasoning.py, {name}, seed {SEED}",
            right=(right,),
            options=options,
        )


def _stock(random: Random) -> Problem:
    name, thing = random.choice(NAMES), random.choice(THINGS)
    have, away, more = random.randint(8, 20), random.randint(2, 7), random.randint(2, 9)
    ask = (
        f"{name} has {have} {thing}, gives away {away} of them and then gets {more} more. "
        f"How many {thing} does {name} have now? Answer with a number."
    )
    return ask, "number", str(have - away + more), ()


def _order(random: Random) -> Problem:
    names = random.sample(NAMES, 3)
    most, least = random.choice((("tallest", "shortest"), ("oldest", "youngest"), ("fastest", "slowest")))
    more = {"tallest": "taller", "oldest": "older", "fastest": "faster"}[most]
    facts = [f"{names[0]} is {more} than {names[1]}.", f"{names[1]} is {more} than {names[2]}."]
    random.shuffle(facts)
    wanted, right = random.choice(((most, names[0]), (least, names[2])))
    return f"{' '.join(facts)} Who is the {wanted}? Answer with the name only.", "choice", right, tuple(names)


def _count(random: Random) -> Problem:
    animals, objects = (
        random.sample(ANIMALS, random.randint(2, 4)),
        random.sample(OBJECTS, random.randint(1, 3)),
    )
    words = animals + objects
    random.shuffle(words)
    ask = f"How many of these words are names of animals: {', '.join(words)}? Answer with a number."
    return ask, "number", str(len(animals)), ()


def _day(random: Random) -> Problem:
    start, days = random.randrange(7), random.choice((1, 2, 3, 5, 8, 10))
    later = "tomorrow" if days == 1 else f"in {days} days"
    ask = f"Today is {DAYS[start]}. Which day is it {later}? Answer with the name of the day."
    return ask, "choice", DAYS[(start + days) % 7], DAYS


def _next(random: Random) -> Problem:
    start, step = random.randint(1, 20), random.choice((1, 2, 3, 5, 10))
    numbers = [start + step * i for i in range(4)]
    ask = f"Which number comes next: {', '.join(map(str, numbers))}? Answer with a number."
    return ask, "number", str(start + step * 4), ()


def _times(random: Random) -> Problem:
    one, other = random.randint(2, 10), random.randint(2, 10)
    return f"What is {one} times {other}? Answer with a number.", "number", str(one * other), ()


def _rule(random: Random) -> Problem:
    name, animal = random.choice(NAMES), random.choice(ANIMALS)
    follows = random.random() < 0.5
    owns = f"{name} has a {animal}." if follows else f"{name} has no {animal} and no other animal."
    ask = (
        f"Everyone who has a {animal} gets a free ticket, and nobody else does. {owns} "
        f"Does {name} get a free ticket? Answer yes or no."
    )
    return ask, "choice", "yes" if follows else "no", ("yes", "no")


def _sum(random: Random) -> Problem:
    one, other = random.randint(3, 60), random.randint(3, 39)
    return f"What is {one} plus {other}? Answer with a number.", "number", str(one + other), ()


_KINDS: tuple[Callable[[Random], Problem], ...] = (_sum, _order, _next, _day, _times, _stock, _rule, _count)
