"""Rows that meet a condition in SQL, asked of a database that holds nothing else and reaches nothing.

In: a frame and a condition over its columns. Out: one boolean a row.
"""

from __future__ import annotations

import re

import polars as pl

from tracemill.curate.arrow import Arrow
from tracemill.curate.names import suggest
from tracemill.tracer.errors import TracemillError


def meets(rows: pl.DataFrame, condition: str, what: str, error: type[TracemillError]) -> pl.Series:
    """Which rows meet the condition; where it cannot be asked an `error` that names it as `what`."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.register("conversations", Arrow(rows.with_row_index("_at")))
        for setting in (
            "python_enable_replacements = false",  # else a condition could read our own variables
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
        try:
            # The condition may end in a comment.
            found = connection.execute(f"SELECT _at FROM conversations WHERE ({condition}\n)").fetchnumpy()
        except duckdb.Error as cause:
            raise error(refused(what, str(cause), rows.columns)) from cause
    kept = pl.Series(found["_at"], dtype=pl.UInt32)
    return pl.int_range(rows.height, dtype=pl.UInt32, eager=True).is_in(kept.implode())


def refused(what: str, told: str, columns: list[str]) -> str:
    """What is wrong with a condition, with the column that was probably meant."""
    missing = re.search(r'Referenced column "([^"]+)" not found', told)
    if not missing:
        # What follows is the whole query, with an arrow under it.
        reason = " ".join(told.split("\n\nLINE ", maxsplit=1)[0].split()).rstrip(".!")
        return f"{what} cannot be asked: {reason}; mend it."
    return (
        f"{what} names the column {missing[1]!r}, which does not exist"
        f"{suggest(missing[1], columns)}; the columns are {', '.join(columns)}."
    )
