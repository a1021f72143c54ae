"""The guard of a model, asked once: the warehouse remembers what it wrote, and it is marked anew.

In: the home, a size, a base model and maybe an adapter. Out: `GuardResults`. An evaluation is named by all
that decides what is generated: the items, the token limits, the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import cast

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import Progress, load_model
from tracemill.evaluate.guard.items import Size, guard_items, passages, suite_digest
from tracemill.evaluate.guard.run import ANSWER_TOKENS, CODE_TOKENS, GuardResults, marked, run_guard, runnable
from tracemill.evaluate.guard.text import TextResult
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Evaluation, EvaluationItem
from tracemill.warehouse.read import query
from tracemill.warehouse.store import record_evaluation

TEXT = "text"
"""Category of the items that are passages."""


def guard_once(
    home: Home, size: Size, base: BaseModel, adapter: Adapter | None = None, progress: Progress | None = None
) -> GuardResults:
    """Results of a size: what is remembered is marked anew, else the model is asked and it is remembered.

    EvaluationError where the adapter is of another base.
    """
    if adapter is not None and adapter.card["base_sha256"] != base.digest:
        raise EvaluationError(
            f"The adapter {adapter.path} was trained on another base ({adapter.card['base']}) "
            f"than {base.path}; name that base, or train again."
        )
    name = guard_identity(size, base, adapter)
    if (known := _remembered(home, name, size, progress)) is not None:
        return known
    path: Path | None = adapter.path if adapter else None
    results = run_guard(load_model(base.path, path), Chat.load(base.path, path), size, progress)
    _remember(home, name, results, base, adapter)
    return results


def guard_identity(size: Size, base: BaseModel, adapter: Adapter | None) -> str:
    """The name of an evaluation on the guard."""
    weights = adapter.card["weights_sha256"] if adapter else ""
    parts = ["guard", suite_digest(size), str(ANSWER_TOKENS), str(CODE_TOKENS[size]), base.digest, weights]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _remembered(home: Home, name: str, size: Size, progress: Progress | None) -> GuardResults | None:
    """The results that the warehouse has all of; None where something is missing."""
    ingest(home)
    found = query(
        home,
        "SELECT item_id, category, generated, CAST(details AS VARCHAR) FROM evaluation_items "
        f"WHERE evaluation_id = '{name}'",
    )
    rows = cast("list[tuple[str, str, str | None, str]]", found.rows())
    written = {item: text for item, category, text, _ in rows if category != TEXT and text is not None}
    read = {
        item: TextResult(**json.loads(details)) for item, category, _, details in rows if category == TEXT
    }
    (asked, _), wanted = runnable(guard_items(size)), passages(size)
    if not all(one.id in read for one in wanted) or not all(one.id in written for one in asked):
        return None
    return marked(size, written, [read[one.id] for one in wanted], progress)


def _remember(home: Home, name: str, results: GuardResults, base: BaseModel, adapter: Adapter | None) -> None:
    answers = [
        EvaluationItem(
            item_id=one.item.id,
            score=float(one.right),
            expected=" or ".join(one.item.right) or one.item.checks,
            generated=one.text,
            category=one.item.category,
            details={"failure": one.failure, "detail": one.detail, "source": one.item.source},
        )
        for one in results.answers
    ]
    texts = [
        EvaluationItem(item_id=one.id, score=one.predicted, category=TEXT, details=one.asdict())
        for one in results.texts
    ]
    right = sum(one.right for one in results.answers)
    record_evaluation(
        home,
        Evaluation(
            evaluation_id=name,
            suite=f"guard/{results.size}",
            base=base.name,
            items=[*answers, *texts],
            training_id=adapter.path.name if adapter else None,
            counts=dict(Counter(one.failure or "right" for one in results.answers)),
            score=right / len(results.answers) if results.answers else None,
        ),
    )
