"""What the functions of bfcl-eval answer: code for the sandbox, where it is run as text (`bfcl_replay`).

In: a job: the source texts of the package's modules by name, and conversations, each with its classes, their
state at the start and the calls of its turns. Out: a line of JSON a conversation: for each turn, for each
call, its result as text, and which later calls of the turn could be made in its place.

Another order is as good by the package's own rule: the same public state at the end of the turn, and the same
results, in whatever order. A conversation ends before the first call whose function needs a package that is
not in the standard library. Standard library only: this runs in the isolated interpreter.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

PREFIX = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code."
ABSENT = ("mpmath",)
"""Packages that a class imports for one of its functions."""
Call = dict[str, Any]


class Absent(BaseException):
    """A function needs a package that is not here; not an Exception, for the classes catch those."""


def answers(job: dict[str, Any]) -> Iterator[str]:
    """Play all conversations of the job."""
    # Some functions tell local time; it must be the same everywhere.
    os.environ["TZ"] = "UTC"
    time.tzset()
    classes = load(job["modules"])
    for conversation in job["conversations"]:
        yield json.dumps(play(classes, conversation))


def load(sources: dict[str, str]) -> dict[str, Any]:
    """Execute the modules, in their order; all that they define, by name."""
    for name in ABSENT:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__getattr__ = _absent  # type: ignore[method-assign]
    found: dict[str, Any] = {}
    for name, source in sources.items():
        module = sys.modules[PREFIX + name] = types.ModuleType(PREFIX + name)
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)
        found |= module.__dict__
    return found


def _absent(name: str) -> Any:
    raise Absent(name)


def play(classes: dict[str, Any], conversation: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """For every turn and call its `result`, and `others`: the places of calls as good at that point."""
    before: list[Call] = []
    told: list[list[dict[str, Any]]] = []
    for turn in conversation["turns"]:
        state, results = _replay(classes, conversation, [*before, *turn])
        whole = len(results) == len(before) + len(turn)
        own = results[len(before) :]
        told.append([])
        for at, result in enumerate(own):
            others = [
                place
                for place in range(at + 1, len(turn))
                if whole
                and turn[place] != turn[at]
                and _same(
                    _replay(classes, conversation, [*before, *_brought_forward(turn, at, place)]),
                    (state, results),
                )
            ]
            told[-1].append({"result": result, "others": others})
        if not whole:
            break
        before += turn
    return told


def _brought_forward(turn: list[Call], at: int, place: int) -> list[Call]:
    return [*turn[:at], turn[place], *turn[at:place], *turn[place + 1 :]]


def _same(one: tuple[Any, list[str]], other: tuple[Any, list[str]]) -> bool:
    return sorted(one[1]) == sorted(other[1]) and one[0] == other[0]


def _replay(
    classes: dict[str, Any], conversation: dict[str, Any], calls: list[Call]
) -> tuple[dict[str, Any], list[str]]:
    """The public state after `calls`, and their results, up to the first that cannot be made here."""
    objects: dict[str, Any] = {}
    for name in conversation["classes"]:
        objects[name] = classes[name]()
        if hasattr(objects[name], "_load_scenario"):
            state = copy.deepcopy(conversation["state"].get(name, {}))
            objects[name]._load_scenario(state, long_context=conversation["long"])
    results: list[str] = []
    for call in calls:
        owner = next(one for one in reversed(objects.values()) if hasattr(one, call["name"]))
        try:
            results.append(_text(getattr(owner, call["name"])(**copy.deepcopy(call["arguments"]))))
        except Absent:
            break
        except Exception as error:  # what a function raises is its answer
            results.append(f"Error during execution: {error}")
    return {name: _public(one) for name, one in objects.items()}, results


def _public(one: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(one).items() if not key.startswith("_")}


def _text(result: Any) -> str:
    if isinstance(result, dict):
        try:
            return json.dumps(result)
        except TypeError:  # an object of the package's own
            return str(result)
    return str(result)
