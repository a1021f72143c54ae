"""A data set split anew, so that nothing learned from is also tested on.

In: a data set, and how to split it. Out: a data set of the same rows in other files, and the report of what
leaks. Only what is pinned (by a `split` in the row, or by its session when it was exported) is not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tracemill.curate.datasets.groups import leaks, scan_all
from tracemill.curate.datasets.made import Written, plan, refuse_input, write
from tracemill.curate.datasets.merging import in_splits, unread
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.leaks import Report
from tracemill.curate.sieve import Progress
from tracemill.curate.splits import SplitOptions
from tracemill.tracer.home import Home


@dataclass(frozen=True)
class Divided:
    """What was written, what leaked before and leaks now, and how many rows changed their split."""

    written: Written
    before: Report
    after: Report
    moved: int


def divide(
    data: Opened, to: Path, home: Home, options: SplitOptions, progress: Progress | None = None
) -> Divided:
    """Split a data set into the folder `to`. DatasetError where it has no row, or no project to go by."""
    sources = {data.name: data}
    refuse_input(to, [data])
    found = scan_all(sources, progress)
    rows = found.rows
    if not rows.height:
        raise DatasetError(f"There is no row in {data.path}; `tracemill dataset validate` says why.")
    if options.repository and not rows["project"].count():
        raise DatasetError(
            f"No row of {data.path} names its project, so none can be kept together; "
            "leave --repository out, or add the key `project` to the rows."
        )
    placed = in_splits(sources, rows, options)
    made = plan("split", options.model_dump(), sources, placed, unread(found.faults))
    before = leaks(sources, placed.with_columns(to="split"))
    written = write(made, to, home, progress)
    moved = placed.filter(pl.col("to") != pl.col("split")).height
    return Divided(written, before, leaks(sources, placed), moved)
