"""Base against adapter, item by item.

In: the results of both models on the same items. Out: a `Comparison`: tool calls overall and per category,
direct answers, what flipped, what went wrong how often, and the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.guard.verdict import GuardVerdict
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.scoring import Score
from tracemill.evaluate.statistics import (
    Interval,
    PairedTest,
    by_session,
    detectable_gain,
    graded_difference,
    holm,
    mcnemar,
    paired_difference,
    permutation,
    proportion,
)
from tracemill.evaluate.verdict import Verdict, judge, with_guard

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

    calls: items where calls or answers were due, right when exact, and where none was in a suite without
    any; lenient: the same, scored leniently; categories: `calls` by category; direct: items where any words
    without a call were right, None without any; gained, lost: ids of items that are right with only one of
    the two; failures: failure word to its count in base and in adapter; detectable: the smallest gain that
    this many sessions find in 4 of 5 repetitions.
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
    """Compare results on the same items in the same order; EvaluationError for other items or none."""
    if [result.item.id for result in base] != [result.item.id for result in adapter]:
        raise EvaluationError("Base and adapter were scored on different items; score both on one data set.")
    if not base:
        raise EvaluationError("There is no item; there is nothing to compare.")
    pairs = list(zip(base, adapter, strict=True))
    due = [pair for pair in pairs if pair[0].item.kind != "direct"]
    direct = [pair for pair in pairs if pair[0].item.kind == "direct"] if due else []
    asked = due or pairs
    name = _NAMES.get(frozenset(one.item.kind for one, _ in asked), "calls and answers")
    overall = _group(name, asked)
    answers = _group("direct answers", direct) if direct else None
    detectable = detectable_gain(overall.test.n, overall.test.lost / overall.test.n)
    return Comparison(
        calls=overall,
        lenient=_group(f"{name}, lenient", asked, lambda score: float(score.lenient)),
        categories=[
            _group(category or "no category", [pair for pair in asked if pair[0].item.category == category])
            for category in sorted({one.item.category for one, _ in asked})
        ],
        direct=answers,
        gained=[one.item.id for one, other in pairs if other.score.right and not one.score.right],
        lost=[one.item.id for one, other in pairs if one.score.right and not other.score.right],
        failures=_failures(pairs),
        detectable=detectable,
        verdict=_judged(overall, answers, detectable),
    )


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons of several models with one, their p values and verdicts corrected for being several."""
    ps = holm([one.calls.test.p for one in comparisons])
    found: list[Comparison] = []
    for one, p in zip(comparisons, ps, strict=True):
        calls = replace(one.calls, test=replace(one.calls.test, p=p))
        verdict = _judged(calls, one.direct, one.detectable, len(ps))
        found.append(replace(one, calls=calls, verdict=verdict))
    return found


def guarded(comparison: Comparison, guard: GuardVerdict) -> Comparison:
    """The comparison with what the guard found as a part of its verdict."""
    return replace(comparison, verdict=with_guard(comparison.verdict, guard.kept, guard.reason))


def _judged(calls: Group, direct: Group | None, detectable: float | None, several: int = 1) -> Verdict:
    change = direct.difference.estimate if direct else None
    return judge(
        calls.test,
        calls.difference,
        change,
        detectable,
        what=_WHAT.get(calls.name, calls.name),
        several=several,
    )


_NAMES = {
    frozenset({"call"}): "all tool calls",
    frozenset({"answer"}): "all answers",
    frozenset({"direct"}): "direct answers",
}
_WHAT = {"all tool calls": "exact tool calls", "all answers": "right answers"}


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


def _group(name: str, pairs: Sequence[Pair], value: Callable[[Score], float] = attrgetter("value")) -> Group:
    before, after = [value(one.score) for one, _ in pairs], [value(other.score) for _, other in pairs]
    sessions = [one.item.session_id for one, _ in pairs]
    if {*before, *after} <= {0.0, 1.0}:
        return make_group(name, [one == 1 for one in before], [one == 1 for one in after], sessions)
    nothing = [0.0] * len(sessions)
    return Group(
        name=name,
        n=len(sessions),
        sessions=len(set(sessions)),
        base=graded_difference(nothing, before, sessions),
        adapter=graded_difference(nothing, after, sessions),
        difference=graded_difference(before, after, sessions),
        test=permutation(before, after, sessions),
    )


def _failures(pairs: Sequence[Pair]) -> dict[str, tuple[int, int]]:
    before = Counter(one.score.failure for one, _ in pairs)
    after = Counter(other.score.failure for _, other in pairs)
    words = sorted(
        (before.keys() | after.keys()) - {""}, key=lambda word: (-before[word] - after[word], word)
    )
    return {word: (before[word], after[word]) for word in words}
