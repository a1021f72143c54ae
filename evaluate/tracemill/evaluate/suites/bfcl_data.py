"""What the suites of the package bfcl-eval have in common; nothing of the package is imported.

In: the package's `data` folder. Out: the lines of its files, its functions as tools in JSON schema, and the
turn that a right answer is shown as.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import WantedCall
from tracemill.tracer.messages import Message, Tool

_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_ANY = "any"


def located(folder: Path | None, suite: str) -> tuple[Path, str]:
    """The package's `data`, or `folder`, and what to call that; EvaluationError where it is not installed."""
    if folder:
        return folder, f"bfcl-eval {folder.parent.name}"
    spec = find_spec("bfcl_eval")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise EvaluationError(
            f"The suite {suite} needs the data of the package bfcl-eval: pip install --no-deps bfcl-eval"
        )
    return Path(places[0]) / "data", f"bfcl-eval {version('bfcl-eval')}"


def lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line; EvaluationError with what mends it where it cannot be read."""
    try:
        return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise damaged(file, error) from error


def damaged(file: Path, error: object) -> EvaluationError:
    """What to say where `file` of the package is not what it should be."""
    return EvaluationError(
        f"{file} of the package bfcl-eval cannot be read ({error}); install it again: "
        "pip install --no-deps --force-reinstall bfcl-eval"
    )


def tool(function: dict[str, Any]) -> Tool:
    """One of its functions, offered as a tool."""
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


def expected_turn(calls: tuple[WantedCall, ...]) -> Message:
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
