"""The leak check for any data set: between its splits, and against other data sets and evaluation suites.

In: a data set, perhaps others, perhaps files of prompts. Out: a `Comparison` each: how much was compared of
each kind, and every leak with the rows that show it, by file and line. Proof and evidence, not a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.curate.chat_lines import FILES
from tracemill.curate.datasets.groups import reader, scan_all
from tracemill.curate.datasets.known import with_known
from tracemill.curate.datasets.opened import Opened, find
from tracemill.curate.errors import DatasetError
from tracemill.curate.features.likeness import NEAR
from tracemill.curate.leaks import KINDS, compare
from tracemill.curate.near.earlier import matches, prompts_of
from tracemill.curate.sieve import Progress
from tracemill.tracer.home import Home

REPOSITORY = "repository"
_COLUMNS = {
    "messages": "said",
    "session": "session_id",
    "task": "task",
    "prompt": "prompt",
    REPOSITORY: "project",
}
"""The fact that a kind of leak is about."""


@dataclass(frozen=True)
class Place:
    """Where something stands: data set or suite, split, file, line, and what it is called there."""

    source: str
    split: str
    file: str
    line: int
    id: str


@dataclass(frozen=True)
class Leak:
    """What stands on two sides: its `value`, the first row of each side, and how many rows share it."""

    kind: str
    value: str
    similarity: float | None
    places: tuple[Place, Place]
    rows: int


@dataclass(frozen=True)
class Comparison:
    """What was compared with what: rows by side, and of each kind how many rows it is known of.

    `sources` are the data sets by the name that a `Place` has; `asked` is how many prompts a suite has.
    """

    what: str
    sources: Mapping[str, Opened]
    rows: dict[str, int]
    known: dict[str, int]
    leaks: list[Leak]
    unread: int
    threshold: float
    asked: int | None = None

    def counts(self) -> dict[str, int]:
        """How many leaks there are of each kind that was compared, 0 included."""
        return {kind: sum(leak.kind == kind for leak in self.leaks) for kind in self.known}


def between_splits(data: Opened, threshold: float = NEAR, progress: Progress | None = None) -> Comparison:
    """What stands in more than one split of a data set."""
    rows, unread = _rows({data.name: data}, progress)
    if not rows.height:
        told = f"none of its {unread} lines can be read" if unread else "it holds no row"
        raise DatasetError(
            f"Nothing of {data.path} can be compared: {told}; `tracemill dataset validate` says why, and "
            "`tracemill dataset import` reads other shapes of rows."
        )
    return _compared("its own splits", {data.name: data}, rows, "split", threshold, unread)


def against(
    data: Opened, other: str, home: Home, threshold: float = NEAR, progress: Progress | None = None
) -> Comparison:
    """What stands in a data set and in another one, or is asked by an evaluation suite.

    A suite is a text file of one prompt a line, or JSONL of records with a prompt and no conversation.
    DatasetError where `other` is neither.
    """
    path = Path(other).expanduser()
    if path.is_file() and path.suffix != FILES:
        return _with_suite(data, other, threshold, progress)
    second = find(other, home)
    name = second.name if second.name != data.name else f"{second.name} ({second.folder.parent.name})"
    if second.path.resolve() == data.path.resolve():
        raise DatasetError(f"{other} is the data set itself; name another one to compare it with.")
    held, unread = _rows({name: second}, progress)
    if not held.height:
        return _with_suite(data, str(second.path), threshold, progress)
    own, own_unread = _rows({data.name: data}, progress)
    both = pl.concat([own, held], how="diagonal_relaxed").rechunk()
    sources = {data.name: data, name: second}
    return _compared(name, sources, both, "source", threshold, own_unread + unread)


def _rows(sources: Mapping[str, Opened], progress: Progress | None) -> tuple[pl.DataFrame, int]:
    found = scan_all(sources, progress)
    (data,) = sources.values()
    return with_known(data, found.rows), found.faults.height


def _compared(
    what: str, sources: Mapping[str, Opened], rows: pl.DataFrame, side: str, threshold: float, unread: int
) -> Comparison:
    numbered = rows.with_row_index("at").with_columns(pl.col("at").cast(pl.String))
    asked = numbered.select(
        "task", "prompt", "minhash", id="at", split=side, session="session_id", messages="said"
    )
    report = compare(asked, reader(sources, rows), (), threshold)
    places = rows.select("source", "split", "file", "line", "id").rows()
    sides = rows[side].to_list()
    leaks = [
        Leak(leak.kind, leak.value, leak.similarity, _two(leak.rows, places, sides), len(leak.rows))
        for leak in report.leaks
    ]
    leaks += _repositories(numbered, places, sides, side)
    return Comparison(what, sources, dict(report.rows), _known(rows), leaks, unread, threshold)


def _two(
    found: Sequence[str], places: Sequence[tuple[Any, ...]], sides: Sequence[str]
) -> tuple[Place, Place]:
    """The first of the rows, and the first that stands on another side."""
    at = [int(one) for one in found]
    other = next(one for one in at if sides[one] != sides[at[0]])
    return Place(*places[at[0]]), Place(*places[other])


def _repositories(
    rows: pl.DataFrame, places: Sequence[tuple[Any, ...]], sides: Sequence[str], side: str
) -> Iterator[Leak]:
    found = (
        rows.filter(pl.col("project") != "")
        .group_by("project", maintain_order=True)
        .agg("at", pl.col(side).n_unique().alias("sides"))
        .filter(pl.col("sides") > 1)
    )
    for project, at in found.select("project", "at").iter_rows():
        yield Leak(REPOSITORY, project, None, _two(at, places, sides), len(at))


def _known(rows: pl.DataFrame) -> dict[str, int]:
    """Of how many rows it is known, by kind; a session that is only the name of the row is none."""
    own = ~pl.col("session_id").str.ends_with(pl.format(" of {}", "source"))
    known = {
        kind: rows.filter((pl.col(column) != "") & (own if kind == "session" else pl.lit(value=True))).height
        for kind, column in _COLUMNS.items()
    }
    return {kind: known.get(kind, rows.height) for kind in (*KINDS, REPOSITORY)}


def _with_suite(data: Opened, suite: str, threshold: float, progress: Progress | None) -> Comparison:
    asked = prompts_of([suite])
    rows, unread = _rows({data.name: data}, progress)
    found = matches(rows["prompt"].to_list(), [prompt for _, prompt in asked], threshold)
    places = rows.select("source", "split", "file", "line", "id").rows()
    name = Path(suite).name
    leaks: list[Leak] = []
    for place, match in zip(places, found, strict=True):
        if match is not None:
            where, prompt = asked[match[0]]
            file, _, line = where.rpartition(", line ")
            theirs = Place(name, "suite", file, int(line), where)
            leaks.append(Leak("prompt", prompt, match[1], (Place(*place), theirs), 1))
    return Comparison(
        name,
        {data.name: data},
        {data.name: rows.height},
        {"prompt": rows.height},
        leaks,
        unread,
        threshold,
        len(asked),
    )
