"""The guard of a model, asked once: the warehouse remembers what it wrote, and it is marked anew.

In: the home, a size, a base model and maybe an adapter. Out: `GuardResults`, or base against adapter, whose
verdict the warehouse remembers: `worse` where general ability fell, so that nothing that fell is promoted,
else `not better`. An evaluation is named by all that decides what is generated: the items, the token limits,
the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.generate import Progress, check_base, load_model
from tracemill.evaluate.guard.items import Size, guard_items, passages, suite_digest
from tracemill.evaluate.guard.run import ANSWER_TOKENS, CODE_TOKENS, GuardResults, marked, run_guard, runnable
from tracemill.evaluate.guard.text import TextResult
from tracemill.evaluate.guard.verdict import GuardComparison, compare_guard
from tracemill.evaluate.verdict import Word
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
    check_base(base, adapter)
    name = guard_identity(size, base.digest, adapter.card["weights_sha256"] if adapter else None)
    if (known := remembered_guard(home, name, size, progress)) is not None:
        return known
    path: Path | None = adapter.path if adapter else None
    results = run_guard(load_model(base.path, path), Chat.load(base.path, path), size, progress)
    remember_guard(home, results, base, adapter)
    return results


def guard_against_base(
    home: Home, size: Size, base: BaseModel, adapter: Adapter, progress: Progress | None = None
) -> GuardComparison:
    """What `adapter` lost of the general ability of `base`; the warehouse knows the verdict afterwards."""
    before = guard_once(home, size, base, None, progress)
    after = guard_once(home, size, base, adapter, progress)
    found = compare_guard(before, after)
    name = guard_identity(size, base.digest, adapter.card["weights_sha256"])
    known = query(home, f"SELECT training_id, verdict FROM evaluations WHERE evaluation_id = '{name}'").rows()
    if known != [(adapter.path.name, word_of(found))]:
        remember_guard(home, after, base, adapter, found)
    return found


def word_of(found: GuardComparison) -> Word:
    """The verdict as the warehouse keeps it; the guard never finds an adapter better."""
    return "not better" if found.verdict.kept else "worse"


def guard_identity(size: Size, base_sha256: str, adapter_sha256: str | None = None) -> str:
    """The name of an evaluation on the guard, of a base or of an adapter on it."""
    limits = [str(ANSWER_TOKENS), str(CODE_TOKENS[size])]
    parts = ["guard", suite_digest(size), *limits, base_sha256, adapter_sha256 or ""]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def remembered_guard(
    home: Home, name: str, size: Size, progress: Progress | None = None
) -> GuardResults | None:
    """The results of an evaluation that the warehouse has all of; None where something is missing."""
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


def remember_guard(
    home: Home,
    results: GuardResults,
    base: BaseModel,
    adapter: Adapter | None,
    found: GuardComparison | None = None,
) -> None:
    """Put results into the warehouse, in place of earlier ones; `found` is what they were compared with."""
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
            evaluation_id=guard_identity(
                results.size, base.digest, adapter.card["weights_sha256"] if adapter else None
            ),
            suite=f"guard/{results.size}",
            base=base.name,
            items=[*answers, *texts],
            training_id=adapter.path.name if adapter else None,
            counts=dict(Counter(one.failure or "right" for one in results.answers)),
            score=right / len(results.answers) if results.answers else None,
            baseline_id=guard_identity(results.size, base.digest) if found else None,
            verdict=word_of(found) if found else None,
            details=_details(found) if found else {},
        ),
    )


def _details(found: GuardComparison) -> dict[str, Any]:
    told = {"word": word_of(found), "reason": found.verdict.reason}
    return {
        "verdict": told,
        "changes": [asdict(one) for one in found.verdict.changes],
        "notes": found.notes,
    }
