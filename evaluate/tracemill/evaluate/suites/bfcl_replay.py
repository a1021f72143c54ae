"""Calls of bfcl-eval's functions, made in the sandbox on the package's own classes.

In: the package's folder and scripts (classes, their state at the start, the calls turn by turn). Out: what
every call gave, and which other calls would have been as good. Nothing of the package is imported here: its
sources are text that the sandbox runs, all scripts in one process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracemill.curate.chat.codec import Call
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.sandbox import Limits, run_code
from tracemill.evaluate.suites.bfcl_data import damaged

_SOURCES = Path("eval_checker", "multi_turn_eval", "func_source_code")
_SHARED = "long_context"
"""The module that others import."""
_CHILD = Path(__file__).with_name("bfcl_child.py")
_LIMITS = Limits(seconds=120, output=256 * 2**20)


@dataclass(frozen=True)
class Script:
    """A conversation to be played: `state` by class; `long` fills the state with much more of the same."""

    classes: Sequence[str]
    state: dict[str, Any]
    long: bool
    turns: Sequence[Sequence[Call]]


@dataclass(frozen=True)
class Played:
    """What a call gave, as text; `others`: the places of later calls of its turn that were as good then."""

    result: str
    others: Sequence[int]


def modules(package: Path) -> dict[str, str]:
    """The module that defines each class, by the class's name."""
    files = sorted((package / _SOURCES).glob("*.py"))
    return {
        name: file.stem for file in files for name in re.findall(r"^class (\w+)", _text(file), re.MULTILINE)
    }


def replay(package: Path, homes: Mapping[str, str], scripts: Sequence[Script]) -> list[list[list[Played]]]:
    """What the calls of each script gave, by turn; what cannot be run here is missing at a script's end.

    `homes` is what `modules` gave: the classes are those. EvaluationError where their code fails, or without
    a sandbox.
    """
    needed = sorted({name for script in scripts for name in script.classes})
    names = dict.fromkeys([_SHARED, *(homes[name] for name in needed)])
    job = {
        "modules": {name: _text(package / _SOURCES / f"{name}.py") for name in names},
        "conversations": [vars(script) for script in scripts],
    }
    start = f"for line in answers(json.loads({json.dumps(job, default=vars)!r})):\n    print(line)"
    try:
        found = run_code([_CHILD.read_text("utf-8"), start], _LIMITS)
    except EvaluationError as error:
        raise EvaluationError(f"The functions of bfcl-eval run in the sandbox alone. {error}") from error
    if not found.finished:
        raise damaged(package / _SOURCES, found.reason)
    return [
        [[Played(**call) for call in turn] for turn in json.loads(line)] for line in found.output.splitlines()
    ]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise damaged(file, error) from error
