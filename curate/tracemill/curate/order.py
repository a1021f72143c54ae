"""The order of rows in a data set: as recorded, or a curriculum from the easy to the hard.

In: the rows in their splits. Out: the same in the order they are written, which training keeps where one is
asked for (`train/examples.py: in_order`); without, it draws its own. Of rows that are equally long, or call
as often, the earlier comes first.
"""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import BaseModel


class OrderOptions(BaseModel, extra="forbid", strict=True, frozen=True):
    """`short to long` counts characters, `few calls to many` the calls to be learned, then characters."""

    by: Literal["as recorded", "short to long", "few calls to many"] = "as recorded"


def ordered(rows: pl.DataFrame, options: OrderOptions) -> pl.DataFrame:
    """`rows` (columns `form.ROW`) in the order asked for."""
    keys = {
        "as recorded": [],
        "short to long": [pl.col("characters")],
        "few calls to many": [pl.col("tools").list.len(), pl.col("characters")],
    }[options.by]
    return rows.sort(keys, maintain_order=True) if keys else rows
