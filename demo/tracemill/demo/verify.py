"""Was a task really done? Judged by what the tools brought to light and by the files on disk.

In: a task, its folder after the run, the calls that were carried out and the answer. Out: yes or no. The
wording of the answer does not count, and a detour does not hurt as long as it changes no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from posixpath import normpath

from tracemill.demo.kinds import Step
from tracemill.demo.tasks import Task
from tracemill.evaluate.live_results import ExecutedCall


def done(task: Task, folder: Path, calls: Sequence[ExecutedCall], answer: str) -> bool:
    """Every step of the plan in its order, no call where none is needed, and no other file touched."""
    if not answer.strip() or (calls and not task.plan):
        return False
    following = iter(calls)
    steps = all(any(_does(step, call) for call in following) for step in task.plan)
    return steps and _files(folder) == task.files_after()


def _does(step: Step, call: ExecutedCall) -> bool:
    """The right tool and place, and a result in which all that was asked for begins a line."""
    if not call.ok or call.tool != step.tool:
        return False
    wanted = step.arguments.get("path")
    if wanted is not None and normpath(str(call.arguments["path"])) != wanted:
        return False
    return all(f"\n{shown}" in f"\n{call.result}" for shown in step.shows)


def _files(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8", errors="replace") for path in found}
