"""A person as a judge, in the terminal: one item at a time, one key each.

In: pairs and what was chosen before. Out: answers on disk, each at once. Neither name nor side is shown, and
nothing of what they come to before the last item is done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.judge.kept import Choice, Kept
    from tracemill.evaluate.judge.pairs import Pair

CHOICES: dict[str, Choice] = {"1": "first", "2": "second", "t": "tie"}
ASK = "1 first is better, 2 second is better, t tie, s skip, q quit"


def ask_person(kept: Kept, pairs: Sequence[Pair], criterion: str, *, quiet: bool = False) -> bool:
    """Ask about every pair that has no answer yet; False where the person left before the end.

    `quiet` keeps standard output free, for JSON.
    """
    from tracemill.evaluate.judge.kept import Answer

    tell = output.hint if quiet else output.say
    open_ = [pair for pair in sorted(pairs, key=lambda pair: (pair.lot, pair.id)) if not pair.same]
    asked = len(open_)
    open_ = [pair for pair in open_ if pair.drawn(criterion).key not in kept.answers]
    if open_:
        tell(f"What counts: {criterion}.")
    keys = _keys()
    for number, pair in enumerate(open_, start=asked - len(open_) + 1):
        prompt = pair.drawn(criterion)
        if prompt.key in kept.answers:
            continue  # another item of the same texts
        first, second = (pair.a, pair.b) if prompt.first == "a" else (pair.b, pair.a)
        for title, text in (
            (f"item {number} of {asked}", pair.asked or "(no words of the user were kept)"),
            ("first answer", first or "(nothing)"),
            ("second answer", second or "(nothing)"),
        ):
            tell(f"── {title} {'─' * 40}")
            tell(text)
        tell(f"── {ASK}")
        word = next(keys, "q")
        if word == "q":
            done = sum(one.drawn(criterion).key in kept.answers for one in pairs if not one.same)
            output.hint(f"{done} of {asked} items are judged and kept; the same command goes on from here.")
            return False
        if word in CHOICES:
            kept.add(prompt.key, Answer(CHOICES[word]))
    return True


def _keys() -> Iterator[str]:
    """The keys that mean something, as they are pressed; away from a terminal, a line is a key."""
    while word := _typed():
        for key in word if sys.stdin.isatty() else [word.strip()]:
            if key == "\x04":  # Ctrl-D
                return
            if key == "\x03":  # Ctrl-C
                raise KeyboardInterrupt
            if key.lower() in (*CHOICES, "s", "q"):
                yield key.lower()
            else:
                output.hint(ASK)


def _typed() -> str:
    """What was typed since the last look, several keys maybe; '' at the end."""
    import click

    if not sys.stdin.isatty():
        return sys.stdin.readline()
    try:
        keys = click.getchar()
    except EOFError:
        return ""
    return "?" if keys.startswith("\x1b") else keys  # an arrow or the like is several characters
