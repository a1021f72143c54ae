"""What this machine knows of an adapter: the data it learned from, and how it was scored.

In: the home and an adapter. Out: `Known`, from the adapter's own card, the manifest of its data set where
that still is the one it learned from, and the evaluations in the warehouse. What is not known is None, or
empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

from tracemill.curate.dataset import Dataset, load
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import Manifest
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.warehouse.errors import WarehouseError
from tracemill.warehouse.read import query


@dataclass(frozen=True)
class Interval:
    """A share or a difference of shares, with its 95% interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """An evaluation: `n` items of `sessions` sessions, right with the base and with the adapter."""

    suite: str
    verdict: str | None
    reason: str | None
    groups: list[Group]
    score: float | None
    """Share of tool calls right, where nothing was compared and so no interval was computed."""
    items: int


@dataclass(frozen=True)
class Group:
    """Items of one kind, on which base and adapter were compared."""

    name: str
    n: int
    sessions: int
    base: Interval
    adapter: Interval
    difference: Interval


@dataclass(frozen=True)
class Known:
    """An adapter and what is known of it."""

    adapter: Adapter
    dataset: Dataset | None
    """The data set it learned from, where it still is on this machine as it was."""
    missing: str | None
    """Why there is no `dataset`, as a sentence."""
    scored: list[Scored] = field(default_factory=list[Scored])

    @property
    def manifest(self) -> Manifest | None:
        """What the data set was made of, where an export wrote it down."""
        return self.dataset.manifest if self.dataset else None


def known(home: Home, adapter: Adapter) -> Known:
    """Gather what is known; nothing of it is an error when it is missing."""
    dataset, missing = _dataset(home, adapter)
    try:
        scored = _scored(home, adapter.path.name)
    except WarehouseError:  # nothing was ever ingested here
        scored = []
    return Known(adapter, dataset, missing, scored)


def _dataset(home: Home, adapter: Adapter) -> tuple[Dataset | None, str | None]:
    name = str(adapter.card.get("dataset"))
    folder = home.datasets / name
    if not folder.is_dir():
        return None, f"The data set {name} is not in {home.datasets}."
    try:
        found = load(folder)
    except DatasetError as error:
        return None, str(error)
    if found.digest != adapter.card.get("dataset_sha256"):
        return None, f"The data set {name} is not the one that {adapter.path.name} learned from any more."
    return found, None


def _scored(home: Home, training_id: str) -> list[Scored]:
    """The newest evaluation on each suite, compared ones first."""
    name = training_id.replace("'", "''")
    rows = query(
        home,
        "SELECT suite, verdict, score, CAST(details AS VARCHAR) AS details, (SELECT count(*) FROM "
        "evaluation_items i WHERE i.evaluation_id = e.evaluation_id) AS items FROM evaluations e "
        f"WHERE training_id = '{name}' QUALIFY row_number() OVER (PARTITION BY suite ORDER BY "
        "verdict IS NULL, created DESC) = 1 ORDER BY verdict IS NULL, suite",
    )
    return [_of_row(row) for row in rows.iter_rows(named=True)]


def _of_row(row: dict[str, Any]) -> Scored:
    details = cast("dict[str, Any]", json.loads(row["details"] or "{}"))
    found = [details.get("calls"), *details.get("categories", []), details.get("direct")]
    verdict = cast("dict[str, Any]", details.get("verdict") or {})
    return Scored(
        suite=row["suite"],
        verdict=row["verdict"],
        reason=verdict.get("reason"),
        groups=[_group(one) for one in found if one],
        score=row["score"],
        items=row["items"],
    )


def _group(one: dict[str, Any]) -> Group:
    return Group(
        name=one["name"],
        n=one["n"],
        sessions=one["sessions"],
        base=_interval(one["base"]),
        adapter=_interval(one["adapter"]),
        difference=_interval(one["difference"]),
    )


def _interval(one: dict[str, float]) -> Interval:
    return Interval(one["estimate"], one["low"], one["high"])
