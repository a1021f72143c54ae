"""Which adapter is promoted: the one that `serve` serves.

    promoted.json   {"v": 1, "history": [Step, ...]}, oldest first

In: an adapter, and the verdicts on it that the warehouse knows. Out: the history with one more step, written
by a rename. The promoted adapter is what the steps come to: promoting puts one on top, a rollback takes the
topmost away. Promoting asks for a verdict `better` and none `worse`, of the newest on each suite; what was
found better on rows that the adapter learned from, or that chose its checkpoint, does not speak for it. That
it is worse than what is promoted now, the caller tells (`tracemill.evaluate.stored_comparison`).
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter, load_adapter
from tracemill.train.errors import PromotionError
from tracemill.warehouse.read import query

FILE = "promoted.json"


class Step(BaseModel, extra="forbid", frozen=True):
    """A promotion, or a rollback to what was promoted before."""

    action: Literal["promote", "rollback"]
    adapter: str | None
    """What is promoted after it: the name of an adapter, None for nothing."""
    path: str | None
    """Its folder."""
    weights_sha256: str | None
    """Of its weights."""
    at: float
    """Unix seconds."""
    by: str
    """The user of this machine who did it."""
    verdict: str | None = None
    """The newest verdict on it at that moment; None where there was none."""
    evaluation_id: str | None = None
    """The evaluation that found it."""
    suite: str | None = None
    forced: bool = False
    """Whether it was promoted against the verdicts, or without any."""


class _File(BaseModel, extra="forbid"):
    v: Literal[1] = 1
    history: list[Step] = []


@dataclass(frozen=True)
class Verdict:
    """The newest verdict on an adapter on one suite."""

    word: str
    suite: str
    evaluation_id: str
    reason: str | None = None
    learned: bool = False
    """Whether it was asked what the adapter was trained on, or its checkpoint chosen by."""


def history(home: Home) -> list[Step]:
    """All promotions and rollbacks, oldest first; PromotionError where the file is none of ours."""
    file = home.root / FILE
    try:
        return _File.model_validate_json(file.read_bytes()).history
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise PromotionError(
            f"Cannot tell which adapter is promoted: {file} cannot be read as one that Tracemill wrote; "
            "restore it, or delete it and promote again."
        ) from error


def current(steps: Sequence[Step]) -> Step | None:
    """The promotion that stands after `steps`; None where nothing is promoted."""
    return (_stack(steps) or [None])[-1]


def promoted(home: Home) -> Adapter:
    """The promoted adapter, as it was when it was promoted; PromotionError where there is none such."""
    step = current(history(home))
    if step is None or step.adapter is None:
        raise PromotionError(
            "No adapter is promoted; `tracemill promote ADAPTER` promotes one, or name the adapter to use."
        )
    folder = folder_of(home, step)
    if folder is None:
        raise PromotionError(
            f"The promoted adapter {step.adapter} is gone: there is no folder {step.path}; "
            "`tracemill rollback` returns to the one before, `tracemill promote` takes another."
        )
    adapter = load_adapter(folder)
    if adapter.card["weights_sha256"] != step.weights_sha256:
        raise PromotionError(
            f"{folder} is not the adapter that was promoted: its weights changed since; "
            "evaluate and promote it again, or `tracemill rollback`."
        )
    return adapter


def folder_of(home: Home, step: Step) -> Path | None:
    """Where the adapter of a step is: where it was, or under its name in this home; None where it is gone."""
    if step.adapter is None or step.path is None:
        return None
    return next((one for one in (Path(step.path), home.adapters / step.adapter) if one.is_dir()), None)


def verdicts(home: Home, adapter: Adapter) -> list[Verdict]:
    """The newest verdict on `adapter` on each suite it was compared on, newest first."""
    found = query(home, _VERDICTS.replace("ADAPTER", _text(adapter.path.name)))
    return [Verdict(*row) for row in found.rows()]


def seen(home: Home, adapter: str, evaluation_id: str) -> set[str]:
    """Ids of the items of an evaluation that the adapter of that name learned from, or was chosen by."""
    found = query(home, _ITEMS_SEEN.replace("ADAPTER", _text(adapter)) + _text(evaluation_id))
    return set(found["item_id"])


def _text(value: str) -> str:
    """A text of SQL."""
    return "'" + value.replace("'", "''") + "'"


TO_LEARN_FROM = "/(train|valid)( [(].*)?$"
"""How suites are named that are splits to learn from, or to choose a checkpoint by."""
_SEEN = """
known AS (
    FROM dataset_rows WHERE dataset_id IN (SELECT dataset_id FROM training_runs WHERE training_id = ADAPTER)
), learned AS (FROM known WHERE split <> 'test'), seen AS (
    FROM evaluation_items
    WHERE regexp_replace(item_id, '#[0-9]+(~[0-9]+)?$', '') IN (SELECT row_id FROM learned)
    OR session_id IN (
        SELECT session_id FROM learned EXCEPT SELECT session_id FROM known WHERE split = 'test'
    )
)
"""
"""Of held-out rows some may stem from a session that is on both sides: a data set of others may be so."""
_ITEMS_SEEN = f"WITH {_SEEN} SELECT item_id FROM seen WHERE evaluation_id = "
_VERDICTS = f"""
WITH newest AS (
    FROM evaluations WHERE training_id = ADAPTER AND verdict IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY suite ORDER BY created DESC) = 1
), {_SEEN}
SELECT verdict, suite, evaluation_id, details->>'$.verdict.reason',
    regexp_matches(suite, '{TO_LEARN_FROM}') OR evaluation_id IN (SELECT evaluation_id FROM seen)
FROM newest ORDER BY created DESC
"""


def objection(adapter: Adapter, found: Sequence[Verdict]) -> str | None:
    """Why `adapter` should not be promoted, as a sentence without its end; None where nothing is against."""
    name = adapter.path.name
    worse = [one for one in found if one.word == "worse"]
    if worse:
        told = [f" ({one.reason.rstrip('.')})" if one.reason else "" for one in worse]
        suites = ", ".join(one.suite + why for one, why in zip(worse, told, strict=True))
        return f"{name} is worse than its base on {suites}"
    if any(one.word == "better" and not one.learned for one in found):
        return None
    if found:
        known = " (rows to learn from, or to choose a checkpoint by)"
        told = ", ".join(f"{one.word} on {one.suite}{known * one.learned}" for one in found)
        return f"No evaluation found {name} better than its base on what it had not seen: {told}"
    return f"No evaluation has compared {name} with its base"


def promote(home: Home, adapter: Adapter, *, beaten: str | None = None, force: bool = False) -> Step:
    """Promote `adapter`, and return the step; that of its promotion where it is promoted already.

    PromotionError where the verdicts on it speak against, or where it is worse than what is promoted, which
    `beaten` tells in a sentence; but for `force`, which the step keeps.
    """
    found = verdicts(home, adapter)
    against = objection(adapter, found)
    if against and not force:
        raise PromotionError(
            f"{against}, so it is not promoted; `tracemill evaluate` compares the two, "
            "--force promotes it all the same."
        )
    if beaten and not force:
        raise PromotionError(
            f"{adapter.path.name} is not promoted. {beaten} `tracemill compare` shows where; "
            "--force promotes it all the same."
        )
    speaks = (one for one in found if one.word == "better" and not one.learned)
    best = next(speaks, found[0] if found else None)
    with _changing(home) as steps:
        now = current(steps)
        if now and (now.adapter, now.weights_sha256) == (adapter.path.name, adapter.card["weights_sha256"]):
            return now
        steps.append(
            Step(
                action="promote",
                adapter=adapter.path.name,
                path=str(adapter.path.absolute()),
                weights_sha256=adapter.card["weights_sha256"],
                at=time.time(),
                by=_user(),
                verdict=best.word if best else None,
                evaluation_id=best.evaluation_id if best else None,
                suite=best.suite if best else None,
                forced=bool(against or beaten),
            )
        )
        return steps[-1]


def rollback(home: Home) -> tuple[Step, Step]:
    """Return to what was promoted before: the promotion taken back, and the step of the rollback.

    Where nothing was promoted before, nothing is after it. PromotionError where nothing is promoted now, or
    where the adapter before is gone.
    """
    with _changing(home) as steps:
        stack = _stack(steps)
        if not stack:
            raise PromotionError("Nothing is promoted, so there is nothing to take back.")
        before = stack[-2] if len(stack) > 1 else None
        if before and folder_of(home, before) is None:
            raise PromotionError(
                f"The adapter before {stack[-1].adapter}, {before.adapter}, is gone: there is no folder "
                f"{before.path}; promote another one."
            )
        done = {"action": "rollback", "at": time.time(), "by": _user()}
        nothing = Step(action="rollback", adapter=None, path=None, weights_sha256=None, at=0, by="")
        steps.append((before or nothing).model_copy(update=done))
        return stack[-1], steps[-1]


def _stack(steps: Sequence[Step]) -> list[Step]:
    """The promotions that no rollback took back."""
    stack: list[Step] = []
    for step in steps:
        if step.action == "promote":
            stack.append(step)
        elif stack:
            stack.pop()
    return stack


@contextmanager
def _changing(home: Home) -> Generator[list[Step]]:
    """The history under a lock; what is appended to it is written, all or nothing."""
    file = home.ensure(home.root) / FILE
    with FileLock(str(file) + ".lock", mode=0o600):
        steps = history(home)
        before = len(steps)
        yield steps
        if len(steps) == before:
            return
        draft = file.with_name(f".{FILE}.{os.getpid()}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                out.write(json.dumps(_File(history=steps).model_dump(), indent=2) + "\n")
                out.flush()
                os.fsync(out.fileno())
            draft.replace(file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise PromotionError(
                f"Cannot write {file}: {error.strerror}; free some space and run it again."
            ) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no user of that number
        return str(os.getuid())
