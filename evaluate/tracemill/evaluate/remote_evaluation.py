"""A suite asked of a model behind a network, from the first question to the result file.

In: a `Suite` and a `Remote`. Out: `RemoteResults`, a result file as any evaluation has, and what the
warehouse remembers. Answers are on disk as they come: what was asked before is not asked, or paid for, again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tracemill.evaluate.costs import Spent, Usage, spent
from tracemill.evaluate.evaluation import Suite, is_recorded, of_other_counts, record
from tracemill.evaluate.generate import Progress
from tracemill.evaluate.holdout import ItemResult, scored
from tracemill.evaluate.remote import MOST_UNANSWERED, Remote, Request, ask_all
from tracemill.evaluate.report import turn_text
from tracemill.evaluate.results import (
    Header,
    known_texts,
    known_usage,
    stored_item,
    streaming,
    write_results,
)
from tracemill.tracer.home import Home


@dataclass(frozen=True)
class RemoteResults:
    """Results of the items that were answered, what all of them took, and why the others were not."""

    evaluation: str
    results: list[ItemResult]
    spent: Spent
    unanswered: Mapping[str, str]


def score_remote(
    home: Home,
    suite: Suite,
    remote: Remote,
    *,
    seconds: float = 120.0,
    concurrency: int = 8,
    fresh: bool = False,
    progress: Progress | None = None,
) -> RemoteResults:
    """Ask `remote` every item that it has not answered yet, or with `fresh` every one, and score the answers.

    `seconds` is how long to wait for one. EvaluationError where it cannot be asked, or where too many items
    got no answer.
    """
    asked, name = suite.items(), remote_identity(suite, remote)
    texts, usages = ({}, {}) if fresh else _kept(home, suite, remote)
    missing = [item for item in asked if item.id not in texts]
    unanswered: dict[str, str] = {}
    if missing:
        today = datetime.now(UTC).date().isoformat()
        with streaming(home, name, fresh=fresh) as add:

            def each(item: str, text: str, usage: Usage) -> None:
                texts[item], usages[item] = text, replace(usage, when=today)
                add(item, text, usages[item])

            unanswered = asyncio.run(
                ask_all(
                    remote,
                    missing,
                    Request(suite.max_tokens, seconds, suite.sampling),
                    concurrency=concurrency,
                    most=int(MOST_UNANSWERED * len(asked)),
                    each=each,
                    progress=progress,
                )
            )
    results = scored([item for item in asked if item.id not in unanswered], texts)
    path = write_results(
        home,
        Header(
            evaluation=name,
            suite=suite.name,
            suite_sha256=suite.digest,
            base=remote.model,
            base_sha256="",
            adapter=None,
            adapter_sha256=None,
            max_tokens=suite.max_tokens,
            sampling=suite.sampling,
            endpoint=remote.place,
            unanswered={item.id: unanswered[item.id] for item in asked if item.id in unanswered},
            source=suite.source,
        ),
        [
            stored_item(one.item, one.text, one.score, turn_text(one.item.expected), usages.get(one.item.id))
            for one in results
        ],
    )
    if missing or not is_recorded(home, name):
        record(home, suite, name, f"{remote.model} at {remote.place}", results, path=str(path))
    return RemoteResults(name, results, spent(usages.values()), unanswered)


def kept_answers(home: Home, suite: Suite, remote: Remote) -> list[str | None]:
    """The day (UTC) of every answer that is on disk, None where it is not known."""
    return [one.when for one in _kept(home, suite, remote)[1].values()]


def _kept(home: Home, suite: Suite, remote: Remote) -> tuple[dict[str, str], dict[str, Usage]]:
    """The texts of what was asked that are on disk, and what they took."""
    others = of_other_counts(home, suite, lambda one: remote_identity(one, remote))
    asked = {item.id for item in suite.items()}
    texts: dict[str, str] = {}
    usages: dict[str, Usage] = {}
    for name in (*others, remote_identity(suite, remote)):
        texts |= known_texts(home, name)
        usages |= known_usage(home, name)
    return (
        {item: text for item, text in texts.items() if item in asked},
        {item: usage for item, usage in usages.items() if item in asked},
    )


def remote_identity(suite: Suite, remote: Remote) -> str:
    """The name of an evaluation: a hash of what was asked of whom, and how."""
    asked = [suite.digest, suite.split, str(suite.max_tokens), suite.sampling.text]
    return hashlib.sha256("\n".join(["remote", remote.place, remote.model, *asked]).encode()).hexdigest()[:16]
