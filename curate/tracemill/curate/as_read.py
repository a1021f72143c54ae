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
    own = gathered.rows.select("conversation_id", "context")
    weightless = put_out("source", own.with_columns(context=pl.lit([], POSITIONS)), own)
    # By place and not by id: what is lost may have the id of a conversation that stays.
    left = [own, *map(_nothing, lost)]
    curated = Curated(pl.concat(left), gathered.faults.clear(), [], weightless)
    for step in lost:
        del left[1]
        curated = curated.after(step["step"][0], pl.concat(left), step)
    return replace(curated, rows=gathered.rows)


def _nothing(dropped: pl.DataFrame) -> pl.DataFrame:
    return dropped.select("conversation_id", context=pl.lit([], POSITIONS))
