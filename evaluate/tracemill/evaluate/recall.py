"""Evaluations that were made before, or broken off: what was generated need not be generated again.

In: the home and what is to be evaluated. Out: results. Completions are kept as text and scored anew, so a
change in scoring reaches them too. An evaluation is named by everything that decides what is generated.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from pydantic import TypeAdapter

from tracemill.evaluate.evaluation import Suite, identity, is_recorded, of_other_counts, remember, score_model
from tracemill.evaluate.generate import Progress, called
from tracemill.evaluate.holdout import ItemResult, scored
from tracemill.evaluate.live import Limits, LiveTask, run_live
from tracemill.evaluate.live_results import LiveResult
from tracemill.evaluate.report import turn_text
from tracemill.evaluate.results import (
    Header,
    StoredItem,
    is_finished,
    known_texts,
    stored_item,
    streaming,
    write_results,
)
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter, code_sha256
from tracemill.train.base import BaseModel
from tracemill.warehouse.lineage import Evaluation, EvaluationItem
from tracemill.warehouse.read import query
from tracemill.warehouse.store import record_evaluation

LIVE_RESULT = TypeAdapter(LiveResult)


def score_once(
    home: Home, suite: Suite, base: BaseModel, adapter: Adapter | None, progress: Progress | None = None
) -> list[ItemResult]:
    """Results on `suite`: what is on disk is scored anew, the rest generated, each put on disk as it is made.

    The warehouse remembers it where it does not yet; the result file is written in any case.
    """
    asked, name = suite.items(), identity(suite, base, adapter)
    others = of_other_counts(home, suite, lambda one: identity(one, base, adapter))
    known = {item: text for one in (*others, name) for item, text in known_texts(home, one).items()}
    header = Header(
        evaluation=name,
        suite=suite.name,
        suite_sha256=suite.digest,
        base=base.name,
        base_sha256=base.digest,
        adapter=adapter.path.name if adapter else None,
        adapter_sha256=adapter.card["weights_sha256"] if adapter else None,
        max_tokens=suite.max_tokens,
        sampling=suite.sampling,
        source=suite.source,
    )
    new = not is_finished(home, name)
    if all(item.id in known for item in asked):
        results = scored(asked, known)
    else:
        with streaming(home, name) as each:
            results = score_model(suite, base, adapter, progress, known, each)
    path = write_results(home, header, _stored(results))
    if new or not is_recorded(home, name):
        remember(home, suite, base, adapter, results, path=str(path))
    return results


def _stored(results: Sequence[ItemResult]) -> list[StoredItem]:
    return [stored_item(one.item, one.text, one.score, turn_text(one.item.expected)) for one in results]


def live_once(
    home: Home,
    tasks: Sequence[LiveTask],
    base: BaseModel,
    adapter: Adapter | None,
    limits: Limits,
    progress: Progress | None = None,
) -> list[LiveResult]:
    """Results of live `tasks`: remembered, else run now and remembered."""
    name = _live_identity(tasks, base, adapter, limits)
    known = _remembered(home, name, "details")
    if all(task.id in known for task in tasks):
        return [LIVE_RESULT.validate_json(known[task.id]) for task in tasks]
    results = run_live(
        tasks,
        base_path=base.path,
        adapter_path=adapter.path if adapter else None,
        home=home,
        limits=limits,
        progress=called(progress, f"live tasks with the {'adapter' if adapter else 'base'}"),
    )
    record_evaluation(
        home,
        Evaluation(
            evaluation_id=name,
            suite="live",
            base=base.name,
            items=[
                EvaluationItem(
                    item_id=result.task,
                    score=float(result.right),
                    generated=result.answer,
                    category=result.category,
                    details=result.asdict(),
                )
                for result in results
            ],
            training_id=adapter.path.name if adapter else None,
            counts=dict(Counter("right" if result.right else "failed" for result in results)),
            score=sum(result.right for result in results) / len(results) if results else None,
        ),
    )
    return results


def _remembered(home: Home, evaluation_id: str, column: str) -> dict[str, str]:
    found = query(
        home,
        f"SELECT item_id, CAST({column} AS VARCHAR) FROM evaluation_items "
        f"WHERE evaluation_id = '{evaluation_id}' AND {column} IS NOT NULL",
    )
    return dict(cast("list[tuple[str, str]]", found.rows()))


def _live_identity(
    tasks: Sequence[LiveTask], base: BaseModel, adapter: Adapter | None, limits: Limits
) -> str:
    # The agent, its tools and its verifier are code: another version of it is another evaluation.
    packages = {type(task).__module__.rpartition(".")[0] for task in tasks}
    parts = [
        "live",
        code_sha256("tracemill.evaluate", *sorted(packages)),
        base.digest,
        adapter.card["weights_sha256"] if adapter else "",
        json.dumps(asdict(limits), sort_keys=True),
        *(f"{task.id} {task.prompt}" for task in tasks),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
