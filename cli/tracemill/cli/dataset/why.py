"""`tracemill dataset why`: why something is in a data set, or why not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, MaybeData

if TYPE_CHECKING:
    from tracemill.curate.datasets.why import Answer, Way

_STYLES = {"in": "green", "dropped": "red", "not read": "yellow"}


def why(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a row, conversation, session, run, request or tool call; or split and line.",
        ),
    ],
    data: MaybeData = None,
    as_json: AsJson = False,
) -> None:
    """Tell the whole way of a row, from the recorded events to its line, or to the step that dropped it."""
    from tracemill.cli.fresh import fresh_home
    from tracemill.curate.datasets.finding import opened
    from tracemill.curate.datasets.why import why as asked

    home = fresh_home()
    answer = asked(home, opened(data, home, pairs=True), which)
    if as_json:
        output.emit_json(asdict(answer))
        return
    if answer.left is not None:
        left = answer.left
        output.say(f"row {answer.asked}: left out by {answer.operation}", style="bold red")
        _fact("stood in", f"{left['source']}: {left['file']}, line {left['line']} ({left['split']})")
        _fact(left["reason"], left["evidence"])
    if answer.row is not None:
        _without_manifest(answer)
    if len(answer.ways) > 1:
        output.say(f"The {answer.kind} {answer.asked} holds {len(answer.ways)} conversations.\n")
    for way in answer.ways:
        _way(way)


def _without_manifest(answer: Answer) -> None:
    row = answer.row
    assert row is not None, "asked by whoever knows it is there"
    output.say(f"row {row.id}", style="bold green")
    _fact("stands in", f"{row.file}, line {row.line} ({row.split})")
    if answer.taken is not None:
        taken = answer.taken
        place = f"{taken['file']}, line {taken['line']} ({taken['split']}), there called {taken['id']}"
        _fact("made by", answer.operation)
        _fact("taken from", f"{taken['source']}: {place}")
        for key in ("task", "project", "outcome", "pin"):
            _fact(key, taken.get(key))
        output.say(f"`tracemill dataset why {taken['id']} {taken['source']}` tells how it came there.")
        return
    if answer.origin is None:
        output.say("The data set has no manifest, so nothing tells where the row comes from.")
        return
    for key in ("source", "revision", "config", "licence"):
        if answer.origin.get(key):
            _fact(key, answer.origin[key])
    output.say("It was imported; its id names the file and the row there.")


def _way(way: Way) -> None:
    split = f" the split {way.source['split']}" if way.source else ""
    output.say(
        f"conversation {way.conversation_id}: {way.verdict}{split}", style=f"bold {_STYLES[way.verdict]}"
    )
    _fact("session", way.session_id)
    for key in ("run_id", "agent", "source", "origin", "project", "task", "outcome"):
        _fact(key.removesuffix("_id"), (way.source or {}).get(key))
    for placed in way.placed:
        _fact("stands in", f"{placed.file.name}, line {placed.line}")
    _fact("split", way.decided)
    if way.unread:
        output.say(f"  No step saw it: {output.one_line(way.unread)}.")
    _recorded(way)
    _steps(way)
    for edit in way.edits:
        output.say(f"  edited by {edit['rewrite']}, message {edit['position']}:", style="bold")
        output.say(f"    - {output.one_line(edit['before'])}", style="red")
        output.say(f"    + {output.one_line(edit['after'])}", style="green")
    _copies(way)
    for made in way.made:
        _fact(made["kind"], f"{made['id']} ({', '.join(made['splits'])}) {made['path'] or ''}")
    output.say()


def _recorded(way: Way) -> None:
    if way.requests:
        output.say("  recorded as", style="bold")
    for one in way.requests:
        place = f"{one['file']}, byte {one['byte_offset']}" if one["file"] else "the event is not known"
        output.say(f"    request {one['request_id']} (step {one['step']}, {one['model']}): {place}")


def _steps(way: Way) -> None:
    if way.steps:
        output.say("  steps", style="bold")
    for step in way.steps:
        turns = ", ".join(str(at) for at in step.turns)
        did = f" -> messages {turns} out of the loss" if turns else ""
        gone = way.dropped is not None and step.step == way.dropped["step"]
        output.say(f"    {step.step}: {step.does}{did}", style="red" if gone else None)
    if way.dropped:
        step, reason, evidence = (way.dropped[key] for key in ("step", "reason", "evidence"))
        output.say(f"  Dropped by the step {step}, {reason}: {evidence}", style="red")
    if way.instead:
        kept = way.instead
        what = f"is in the split {kept['split']}" if kept["split"] else f"was dropped by {kept['dropped_by']}"
        output.say(f"  Conversation {kept['conversation_id']}, kept there instead of it, {what}.")


def _copies(way: Way) -> None:
    if way.copies:
        output.say(f"  stands for {way.copies} copies that were dropped", style="bold")
    for copy in way.stands_for:
        output.say(f"    {copy['conversation_id']} ({copy['step']}): {copy['evidence']}")
    if len(way.stands_for) < way.copies:
        output.say(f"    and {way.copies - len(way.stands_for)} more")
    if way.together:
        _fact("near copies", f"{', '.join(way.together[:20])}{', ...' if len(way.together) > 20 else ''}")


def _fact(name: str, value: Any) -> None:
    if value is not None and value != "":
        output.say(f"  {name:11} {output.one_line(value)}")
