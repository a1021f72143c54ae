"""What of several data sets must stay together in a split, and whether it does.

In: the facts of rows, with the column `minhash`, and the data sets they come from by name (column `source`).
Out: clusters of near copies, and the report of `curate/leaks.py` for splits that are only planned: nothing
has to be written before it is known not to leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tracemill.curate.chat_lines import FILES, Lines
from tracemill.curate.datasets.facts import Scanned, scan
from tracemill.curate.datasets.made import LEFT
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.datasets.reading import Read, read_rows, these
from tracemill.curate.features.likeness import NEAR, Packed, packed
from tracemill.curate.leaks import Report, compare
from tracemill.curate.near.candidates import Positions, stacked
from tracemill.curate.near.clusters import across, find
from tracemill.curate.near.shingled import Reader
from tracemill.curate.sieve import Progress
from tracemill.curate.splits import SPLITS
from tracemill.curate.spread import spread


def scan_all(sources: Mapping[str, Opened], progress: Progress | None = None) -> Scanned:
    """The facts of the rows of several data sets, with `source` and `minhash`."""
    found = {name: scan(data, progress, features=["minhash"]) for name, data in sources.items()}
    rows = [_apart(one.rows.with_columns(source=pl.lit(name))) for name, one in found.items()]
    faults = [one.faults.with_columns(source=pl.lit(name)) for name, one in found.items()]
    return Scanned(pl.concat(rows).rechunk(), pl.concat(faults))


def _apart(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows without a session of their own are one each, whatever other data set has a line of that number."""
    name = pl.format("{}:{}", pl.col("file").str.strip_suffix(FILES), "line")
    own = pl.when(pl.col("session_id") != name).then("session_id")
    return rows.with_columns(session_id=own.otherwise(pl.format("{} of {}", name, "source")))


def clusters(sources: Mapping[str, Opened], rows: pl.DataFrame) -> pl.Series:
    """The cluster of near copies of each row, by a name; null for a row that has none."""
    found = find(stacked(rows["minhash"].to_list()), reader(sources, rows), NEAR)
    size = np.bincount(found.cluster, minlength=rows.height)[found.cluster]
    names = [str(one) if many > 1 else None for one, many in zip(found.cluster, size, strict=True)]
    return pl.Series("cluster", names, pl.String)


def leaks(sources: Mapping[str, Opened], rows: pl.DataFrame) -> Report:
    """What stands in more than one split, where the rows are to be in the splits of the column `to`."""
    compared = rows.select(
        "id",
        "task",
        "prompt",
        "minhash",
        split="to",
        session="session_id",
        messages="said",
    )
    return compare(compared, reader(sources, rows), (), NEAR)


def without_leaks(sources: Mapping[str, Opened], rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`rows` without those that say what a row held out more says (column `split`), and these (`LEFT`).

    The same messages, session, task or prompt, or a near copy: what is held out stays as it is.
    """
    left = [pl.DataFrame(schema=dict(LEFT))]
    for column, kind in (
        ("said", "messages"),
        ("session_id", "session"),
        ("task", "task"),
        ("prompt", "prompt"),
    ):
        first = rows.sort(_SIDE, descending=True, maintain_order=True).unique(column, keep="first")
        most = first.select(column, _most=_SIDE, _of=_PLACE)
        judged = rows.join(most, on=column, how="left", maintain_order="left")
        leaks = (pl.col(column) != "") & (pl.col("_most") > _SIDE)
        told = {
            "reason": pl.lit(f"held out: {kind}"),
            "evidence": pl.format(f"the same {kind} as {{}}", "_of"),
        }
        out = judged.filter(leaks.fill_null(value=False))
        left.append(_left(out.with_columns(**told)))
        rows = rows.join(out, on=["source", "file", "line"], how="anti", maintain_order="left")
    while (near := _near(sources, rows)).height:
        left.append(_left(near))
        rows = rows.join(near, on=["source", "file", "line"], how="anti", maintain_order="left")
    return rows, pl.concat(left)


_SHARED = {"said": "messages", "session_id": "session", "task": "task", "prompt": "prompt"}
_SIDE = pl.col("split").replace_strict({split: at for at, split in enumerate(SPLITS)}, return_dtype=pl.Int8)
_PLACE = pl.format("{}, line {} of {}", "file", "line", "source")


def _near(sources: Mapping[str, Opened], rows: pl.DataFrame) -> pl.DataFrame:
    """The rows near to one held out more, with why they go."""
    side = rows.select(_SIDE).to_series().cast(pl.Int64).to_numpy()
    found = across(stacked(rows["minhash"].to_list()), reader(sources, rows), NEAR, side)
    leaks = [(row, other, alike) for row, other, alike in found if side[row] < side[other]]
    places = rows.select(_PLACE).to_series()
    told = pl.DataFrame(
        [(row, f"{100 * alike:.0f}% alike to {places[other]}") for row, other, alike in leaks],
        {"_at": pl.UInt32, "evidence": pl.String},
        orient="row",
    )
    near = rows.with_row_index("_at").join(told, on="_at", maintain_order="left").drop("_at")
    return near.with_columns(reason=pl.lit("held out: near copy"))


def _left(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(step=pl.lit("splits")).select(list(LEFT))


def reader(sources: Mapping[str, Opened], rows: pl.DataFrame) -> Reader:
    """Reads the shingles of `rows` by their position, from their files."""

    def read(positions: Positions) -> Iterator[tuple[int, Packed]]:
        asked = rows.select("source", "file", "line").with_row_index("at")[positions]
        for name, data in sources.items():
            own = asked.filter(pl.col("source") == name)
            places = own["at"].to_list()
            jobs = ((lines, [places[at] for at in within]) for lines, within in these(data, own))
            for found in spread(_pack, jobs):
                yield from found

    return read


def _pack(job: tuple[Lines, list[int]]) -> list[tuple[int, Packed]]:
    lines, places = job
    rows = (read for _, read in read_rows(lines))
    return [
        (at, packed(read.found.talk)) for at, read in zip(places, rows, strict=True) if isinstance(read, Read)
    ]
