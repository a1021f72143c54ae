"""Stored evaluations against one another: several models with one, on the items they share.

In: result files. Out: for each model but the first a `Versus`: the comparison on the items that both have,
how many were left out, and every item that is right with only one of the two. Items are the same where id and
hash are. Where the warehouse has the guard of both models, it is a part of the verdict (`with_guards`).
Whether an adapter may take the place of another is judged by all that both were asked (`on_shared_suites`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tracemill.evaluate.comparison import Comparison, compare, corrected, guarded
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.guard.recall import guard_identity, remembered_guard
from tracemill.evaluate.guard.verdict import GuardComparison, compare_guard
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.items import Item
from tracemill.evaluate.results import Header, Stored, StoredItem, headers, read_results
from tracemill.evaluate.suites.suite import SIZES
from tracemill.tracer.home import Home
from tracemill.train.promotion import TO_LEARN_FROM, seen
from tracemill.warehouse.read import query

Weights = tuple[str, str | None]
"""SHA-256 of a base, and of the adapter on it if there is one."""


@dataclass(frozen=True)
class Versus:
    """`after` against `before` on `shared` items; `left_out` are those that only one of them has."""

    before: Header
    after: Header
    shared: int
    left_out: tuple[int, int]
    comparison: Comparison
    flips: list[tuple[StoredItem, StoredItem]]
    guard: GuardComparison | None = None


def compare_stored(evaluations: Sequence[Stored]) -> list[Versus]:
    """Every evaluation against the first, with p values corrected where there are several.

    EvaluationError where two have no item in common.
    """
    first, *others = evaluations
    pairs = [_shared(first, other) for other in others]
    comparisons = [
        compare([_result(one) for one, _ in some], [_result(other) for _, other in some]) for some in pairs
    ]
    if len(others) > 1:
        comparisons = corrected(comparisons)
    return [
        Versus(
            first.header,
            other.header,
            len(some),
            (len(first.items) - len(some), len(other.items) - len(some)),
            comparison,
            [(one, two) for one, two in some if one.score.right != two.score.right],
        )
        for other, some, comparison in zip(others, pairs, comparisons, strict=True)
    ]


def on_shared_suites(home: Home, before: str, after: str) -> list[Versus]:
    """The adapter of weights `after` against that of weights `before` on each suite both were asked alike.

    Weights are named by their SHA-256. The suite asked last comes first. Of each suite the newest evaluations
    count, without the items that one of the two learned from, or that chose its checkpoint.
    """
    asked: dict[str, dict[object, Path]] = {before: {}, after: {}}
    for path, one in headers(home):
        if one.adapter_sha256 in asked and not re.search(TO_LEARN_FROM, one.suite):
            how = one.suite, one.suite_sha256, one.max_tokens, one.sampling
            asked[one.adapter_sha256].setdefault(how, path)
    found: list[Versus] = []
    for how, path in asked[after].items():
        if how not in asked[before]:
            continue
        old, new = read_results(asked[before][how]), read_results(path)
        names = [str(one.header.adapter) for one in (old, new)]
        known = set[str]().union(*(seen(home, name, new.header.evaluation) for name in names))
        fair = [
            replace(one, items=[item for item in one.items if item.id not in known]) for one in (old, new)
        ]
        if all(one.items for one in fair):
            found += compare_stored(fair)
    return found


def with_guards(home: Home, found: Sequence[Versus]) -> list[Versus]:
    """The same with the guard in each verdict where both models were asked it at one size, the largest."""
    guards = [stored_guard(home, _weights(one.before), _weights(one.after)) for one in found]
    return [
        replace(one, guard=guard, comparison=guarded(one.comparison, guard.verdict)) if guard else one
        for one, guard in zip(found, guards, strict=True)
    ]


def stored_guard(home: Home, before: Weights, after: Weights) -> GuardComparison | None:
    """Both models on the largest size of the guard that both were asked; None where there is none."""
    if not home.snapshot.exists():
        return None
    found = query(home, "SELECT evaluation_id FROM evaluations WHERE suite LIKE 'guard/%'")
    known = {name for (name,) in found.rows()}
    for size in reversed(SIZES):
        names = [guard_identity(size, *one) for one in (before, after)]
        if not known.issuperset(names):
            continue
        results = [remembered_guard(home, name, size) for name in names]
        if results[0] and results[1]:
            return compare_guard(results[0], results[1])
    return None


def _weights(header: Header) -> Weights:
    return header.base_sha256, header.adapter_sha256


def find_evaluations(home: Home, names: Sequence[str], suite: str | None = None) -> list[Stored]:
    """The evaluation that each name means: a result file, the id of an evaluation, an adapter or a base.

    An adapter or base stands for its evaluation on `suite`, or on the one suite that all of them have.
    EvaluationError where nothing or more than one is meant.
    """
    known = headers(home)
    meant = [_meant(known, name, suite) for name in names]
    suites = set[str].intersection(*({header.suite for _, header in some} for some in meant))
    found: list[Stored] = []
    for name, some in zip(names, meant, strict=True):
        fitting = [one for one in some if one[1].suite in suites] or some
        if len({header.suite for _, header in fitting}) > 1:
            told = ", ".join(sorted({header.suite for _, header in fitting}))
            raise EvaluationError(f"{name} was evaluated on {told}; name one with --suite, or an evaluation.")
        found.append(read_results(fitting[0][0]))
    return found


def _meant(known: list[tuple[Path, Header]], name: str, suite: str | None) -> list[tuple[Path, Header]]:
    path = Path(name)
    if path.suffix == ".jsonl":
        return [(path, read_results(path).header)]
    by_id = [one for one in known if len(name) >= 8 and one[1].evaluation.startswith(name)]
    if by_id:
        return by_id[:1]
    found = [one for one in known if path.name == one[1].name]
    if not found:
        raise EvaluationError(
            f"There is no evaluation of {name}: name an adapter, a base model, the id of an evaluation or a "
            "result file, or run `tracemill evaluate` first."
        )
    chosen = [one for one in found if suite in (None, one[1].suite, one[1].suite.partition(" (")[0])]
    if not chosen:
        told = ", ".join(sorted({header.suite for _, header in found}))
        raise EvaluationError(f"{name} was not evaluated on {suite}, but on {told}.")
    return chosen


def _shared(one: Stored, other: Stored) -> list[tuple[StoredItem, StoredItem]]:
    known = {item.id: item for item in other.items}
    some = [
        (item, known[item.id]) for item in one.items if item.id in known and known[item.id].hash == item.hash
    ]
    counts = [each.header.sampling.samples for each in (one, other)]
    if not some and counts[0] != counts[1]:
        raise EvaluationError(
            f"The evaluation {one.header.evaluation} has {counts[0]} samples of each item and "
            f"{other.header.evaluation} has {counts[1]}; evaluate both with the same --samples."
        )
    if not some:
        raise EvaluationError(
            f"The evaluations {one.header.evaluation} ({one.header.suite}) and {other.header.evaluation} "
            f"({other.header.suite}) have no item in common; evaluate both on one suite."
        )
    return some


def _result(item: StoredItem) -> ItemResult:
    """A stored item as a result: it was scored, so what was asked and wanted matters no more."""
    expected = Item(
        id=item.id,
        session_id=item.session_id,
        category=item.category,
        kind=item.kind,
        messages=[{"role": "user", "content": item.asked}],
        tools=[],
        expected={"role": "assistant", "content": item.expected},
        source=item.source,
    )
    return ItemResult(expected, item.text, item.score)
