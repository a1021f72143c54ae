"""Telling the warehouse which data sets hold rows of which sessions, so that `forget` can name them.

In: a data set that was written, and the id, split and session of each row. Out: a record of it in the
warehouse, unless it is known as it is: so the next run of a command mends a recording that was cut short.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.tracer.home import Home
from tracemill.warehouse.lineage import Dataset, DatasetRow
from tracemill.warehouse.read import connect, query
from tracemill.warehouse.store import record_dataset

ROW: Mapping[str, Any] = {"row_id": pl.String, "split": pl.String, "session_id": pl.String}


def dataset_rows(rows: pl.DataFrame) -> list[DatasetRow]:
    """Rows with the columns of `ROW` as the warehouse takes them."""
    return [DatasetRow(*row) for row in rows.select(list(ROW)).iter_rows()]


def remember(home: Home, dataset: Dataset) -> None:
    """Record a data set, unless one of its id and content is known."""
    if _known(home, dataset.dataset_id).get("content_hash") != dataset.content_hash:
        record_dataset(home, dataset)


def remember_made(home: Home, folder: Path, rows: pl.DataFrame, content: str, how: dict[str, Any]) -> None:
    """Record the data set that was made of others in `folder`, if the warehouse knows a session of its rows.

    `rows` has the columns of `ROW`, `content` names what is in them, `how` says what made them. It is called
    after its folder; where another data set is called so, with a hash of its place behind.
    """
    if not home.snapshot.exists() or not _of_home(home, rows["session_id"].unique()):
        return
    place = _place(folder)
    name = folder.resolve().name
    known = _known(home, name)
    if known and known.get("place", _place(home.datasets / name)) != place:
        name = f"{name}@{place[:8]}"
    remember(
        home,
        Dataset(
            dataset_id=name,
            path=str(folder.resolve()),
            content_hash=content,
            recipe=how,
            rows=dataset_rows(rows),
            counts={"splits": dict(rows.group_by("split").len().sort("split").iter_rows())},
            details={"place": place},
        ),
    )


def _place(folder: Path) -> str:
    # Not the path itself: the owner of a home folder is taken out of that where it is stored.
    return hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()


def _known(home: Home, name: str) -> dict[str, Any]:
    """Content and place of the data set of that id, as the warehouse knows them."""
    if not home.snapshot.exists():
        return {}
    found = query(home, "SELECT dataset_id, content_hash, details->>'place' AS place FROM datasets")
    rows = found.filter(pl.col("dataset_id") == name).to_dicts()
    return {key: value for key, value in rows[0].items() if value is not None} if rows else {}


def _of_home(home: Home, sessions: pl.Series) -> bool:
    """Whether the warehouse knows any of the sessions, be it that a data set holds what is forgotten."""
    with connect(home) as connection:
        found = connection.execute(
            "SELECT 1 FROM (SELECT session_id FROM sessions UNION ALL SELECT session_id FROM dataset_rows) "
            "WHERE session_id IN (SELECT unnest($ids)) LIMIT 1",
            {"ids": sessions.drop_nulls().to_list()},
        ).fetchone()
    return found is not None
