"""The first pass over the sources: every conversation read, rewritten and measured, once.

In: the sources and rewrites of a recipe and the features its steps ask for. Out: `Gathered`: one frame with
the columns of each conversation and its features, but no texts. Those lie in the scratch folder, some
thousand conversations a Parquet file (`part`), until the rows are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.curate.chat_lines import Fault
from tracemill.curate.features import compute, schema
from tracemill.curate.prepare import numbered
from tracemill.curate.rewrites import rewrite
from tracemill.curate.rewrites.edits import RewriteOptions
from tracemill.curate.sieve import DROPPED, Progress
from tracemill.curate.sources import SOURCE, TEXTS, Chunk, SourceOptions, chunks, read_chunk, select
from tracemill.curate.spread import spread
from tracemill.tracer.home import Home

KNOWN: Mapping[str, Any] = {name: kind for name, kind in SOURCE.items() if name not in TEXTS}
PLACED: Mapping[str, Any] = {"origin": pl.String, "part": pl.Int32, "row": pl.Int32, "place": pl.Int64}
"""The source of a conversation, the part and the row of it where its texts lie, and its place among all."""
_TEXT: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "messages": pl.String,
    "tools": pl.String,
    "as_found": pl.Boolean,
}
EDITS: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "rewrite": pl.String,
    "position": pl.Int64,
    "before": pl.String,
    "after": pl.String,
}


@dataclass(frozen=True)
class Gathered:
    """What was read: `rows` in order, with features, and (columns `DROPPED`) what could or should not be."""

    rows: pl.DataFrame
    read: int
    faults: pl.DataFrame
    unsampled: pl.DataFrame
    folder: Path

    def edits(self) -> pl.LazyFrame:
        """Every change that a rewrite made (columns `EDITS`)."""
        parts = sorted(self.folder.glob("edits-*.parquet"))
        return pl.scan_parquet(parts) if parts else pl.LazyFrame(schema=EDITS)


@dataclass(frozen=True)
class _Job:
    chunk: Chunk
    part: int
    folder: Path
    rewrites: Mapping[str, RewriteOptions]
    features: Sequence[str]


@dataclass(frozen=True)
class _Part:
    rows: pl.DataFrame
    faults: pl.DataFrame
    source: str
    size: int
    total: int


def part_file(folder: Path, part: int) -> Path:
    """Where the texts of a part lie: conversation_id, messages and tools (JSON), as_found."""
    return folder / f"part-{part:06}.parquet"


def gather(
    home: Home,
    sources: Sequence[SourceOptions],
    base: Path | None,
    rewrites: Mapping[str, RewriteOptions],
    features: Sequence[str],
    seed: int,
    folder: Path,
    progress: Progress | None = None,
) -> Gathered:
    """Read all sources; of a source with a weight below 1, a sample that `seed` and the ids decide."""
    rows: list[pl.DataFrame] = []
    faults = [pl.DataFrame(schema=DROPPED)]
    number = 0
    for options in sources:
        found: list[pl.DataFrame] = []
        jobs = _jobs(chunks(options, home, base), number, folder, rewrites, features)
        done = 0
        for part in spread(_work, jobs):
            found.append(part.rows)
            faults.append(part.faults)
            number += 1
            done += part.size
            if progress:
                progress(f"reading {part.source}", done, part.total)
        if found:
            rows.append(select(options, pl.concat(found)))
    columns = {**KNOWN, **PLACED, **schema(features)}
    # In one piece: polars 2.1 panics in `pl.format` where the first piece of a frame is empty.
    every = pl.concat(rows).rechunk() if rows else pl.DataFrame(schema=columns)
    once, twice = _each_once(every)
    kept, unsampled = _sampled(once, {one.title: one.weight for one in sources}, seed)
    lost = pl.concat([*faults, twice])
    return Gathered(numbered(kept).drop("place"), once.height + lost.height, lost, unsampled, folder)


def _jobs(
    found: Iterable[Chunk],
    first: int,
    folder: Path,
    rewrites: Mapping[str, RewriteOptions],
    features: Sequence[str],
) -> Iterator[_Job]:
    for part, chunk in enumerate(found, start=first):
        yield _Job(chunk, part, folder, rewrites, features)


def _work(job: _Job) -> _Part:
    """Read, rewrite and measure one chunk; its texts go to the scratch folder."""
    rows: list[list[Any]] = []
    texts: list[tuple[Any, ...]] = []
    edits: list[list[Any]] = []
    faults: list[tuple[str, ...]] = []
    for at, found in enumerate(read_chunk(job.chunk)):
        if isinstance(found, Fault):
            name = found.conversation_id
            faults.append((name, name, "read", found.reason, found.evidence))
            continue
        talk, made = rewrite(found.talk, job.rewrites)
        name = found.columns["conversation_id"]
        edits += [[name, *(edit[key] for key in ("rewrite", "position", "before", "after"))] for edit in made]
        place = None if found.columns["started"] else (job.part << 32) + at
        known = [found.columns[column] for column in KNOWN]
        rows.append([*known, job.chunk.source, job.part, len(texts), place, *compute(talk, job.features)])
        texts.append((name, talk.messages_text() if made else found.messages, talk.tools_text, talk.as_found))
    if texts:
        made_texts = pl.DataFrame(texts, dict(_TEXT), orient="row")
        made_texts.write_parquet(part_file(job.folder, job.part), compression="zstd", compression_level=1)
    if edits:
        pl.DataFrame(edits, dict(EDITS), orient="row").write_parquet(
            job.folder / f"edits-{job.part:06}.parquet"
        )
    columns = {**KNOWN, **PLACED, **schema(job.features)}
    return _Part(
        pl.DataFrame(rows, columns, orient="row"),
        pl.DataFrame(faults, DROPPED, orient="row"),
        job.chunk.source,
        job.chunk.size,
        job.chunk.total,
    )


def _each_once(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first conversation of each id; two sources may hold the same one."""
    first = rows["conversation_id"].is_first_distinct()
    twice = rows.filter(~first).select(
        "conversation_id",
        "session_id",
        step=pl.lit("read"),
        reason=pl.lit("id used twice"),
        evidence=pl.format("{} holds a conversation of an id that was read before", "origin"),
    )
    return rows.filter(first), twice


def _sampled(
    rows: pl.DataFrame, weights: Mapping[str, float], seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that a weight below 1 leaves, and those it does not."""
    low = {title: weight for title, weight in weights.items() if weight < 1}
    if not low:
        return rows, pl.DataFrame(schema=DROPPED)
    ids = rows.select("conversation_id", "origin").iter_rows()
    keep = pl.Series([draw(name, seed) < low.get(origin, 1.0) for name, origin in ids], dtype=pl.Boolean)
    out = rows.filter(~keep).select(
        "conversation_id",
        "session_id",
        step=pl.lit("weight"),
        reason=pl.lit("not sampled"),
        evidence=pl.format("the source {} has the weight {}", "origin", pl.col("origin").replace_strict(low)),
    )
    return rows.filter(keep), out


def draw(name: str, seed: int) -> float:
    """A number in [0, 1) that an id and a seed decide."""
    return int(hashlib.sha256(f"{seed}\0weight\0{name}".encode()).hexdigest()[:13], 16) / 16**13
