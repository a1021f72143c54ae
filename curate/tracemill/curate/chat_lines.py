"""Rows of chat JSONL, `{"messages": [{"role", "content"}, ...]}`, as others wrote them.

In: files. Out: `Lines`, some lines at a time, and from them `Found` conversations or `Fault`s with file and
line. Optional keys of a row: `tools` (neutral or OpenAI's), `category`, `task`, `outcome`, `agent`, `split`,
`feedback` (-1 to 1), and `id` with `session_id`, which are believed together only: ids alone are often mere
line numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from math import isinf
from pathlib import Path
from types import NoneType
from typing import Any, cast

from tracemill.curate.features.talk import Talk
from tracemill.tracer.importers.chat_messages import read_conversation, read_tools
from tracemill.tracer.messages import Message, Tool

FILES = ".jsonl"
PAIRS = "_pairs.jsonl"
"""How the files of an export end that hold preference pairs and no conversations."""
ROW_LIMIT = 16 * 2**20
"""Longest row in bytes: a longer one is no conversation that anybody trains on."""
_CHUNK_BYTES = 8 * 2**20
# Lines of some kB are read twice as fast as with the 8 kB that are usual.
_READ = 2**20
_PLAIN_ROLES = frozenset(("system", "user", "assistant", "tool"))
_CONTENT = (str, list, NoneType)
_OTHER_ROLES = frozenset(("developer", "function"))
_OPTIONAL = ("run_id", "agent", "source", "task", "category", "outcome", "project", "branch")
_HELD_OUT = ("valid", "test")
_SPLITS = ("train", *_HELD_OUT)
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "compressed by gzip"}
"""What a file is that begins so."""


@dataclass(frozen=True)
class Lines:
    """Lines of a file, by number; `size` of the `total` bytes of the source are read with them.

    A line above `ROW_LIMIT` is only a number and its length (`long`).
    """

    source: str
    place: str
    label: str
    pin: str | None
    lines: list[tuple[int, bytes]]
    long: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    size: int = 0
    total: int = 0


@dataclass(frozen=True)
class Found:
    """A conversation: the columns of `SOURCE` without texts, parsed, and its messages as JSON text."""

    columns: dict[str, Any]
    talk: Talk
    messages: str


@dataclass(frozen=True)
class Fault:
    """A row that cannot be read, and why."""

    conversation_id: str
    reason: str
    evidence: str


class _BrokenRowError(Exception):
    def __init__(self, reason: str, evidence: str):
        super().__init__(evidence)
        self.reason = reason


def read_chat(files: Sequence[Path], source: str, rows: int) -> Iterator[Lines]:
    """Chunks of at most `rows` lines; a file called valid or test keeps its rows out of training."""
    total = sum(file.stat().st_size for file in files)
    for file in files:
        label = f"{source}/{file.stem}" if file.stem != source.rpartition("/")[2] else source
        pin = file.stem if file.stem in _HELD_OUT else None
        for lines, long, size in _batches(file, rows):
            yield Lines(source, str(file), label, pin, lines, long, size, total)


def _batches(file: Path, rows: int) -> Iterator[tuple[list[tuple[int, bytes]], list[tuple[int, int]], int]]:
    lines, long, size = list[tuple[int, bytes]](), list[tuple[int, int]](), 0
    with file.open("rb", buffering=_READ) as stream:
        number = 0
        while line := stream.readline(ROW_LIMIT + 1):
            number += 1
            length = len(line)
            if length > ROW_LIMIT:
                while not line.endswith(b"\n") and (line := stream.readline(ROW_LIMIT)):
                    length += len(line)
                long.append((number, length))
            elif line.strip():
                lines.append((number, line))
            size += length
            if len(lines) >= rows or size >= _CHUNK_BYTES:
                yield lines, long, size
                lines, long, size = [], [], 0
    yield lines, long, size


def read_lines(chunk: Lines) -> Iterator[Found | Fault]:
    """The conversations of some lines, in order, and what could not be read."""
    for number, record in records(chunk):
        if isinstance(record, Fault):
            yield record
        else:
            yield read_record(record, f"{chunk.label}:{number}", chunk.pin, f"{chunk.place}, line {number}")


def records(chunk: Lines) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """The JSON object in each line, by its number, or what is wrong with it; long lines come first."""
    for number, length in chunk.long:
        told = f"{chunk.place}, line {number}: {length} bytes, and {ROW_LIMIT} are the most"
        yield number, Fault(f"{chunk.label}:{number}", "too large", told)
    for number, line in chunk.lines:
        try:
            yield number, _parsed(line, number)
        except _BrokenRowError as error:
            told = f"{chunk.place}, line {number}: {error}"
            yield number, Fault(f"{chunk.label}:{number}", error.reason, told)


def read_record(record: Mapping[str, Any], name: str, pin: str | None, place: str) -> Found | Fault:
    """The conversation in a row; without an id of its own it is called `name`."""
    try:
        messages = read_messages(_decoded(record, "messages"))
        talk = Talk(messages, _tools(_decoded(record, "tools")), as_found=True)
        text = talk.messages_text()
        known = {key: value for key in _OPTIONAL if isinstance(value := record.get(key), str)}
        own, session = record.get("id") or record.get("conversation_id"), record.get("session_id")
        told = [*known.values(), *(value for value in (own, session) if isinstance(value, str))]
        "".join((text, talk.tools_text, *told)).encode()
    except _BrokenRowError as error:
        return Fault(name, error.reason, f"{place}: {error}")
    except UnicodeEncodeError:
        return Fault(name, "wrong encoding", f"{place}: half of a surrogate pair, which is no character")
    except (TypeError, ValueError) as error:
        return Fault(name, "not JSON", f"{place}: what it holds cannot be written as JSON ({error})")
    if isinstance(own, str) and isinstance(session, str):
        name = own
    columns = {
        **dict.fromkeys(_OPTIONAL),
        **known,
        "conversation_id": name,
        "session_id": session if isinstance(session, str) else name,
        "split": pin or (split if (split := record.get("split")) in _SPLITS else None),
        **_told(record),
        "started": utc(started) if isinstance(started := record.get("started"), datetime) else None,
    }
    return Found(columns, talk, text)


def _told(record: Mapping[str, Any]) -> dict[str, Any]:
    """What people thought of it: `feedback` as a number."""
    score = record.get("feedback")
    rated = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
    return {"feedback": rated, "disliked": None, "cut_off": None}


def read_messages(items: Any) -> list[Message]:
    """Messages as found, or in neutral form where they hold structured calls or parts."""
    if not isinstance(items, list) or not items:
        raise _BrokenRowError("no messages", "it has no list of `messages`")
    plain = True
    for number, item in enumerate(cast("list[Any]", items)):
        if not isinstance(item, dict) or not isinstance(
            role := cast("dict[str, Any]", item).get("role"), str
        ):
            raise _BrokenRowError("no messages", f"message {number} is no object with a role")
        if role not in _PLAIN_ROLES and role not in _OTHER_ROLES:
            raise _BrokenRowError("unknown role", f"message {number} has the role {role!r}")
        message = cast("dict[str, Any]", item)
        if not isinstance(content := message.get("content"), _CONTENT):
            raise _BrokenRowError("no text", f"the content of message {number} is a {type(content).__name__}")
        if role == "assistant" and not _named(message):
            raise _BrokenRowError("broken calls", f"a tool call of message {number} names no function")
        if role == "assistant" and not is_weight(weight := message.get("weight", 1)):
            raise _BrokenRowError("bad weight", f"message {number} has the weight {weight!r}, not 0 or 1")
        plain = plain and role in _PLAIN_ROLES and isinstance(content, str) and _neutral(message)
    if plain:
        return cast("list[Message]", items)
    read = read_conversation(cast("list[Any]", items)).messages
    for item, message in zip(cast("list[dict[str, Any]]", items), read, strict=True):
        if "weight" in item:
            cast("dict[str, Any]", message)["weight"] = item["weight"]
    return read


def is_weight(value: object) -> bool:
    """Whether it says that a turn is learned (1) or not (0); what lies between, nobody trains as it says."""
    return not isinstance(value, bool) and value in (0, 1)


def _neutral(message: Mapping[str, Any]) -> bool:
    """Whether its calls, if any, are in neutral form."""
    calls = message.get("tool_calls")
    if not calls:
        return "function_call" not in message and calls is None
    return all(map(_is_neutral, calls))


def _is_neutral(call: Any) -> bool:
    if not isinstance(call, dict):
        return False
    held = cast("dict[str, Any]", call)
    return "arguments" in held and isinstance(held.get("id"), str) and isinstance(held.get("name"), str)


def _named(message: Mapping[str, Any]) -> bool:
    """Whether each of its calls is in a form that is read; others would be lost without a word."""
    calls, one = message.get("tool_calls") or [], message.get("function_call")
    if not isinstance(calls, list):
        return False
    every = [*cast("list[Any]", calls), *([{"function": one}] if one else [])]
    return all(map(_is_neutral, every)) or all(map(_is_openai, every))


def _is_openai(call: Any) -> bool:
    function = cast("dict[str, Any]", call).get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and isinstance(cast("dict[str, Any]", function).get("name"), str)


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        begins = next((what for mark, what in _MARKS.items() if number == 1 and line.startswith(mark)), None)
        told = f"{error.reason} at byte {error.start}"
        raise _BrokenRowError(
            "wrong encoding", f"not UTF-8 but {begins}" if begins else f"not UTF-8 ({told})"
        ) from error
    if "\0" in text:
        raise _BrokenRowError("wrong encoding", "not UTF-8 but probably UTF-16")
    try:
        value: object = _STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise _BrokenRowError("not JSON", f"not JSON ({error.msg} at character {error.pos + 1})") from error
    except (ValueError, RecursionError) as error:
        raise _BrokenRowError("not JSON", f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise _BrokenRowError("not an object", f"a JSON {type(value).__name__}, not an object")
    return cast("dict[str, Any]", value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _BrokenRowError("duplicate key", f"the key {twice!r} stands twice in one object")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if isinf(number := float(text)):
        raise ValueError(f"{text:.40} is more than a number can be")
    return number


# Made once: `json.loads` would make a decoder for every text.
_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)


def _decoded(record: Mapping[str, Any], key: str) -> Any:
    """A value that stands in the row as such, or as JSON text; polars' nulls for missing keys are gone."""
    value = record.get(key)
    if isinstance(value, str):
        if len(value) > ROW_LIMIT:
            raise _BrokenRowError(
                "too large", f"`{key}` has {len(value)} characters, and {ROW_LIMIT} are the most"
            )
        try:
            return _STRICT.decode(value)
        except (ValueError, RecursionError) as error:
            raise _BrokenRowError("not JSON", f"`{key}` is text that is not JSON ({error})") from error
    return value


def _tools(value: Any) -> list[Tool]:
    if value is not None and not isinstance(value, list):
        raise _BrokenRowError("broken tools", f"`tools` is a {type(value).__name__}, not a list")
    try:
        return read_tools({"tools": value})
    except ValueError as error:
        raise _BrokenRowError("broken tools", str(error)) from error


def utc(moment: datetime) -> datetime:
    """The moment in UTC, without an offset; one without an offset is in UTC already."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment
