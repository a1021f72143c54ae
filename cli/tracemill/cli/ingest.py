"""`tracemill ingest`: what was recorded, into the warehouse."""

from __future__ import annotations

from typing import Annotated

import typer

from tracemill.cli import output
from tracemill.tracer.home import Home


def ingest(
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Bring the warehouse up to date with what agents have recorded.

    The other commands do this first by themselves.
    """
    from dataclasses import asdict

    from tracemill.cli.fresh import ingest_now

    home = Home.find()
    report = ingest_now(home)
    if as_json:
        output.emit_json(asdict(report))
    elif report.events:
        output.say(f"{report.events} new events in {report.sessions} sessions.")
    else:
        output.say(f"Nothing new in {home.spool}.")
