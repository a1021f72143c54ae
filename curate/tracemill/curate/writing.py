"""Rows on disk: the lines of the scratch file, in their splits and in the order of the frame.

In: the rows in their splits, and the file of lines that `form` wrote. Out: one file a split. Lines are copied
one after another, so a data set of any size needs no memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tracemill.curate.form import LINES, again
from tracemill.curate.gather import draw
from tracemill.curate.sources import SourceOptions
from tracemill.curate.splits import SPLITS


def with_copies(rows: pl.DataFrame, sources: Sequence[SourceOptions], seed: int) -> pl.DataFrame:
    """`rows` with `copies`: how often each is written, more than once only in the training split.

    A weight of 2.3 writes every row twice, and a seeded 30% of them three times.
    """
    heavy = {one.title: one.weight for one in sources if one.weight > 1}
    if not heavy:
        return rows.with_columns(copies=pl.lit(1, pl.Int64))
    weighed = rows.select("row_id", "origin", "split").iter_rows()
    copies = [
        _copies(name, heavy.get(origin, 1.0) if split == "train" else 1.0, seed)
        for name, origin, split in weighed
    ]
    return rows.with_columns(copies=pl.Series(copies, dtype=pl.Int64))


def _copies(name: str, weight: float, seed: int) -> int:
    whole = int(weight)
    return whole + (draw(name, seed) < weight - whole)


def write(rows: pl.DataFrame, folder: Path) -> dict[str, Path]:
    """The file of each split in `folder`; a row that is repeated comes again after all others (`ID#2`)."""
    files: dict[str, Path] = {}
    # Read piece by piece rather than mapped: mapped pages count as memory of this process.
    with (folder / LINES).open("rb") as lines:
        for split in SPLITS:
            file = folder / f"{split}.jsonl"
            files[file.name] = file
            own = rows.filter(pl.col("split") == split)
            with file.open("xb") as target:
                for copy in range(1, int(own["copies"].max() or 0) + 1):  # pyright: ignore[reportArgumentType]  # a number, as its type says
                    wanted = own.filter(pl.col("copies") >= copy).select("row_id", "start", "length")
                    for name, start, length in wanted.iter_rows():
                        line = os.pread(lines.fileno(), length, start)
                        target.write(line if copy == 1 else again(line, name, copy))
    return files
