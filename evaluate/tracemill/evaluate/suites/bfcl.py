"""The Berkeley Function Calling Leaderboard as a suite, from the data in the package bfcl-eval.

In: the installed package, of which nothing is imported. Out: an `ItemSuite`: single, multiple and parallel
calls in Python, the same asked by users (`live_`), and questions that none of the functions answers
(irrelevance). Left out are Java and JavaScript (values are source text there), `live_relevance` (any call is
right) and multi-turn (the functions would have to be executed).

Its schemas are turned into JSON schema. Its answers list the right values of every argument; "" among them
says that the argument may be left out. Questions about the same functions are not independent: in the live
categories they share the second number of their id, and that is their session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, cast

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item, WantedCall
from tracemill.evaluate.suites.suite import ItemSuite
from tracemill.tracer.messages import Message, Tool

CATEGORIES = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
)
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_ANY = "any"


def load_bfcl(folder: Path | None = None) -> ItemSuite:
    """All categories; `folder` is the package's `data` where it is not installed.

    EvaluationError with the line that installs it where it is not there.
    """
    data = folder or _installed()
    release = version("bfcl-eval") if folder is None else data.parent.name
    found = [item for category in CATEGORIES for item in _category(data, category)]
    return ItemSuite("bfcl", "full", found, f"bfcl-eval {release}")


def _installed() -> Path:
    spec = find_spec("bfcl_eval")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise EvaluationError(
            "The suite bfcl needs the data of the package bfcl-eval: pip install --no-deps bfcl-eval"
        )
    return Path(places[0]) / "data"


def _category(data: Path, category: str) -> Iterator[Item]:
    file = f"BFCL_v4_{category}.json"
    questions = _lines(data / file)
    none_due = "irrelevance" in category
    answers = (
        {}
        if none_due
        else {one["id"]: one["ground_truth"] for one in _lines(data / "possible_answer" / file)}
    )
    for question in questions:
        calls = tuple(_call(one) for one in answers.get(question["id"], []))
        yield Item(
            id=question["id"],
            session_id=_session(question["id"]),
            category=category,
            kind="direct" if none_due else "call",
            messages=[cast(Message, dict(message)) for message in question["question"][0]],
            tools=[_tool(function) for function in question["function"]],
            expected=_expected(calls),
            calls=calls,
            source=f"bfcl-eval, {file}",
        )


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{file} of the package bfcl-eval cannot be read ({error}); install it again: "
            "pip install --no-deps --force-reinstall bfcl-eval"
        ) from error


def _session(name: str) -> str:
    """`live_simple_12-7-3` is one of several questions about the functions 7."""
    if not name.startswith("live_"):
        return name
    category, _, numbers = name.rpartition("_")
    return f"{category}_{numbers.split('-')[1]}"


def _tool(function: dict[str, Any]) -> Tool:
    return {
        "name": function["name"],
        "description": function["description"],
        "parameters": cast("dict[str, Any]", _schema(function["parameters"])),
    }


def _schema(value: Any) -> Any:
    """Its schema with the types of JSON schema; "any" is no type at all."""
    if isinstance(value, list):
        return [_schema(one) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = {key: _schema(one) for key, one in cast("dict[str, Any]", value).items()}
    kind = fields.get("type")
    if isinstance(kind, str):
        fields["type"] = _TYPES.get(kind, kind)
        if kind == _ANY:
            del fields["type"]
    return fields


def _call(answer: dict[str, dict[str, list[Any]]]) -> WantedCall:
    ((name, arguments),) = answer.items()
    return WantedCall(
        name,
        {
            key: tuple(plain for one in accepted if one != "" for plain in plain_values(one)) or ("",)
            for key, accepted in arguments.items()
        },
        tuple(key for key, accepted in arguments.items() if "" in accepted),
    )


def plain_values(value: Any) -> list[Any]:
    """The JSON values that an accepted one stands for: the fields of an object list theirs.

    `{"unit": ["m", ""]}` stands for `{"unit": "m"}` and `{}`; objects in objects are as they are.
    """
    if isinstance(value, list):
        return [list(one) for one in product(*(plain_values(part) for part in cast("list[Any]", value)))]
    if not isinstance(value, dict):
        return [value]
    fields = cast("dict[str, list[Any]]", value)
    choices = [[(key, one) for one in accepted] for key, accepted in fields.items()]
    return [{key: one for key, one in chosen if one != ""} for chosen in product(*choices)]


def _expected(calls: tuple[WantedCall, ...]) -> Message:
    """A right turn, with the first of the right values and without what may be left out."""
    if not calls:
        return {"role": "assistant", "content": "(any answer without a call)"}
    made = [
        {
            "id": f"call_{i}",
            "name": call.name,
            "arguments": {key: right[0] for key, right in call.arguments.items() if key not in call.optional},
        }
        for i, call in enumerate(calls)
    ]
    return cast(Message, {"role": "assistant", "content": "", "tool_calls": made})
