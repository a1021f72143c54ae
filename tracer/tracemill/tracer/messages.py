"""The neutral form of a conversation, and the names its parts are known by.

In: nothing but plain data. Out: the TypedDicts `Message`, `ToolCall` and `Tool`, which every room shares, and
the content hashes that name a message or a toolset. A message is named by the SHA-256 of its canonical JSON,
so the same message recorded twice is one row, wherever it was recorded.
`tracemill.tracer.conversion` makes this form from Pydantic AI's messages.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Literal, TypedDict, cast

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(TypedDict):
    """One call the assistant asked for."""

    id: str
    name: str
    arguments: Any
    """A JSON object; where the model wrote something that is not one, that text verbatim."""


class _MessageBase(TypedDict):
    role: Role
    content: str


class _AttachmentBase(TypedDict):
    media_type: str
    sha256: str
    bytes: int


class Attachment(_AttachmentBase, total=False):
    """An image or file that stands in a message: known by hash and size, its content optional (base64).

    Where only its address is known, `sha256` is empty and `bytes` 0.
    """

    url: str
    data: str


class Message(_MessageBase, total=False):
    """One chat message; `tool_calls` belongs to an assistant, `tool_call_id` and `name` to a tool.

    `thinking` is reasoning that a model keeps apart from its text. `attachments` are images and files: those
    of a user or a tool are marked in `content`, as `[image/png]`; those of an assistant are not.
    """

    tool_calls: list[ToolCall]
    tool_call_id: str
    name: str
    thinking: str
    attachments: list[Attachment]


class Tool(TypedDict):
    """A tool as it is offered to the model; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


def compact_json(*, sort_keys: bool = False) -> Callable[[object], str]:
    """A function that makes JSON without spaces, ValueError for NaN and infinities.

    `json.dumps` would make an encoder for every text it makes, which takes as long as a short text itself.
    """
    encoder = json.JSONEncoder(
        sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    escape = json.encoder.encode_basestring
    pieces = make(None, encoder.default, escape, None, ":", ",", sort_keys, False, False)
    return lambda value: "".join(pieces(value, 0))


_canonical = compact_json(sort_keys=True)
_compact = compact_json()
quoted: Callable[[Any], str] = json.encoder.encode_basestring
"""The JSON of a text. TypeError for anything else."""


def canonical_json(value: object) -> bytes:
    """The one JSON text of `value`: sorted keys, no spaces, UTF-8. ValueError for NaN and infinities."""
    return _canonical(value).encode("utf-8", "surrogatepass")


def content_id(value: object) -> str:
    """The first 32 hex digits of the SHA-256 of the canonical JSON of `value`."""
    return named_by(_canonical(value))


def spelled(message: Message) -> tuple[str, str]:
    """A message as JSON without spaces, its fields as they come, and its canonical JSON.

    Most messages are texts, of which each is written once for both.
    """
    try:
        texts = tuple(map(quoted, message.values()))
    except TypeError:  # something else than texts
        return _compact(message), _canonical(message)
    return put_together(tuple(message), texts)


def put_together(names: tuple[str, ...], texts: tuple[str, ...]) -> tuple[str, str]:
    """The object of these fields, whose JSON is given, as JSON without spaces, and its canonical JSON."""
    as_they_come, in_order, pick = _forms(names)
    return as_they_come % texts, in_order % pick(texts)


@functools.lru_cache(maxsize=64)
def _forms(names: tuple[str, ...]) -> tuple[str, str, Callable[[tuple[str, ...]], tuple[str, ...]]]:
    """JSON of an object with these fields, places in it for their texts; and the canonical one."""
    places = sorted(range(len(names)), key=names.__getitem__)
    return _form(names), _form([names[place] for place in places]), itemgetter(*places)


def _form(names: Sequence[str]) -> str:
    return "{" + ",".join(quoted(name).replace("%", "%%") + ":%s" for name in names) + "}"


def named_by(canonical: str) -> str:
    """The name of what has this canonical JSON."""
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def message_id(message: Message) -> str:
    """The name of a message: equal messages, equal names."""
    return content_id(message)


def toolset_id(tools: Sequence[Tool]) -> str:
    """The name of a list of offered tools; their order counts, because the model reads it."""
    return content_id(list(tools))


def parse_arguments(written: object) -> Any:
    """Tool-call arguments in neutral form: a dict from a dict or from JSON text of an object.

    Nothing at all is the empty object, as an OpenAI-compatible server is sent it. Text that is not a JSON
    object stays that text.
    """
    if written is None or written == "":
        return {}
    if not isinstance(written, str):
        return written
    try:
        parsed: object = json.loads(written, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return written
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else written


def _refuse_constant(name: str) -> object:
    # NaN and Infinity are Python's extension; no other JSON reader in the pipeline accepts them.
    raise ValueError(name)


def common_prefix(left: Sequence[str], right: Sequence[str]) -> int:
    """How many items (ids of messages, letters of a text) two sequences of one type begin with in common."""
    shorter = min(len(left), len(right))
    # Nearly every request goes on from the one before; to compare all at once takes next to no time.
    if left[:shorter] == right[:shorter]:
        return shorter
    return next(i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
