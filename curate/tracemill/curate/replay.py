"""Replay: a share of general conversations among one's own, so that a model does not forget what it knew.

In: a folder or file of chat JSONL, and the rows that the steps left. The steps are about what was recorded
here, so rows to be replayed pass them by. Out: the same rows with some of those for training, of the category
`replay`; a row that may not be replayed, or was not drawn, is dropped by the step `replay`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from tracemill.curate.features.likeness import NEAR
from tracemill.curate.gather import draw
from tracemill.curate.near.candidates import stacked
from tracemill.curate.near.clusters import across
from tracemill.curate.near.reading import reader
from tracemill.curate.pipeline import Curated
from tracemill.curate.sieve import sieve
from tracemill.curate.sources import REPLAY, ReplayOptions

FEATURES = ("minhash",)
"""What `with_replay` needs to know of a conversation."""


def apart(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One's own rows, and those to be replayed."""
    replayed = pl.col("origin") == REPLAY
    return rows.filter(~replayed), rows.filter(replayed)


def with_replay(
    curated: Curated, replayed: pl.DataFrame, options: ReplayOptions, folder: Path | None = None
) -> Curated:
    """What the steps left, and the drawn share of `replayed`, whose texts lie in `folder`.

    What another data set holds out is not trained on, and neither is what shares a prompt, a task or a
    session with one's own rows, or is a near copy of one: that may be held out here.
    """
    own = curated.rows
    most = round(own.height * options.fraction / (1 - options.fraction))
    draws = [draw(name, options.seed) for name in replayed["conversation_id"]]
    held_out = pl.col("split").is_in(["valid", "test"]).fill_null(value=False)
    told = replayed.with_columns(
        _draw=pl.Series(draws, dtype=pl.Float64), _alike=_near_to(own, replayed, folder)
    ).with_columns(_why=_unfit(own, held_out))
    fit = pl.col("_why").is_null()
    rank = pl.when(fit).then(pl.struct("_draw", "conversation_id")).rank("ordinal")
    judged = told.with_columns(_rank=rank).with_columns(
        _reason=pl.coalesce("_why", pl.lit("not sampled")),
        _evidence=pl.when(held_out)
        .then(pl.format("it stands in the split {} of the set to replay", "split"))
        .when(pl.col("_why") == "near copy")
        .then(pl.format("it is nearly your conversation {}", "_alike"))
        .when(~fit)
        .then(pl.format("a session of yours has the same {}", pl.col("_why").str.strip_prefix("own ")))
        .otherwise(pl.format("{} are {} of all rows", pl.lit(most), pl.lit(options.fraction))),
    )
    sieved = sieve(judged.lazy(), "replay", (fit & (pl.col("_rank") <= most)).fill_null(value=False))
    drawn, dropped = pl.collect_all([sieved.kept, sieved.dropped])
    marked = drawn.with_columns(category=pl.lit("replay"), split=pl.lit("train"))
    every = replace(curated, rows=pl.concat([own, replayed], how="diagonal_relaxed"))
    return every.after("replay", pl.concat([own, marked], how="diagonal_relaxed"), dropped)


def _unfit(own: pl.DataFrame, held_out: pl.Expr) -> pl.Expr:
    """Why a row may not be trained on beside `own`; null where it may."""

    def shared(column: str) -> pl.Expr:
        known = own[column].drop_nulls().unique().implode()
        return (pl.col(column).is_in(known) & (pl.col(column) != "")).fill_null(value=False)

    return (
        pl.when(held_out)
        .then(pl.lit("held out"))
        .when(shared("prompt"))
        .then(pl.lit("own prompt"))
        .when(shared("task"))
        .then(pl.lit("own task"))
        .when(shared("session_id"))
        .then(pl.lit("own session"))
        .when(pl.col("_alike").is_not_null())
        .then(pl.lit("near copy"))
    )


def _near_to(own: pl.DataFrame, replayed: pl.DataFrame, folder: Path | None) -> pl.Series:
    """The conversation of `own` that each of `replayed` is nearly, null where it is none."""
    both = pl.concat([own, replayed], how="diagonal_relaxed")
    side = (np.arange(both.height) >= own.height).astype(np.int64)
    pairs = across(stacked(both["minhash"].to_list()), reader(both, folder), NEAR, side)
    alike = {row: both["conversation_id"][other] for row, other, _ in pairs}
    return pl.Series([alike.get(row) for row in range(own.height, both.height)], dtype=pl.String)
