"""Record the coding agent on tasks: where the training data of the demo comes from.

In: a home, tasks and, in place of the scripted policy, a teacher model. Out: one recorded session a task,
with its task, category and split as metadata, and a verified outcome. The outcome is written last, so a
session without one was interrupted; the next recording does what has no outcome, under a new session id.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior, UsageLimitExceeded, UserError
from pydantic_ai.models import Model, infer_model

from tracemill.demo.rollout import rollout
from tracemill.demo.tasks import Task
from tracemill.demo.verify import done
from tracemill.tracer import events
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.tracer.recorder import Recorder
from tracemill.tracer.spool import read_events, shared_spool, spool_files

SOURCE = "demo-verifier"
"""Who says how a session turned out."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RecordReport:
    """How many sessions were recorded now, how they turned out, and how many stood there already."""

    good: int
    bad: int
    skipped: int


def record(
    home: Home, tasks: Sequence[Task], *, teacher: Model | str | None = None, progress: Progress | None = None
) -> RecordReport:
    """Record every task without a verified session; TracemillError where the teacher cannot be reached."""
    return asyncio.run(_record(home, tasks, _teacher(teacher), progress))


async def _record(
    home: Home, tasks: Sequence[Task], teacher: Model | None, progress: Progress | None
) -> RecordReport:
    started, verified = _known(home)
    good = bad = 0
    for number, task in enumerate(tasks, 1):
        name = _session(task, teacher)
        if name not in verified:
            session_id = f"{name}~{started[name] + 1}" if started[name] else name
            right = await _session_of(home, task, teacher, session_id)
            good, bad = good + right, bad + (not right)
        if progress:
            progress("sessions recorded", number, len(tasks))
    return RecordReport(good, bad, len(tasks) - good - bad)


async def _session_of(home: Home, task: Task, teacher: Model | None, session_id: str) -> bool:
    """Record one session and its outcome."""
    metadata = {"task": task.id, "category": task.category, "split": task.split}
    recorder = Recorder(home, session_id=session_id, metadata=metadata)
    spool = shared_spool(home)
    note = ""
    with tempfile.TemporaryDirectory(prefix="tracemill-demo-") as name:
        try:
            played = await rollout(task, Path(name), teacher, capabilities=[recorder])
            right = done(task, Path(name), played.calls, played.answer)
        except (UnexpectedModelBehavior, UsageLimitExceeded) as error:
            right, note = False, f"{type(error).__name__}: {error}"
        except (ModelAPIError, UserError) as error:
            raise TracemillError(
                f"The teacher did not answer ({error}); check its name, its key and the network, run again."
            ) from error
    verdict: events.Verdict = "good" if right else "bad"
    event = events.outcome(session_id, outcome=verdict, score=float(right), source=SOURCE, note=note)
    kept = spool.write(event)
    if not kept or recorder.faults:
        raise TracemillError(
            f"The session {session_id} could not be recorded in {home.spool}; "
            "see that the disk has room and run again."
        )
    return right


def _teacher(named: Model | str | None) -> Model | None:
    try:
        return None if named is None else infer_model(named)
    except (UserError, ValueError, ImportError) as error:
        raise TracemillError(
            f"The teacher {named!r} is no model that can be used ({error}); name one such as openai:gpt-4o."
        ) from error


def _session(task: Task, teacher: Model | None) -> str:
    """Name of the session of a task, the same each time."""
    by = f"-by-{teacher.model_name}" if teacher else ""
    return f"demo-{task.seed}-{task.id}{by}"


def _known(home: Home) -> tuple[Counter[str], set[str]]:
    """How many sessions of each name the spool has, and the names that have an outcome of ours."""
    started: set[str] = set()
    verified: set[str] = set()
    for path in spool_files(home):
        for line in read_events(path):
            event = cast(dict[str, Any], line.event or {})
            if event.get("kind") == "session":
                started.add(event["session_id"])
            elif event.get("kind") == "outcome" and event["source"] == SOURCE:
                verified.add(_name(event["session_id"]))
    return Counter(_name(session_id) for session_id in started), verified


def _name(session_id: str) -> str:
    return session_id.partition("~")[0]
