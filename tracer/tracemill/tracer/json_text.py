"""Text that is JSON, or stands in it.

In: strings as they are found. Out: the value that a string of JSON stands for, a string without the escapes
of JSON, a long string as JSON, and a string that can be written as UTF-8.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

from tracemill.tracer.messages import quoted

_LONG = 200
"""Characters from which on Rust is quicker than Python's C."""


def parsed(text: str) -> Any:
    """The value of JSON text; None for other text, and where a field stands twice, of which one would go."""
    if text[:1] not in ("{", "[", '"') or text[-1:] not in ("}", "]", '"'):
        return None
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        return None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("two fields of one name")
    return found


def unescaped(secret: str) -> str:
    """A secret as it is: one that holds a quote or a line end is spelled differently inside JSON."""
    if "\\" not in secret:
        return secret
    try:
        plain: object = json.loads(f'"{secret}"')
    except ValueError:
        return secret
    return str(plain)


def encodable(text: str) -> str:
    """A string as valid Unicode."""
    if text.isascii():
        return text
    # A lone surrogate (half an emoji in a streamed answer) has no UTF-8 and would lose the whole event.
    return text.encode("utf-8", "replace").decode("utf-8")


def spelled_text(text: str) -> str:
    """As `quoted`; a long text in a third of the time, by Rust, where the process has `pydantic_core`."""
    core: Any = sys.modules.get("pydantic_core") if len(text) >= _LONG else None
    if core is None:
        return quoted(text)
    try:
        return _serializer(core)(text).decode()
    except Exception:  # half a surrogate pair, or a version that has no such thing
        return quoted(text)


@functools.lru_cache(1)
def _serializer(core: Any) -> Callable[[str], bytes]:
    return core.SchemaSerializer(core.core_schema.str_schema()).to_json
