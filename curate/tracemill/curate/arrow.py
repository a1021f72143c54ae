"""Frames that DuckDB can be asked about.

In: a polars frame. Out: what `register` of a DuckDB connection takes.
"""

from __future__ import annotations

import polars as pl


class Arrow:
    """A frame as an Arrow stream, which DuckDB reads without pyarrow; a polars frame it does not."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)
