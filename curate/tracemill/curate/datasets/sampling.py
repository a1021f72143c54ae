"""Some rows of a data set, drawn by a seed.

In: the facts of rows, how many of them to draw, and perhaps by what kinds. Out: the facts of those drawn, in
the order of the files; from them a data set, or their lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from tracemill.curate.datasets.facts import Scanned
from tracemill.curate.datasets.made import Written, plan, write
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.datasets.reading import these
from tracemill.curate.errors import DatasetError
from tracemill.curate.gather import draw
from tracemill.curate.sieve import Progress
from tracemill.tracer.home import Home

By = Literal["category", "tool", "split"]


def sample(found: Scanned, number: int, seed: int, by: By | None = None) -> pl.DataFrame:
    """`number` of the rows, all where there are fewer; DatasetError where there is none.

    With `by` each category, set of tools called or split has its share, and at least one row while there is
    room.
    """
    if not found.rows.height:
        raise DatasetError("There is no row to draw from; `tracemill dataset validate` says why.")
    names = found.rows.select("exact", "file", "line").iter_rows()
    draws = pl.Series("_draw", [draw(f"{exact}\0{file}\0{line}", seed) for exact, file, line in names])
    rows = found.rows.with_columns(draws, _stratum=_stratum(by)).with_row_index("_at")
    ranked = rows.with_columns(_rank=pl.col("_draw").rank("ordinal").over("_stratum"))
    # The first of every kind comes before the second of any; then each kind in proportion to its size.
    first = pl.col("_rank") == 1
    progress = (pl.col("_rank") - 0.5) / pl.len().over("_stratum")
    order = ranked.sort(~first, pl.when(first).then(0.0).otherwise(progress), "_draw")
    return order.head(number).sort("_at").drop("_at", "_rank", "_draw", "_stratum")


def _stratum(by: By | None) -> pl.Expr:
    if by is None:
        return pl.lit("")
    if by == "tool":
        return pl.col("tools").list.unique().list.sort().list.join(" ")
    return pl.col(by).fill_null("")


def write_sample(
    data: Opened,
    rows: pl.DataFrame,
    to: Path,
    home: Home,
    options: Mapping[str, object],
    progress: Progress | None = None,
) -> Written:
    """The rows drawn as a data set in the folder `to`, each in its split."""
    placed = rows.with_columns(source=pl.lit(data.name), to="split")
    return write(plan("sample", options, {data.name: data}, placed), to, home, progress)


def lines_of(data: Opened, rows: pl.DataFrame) -> Iterator[bytes]:
    """The lines of some rows as they stand in the files, each with its end."""
    for lines, _ in these(data, rows):
        for number, line in lines.lines:
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            yield text.rstrip(b"\r\n") + b"\n"
