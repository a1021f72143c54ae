"""One call against one that was due, as the agent's own parser would take it.

In: a `WantedCall`, a `Call`, and the tool as it was offered. Out: the first thing wrong, in the order of
`DIFFERENCES`, or "". Values are compared as the field demands: text (paths, code) to the letter, JSON by
value, numbers by value (`1` is `1.0`), a list without repetitions (`uniqueItems`) in any order. An argument
that is left out has the default of the schema.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast, get_args

from tracemill.curate.chat.codec import Call
from tracemill.curate.features.arguments import fits
from tracemill.evaluate.items import WantedCall
from tracemill.tracer.messages import Tool

Difference = Literal[
    "",
    "wrong-tool",
    "hallucinated-argument",
    "missing-argument",
    "extra-argument",
    "invalid-value",
    "wrong-value",
]
DIFFERENCES: tuple[Difference, ...] = get_args(Difference)
SameText = Callable[[str, str], bool]
Schema = Mapping[str, Any]
T = TypeVar("T")
U = TypeVar("U")


def difference(
    want: WantedCall, have: Call, tool: Tool | None, same_text: SameText = operator.eq
) -> Difference:
    """What is wrong with `have`; `same_text` says when two texts are the same.

    hallucinated-argument: its name is not in the schema; invalid-value: a wrong value that does not even fit
    the schema.
    """
    if want.name != have.name:
        return "wrong-tool"
    schema = tool["parameters"] if tool else {}
    fields, given = _fields(schema), have.arguments
    if _closed(schema) and given.keys() - fields.keys() - want.arguments.keys():
        return "hallucinated-argument"

    def is_right(key: str, value: object) -> bool:
        field = fields.get(key, {})
        return any(same_json(right, value, same_text, field) for right in want.arguments[key])

    def has_default(key: str) -> bool:
        return "default" in fields.get(key, {})

    for key in want.arguments:
        left_out = key not in given and key not in want.optional
        if left_out and not (has_default(key) and is_right(key, fields[key]["default"])):
            return "missing-argument"
    for key, value in given.items():
        more = key not in want.arguments
        if more and not (has_default(key) and same_json(fields[key]["default"], value, same_text)):
            return "extra-argument"
    if all(is_right(key, value) for key, value in given.items() if key in want.arguments):
        return ""
    return "wrong-value" if fits(schema, given) else "invalid-value"


def _fields(schema: Schema) -> dict[str, Schema]:
    """The schemas of the arguments, or of the parts of an object, by name."""
    named: object = schema.get("properties")
    fields = cast("dict[str, object]", named) if isinstance(named, dict) else {}
    return {key: cast("Schema", field) for key, field in fields.items() if isinstance(field, dict)}


def _closed(schema: Schema) -> bool:
    """Whether the schema names every argument there is."""
    if schema.get("additionalProperties") or schema.get("patternProperties"):
        return False
    return isinstance(schema.get("properties"), dict) or schema.get("additionalProperties") is False


def same_json(a: object, b: object, same_text: SameText = operator.eq, schema: Schema | None = None) -> bool:
    """Equality of JSON values: `true` is not `1`, but `1` is `1.0` (RFC 8259 knows one kind of number)."""
    field: Schema = schema or {}
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        is_json = field.get("contentMediaType") == "application/json"
        return same_text(a, b) or (is_json and _same_document(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        one, other = cast(dict[str, Any], a), cast(dict[str, Any], b)
        inner = _fields(field)
        return one.keys() == other.keys() and all(
            same_json(one[key], other[key], same_text, inner.get(key)) for key in one
        )
    if isinstance(a, list) and isinstance(b, list):
        return _same_list(cast(list[Any], a), cast(list[Any], b), same_text, field)
    return a == b


def _same_list(a: Sequence[Any], b: Sequence[Any], same_text: SameText, schema: Schema) -> bool:
    each = schema.get("items")
    inner = cast(Schema, each) if isinstance(each, dict) else None

    def same(x: object, y: object) -> bool:
        return same_json(x, y, same_text, inner)

    if len(a) != len(b):
        return False
    if schema.get("uniqueItems") is True:
        return not any(unmatched(a, b, same))
    return all(same(x, y) for x, y in zip(a, b, strict=True))


def _same_document(a: str, b: str) -> bool:
    try:
        return same_json(json.loads(a), json.loads(b))
    except (ValueError, RecursionError):
        return False


def unmatched(
    expected: Sequence[T], got: Sequence[U], same: Callable[[T, U], bool]
) -> tuple[list[T], list[U]]:
    """What is left of both sides once each expected value has been paired with an equal one."""
    missed: list[T] = []
    left = list(got)
    for want in expected:
        at = next((i for i, have in enumerate(left) if same(want, have)), None)
        if at is None:
            missed.append(want)
        else:
            del left[at]
    return missed, left


def same_loosely(a: str, b: str) -> bool:
    """Whether two texts are the same but for case, white space and a leading `./`."""
    return _loose(a) == _loose(b)


def _loose(text: str) -> str:
    """Case folded, runs of white space as one space, `./` dropped where a word begins."""
    return re.sub(r"(?:^|(?<= ))(?:\./)+", "", " ".join(text.casefold().split()))
