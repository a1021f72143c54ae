"""`tracemill dataset leaks`: what stands in more than one split, in another data set or in a suite."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, MaybeData

if TYPE_CHECKING:
    from tracemill.curate.datasets.leaking import Comparison, Leak


def leaks(
    data: MaybeData = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Another data set, or a suite: a file of one prompt a line, or JSONL; may be repeated."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.5, max=1, help="From which similarity on rows are near copies; 0.82 by default."),
    ] = None,
    repository: Annotated[
        bool, typer.Option("--repository", help="Count a repository that stands in two splits as a leak.")
    ] = False,
    show: Annotated[int, typer.Option(min=0, help="How many leaks of each kind to show side by side.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Prove that no split holds what another one does, or show what does: exit code 1 where something leaks.

    Compares messages, sessions, tasks, prompts and near copies, each verified.
    """
    from tracemill.curate.datasets.finding import opened
    from tracemill.curate.datasets.leaking import REPOSITORY, between_splits
    from tracemill.curate.datasets.leaking import against as compare
    from tracemill.curate.features.likeness import NEAR
    from tracemill.tracer.home import Home

    home, near = Home.find(), NEAR if threshold is None else threshold
    found = opened(data, home)
    with output.progress() as progress:
        made = [between_splits(found, near, progress)]
        made += [compare(found, other, home, near, progress) for other in against or ()]
    count = sum(
        number for one in made for kind, number in one.counts().items() if repository or kind != REPOSITORY
    )
    if as_json:
        output.emit_json({"leaks": count, "compared": [_object(one) for one in made]})
    else:
        for one in made:
            _comparison(one, found.name, show, repository)
        output.say(f"{count} leaks." if count else "Nothing leaks.", style="red" if count else "green")
    if count:
        raise typer.Exit(1)


def _object(one: Comparison) -> dict[str, Any]:
    names = ("what", "rows", "known", "unread", "threshold", "asked")
    told = {name: getattr(one, name) for name in names}
    return {**told, "counts": one.counts(), "leaks": [asdict(leak) for leak in one.leaks]}


def _comparison(one: Comparison, name: str, show: int, repository: bool) -> None:
    sizes = ", ".join(f"{side} {rows}" for side, rows in one.rows.items())
    asked = "" if one.asked is None else f"; {one.asked} prompts asked"
    output.say(f"{name} against {one.what}: rows of {sizes}{asked}", style="bold")
    if one.asked is None and len(one.rows) < 2:
        output.say("There is only one split, so nothing can leak between splits.\n")
        return
    output.table(
        ("compared", "of rows", "leaks"),
        [(_named(kind, one), one.known[kind], number) for kind, number in one.counts().items()],
    )
    for kind, known in one.known.items():
        if not known:
            output.hint(f"No row names a {kind}, so none was compared.")
    if one.unread:
        output.hint(f"{one.unread} lines cannot be read; `tracemill dataset validate` names them.")
    if not repository and one.counts().get("repository"):
        output.hint("A repository on two sides is counted as a leak with --repository only.")
    for kind, number in one.counts().items():
        shown = [leak for leak in one.leaks if leak.kind == kind][:show]
        for leak in shown:
            _leak(leak, one)
        if number > len(shown):
            output.hint(f"... and {number - len(shown)} more leaks by {kind}; --show NUMBER shows more.")


def _named(kind: str, one: Comparison) -> str:
    return f"near copies, {100 * one.threshold:.0f}% alike or more" if kind == "near" else kind


def _leak(leak: Leak, one: Comparison) -> None:
    import polars as pl

    from tracemill.curate.datasets.sides import messages_of, side_by_side

    alike = f", {100 * leak.similarity:.0f}% alike" if leak.similarity is not None else ""
    value = "" if leak.kind == "messages" else f" {output.one_line(leak.value)[:200]!r}"
    output.say(f"\na near copy{alike}" if leak.kind == "near" else f"\nthe same {leak.kind}{value}{alike}")
    heads = [f"{place.split}: {place.file}, line {place.line} ({place.id})" for place in leak.places]
    if leak.places[1].source not in one.sources:
        output.say(f"  {heads[0]}\n  {leak.places[1].source}: line {leak.places[1].line}")
        return
    left, right = (
        messages_of(one.sources[place.source], pl.DataFrame({"file": [place.file], "line": [place.line]}))[
            place.file, place.line
        ]
        for place in leak.places
    )
    lines = [(line.left, line.right, line.same) for line in side_by_side(left, right)]
    same = [(left[0]["content"][:200], right[0]["content"][:200], True)]
    output.columns((heads[0], heads[1]), lines or same)
