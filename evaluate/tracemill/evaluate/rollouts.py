"""Rejection sampling: several attempts at every task of a data set, and which of them a verifier passes.

In: the training rows of a data set, a model, how attempts are drawn, and maybe a command that verifies. Out:
`Attempt`s. A task is a turn that was recorded: what came before it is asked, and an attempt passes where it
makes the same calls by the strict scorer, or where the command ends with exit code 0. Attempts are on disk as
they are made, so that what was broken off goes on, and are not made twice. Activate the BLAS first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from tracemill.curate.chat.codec import decode
from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import BATCH, Progress, called, load_model
from tracemill.evaluate.holdout import ItemResult, evaluate_items, prove_rows, scored
from tracemill.evaluate.items import Item, items
from tracemill.evaluate.results import known_texts, streaming
from tracemill.evaluate.sampling import Sampling, sampled
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel

PATIENCE = 60.0
"""Seconds after which a command that verifies an attempt is stopped, and the attempt has not passed."""


@dataclass(frozen=True)
class Attempt:
    """The attempt `number` (from 1 on) at a task; `failure` says why it did not pass, or is empty."""

    task: Item
    number: int
    result: ItemResult
    failure: str

    @property
    def passed(self) -> bool:
        """Whether the verifier passed it."""
        return not self.failure


def tasks(rows: Sequence[Row], *, every: bool = False) -> list[Item]:
    """The recorded turns to be attempted: those that call tools, or with `every` those in words too.

    Nothing that was recorded tells a good answer in words from a bad one; a command may.
    """
    return [item for item in items(rows) if every or item.kind == "call"]


def draw(
    home: Home,
    rows: Sequence[Row],
    asked: Sequence[Item],
    base: BaseModel,
    adapter: Adapter | None,
    sampling: Sampling,
    *,
    max_tokens: int,
    batch_size: int = BATCH,
    progress: Progress | None = None,
) -> list[Attempt]:
    """Attempts at the tasks `asked`, which are of `rows`, scored strictly; in the order of the tasks.

    EvaluationError where a prompt is longer than the context, ProofError where the template distorts a row.
    """
    chat = Chat.load(base.path, adapter.path if adapter else None)
    prove_rows(chat, rows, progress)
    wanted = sampled(asked, sampling)
    name = _identity(asked, base, adapter, sampling, max_tokens)
    known = known_texts(home, name)
    if all(item.id in known for item in wanted):
        results = scored(wanted, known)
    else:
        model = load_model(base.path, adapter.path if adapter else None)
        with streaming(home, name) as each:
            results = evaluate_items(
                model, chat, wanted, max_tokens=max_tokens, batch_size=batch_size, known=known,
                each=each, sampling=sampling, progress=called(progress, "attempting"),
            )  # fmt: skip
    of_task = [(task, number) for task in asked for number in range(1, sampling.samples + 1)]
    return [
        Attempt(task, number, result, result.score.failure)
        for (task, number), result in zip(of_task, results, strict=True)
    ]


def _identity(
    asked: Sequence[Item], base: BaseModel, adapter: Adapter | None, sampling: Sampling, max_tokens: int
) -> str:
    """A name for these attempts: a hash of all that decides what is generated."""
    model = [base.digest, adapter.card["weights_sha256"] if adapter else ""]
    what = [*model, asdict(sampling), max_tokens, [(item.id, item.digest) for item in asked]]
    return "rollouts-" + hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def verified(
    attempts: Sequence[Attempt], command: str, *, patience: float = PATIENCE, progress: Progress | None = None
) -> list[Attempt]:
    """The attempts, judged by `command`: it gets each as JSON on standard input, and exit code 0 passes.

    Several run at a time. EvaluationError where the command cannot be started.
    """
    words = _words(command)
    judged: list[Attempt] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for attempt, failure in zip(
            attempts, pool.map(partial(_failure, words, patience), attempts), strict=True
        ):
            judged.append(_judged(attempt, failure))
            if progress:
                progress("verifying", len(judged), len(attempts))
    return judged


def as_json(attempt: Attempt) -> dict[str, Any]:
    """An attempt as a command gets it: the task, what was written, its calls, and what was recorded."""
    decoded = decode(attempt.result.text)
    return {
        "task": attempt.task.id,
        "attempt": attempt.number,
        "session_id": attempt.task.session_id,
        "category": attempt.task.category,
        "messages": attempt.task.messages,
        "tools": attempt.task.tools,
        "text": attempt.result.text,
        "content": decoded.content,
        "tool_calls": [asdict(call) for call in decoded.calls],
        "errors": list(decoded.errors),
        "recorded": attempt.task.expected,
        "failure": attempt.result.score.failure,
    }


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise EvaluationError(
            f"--verify {command!r} is no command line ({error}); mend its quotes."
        ) from error
    if not words:
        raise EvaluationError(
            "--verify names no command; leave it out, or give one such as 'python check.py'."
        )
    return words


def _failure(words: Sequence[str], patience: float, attempt: Attempt) -> str:
    try:
        ended = subprocess.run(
            words,
            input=json.dumps(as_json(attempt)).encode(),
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {patience:g} seconds"
    except OSError as error:
        raise EvaluationError(f"Cannot run {words[0]!r}: {error.strerror}; mend --verify.") from error
    if not ended.returncode:
        return ""
    said = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    return ": ".join([f"exit code {ended.returncode}", *said])


def _judged(attempt: Attempt, failure: str) -> Attempt:
    """The attempt with the command's word in place of the scorer's."""
    word = attempt.result.score.failure or "wrong-answer" if failure else ""
    result = replace(attempt.result, score=replace(attempt.result.score, failure=word))
    return replace(attempt, result=result, failure=failure)


def by_task(attempts: Sequence[Attempt]) -> Iterator[tuple[Item, list[Attempt]]]:
    """The tasks in their order, each with its attempts."""
    found: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault(attempt.task.id, []).append(attempt)
    yield from ((some[0].task, some) for some in found.values())
