"""What of several data sets must stay together in a split, and whether it does.

In: the facts of rows, with the column `minhash`, and the data sets they come from by name (column `source`).
Out: clusters of near copies, and the report of `curate/leaks.py` for splits that are only planned: nothing
has to be written before it is known not to leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tracemill.curate.chat_lines import Lines
from tracemill.curate.datasets.facts import Scanned, scan
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.datasets.reading import Read, read_rows, these
from tracemill.curate.features.likeness import NEAR, Packed, packed
from tracemill.curate.leaks import Report, compare
from tracemill.curate.near.candidates import Positions, stacked
from tracemill.curate.near.clusters import find
from tracemill.curate.near.shingled import Reader
from tracemill.curate.sieve import Progress
from tracemill.curate.spread import spread


def scan_all(sources: Mapping[str, Opened], progress: Progress | None = None) -> Scanned:
    """The facts of the rows of several data sets, with `source` and `minhash`."""
    found = {name: scan(data, progress, features=["minhash"]) for name, data in sources.items()}
    rows = [one.rows.with_columns(source=pl.lit(name)) for name, one in found.items()]
    faults = [one.faults.with_columns(source=pl.lit(name)) for name, one in found.items()]
    return Scanned(pl.concat(rows).rechunk(), pl.concat(faults))


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
