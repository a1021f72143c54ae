"""What a card tells of a data set: numbers, groups and rows, nothing that is judged.

In: the rows that were looked at (`measure`), the manifest where an export wrote one. Out: `Facts`, plain
values that are the same for the same data set. What is wrong with them is in `advice`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tracemill.curate.card.groups import calls_of, shy
from tracemill.curate.card.measure import Measured, learned_calls
from tracemill.curate.card.reading import Rows
from tracemill.curate.leaks import KINDS, Kind, Leak
from tracemill.curate.manifest import Manifest, rows_of
from tracemill.curate.splits import SPLITS

_CLUSTERS, _MEMBERS = 8, 4
_BINS = (0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)


@dataclass(frozen=True)
class SplitFacts:
    """A split: all its rows, and of those looked at the sessions, prompts, turns and calls.

    Sessions and turns (`learned`, `context`) are of all rows where a manifest knows them.
    """

    split: str
    rows: int
    looked_at: int
    sessions: int
    prompts: int
    learned: int
    context: int
    calls: int
    calls_before_last: int
    rows_with_calls: int


@dataclass(frozen=True)
class FormatFacts:
    """A wire format: calls that can be read, that cannot, and how many of both stand in a last message."""

    format: str
    read: int
    unread: int
    last: int


@dataclass(frozen=True)
class LengthFacts:
    """Lengths of the rows of a split in `unit`: how many rows, and quantiles."""

    split: str
    unit: str
    rows: int
    shortest: int
    median: int
    p95: int
    longest: int


@dataclass(frozen=True)
class Member:
    """A row of a cluster and how like the representative it is (1: by words and pairs of words the same)."""

    row: str
    alike: float


@dataclass(frozen=True)
class ClusterFacts:
    """Rows near to one: the representative comes first, then some of the others."""

    data: str
    size: int
    members: list[Member]


@dataclass(frozen=True)
class Facts:
    """All that a card tells; see the fields' own classes. `looked_at` of `rows` were measured."""

    name: str
    sets: list[str]
    rows: int
    looked_at: int
    digest: str
    manifest: Manifest | None
    unread: dict[str, int]
    splits: list[SplitFacts]
    tools: dict[str, dict[str, int]]
    formats: list[FormatFacts]
    lengths: list[LengthFacts]
    histogram: list[tuple[str, int]]
    languages: dict[str, int]
    outcomes: dict[str, int]
    categories: dict[str, int]
    systems: list[tuple[str, int]]
    clusters: list[ClusterFacts]
    leaks: dict[Kind, int]
    pinned: tuple[int, int] | None
    pairs: dict[str, int]


def facts(
    rows: Rows,
    measured: Measured,
    near: pl.DataFrame,
    languages: pl.DataFrame,
    leaks: Mapping[str, Sequence[Leak]],
    name: str,
) -> Facts:
    """The facts of data sets; `near`, `languages` and `leaks` as `copies_of` and the like give them."""
    found = measured.rows
    calls = calls_of(found)
    manifest = rows.sets[0].manifest if len(rows.sets) == 1 else None
    return Facts(
        name=name,
        sets=[data.name for data in rows.sets],
        rows=rows.lines.total(),
        looked_at=found.height + len(measured.faults),
        digest=rows.digest,
        manifest=manifest,
        unread=dict(Counter(fault.reason for _, fault in measured.faults).most_common()),
        splits=list(_splits(rows, found, manifest if _sampled(rows) else None)),
        tools=_tools(calls),
        formats=list(_formats(calls)),
        lengths=list(_lengths(found)),
        histogram=_histogram(found["char_count"]),
        languages=_tally(languages["language"]),
        outcomes=_tally(found["outcome"].fill_null("not known")),
        categories=_tally(found["category"].replace("", None).fill_null("none")),
        systems=_systems(found),
        clusters=list(_clusters(found, near)),
        leaks={kind: sum(leak.kind == kind for found in leaks.values() for leak in found) for kind in KINDS},
        pinned=_pinned(rows) if manifest else None,
        pairs=rows.pairs,
    )


def _sampled(rows: Rows) -> bool:
    return rows.looked_at < rows.lines.total()


def _splits(rows: Rows, found: pl.DataFrame, manifest: Manifest | None) -> Iterator[SplitFacts]:
    """The splits; sessions and turns of all their rows where a manifest knows them."""
    for split in SPLITS:
        lines = sum(count for (_, side), count in rows.lines.items() if side == split)
        own = found.filter(pl.col("side") == split)
        known = manifest.splits.get(split) if manifest else None
        if lines:
            calls = own["calls"].list.len()
            yield SplitFacts(
                split, lines, own.height,
                known.sessions if known else own["session_id"].n_unique(),
                own["prompt"].n_unique(),
                known.learned if known else int(own["learned"].sum()),
                known.context if known else int(own["weightless"].list.len().sum()),
                int(calls.sum()), _before_last(own), own.select(learned_calls().list.any().sum()).item(),
            )  # fmt: skip


def _pinned(rows: Rows) -> tuple[int, int]:
    """How many rows their session asked to be in a split, and how many of them are in another."""
    data = rows.sets[0]
    assert data.manifest is not None, "asked of an export only"
    pinned = rows_of(data.files.folder, data.manifest).filter(pl.col("pin").is_not_null())
    return pinned.height, pinned.filter(pl.col("pin") != pl.col("split")).height


def _before_last(rows: pl.DataFrame) -> int:
    """Calls to learn that stand in no last message."""
    call = pl.element().struct
    early = ~call.field("last") & call.field("learned")
    return int(rows["calls"].list.eval(early).list.sum().sum())


def _tools(calls: pl.DataFrame) -> dict[str, dict[str, int]]:
    """How often each tool is called, by split; the most called first."""
    counted = calls.drop_nulls("tool").group_by("tool", "side").len()
    order = counted.group_by("tool").agg(pl.col("len").sum()).sort("len", "tool", descending=[True, False])
    known = {(tool, side): count for tool, side, count in counted.iter_rows()}
    return {tool: {split: known.get((tool, split), 0) for split in SPLITS} for tool in order["tool"]}


def _formats(calls: pl.DataFrame) -> Iterator[FormatFacts]:
    found = calls.group_by("format").agg(
        read=pl.col("tool").is_not_null().sum(),
        unread=pl.col("tool").is_null().sum(),
        last=pl.col("last").sum(),
    )
    for record in found.sort(pl.col("read") + pl.col("unread"), "format", descending=[True, False]).iter_rows(
        named=True
    ):
        yield FormatFacts(**record)


def _lengths(rows: pl.DataFrame) -> Iterator[LengthFacts]:
    for unit, column in (("characters", "char_count"), ("tokens", "tokens")):
        for split in SPLITS:
            sizes = rows.filter(pl.col("side") == split)[column].drop_nulls().sort()
            if count := len(sizes):
                at = [sizes[0], sizes[count // 2], sizes[min(count - 1, int(count * 0.95))], sizes[-1]]
                yield LengthFacts(split, unit, count, *at)


def _histogram(sizes: pl.Series) -> list[tuple[str, int]]:
    """Rows by length, in bins that double; those at the ends that are empty are left out."""
    bounds = [*_BINS, None]
    values = sizes.to_numpy()
    counts: list[tuple[str, int]] = []
    for low, high in zip(_BINS, bounds[1:], strict=True):
        count = int(((values >= low) & (values < (high or np.inf))).sum())
        counts.append((f"{low:,} to {high:,}" if high else f"{low:,} and more", count))
    used = [at for at, (_, count) in enumerate(counts) if count]
    return counts[used[0] : used[-1] + 1] if used else []


def _tally(values: pl.Series) -> dict[str, int]:
    return dict(sorted(Counter(values.to_list()).items(), key=lambda one: (-one[1], one[0])))


def _systems(rows: pl.DataFrame) -> list[tuple[str, int]]:
    """System prompts and how many rows have each, the most common first; '' for none."""
    hidden = pl.col("conversation_id").is_in(sorted(shy(rows))) & pl.col("system").is_not_null()
    told = (
        pl.when(hidden).then(pl.lit("(of rows that hold a secret)")).otherwise(pl.col("system").fill_null(""))
    )
    return list(_tally(rows.select(told.alias("system"))["system"]).items())


def _clusters(rows: pl.DataFrame, near: pl.DataFrame) -> Iterator[ClusterFacts]:
    """The largest clusters: all rows that one row stands for."""
    sizes = (
        near.group_by("leader")
        .len()
        .filter(pl.col("len") > 1)
        .sort("len", "leader", descending=[True, False])
    )
    known = {
        row["conversation_id"]: row for row in rows.select("conversation_id", "data").iter_rows(named=True)
    }
    hidden = shy(rows)
    for leader, size in sizes.head(_CLUSTERS).iter_rows():
        members = near.filter((pl.col("leader") == leader) & (pl.col("conversation_id") != leader))
        # The least alike say most about what is taken for a copy.
        listed = [(leader, 1.0), *members.sort("alike", "conversation_id").head(_MEMBERS - 1).select(
            "conversation_id", "alike").iter_rows()]  # fmt: skip
        texts = [Member(name, alike) for name, alike in listed if name not in hidden]
        if texts:
            yield ClusterFacts(known[leader]["data"], size, texts)
