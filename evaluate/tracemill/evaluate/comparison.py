"""Base against adapter, item by item.

In: the results of both models on the same items. Out: a `Comparison`: tool calls overall and per category,
direct answers, what flipped, what went wrong how often, and the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.scoring import Score
from tracemill.evaluate.statistics import (
    Interval,
    PairedTest,
    by_session,
    detectable_gain,
    mcnemar,
    paired_difference,
    proportion,
)
from tracemill.evaluate.verdict import Verdict, judge

Pair = tuple[ItemResult, ItemResult]


@dataclass(frozen=True)
class Group:
    """Base and adapter on the same `n` items of `sessions` sessions: share right, difference, paired test."""

    name: str
    n: int
    sessions: int
    base: Interval
    adapter: Interval
    difference: Interval
    test: PairedTest


@dataclass(frozen=True)
class Comparison:
    """All that a report says about base against adapter.

    calls: items where tool calls were due, right when exact; lenient: the same, scored leniently;
    categories: `calls` by category; direct: items where none was due, None without any; gained, lost: ids of
    items that are right with only one of the two; failures: failure word to its count in base and in adapter;
    detectable: the smallest gain that this many sessions find in 4 of 5 repetitions.
    """

    calls: Group
    lenient: Group
    categories: list[Group]
    direct: Group | None
    gained: list[str]
    lost: list[str]
    failures: dict[str, tuple[int, int]]
    detectable: float | None
    verdict: Verdict


def compare(base: Sequence[ItemResult], adapter: Sequence[ItemResult]) -> Comparison:
    """Compare results on the same items in the same order; EvaluationError for other items or no calls."""
    if [result.item.id for result in base] != [result.item.id for result in adapter]:
        raise EvaluationError("Base and adapter were scored on different items; score both on one data set.")
    pairs = list(zip(base, adapter, strict=True))
    calls = [pair for pair in pairs if pair[0].item.kind == "call"]
    direct = [pair for pair in pairs if pair[0].item.kind == "direct"]
    if not calls:
        raise EvaluationError("The data set asks for no tool call; there is nothing to compare.")
    overall = _group("all tool calls", calls)
    answers = _group("direct answers", direct) if direct else None
    detectable = detectable_gain(overall.test.n, overall.test.lost / overall.test.n)
    return Comparison(
        calls=overall,
        lenient=_group("all tool calls, lenient", calls, attrgetter("lenient")),
        categories=[
            _group(name or "no category", [pair for pair in calls if pair[0].item.category == name])
            for name in sorted({one.item.category for one, _ in calls})
        ],
        direct=answers,
        gained=[one.item.id for one, other in pairs if other.score.right and not one.score.right],
        lost=[one.item.id for one, other in pairs if one.score.right and not other.score.right],
        failures=_failures(pairs),
        detectable=detectable,
        verdict=judge(
            overall.test, overall.difference, answers.difference.estimate if answers else None, detectable
        ),
    )


def make_group(name: str, before: Sequence[bool], after: Sequence[bool], sessions: Sequence[str]) -> Group:
    """Both models' outcomes on the same items, each of which came from the session of the same position."""
    old, new = by_session(before, sessions), by_session(after, sessions)
    return Group(
        name=name,
        n=len(sessions),
        sessions=len(old),
        base=proportion(before, sessions),
        adapter=proportion(after, sessions),
        difference=paired_difference(before, after, sessions),
        test=mcnemar(list(old.values()), [new[session] for session in old]),
    )


def _group(name: str, pairs: Sequence[Pair], right: Callable[[Score], bool] = attrgetter("right")) -> Group:
    return make_group(
        name,
        [right(one.score) for one, _ in pairs],
        [right(other.score) for _, other in pairs],
        [one.item.session_id for one, _ in pairs],
    )


def _failures(pairs: Sequence[Pair]) -> dict[str, tuple[int, int]]:
    before = Counter(one.score.failure for one, _ in pairs)
    after = Counter(other.score.failure for _, other in pairs)
    words = sorted(
        (before.keys() | after.keys()) - {""}, key=lambda word: (-before[word] - after[word], word)
    )
    return {word: (before[word], after[word]) for word in words}
