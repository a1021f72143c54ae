"""What is known of the rows of a data set beside what stands in them: from its manifest, or `made.json`.

In: a data set and the facts of its rows. Out: the same with task, project, outcome and pin filled in where
the rows do not say.
"""

from __future__ import annotations

import polars as pl

from tracemill.curate.datasets.made import ROWS, listed, made_of
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import FILE, Manifest, rows_of
from tracemill.curate.names import PART_OF_CONVERSATION

KNOWN = ("task", "project", "outcome", "pin")


def with_known(data: Opened, rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` (`facts.FACTS`) with what the export or the operation that made the data set knew of them.

    DatasetError where what it wrote is broken.
    """
    if (found := _exported(data)) is not None:
        known = found.unique("id", maintain_order=True)
        # A conversation may be several rows, each with an id of its own.
        part = pl.col("id").str.replace(PART_OF_CONVERSATION, "")
        own = pl.when(pl.col("id").is_in(known["id"].implode())).then("id").otherwise(part)
        return _joined(rows.with_columns(_of=own), known.rename({"id": "_of"}), ["_of"]).drop("_of")
    if (made := made_of(data.folder)) is not None:
        told = listed(data.folder, made).select("at", "to", *KNOWN)
        placed = told.select(pl.format("{}.jsonl", "to").alias("file"), pl.col("at").alias("line"), *KNOWN)
        return _joined(rows, placed, ["file", "line"])
    return rows


def _exported(data: Opened) -> pl.DataFrame | None:
    """The rows of the manifest of an export; None where there is none."""
    file = data.folder / FILE
    if not file.exists():
        return None
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{file} is not a manifest; export the data set again, or delete it.") from error
    return rows_of(data.folder, manifest).select(pl.col("conversation_id").alias("id"), *KNOWN)


def _joined(rows: pl.DataFrame, told: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    typed = told.with_columns(pl.col(name).cast(ROWS[name]) for name in KNOWN)
    both = rows.join(typed, on=by, how="left", maintain_order="left", suffix="_told")
    return both.with_columns(pl.coalesce(name, f"{name}_told").alias(name) for name in KNOWN).drop(
        f"{name}_told" for name in KNOWN
    )
