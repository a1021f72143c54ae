"""Judgements in the warehouse, beside the scores of the same model.

In: two evaluations and a `Judging` of them. Out: an evaluation of the second model whose score is the mean
preference for it (0.5 is neither), with a row an item. It carries no verdict of its own: what a judge likes
promotes nothing; the word stands in its details.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from tracemill.evaluate.judge.judging import VALUE, Judging
from tracemill.evaluate.judge.pairs import Pair
from tracemill.evaluate.results import Header
from tracemill.tracer.home import Home
from tracemill.warehouse.lineage import Evaluation, EvaluationItem
from tracemill.warehouse.store import record_evaluation


def remember(home: Home, a: Header, b: Header, criterion: str, pairs: list[Pair], found: Judging) -> str:
    """Put a judging into the warehouse, where it replaces an earlier one of the same; its id."""
    names = [one.name for one in found.judges]
    parts = ["judge", a.evaluation, b.evaluation, criterion, *names]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    sides: dict[str, dict[str, Any]] = {}
    for judge in found.judges:
        for one in judge.rulings:
            sides.setdefault(one.item, {})[judge.name] = one.side
    judged = [pair for pair in pairs if pair.id in sides]
    record_evaluation(
        home,
        Evaluation(
            evaluation_id=name,
            suite=f"{b.suite}, judged by {', '.join(names)}",
            base=b.base,
            items=[
                EvaluationItem(
                    item_id=pair.id,
                    score=sum(VALUE[side] for side in sides[pair.id].values()) / len(sides[pair.id]),
                    session_id=pair.session_id,
                    category=pair.category,
                    details={"judges": sides[pair.id]},
                )
                for pair in judged
            ],
            training_id=b.adapter,
            baseline_id=a.evaluation,
            counts={side: sum(getattr(one, side) for one in found.judges) for side in ("a", "b", "ties")},
            score=(1 + found.net.estimate) / 2,
            details={
                "criterion": criterion,
                "against": a.name,
                "net": asdict(found.net),
                "test": asdict(found.test),
                "agreement": found.agreement,
                "verdict": found.verdict.word,
                "warnings": found.warnings,
            },
        ),
    )
    return name
