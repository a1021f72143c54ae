"""`tracemill forget`: sessions taken out of everything that is stored, for good."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import output
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.tracer.units import size

if TYPE_CHECKING:
    from tracemill.warehouse.made import Made

_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
_LISTED = 20


def _age(text: str | None) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdwy])", text.strip().lower()) if text else None
    if text and not found:
        raise typer.BadParameter(f"{text!r} is no age; write a number and h, d, w or y, as in 90d.")
    return float(found[1]) * _SECONDS[found[2]] if found else None


def _bytes(text: str | None) -> int | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", text.strip().lower()) if text else None
    if text and not found:
        raise typer.BadParameter(f"{text!r} is no size; write a number and kB, MB, GB or TB, as in 5GB.")
    if not found:
        return None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".find(found[2] or " "))


def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID...", help="Sessions: their ids, the beginnings of them, or `latest`."),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="All in which nothing happened for this long: 12h, 90d, 8w, 1y."),
    ] = None,
    keep_under: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The oldest, until the spool takes no more than this: 500MB, 5GB."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="By age and size, also sessions that have an outcome or feedback."),
    ] = False,
    lift: Annotated[
        bool, typer.Option("--lift", help="Let forgotten sessions be recorded and imported again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be forgotten.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="By age and size, do not ask first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Forget sessions for good: in the spool, the warehouse and the snapshot.

    Says which data sets, adapters and evaluations still hold them, and what
    to do about those. A forgotten session stays out while its agent still
    runs, and when its file is imported again, until --lift. A conversation
    recorded both in the editor and in the agent goes with both its ends.

    --older-than and --keep-under spare sessions with an outcome or feedback
    (unless --all), and those in which something happened in the last hour.
    """
    age, most = _age(older_than), _bytes(keep_under)
    by_rule = age is not None or most is not None
    if bool(ids) == by_rule or (by_rule and lift) or (everything and not by_rule):
        raise typer.BadParameter("give session ids, or --older-than, --keep-under or both.")
    if "" in (ids or []):
        raise typer.BadParameter("an id is empty; `tracemill sessions` lists the ids of the sessions.")
    if lift:
        _lift(Home.find(), ids or [])
        return
    from tracemill.cli.fresh import fresh_home

    home = fresh_home()
    if by_rule:
        sessions = _by_rule(home, age, most, everything, ask=not (yes or dry_run))
    else:
        sessions = _named(home, ids or [])
    _forget(home, sessions, dry_run=dry_run, as_json=as_json)


def _named(home: Home, ids: Sequence[str]) -> list[str]:
    """The sessions that are meant, forgotten ones included: forgetting again only tells what holds them."""
    from tracemill.tracer.forgotten import forgotten_sessions
    from tracemill.warehouse.errors import QueryError
    from tracemill.warehouse.forget import with_other_ends
    from tracemill.warehouse.sessions import find

    found: list[str] = []
    for prefix in ids:
        try:
            found.append(find(home, prefix))
        except QueryError:
            before = [id for id in forgotten_sessions(home) if id.startswith(prefix)]
            if len(before) != 1:
                raise
            output.hint(f"{before[0]} is forgotten already.")
            found += before
    return with_other_ends(home, found)


def _by_rule(home: Home, age: float | None, most: int | None, everything: bool, *, ask: bool) -> list[str]:
    from tracemill.warehouse.forget import with_other_ends
    from tracemill.warehouse.retention import choose

    with output.progress() as progress:
        chosen = choose(home, older_than=age, keep_under=most, labelled=everything, progress=progress)
    sessions = with_other_ends(home, chosen.sessions)
    count = _sessions(len(sessions))
    if chosen.labelled:
        spared = _sessions(chosen.labelled)
        output.hint(f"{spared} would go too but for an outcome or feedback; --all takes them.")
    if most is not None and chosen.left > most:
        now, then = size(chosen.stored), size(chosen.left)
        output.hint(f"The spool takes {now} and will still take {then}.")
    if sessions and ask:
        if not sys.stdin.isatty():
            raise TracemillError(
                f"{count} would be forgotten for good and nobody is there to be asked: "
                "give --yes, or --dry-run to see which."
            )
        typer.confirm(f"Forget {count} for good?", abort=True, err=True)
    return sessions


def _forget(home: Home, sessions: list[str], *, dry_run: bool, as_json: bool) -> None:
    from tracemill.warehouse.forget import Forgotten, forget
    from tracemill.warehouse.made import made_of

    if dry_run or not sessions:
        done = Forgotten(sessions, 0, 0, made_of(home, sessions))
    else:
        with output.progress() as progress:
            done = forget(home, sessions, progress)
    if as_json:
        output.emit_json({**asdict(done), "dry_run": dry_run})
        return
    if not sessions:
        output.say("There is no session to forget.")
        return
    listed = ", ".join(sessions[:_LISTED]) + (", ..." if len(sessions) > _LISTED else "")
    freed = "" if dry_run else f" {size(done.freed)} freed."
    output.say(f"{'Would forget' if dry_run else 'Forgot'} {_sessions(len(sessions))}: {listed}.{freed}")
    if done.recording:
        output.hint(f"Processes that recorded them still run ({done.recording}); they leave them out now.")
    tell_made(done.made)


def tell_made(made: Sequence[Made]) -> None:
    """List what was made of sessions and still holds them."""
    if not made:
        output.say("No data set, adapter or evaluation holds any of it.")
        return
    output.say("It is still in:")
    output.table(
        ["what", "id", "rows", "what to do"],
        [[one.kind, one.id, f"{one.rows} of {one.of}", one.mend] for one in made],
    )


def _lift(home: Home, prefixes: Sequence[str]) -> None:
    from tracemill.tracer.forgotten import forgotten_sessions
    from tracemill.warehouse.forget import lift

    forgotten = forgotten_sessions(home)
    lifted: list[str] = []
    for prefix in prefixes:
        found = [id for id in forgotten if id.startswith(prefix)]
        if len(found) != 1 and prefix not in forgotten:
            what = "Several forgotten sessions begin" if found else "No forgotten session begins"
            raise TracemillError(f"{what} with {prefix!r}; `tracemill sql 'FROM forgotten'` lists them.")
        lifted.append(prefix if prefix in forgotten else found[0])
    lift(home, lifted)
    since = ", ".join(
        f"{id} (forgotten {datetime.fromtimestamp(forgotten[id], timezone.utc):%Y-%m-%d})" for id in lifted
    )
    output.say(f"May be recorded and imported again: {since}.")


def _sessions(count: int) -> str:
    return f"{count} session" if count == 1 else f"{count} sessions"
