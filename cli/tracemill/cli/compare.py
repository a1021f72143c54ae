"""`tracemill compare`: is one better than the other, and where?

In: two or more adapters, base models, evaluations or result files; the first is what the others are compared
with. Out: shares per category, the items that flipped side by side, and a verdict each.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.stored_comparison import Versus


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...", help="Adapters, base models, ids of evaluations, or result files (.jsonl)."
        ),
    ],
    suite: Annotated[
        str | None, typer.Option(help="Which of their evaluations; needed where they share several.")
    ] = None,
    flips: Annotated[int, typer.Option(min=0, help="How many flipped items to show side by side.")] = 5,
    require: Annotated[
        Literal["better"] | None, typer.Option(help="Fail (exit code 1) unless the verdict on each is this.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare stored evaluations of B (and C...) with those of A, item by item, and say which is better.

    Only items that both have are compared. Of several, p values are corrected (Holm). Where both were asked
    the guard (`tracemill evaluate MODEL --suite guard`), what was lost of it is a part of the verdict.
    """
    if len(models) < 2:
        raise typer.BadParameter("name at least two: the first is what the others are compared with.")
    from tracemill.evaluate.stored_comparison import compare_stored, find_evaluations, with_guards
    from tracemill.tracer.home import Home

    home = Home.find()
    found = with_guards(home, compare_stored(find_evaluations(home, models, suite)))
    for one in found:
        _tell_guard(one)
    if as_json:
        output.emit_json({"comparisons": [_plain(one) for one in found]})
    else:
        for one in found:
            _show(one, flips)
    if require and any(one.comparison.verdict.word != require for one in found):
        words = ", ".join(f"{one.after.name} is {one.comparison.verdict.word}" for one in found)
        output.error(f"{require} was required, and {words}.")
        raise typer.Exit(1)


def _tell_guard(versus: Versus) -> None:
    """Say on standard error what the verdict does not know of general ability, also beside JSON."""
    from tracemill.cli.guarded import show_notes

    if versus.guard:
        show_notes(versus.guard)
    else:
        output.hint(
            f"General ability of {versus.before.name} and {versus.after.name} was not compared, so the "
            "verdict does not know it; ask both: `tracemill evaluate BASE --adapter ADAPTER --suite guard`."
        )


def _show(versus: Versus, flips: int) -> None:
    from tracemill.cli.evaluate import show_groups
    from tracemill.cli.guarded import show_verdict

    before, after = versus.before, versus.after
    output.say(f"{after.name} against {before.name}", style="bold")
    if any(versus.left_out):
        output.say(
            f"Compared on the {versus.shared} items that both have; left out: {versus.left_out[0]} of "
            f"{before.name} on {before.suite}, {versus.left_out[1]} of {after.name} on {after.suite}."
        )
    show_groups(after.suite, versus.comparison, (before.name, after.name))
    lost = [pair for pair in versus.flips if pair[0].score.right]
    gained = [pair for pair in versus.flips if pair[1].score.right]
    for number, (one, other) in enumerate([*lost, *gained]):
        if number == flips:
            output.hint(f"{len(versus.flips) - flips} more items flipped; --flips N shows more, --json all.")
            break
        word = "lost" if one.score.right else "gained"
        wrong = other.score.failure or one.score.failure
        output.say(f"{word}: {one.id} ({one.category or 'no category'}), {wrong}", style="bold")
        output.say(f"asked: {output.one_line(one.asked)[:500]}")
        output.say(f"expected: {output.one_line(one.expected)[:500]}")
        output.columns((before.name, after.name), _side_by_side(one.text, other.text))
    if versus.guard:
        show_verdict(versus.guard.base.size, versus.guard.verdict)
    output.say(f"{versus.comparison.verdict.word}: {versus.comparison.verdict.reason}", style="bold")


def _side_by_side(one: str, other: str) -> list[tuple[str | None, str | None, bool]]:
    from difflib import SequenceMatcher
    from itertools import zip_longest

    left, right = one.splitlines() or [""], other.splitlines() or [""]
    lines: list[tuple[str | None, str | None, bool]] = []
    for word, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        lines += [(x, y, word == "equal") for x, y in zip_longest(left[a:b], right[c:d])]
    return lines


def _plain(versus: Versus) -> dict[str, Any]:
    return {
        "before": asdict(versus.before),
        "after": asdict(versus.after),
        "shared": versus.shared,
        "left_out": list(versus.left_out),
        "comparison": asdict(versus.comparison),
        "guard": asdict(versus.guard.verdict) | {"notes": versus.guard.notes} if versus.guard else None,
        "flips": [
            {
                "id": one.id,
                "category": one.category,
                "asked": one.asked,
                "expected": one.expected,
                "before": {"text": one.text, **asdict(one.score)},
                "after": {"text": other.text, **asdict(other.score)},
            }
            for one, other in versus.flips
        ],
    }
