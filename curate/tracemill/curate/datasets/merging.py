"""Several data sets made one: exact duplicates named, ids unique, nothing in two splits.

In: data sets. Out: a data set of their rows, in their order. Of rows that are the same the most held-out one
stays, then the first. What is then to be learned from and says what is held out is left out (`keep`), follows
what is held out, with its whole cluster of near copies (`move`), or all that is not pinned is drawn anew
(`reassign`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from tracemill.curate.datasets.groups import clusters, leaks, scan_all, without_leaks
from tracemill.curate.datasets.made import LEFT, Written, plan, refuse_input, write
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.leaks import Report
from tracemill.curate.sieve import Progress
from tracemill.curate.splits import SPLITS, SplitOptions, assign
from tracemill.tracer.home import Home

Splits = Literal["keep", "move", "reassign"]


@dataclass(frozen=True)
class Merged:
    """What was written, what leaks between its splits (nothing should), and what was done to rows by name."""

    written: Written
    report: Report
    moved: int
    renamed: int


def merge(
    sets: Sequence[Opened],
    to: Path,
    home: Home,
    *,
    splits: Splits = "keep",
    seed: int = 0,
    keep_duplicates: bool = False,
    progress: Progress | None = None,
) -> Merged:
    """Merge data sets into the folder `to`; `seed` is that of a draw with `reassign`.

    DatasetError where there is no row, or where `to` is one of the data sets.
    """
    sources = _named(sets)
    refuse_input(to, sets)
    found = scan_all(sources, progress)
    rows = found.rows
    if not rows.height:
        raise DatasetError(f"There is no row in {', '.join(sources)}; `tracemill dataset validate` says why.")
    dropped = unread(found.faults)
    if not keep_duplicates:
        rows, twice = _each_once(rows)
        dropped = pl.concat([dropped, twice])
    if splits == "keep":
        rows, leaking = without_leaks(sources, rows)
        dropped = pl.concat([dropped, leaking])
        placed = rows.with_columns(to="split")
    else:
        placed = in_splits(sources, rows, SplitOptions(seed=seed) if splits == "reassign" else None)
    named = _unique_ids(placed)
    options = {"splits": splits, "seed": seed, "keep_duplicates": keep_duplicates}
    made = plan("merge", options, sources, named, dropped)
    written = write(made, to, home, progress)
    return Merged(
        written,
        leaks(sources, placed),
        moved=placed.filter(pl.col("to") != pl.col("split")).height,
        renamed=named["new_id"].count(),
    )


def in_splits(
    sources: Mapping[str, Opened], rows: pl.DataFrame, options: SplitOptions | None
) -> pl.DataFrame:
    """`rows` with the split of each in `to`: its own, or drawn by `options`; near copies stay together."""
    pins = rows["split"] if options is None else rows["pin"]
    given = rows.with_columns(split=pins, own_split="split", cluster=clusters(sources, rows))
    named = given.with_columns(conversation_id=pl.format("{} of {}", "id", "source"))
    placed = assign(named, options or SplitOptions())
    return placed.with_columns(to="split", split="own_split")


def unread(faults: pl.DataFrame) -> pl.DataFrame:
    """Lines that cannot be read as rows that are not written."""
    told = faults.with_columns(split=pl.lit(None, pl.String), id=pl.lit(None, pl.String), step=pl.lit("read"))
    return told.select(pl.col(name).cast(kind) for name, kind in LEFT.items())


def _named(sets: Sequence[Opened]) -> dict[str, Opened]:
    """Each data set under its name; the second of a name is called `NAME-2`."""
    named: dict[str, Opened] = {}
    for data in sets:
        name, count = data.name, 1
        while name in named:
            count += 1
            name = f"{data.name}-{count}"
        named[name] = data
    return named


def _each_once(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without those that repeat another, and these."""
    rank = pl.col("split").replace_strict(
        {split: -at for at, split in enumerate(SPLITS)}, return_dtype=pl.Int8
    )
    numbered = rows.with_row_index("_at")
    first = numbered.sort(rank, "_at").unique("fingerprint", keep="first", maintain_order=True)
    kept = numbered.join(first.select("_at"), on="_at", how="semi", maintain_order="left").drop("_at")
    again = numbered.join(first.select("_at"), on="_at", how="anti", maintain_order="left")
    named = first.select("fingerprint", _of=pl.format("{}, line {} of {}", "file", "line", "source"))
    told = again.join(named, on="fingerprint", how="left", maintain_order="left").with_columns(
        step=pl.lit("merge"),
        reason=pl.lit("exact duplicate"),
        evidence=pl.format("the same messages and tools as {}", "_of"),
    )
    return kept, told.select(list(LEFT))


def _unique_ids(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with `new_id` where the id that a row has stands in an earlier one."""
    seen: set[str] = set()
    new: list[str | None] = []
    taken = set(rows["own_id"].drop_nulls())
    for own, source in rows.select("own_id", "source").iter_rows():
        if own is None or own not in seen:
            seen |= {own} if own else set()
            new.append(None)
            continue
        name, count = f"{source}/{own}", 1
        while name in seen or name in taken:
            count += 1
            name = f"{source}/{own}#{count}"
        seen.add(name)
        new.append(name)
    return rows.with_columns(new_id=pl.Series(new, dtype=pl.String))
