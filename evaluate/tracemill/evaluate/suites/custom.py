"""A suite of one's own: a TOML file, or a JSONL file with an item a line.

In: the path. Out: an `ItemSuite`. An item has an id, a prompt (or messages as in a data set row) and one of:
`calls` that are due, `direct = true` where none is, or what the answer has to hold (`Answer`). Example:

    [[tools]]
    name = "read_file"
    parameters = {type = "object", properties = {path = {type = "string"}}, required = ["path"]}

    [[item]]
    id = "read-1"
    category = "read"
    prompt = "Show me a.py"
    calls = [{name = "read_file", arguments = {path = "a.py"}, accept = {path = ["./a.py"]}}]

    [[item]]
    id = "sum-1"
    prompt = "What is 17 + 25?"
    numeric = 42
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, Field, ValidationError, model_validator

from tracemill.curate.chat.codec import RowMessage, from_row
from tracemill.curate.errors import CodecError
from tracemill.curate.features.arguments import fits
from tracemill.evaluate.answers import load_scorer
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Answer, Item, WantedCall
from tracemill.evaluate.suites.suite import ItemSuite
from tracemill.tracer.messages import Message, Tool

_ANSWER = ("keywords", "regexes", "exact", "numeric", "partial", "scorer")


class _Message(BaseModel, extra="forbid"):
    role: Literal["system", "user", "assistant", "tool"]
    content: str


class _Tool(BaseModel, extra="forbid"):
    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}


class _Call(BaseModel, extra="forbid"):
    name: str
    arguments: dict[str, Any] = {}
    accept: dict[str, list[Any]] = {}
    optional: list[str] = []


class _Item(BaseModel, extra="forbid"):
    id: str = Field(min_length=1)
    category: str = ""
    session: str | None = None
    source: str | None = None
    hash: str | None = None
    system: str | None = None
    prompt: str | None = None
    messages: list[_Message] = []
    tools: list[_Tool] | None = None
    calls: list[_Call] = []
    direct: bool = False
    keywords: list[str] = []
    regexes: list[str] = []
    exact: str | None = None
    numeric: float | None = None
    tolerance: float = Field(default=1e-6, ge=0)
    partial: list[str] = []
    scorer: str | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give either a prompt or messages")
        if [bool(self.calls), self.direct, self.asks].count(True) != 1:
            raise ValueError(f"give calls, direct = true, or what the answer holds ({', '.join(_ANSWER)})")
        for pattern in self.regexes:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"the regex {pattern!r} is none: {error}") from error
        return self

    @property
    def asks(self) -> bool:
        return any(getattr(self, name) not in (None, []) for name in _ANSWER)


class _File(BaseModel, extra="forbid"):
    name: str | None = None
    tools: list[_Tool] = []
    item: list[_Item] = []


def load_custom(path: Path) -> ItemSuite:
    """The suite in a .toml or .jsonl file; EvaluationError names the file, the item and what is wrong."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EvaluationError(f"Cannot read the suite {path}: {told}; name another file.") from error
    file = _of_lines(text, path) if path.suffix == ".jsonl" else _of_toml(text, path)
    items = [_item(one, file.tools, path) for one in file.item]
    return ItemSuite(file.name or path.stem, "full", items, str(path))


def _of_toml(text: str, path: Path) -> _File:
    try:
        return _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise EvaluationError(f"{path} is not TOML: {error}; mend it.") from error
    except ValidationError as error:
        raise EvaluationError(f"{path}: {_told(error)}; mend it.") from error


def _of_lines(text: str, path: Path) -> _File:
    items: list[_Item] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(_Item.model_validate(json.loads(line)))
        except (ValueError, RecursionError) as error:
            told = _told(error) if isinstance(error, ValidationError) else f"not JSON ({error})"
            raise EvaluationError(f"{path}, line {number}: {told}; mend it.") from error
    return _File(item=items)


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _item(one: _Item, shared: list[_Tool], path: Path) -> Item:
    tools = [cast(Tool, tool.model_dump()) for tool in (shared if one.tools is None else one.tools)]
    calls = tuple(_wanted(call, one.id, tools, path) for call in one.calls)
    answer = _answer(one, path) if one.asks else None
    if calls and not tools:
        raise EvaluationError(f"{path}, item {one.id}: it expects calls and offers no tools; add them.")
    made = Item(
        id=one.id,
        session_id=one.session or one.id,
        category=one.category,
        kind="call" if calls else "answer" if answer else "direct",
        messages=_messages(one, path),
        tools=tools,
        expected=_expected(calls, answer),
        calls=calls,
        answer=answer,
        source=one.source or path.name,
    )
    if one.hash is not None and one.hash != made.digest:
        raise EvaluationError(
            f"{path}, item {one.id}: its hash is not that of its content; "
            "it was changed: delete the hash, or take the item from its source again."
        )
    return made


def _wanted(call: _Call, name: str, tools: list[Tool], path: Path) -> WantedCall:
    stray = [key for key in (*call.accept, *call.optional) if key not in call.arguments]
    if stray:
        raise EvaluationError(
            f"{path}, item {name}: {stray[0]!r} of the call of {call.name!r} stands in accept or optional "
            "and not in arguments; add it there."
        )
    for tool in tools:
        if tool["name"] == call.name and not fits(tool["parameters"], call.arguments):
            raise EvaluationError(
                f"{path}, item {name}: the arguments of the expected call of {call.name!r} do not fit "
                "the tool's parameters; mend one of them."
            )
    arguments = {key: (value, *call.accept.get(key, ())) for key, value in call.arguments.items()}
    return WantedCall(call.name, arguments, tuple(call.optional))


def _answer(one: _Item, path: Path) -> Answer:
    scorer = one.scorer
    if scorer is not None:
        file, _, function = scorer.rpartition(":")
        scorer = f"{(path.parent / file).absolute()}:{function}"
        load_scorer(scorer)
    return Answer(
        tuple(one.keywords),
        tuple(one.regexes),
        one.exact,
        one.numeric,
        one.tolerance,
        tuple(one.partial),
        scorer,
    )


def _messages(one: _Item, path: Path) -> list[Message]:
    system: list[RowMessage] = [] if one.system is None else [{"role": "system", "content": one.system}]
    asked: list[RowMessage] = (
        [{"role": message.role, "content": message.content} for message in one.messages]
        if one.prompt is None
        else [{"role": "user", "content": one.prompt}]
    )
    try:
        return from_row([*system, *asked])
    except CodecError as error:
        raise EvaluationError(f"{path}, item {one.id}: {error}") from error


def _expected(calls: tuple[WantedCall, ...], answer: Answer | None) -> Message:
    made = [
        {
            "id": f"call_{i}",
            "name": call.name,
            "arguments": {key: one[0] for key, one in call.arguments.items()},
        }
        for i, call in enumerate(calls)
    ]
    if made:
        return cast(Message, {"role": "assistant", "content": "", "tool_calls": made})
    told = [
        f"{name}: {value}"
        for name in _ANSWER
        if answer and (value := getattr(answer, name)) not in (None, ())
    ]
    return {"role": "assistant", "content": f"({'; '.join(told) or 'any answer without a call'})"}
