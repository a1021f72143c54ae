"""What is in a data set, in numbers.

In: the facts of its rows. Out: `Stats`.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from tracemill.curate.datasets.facts import Scanned
from tracemill.curate.splits import SPLITS


def stats(found: Scanned) -> dict[str, Any]:
    """The numbers of a data set."""
    rows = found.rows
    return {
        "rows": rows.height,
        "unread": found.faults.height,
        "splits": {
            split: {
                "rows": part.height,
                "turns": int(part["turns"].sum()),
                "calls": int(part["calls"].sum()),
            }
            for split in SPLITS
            if (part := rows.filter(pl.col("split") == split)).height
        },
    }
