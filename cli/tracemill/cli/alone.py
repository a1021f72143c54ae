"""`tracemill evaluate` of one model, in process or behind a network: what it gets right, printed.

In: a suite and a base model, a URL or a provider's model. Out: shares with intervals, pass@k and pass^k of
several samples, what went wrong, and of a server what it took and what it left unanswered.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.costs import Spent
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.holdout import ItemResult
    from tracemill.evaluate.remote import Remote
    from tracemill.evaluate.statistics import Interval
    from tracemill.tracer.home import Home


def score_alone(home: Home, suite: Suite, model: str, as_json: bool) -> None:
    """Score a base model in process; the BLAS must be active."""
    from tracemill.evaluate.evaluation import identity
    from tracemill.evaluate.recall import score_once
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        results = score_once(home, suite, base, None, progress)
    _show(suite, identity(suite, base, None), base.name, results, {}, as_json)


def ask(
    home: Home,
    suite: Suite,
    where: tuple[str | None, str | None, str | None],
    seconds: float,
    concurrency: int,
    fresh: bool,
    as_json: bool,
) -> None:
    """Ask the model of `where`: URL (None for a provider's), name, and environment variable with the key.

    `fresh`: also what it answered before.
    """
    from tracemill.evaluate.remote_evaluation import kept_answers, score_remote

    remote = _remote(*where, seconds)
    if not fresh and (days := kept_answers(home, suite, remote)):
        output.hint(output.kept_since(len(days), len(suite.items()), days))
    with output.progress() as progress:
        found = score_remote(
            home, suite, remote, seconds=seconds, concurrency=concurrency, fresh=fresh, progress=progress
        )
    more = {
        "endpoint": remote.place,
        "spent": asdict(found.spent),
        "unanswered": dict(found.unanswered),
    }
    _show(suite, found.evaluation, remote.model, found.results, more, as_json)
    if not as_json:
        output.say(_spent(found.spent))
    if found.spent.cut:
        output.hint(
            f"{found.spent.cut} of {found.spent.requests} answers were cut off at {suite.max_tokens} tokens "
            "and are scored as they stand; raise --max-tokens."
        )
    if found.unanswered:
        reasons = Counter(found.unanswered.values()).most_common()
        told = "; ".join(f"{count}: {reason}" for reason, count in reasons[:3])
        total = len(found.results) + len(found.unanswered)
        output.error(
            f"{len(found.unanswered)} of {total} items without an answer, not scored ({told}); "
            "run this again to ask them again."
        )


def _remote(url: str | None, model: str | None, key_variable: str | None, seconds: float) -> Remote:
    from tracemill.evaluate.endpoint import find_endpoint
    from tracemill.evaluate.errors import EvaluationError
    from tracemill.evaluate.provider import Provider

    if url is None:
        return Provider(model or "")
    key = os.environ.get(key_variable) if key_variable else None
    if key_variable and not key:
        raise EvaluationError(f"The environment variable {key_variable} is empty; put the key into it.")
    return asyncio.run(find_endpoint(url, model, key, seconds))


def _show(
    suite: Suite,
    evaluation: str,
    model: str,
    results: Sequence[ItemResult],
    more: Mapping[str, Any],
    as_json: bool,
) -> None:
    from tracemill.evaluate.holdout import tally
    from tracemill.evaluate.sampling import passes

    tallies = tally(results)
    chances = passes(results, suite.sampling) if suite.sampling.samples > 1 else []
    if as_json:
        output.emit_json(
            {
                "evaluation": evaluation,
                "base": model,
                "suite": suite.name,
                "sampling": asdict(suite.sampling),
                **more,
                "shares": [asdict(one) for one in tallies],
                "passes": [asdict(one) for one in chances],
                "items": [
                    {"id": result.item.id, "text": result.text, **asdict(result.score)} for result in results
                ],
            }
        )
        return
    output.table(
        (suite.name, "samples" if chances else "items", "right", "share", "95% interval"),
        [
            (one.name, one.n, one.right, output.percent(one.share.estimate), _range(one.share))
            for one in tallies
        ],
    )
    if chances:
        output.table(
            (suite.sampling.text, "items", "k", "pass@k", "95% interval", "pass^k", "95% interval"),
            [
                (
                    one.name,
                    one.n,
                    one.k,
                    output.percent(one.one.estimate),
                    _range(one.one),
                    output.percent(one.all.estimate),
                    _range(one.all),
                )
                for one in chances
            ],
        )
    failures = Counter(result.score.failure for result in results if result.score.failure)
    output.table(("what went wrong", "items"), failures.most_common())
    output.say(f"evaluation {evaluation}")


def _spent(spent: Spent) -> str:
    tokens = (
        "tokens unknown"
        if spent.input_tokens is None or spent.output_tokens is None
        else f"{spent.input_tokens:,} tokens in, {spent.output_tokens:,} out"
    )
    price = "unknown" if spent.dollars is None else f"${spent.dollars:.4f}"
    return f"{spent.requests} answers, {tokens}; price {price}"


def _range(interval: Interval) -> str:
    return f"{output.percent(interval.low)} to {output.percent(interval.high)}"
