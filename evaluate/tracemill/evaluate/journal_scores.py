"""Scores of the journal with their intervals, from the items that the warehouse keeps.

In: evaluations. Out: a `Scored` each. An interval rests on the items that the score is the mean of (the tool
calls, the answers, or all), and on their sessions; where no items give the score, it has no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isclose
from typing import Any

import polars as pl

from tracemill.evaluate.statistics import graded_difference, proportion
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query


@dataclass(frozen=True)
class Scored:
    """A score (0..1) on a suite with its 95% interval over `items` items, and the verdict if there is one."""

    evaluation: str
    suite: str
    score: float | None
    low: float | None
    high: float | None
    items: int
    verdict: str | None
    made: datetime

    @property
    def told(self) -> str:
        """The verdict in words; of the guard, whether general ability was kept."""
        if self.suite.startswith("guard/") and self.verdict:
            return "kept" if self.verdict == "not better" else "lost"
        return self.verdict or ""

    @property
    def text(self) -> str:
        """The score for a person, as in `81% (70 to 89)`."""
        if self.score is None:
            return "not scored"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.0%} to {self.high:.0%})"
        return f"{self.score:.0%}{interval.replace('%', '')}"


def scored(home: Home, evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Scored]:
    """Each evaluation (a row of the table) by its id."""
    if not evaluations:
        return {}
    known = query(home, _ITEMS).partition_by("evaluation_id", as_dict=True)
    found: dict[str, Scored] = {}
    for row in evaluations:
        name = row["evaluation_id"]
        items = known.get((name,))
        low, high, n = _interval(row, items)
        suite = _suite(row)
        found[name] = Scored(name, suite, row["score"], low, high, n, row["verdict"], row["created"])
    return found


def _suite(row: Mapping[str, Any]) -> str:
    """A suite as a person calls it: a split of the data set that it is of is the holdout."""
    dataset = row["dataset_id"]
    if dataset and row["suite"].startswith(f"{dataset}/"):
        rest = row["suite"].removeprefix(f"{dataset}/")
        return "holdout" + rest.removeprefix("test") if rest.startswith("test") else f"holdout {rest}"
    return row["suite"]


def _interval(row: Mapping[str, Any], items: pl.DataFrame | None) -> tuple[float | None, float | None, int]:
    """Both ends and the number of items of the score; a judging carries its own."""
    if items is None or row["score"] is None:
        return None, None, 0
    net = row["details"].get("net")
    if net:
        return (1 + net["low"]) / 2, (1 + net["high"]) / 2, items.height
    subsets = (
        items.filter("called"),
        items.filter("answer"),
        items.filter(pl.col("category") != "text"),
        items,
    )
    for some in subsets:
        if some.height and isclose(some["score"].sum() / some.height, row["score"], abs_tol=1e-9):
            return (*_of(some["score"].to_list(), some["session"].to_list()), some.height)
    return None, None, items.height


def _of(values: Sequence[float], sessions: Sequence[str]) -> tuple[float, float]:
    if set(values) <= {0.0, 1.0}:
        found = proportion([value == 1 for value in values], sessions)
    else:
        found = graded_difference([0.0] * len(values), values, sessions)
    return max(0.0, found.low), min(1.0, found.high)


_ITEMS = """
SELECT evaluation_id, coalesce(session_id, item_id) AS session, coalesce(category, '') AS category, score,
       coalesce(contains(expected, '<tool_call>'), false) AS called,
       coalesce(starts_with(expected, '(') AND expected <> '(any answer without a call)', false) AS answer
FROM evaluation_items WHERE score IS NOT NULL ORDER BY evaluation_id, item_id
"""
