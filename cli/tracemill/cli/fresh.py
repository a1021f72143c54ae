"""What every command does before it looks: bring the warehouse up to date with what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracemill.cli import output
from tracemill.tracer.home import Home

if TYPE_CHECKING:
    from tracemill.warehouse.ingest import IngestReport


def ingest_now(home: Home) -> IngestReport:
    """Ingest with a progress bar, and say so where lines of the spool could not be read."""
    from tracemill.warehouse.ingest import ingest

    with output.progress() as progress:
        report = ingest(home, progress)
    if report.bad_lines:
        output.hint(
            f"{report.bad_lines} lines of the spool were no events and were skipped; "
            "`tracemill sql 'FROM bad_lines'` says where and why."
        )
    return report


def fresh_home() -> Home:
    """The home of this user, its snapshot up to date."""
    home = Home.find()
    ingest_now(home)
    return home
