"""What a pass over the sources gives the steps to begin with.

In: what was gathered. Out: `Curated`, with what could not be read and what a weight left out as a step each.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from tracemill.curate.gather import Gathered
from tracemill.curate.pipeline import Curated, put_out
from tracemill.curate.sieve import POSITIONS


def as_read(gathered: Gathered) -> Curated:
    """All that was read; its `rows` are those that are left for the steps."""
    lost = [step for step in (gathered.faults, gathered.unsampled) if step.height]
    rows = pl.concat([gathered.rows.select("conversation_id", "context"), *(_nothing(step) for step in lost)])
    weightless = put_out("source", rows.with_columns(context=pl.lit([], POSITIONS)), rows)
    curated = Curated(rows, gathered.faults.clear(), [], weightless)
    for step in lost:
        kept = curated.rows.join(step, on="conversation_id", how="anti")
        curated = curated.after(step["step"][0], kept, step)
    return replace(curated, rows=gathered.rows)


def _nothing(dropped: pl.DataFrame) -> pl.DataFrame:
    return dropped.select("conversation_id", context=pl.lit([], POSITIONS))
