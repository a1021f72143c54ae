"""A recipe's steps run in order over the features of conversations.

In: a frame of conversations, whose features `prepare` computes from their texts, or `gather` from a source of
any size. Out: `Curated`: what is left, what was dropped and why, and a count per step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tracemill.curate.prepare import prepare
from tracemill.curate.retention import StepCount
from tracemill.curate.sieve import DROPPED, POSITIONS, Options, Progress
from tracemill.curate.steps import STEPS, features_of

UNLEARNED = {"conversation_id": pl.String, "step": pl.String, "positions": POSITIONS}
"""The assistant turns that a step took out of the loss; `source` is what the source itself kept out."""


@dataclass(frozen=True)
class Curated:
    """What the steps left (`rows`), what they dropped (columns `DROPPED`), a count for each, and which turns
    each took out of the loss (`UNLEARNED`)."""

    rows: pl.DataFrame
    dropped: pl.DataFrame
    counts: list[StepCount]
    unlearned: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=UNLEARNED))

    def after(self, step: str, kept: pl.DataFrame, dropped: pl.DataFrame) -> Curated:
        """The same with one more step."""
        count = _count(step, self.rows, kept, dropped)
        unlearned = [self.unlearned, *([put_out(step, self.rows, kept)] if count.context else [])]
        return Curated(kept, pl.concat([self.dropped, dropped]), [*self.counts, count], pl.concat(unlearned))


def curate(
    conversations: pl.LazyFrame, steps: Mapping[str, Options], progress: Progress | None = None
) -> Curated:
    """Run `steps` in order over conversations with their texts; rows stay in the order of their start."""
    prepared = prepare(conversations, features_of(steps)).collect()
    return sift(Curated(prepared, pl.DataFrame(schema=DROPPED), []), steps, progress)


def sift(
    curated: Curated,
    steps: Mapping[str, Options],
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Curated:
    """Run `steps` in order over rows with their features, after what was done to them before.

    `folder` is where the texts of the rows lie (`gather`); without it they stand in the rows.
    """
    for done, (name, options) in enumerate(steps.items(), start=1):
        step = STEPS[name]
        given = (curated.rows.lazy(), options, *([folder] if step.texts else []))
        sieved = step.run(*given)
        kept, dropped = pl.collect_all([sieved.kept, sieved.dropped])
        # In one piece: polars 2.1 panics in `pl.format` where the first piece of a frame is empty.
        curated = curated.after(name, kept.rechunk(), dropped)
        if progress:
            progress("curating", done, len(steps))
    return curated


def _count(step: str, rows: pl.DataFrame, kept: pl.DataFrame, dropped: pl.DataFrame) -> StepCount:
    before = rows.join(kept, on="conversation_id", how="semi")
    return StepCount(
        step=step,
        rows_in=rows.height,
        kept=kept.height,
        dropped=dropped.height,
        context=_turns_out(kept) - _turns_out(before),
        reasons=dict(dropped.group_by("reason").len().sort("reason").iter_rows()),
    )


def put_out(step: str, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """The turns that are context `after` a step and were not `before` (columns `UNLEARNED`)."""
    now = after.filter(pl.col("context").list.len() > 0).select("conversation_id", now="context")
    both = now.join(before.select("conversation_id", "context"), on="conversation_id", maintain_order="left")
    new = pl.col("now").list.set_difference("context").list.sort()
    return both.select("conversation_id", step=pl.lit(step), positions=new).filter(
        pl.col("positions").list.len() > 0
    )


def _turns_out(rows: pl.DataFrame) -> int:
    return int(rows["context"].list.len().sum())
