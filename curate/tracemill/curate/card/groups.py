"""What is found by comparing the rows of a card with each other, and which of them may be shown.

In: rows as `measure` gives them. Out: near copies, leaks, languages, calls: frames that `facts` and `advice`
count. Each data set is compared with itself only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from tracemill.curate.features.leftovers import PERSONAL
from tracemill.curate.features.likeness import NEAR, Packed
from tracemill.curate.languages import LanguageOptions, language
from tracemill.curate.leaks import Leak, compare
from tracemill.curate.near.candidates import Positions, stacked
from tracemill.curate.near.clusters import find
from tracemill.curate.near.shingled import Reader

LANGUAGES = 200
"""The most prompts of a data set whose language is detected: a detector takes 5 ms for each."""


def copies_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Near copies within each data set: `conversation_id`, `leader` (the row that stands for it), `alike`.

    Rows of one session are none: where a row is a turn, each holds the one before.
    """
    schema = {"conversation_id": pl.String, "leader": pl.String, "alike": pl.Float64}
    found = [pl.DataFrame(schema=schema)]
    for part in rows.partition_by("data", maintain_order=True):
        names = part["conversation_id"]
        order = part.with_row_index("_at").sort("extent", "_at")["_at"].to_numpy()
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        near = find(stacked(part["minhash"].to_list()), reader(part), NEAR, rank)
        session = part["session_id"].to_numpy()
        leader = np.where(session == session[near.leader], np.arange(len(names)), near.leader)
        alike = {"conversation_id": names, "leader": names[leader], "alike": near.similarity}
        found.append(pl.DataFrame(alike, schema))
    return pl.concat(found)


def languages_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The language of at most 200 prompts of each data set: `conversation_id`, `data`, `language`."""
    looked = (
        rows.sort("draw")
        .unique(["data", "prompt"], keep="first", maintain_order=True)
        .filter(pl.int_range(pl.len()).over("data") < LANGUAGES)
    )
    sieved = language(looked.lazy(), LanguageOptions())
    other = sieved.dropped.collect().select(
        "conversation_id", _found=pl.col("reason").str.strip_prefix("language ")
    )
    told = (
        pl.when(pl.col("prose").is_null())
        .then(pl.lit("too short to tell"))
        .otherwise(pl.lit("en, or not sure"))
    )
    return looked.join(other, on="conversation_id", how="left").select(
        "conversation_id", "data", language=pl.coalesce("_found", told)
    )


def leaks_of(rows: pl.DataFrame) -> dict[str, tuple[Leak, ...]]:
    """What stands in more than one split of each data set."""
    found: dict[str, tuple[Leak, ...]] = {}
    for part in rows.partition_by("data", maintain_order=True):
        asked = part.select(
            "task",
            "prompt",
            "minhash",
            split="side",
            id="conversation_id",
            session="session_id",
            messages="said",
        )
        found[part["data"][0]] = compare(asked, reader(part), ()).leaks
    return found


def calls_of(rows: pl.DataFrame) -> pl.DataFrame:
    """A line per call that stands in the rows: `conversation_id`, `data`, `side` and the fields of a call."""
    return (
        rows.select("conversation_id", "data", "side", "calls")
        .explode("calls")
        .filter(pl.col("calls").is_not_null())
        .unnest("calls")
    )


def without_secrets(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of which texts may stand in a card."""
    return rows.filter(~pl.col("conversation_id").is_in(sorted(shy(rows))))


def shy(rows: pl.DataFrame) -> set[str]:
    """Rows that hold secrets: a card may be shown around, so nothing of them stands in it."""
    kinds = pl.col("secrets").list.set_difference(pl.lit(list(PERSONAL), pl.List(pl.String)))
    return set(rows.filter(kinds.list.len() > 0)["conversation_id"])


def reader(rows: pl.DataFrame) -> Reader:
    """Reads the shingles of `rows` by their position."""
    shingles: list[bytes] = rows["shingles"].to_list()

    def read(positions: Positions) -> Iterator[tuple[int, Packed]]:
        yield from ((at, np.frombuffer(shingles[at], np.uint32)) for at in positions.tolist())

    return read
