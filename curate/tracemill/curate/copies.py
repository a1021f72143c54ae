"""Steps against learning the same thing many times: near copies, template families, earlier data sets, test
suites.

In: the frame of a step, its options, and for near copies the folder where the texts lie (none: in the frame).
Out: `Sieved`. What makes two conversations near copies is told in `curate/features/likeness.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tracemill.curate.features.likeness import NEAR, Packed
from tracemill.curate.near.candidates import Judge, Positions, stacked
from tracemill.curate.near.clusters import Clusters, find
from tracemill.curate.near.earlier import Earlier, earlier, matches, prompts_of
from tracemill.curate.near.reading import reader
from tracemill.curate.near.shingled import Reader
from tracemill.curate.sieve import ORDER, Options, Sieved, sieve

_HELD_OUT = pl.col("split").replace_strict({"test": 0, "valid": 1}, default=2, return_dtype=pl.Int8)
_OUTCOME = pl.col("outcome").replace_strict({"good": 0, "bad": 2}, default=1, return_dtype=pl.Int8)


class NearOptions(Options, frozen=True):
    """From which similarity on conversations are near copies, and whether one of them is kept or all.

    With `keep = "all"` nothing is dropped, and the splits keep each cluster of near copies on one side.
    """

    threshold: float = Field(default=NEAR, ge=0.5, le=1)
    keep: Literal["best", "all"] = "best"


class AgainstOptions(Options, frozen=True):
    """Earlier data sets (folders or files of chat JSONL), and from which similarity on something is in
    them."""

    datasets: list[str] = Field(min_length=1)
    threshold: float = Field(default=NEAR, ge=0.5, le=1)


class FamilyOptions(Options, frozen=True):
    """How many conversations of a template family are kept; `seed` decides which."""

    max_per_family: int = Field(default=10, ge=1)
    seed: int = 0


class SuiteOptions(Options, frozen=True):
    """Evaluation suites: files of one prompt a line (.txt) or chat JSONL, and what is too near to one of
    them."""

    suites: list[str] = Field(min_length=1)
    threshold: float = Field(default=NEAR, ge=0.5, le=1)


def near_duplicates(frame: pl.LazyFrame, options: NearOptions, folder: Path | None) -> Sieved:
    """Keep the best of near copies: the most held-out pin, the best outcome, the shortest, the earliest.

    Only what is near, exactly verified, to a conversation that is kept is dropped, and only where it teaches
    no turn that is context there. A branch of the same session stays, for the two share turns without being
    copies: the step `branches` learns those once. The column `cluster` names those that stay for others by
    themselves; where all are kept, the whole cluster by the first one in it.
    """
    rows = frame.collect()
    signatures = stacked(rows["minhash"].to_list())
    stands = _teaches_all(rows["context"].to_list(), _learned(rows))
    found = find(signatures, reader(rows, folder), options.threshold, _preference(rows), stands=stands)
    best = options.keep == "best"
    found = replace(found, leader=_without_branches(rows, found.leader))
    judged = _with_clusters(rows, found, found.leader if best else found.cluster)
    first = pl.col("conversation_id") == pl.col("_leader")
    return sieve(judged.lazy(), "near_duplicates", first if best else pl.lit(True))


def _learned(rows: pl.DataFrame) -> list[list[int]]:
    return rows.select(pl.col("assistants").list.set_difference("context")).to_series().to_list()


def _teaches_all(context: Sequence[Sequence[int]], learned: Sequence[Sequence[int]]) -> Judge:
    """Whether the right row learns no turn that is context, at the same place, in the left one."""

    def stands(left: Positions, right: Positions) -> NDArray[np.bool_]:
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        found = (not context[a] or set(context[a]).isdisjoint(learned[b]) for a, b in pairs)
        return np.fromiter(found, np.bool_, len(left))

    return stands


def _without_branches(rows: pl.DataFrame, leader: Positions) -> Positions:
    """The leaders, but for rows that share a turn with theirs in one session: those lead themselves."""
    at = np.flatnonzero(leader != np.arange(len(leader)))
    own, its = (rows.select("session_id", "turns")[found] for found in (at, leader[at]))
    pairs = own.hstack(its.rename({"session_id": "its_session", "turns": "its_turns"}))
    shared = pl.col("turns").list.set_intersection("its_turns").list.len() > 0
    branch = pairs.select((pl.col("session_id") == pl.col("its_session")) & shared).to_series()
    changed = leader.copy()
    changed[at[branch.to_numpy()]] = at[branch.to_numpy()]
    return changed


def _preference(rows: pl.DataFrame) -> Positions:
    """The rank of each row among those to keep, 0 for the best."""
    order = rows.with_row_index("_at").sort(_HELD_OUT, _OUTCOME, "extent", ORDER)["_at"].to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _with_clusters(rows: pl.DataFrame, found: Clusters, cluster: Positions) -> pl.DataFrame:
    names = rows["conversation_id"]
    size = pl.len().over("_cluster")
    return rows.with_columns(
        _cluster=names[cluster],
        _leader=names[found.leader],
        _similarity=pl.Series(found.similarity),
        _reason=pl.lit("near copy"),
    ).with_columns(
        cluster=pl.when(size > 1).then("_cluster"),
        _evidence=pl.format(
            "{} alike, by words and pairs of words, to conversation {}, which is kept of {} near copies",
            _percent("_similarity"),
            "_leader",
            size,
        ),
    )


def _percent(column: str) -> pl.Expr:
    return pl.format("{}%", (pl.col(column) * 100).floor().cast(pl.Int64))


def against(frame: pl.LazyFrame, options: AgainstOptions, folder: Path | None) -> Sieved:
    """Keep what was learned in no earlier data set, neither as it is nor nearly; context there was not."""
    rows = frame.collect()
    known = earlier(options.datasets)
    signatures = stacked([*rows["minhash"].to_list(), *known.signatures])
    size, height = len(signatures), rows.height
    fixed = np.arange(size) >= height
    # The earlier ones come first, so it is they who stay.
    found = find(
        signatures,
        _both(reader(rows, folder), known, height),
        options.threshold,
        (np.arange(size) - height) % size,
        fixed,
        _teaches_all([*rows["context"].to_list(), *known.context], _learned(rows)),
    )
    leader = found.leader[:height]
    seen = leader >= height
    names = pl.Series(known.names, dtype=pl.String)
    at = pl.Series(np.where(seen, leader - height, 0)) if known.names else pl.Series([0] * height)
    judged = rows.with_columns(
        _seen=pl.Series(seen),
        _similarity=pl.Series(found.similarity[:height]),
        _name=names.gather(at) if known.names else pl.lit(""),
    ).with_columns(
        _reason=pl.when(pl.col("_similarity") == 1)
        .then(pl.lit("learned before"))
        .otherwise(pl.lit("nearly learned before")),
        _evidence=pl.format("{} alike, by words and pairs of words, to {}", _percent("_similarity"), "_name"),
    )
    return sieve(judged.lazy(), "against", ~pl.col("_seen"))


def _both(rows: Reader, known: Earlier, height: int) -> Reader:
    """Reads the shingles of `height` rows and of the earlier ones after them."""

    def read(positions: Positions) -> Iterator[tuple[int, Packed]]:
        yield from rows(positions[positions < height])
        for at in positions[positions >= height].tolist():
            yield at, known.shingles[at - height]

    return read


def families(frame: pl.LazyFrame, options: FamilyOptions) -> Sieved:
    """Keep at most `max_per_family` conversations whose prompts are of one template; the seed draws them."""
    rows = frame.collect()
    size = pl.len().over("family")
    large = rows.filter(pl.col("family").is_not_null() & (size > options.max_per_family))
    drawn = large.select(
        "conversation_id",
        _draw=pl.Series([_draw(name, options.seed) for name in large["conversation_id"]], dtype=pl.String),
    )
    judged = rows.join(drawn, on="conversation_id", how="left", maintain_order="left").with_columns(
        _rank=pl.col("_draw").rank("ordinal").over("family"),
        _reason=pl.lit("template family"),
        _evidence=pl.format(
            "one of {} prompts such as: {}; {} of them are kept",
            size,
            pl.col("family").str.slice(0, 200),
            pl.lit(options.max_per_family),
        ),
    )
    keep = (pl.col("_rank") <= options.max_per_family).fill_null(True)
    return sieve(judged.lazy(), "families", keep)


def _draw(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0family\0{name}".encode()).hexdigest()


def decontaminate(frame: pl.LazyFrame, options: SuiteOptions) -> Sieved:
    """Keep what asks nothing that an evaluation suite asks, in the same words or nearly so."""
    rows = frame.collect()
    asked = prompts_of(options.suites)
    prompts = rows["prompt"].unique(maintain_order=True)
    found = matches(prompts.to_list(), [prompt for _, prompt in asked], options.threshold)
    hits = pl.DataFrame(
        [
            (prompt, asked[match[0]][0], match[1])
            for prompt, match in zip(prompts, found, strict=True)
            if match is not None
        ],
        {"prompt": pl.String, "_place": pl.String, "_similarity": pl.Float64},
        orient="row",
    )
    judged = rows.join(hits, on="prompt", how="left", maintain_order="left").with_columns(
        _reason=pl.lit("in a test suite"),
        _evidence=pl.format("its prompt is {} alike to {}", _percent("_similarity"), "_place"),
    )
    return sieve(judged.lazy(), "decontaminate", pl.col("_place").is_null())
