"""What is known of each row of a data set, measured in one pass over its files.

In: the files of a data set of any size. Out: `Scanned`: one frame with a line per row (columns `FACTS`), with
no texts but the beginnings of a few, and the lines that cannot be read. Work is spread over processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from tracemill.curate.chat.codec import Call
from tracemill.curate.chat.template import Chat
from tracemill.curate.chat_lines import Fault, Lines
from tracemill.curate.datasets.known import with_known
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.datasets.reading import Read, chunks, read_rows
from tracemill.curate.datasets.tokens import count_tokens
from tracemill.curate.errors import DatasetError
from tracemill.curate.features import compute, schema
from tracemill.curate.features.conversation import fingerprint, weightless
from tracemill.curate.features.length import char_count
from tracemill.curate.features.talk import Talk
from tracemill.curate.sieve import Progress
from tracemill.curate.spread import spread
from tracemill.curate.wire import calls_in
from tracemill.tracer.messages import Message, canonical_json

FACTS: Mapping[str, Any] = {
    "split": pl.String,
    "file": pl.String,
    "line": pl.Int64,
    "id": pl.String,
    "own_id": pl.String,
    "session_id": pl.String,
    "pin": pl.String,
    "task": pl.String,
    "category": pl.String,
    "project": pl.String,
    "outcome": pl.String,
    "feedback": pl.Float64,
    "pair": pl.Boolean,
    "messages": pl.Int64,
    "systems": pl.Int64,
    "users": pl.Int64,
    "turns": pl.Int64,
    "results": pl.Int64,
    "characters": pl.Int64,
    "tokens": pl.Int64,
    "calls": pl.Int64,
    "call_turns": pl.Int64,
    "broken_turns": pl.Int64,
    "tools": pl.List(pl.String),
    "offered": pl.List(pl.String),
    "formats": pl.List(pl.String),
    "system": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "fingerprint": pl.String,
    "exact": pl.String,
    "said": pl.String,
}
"""The columns of a row.

Its place: `split`, `file`, `line`. What the file says of it: `own_id` (the `id` in the row, as JSON where it
is no text), `pin` (a `split` in the row), `session_id`, `task` and so on; `id` is what it is called here
(`train:3` where the row has no id and session of its own). What it holds: `messages`, of which `systems`,
`users`, `turns` (of the assistant) and `results` (of tools); `characters`; `tokens` where a base model is
given; `calls` and the `tools` called (one each call), `call_turns` and `broken_turns` that hold a call, or
one that cannot be read, the tools `offered`, the wire `formats` of its calls; the beginnings of its `system`
prompt, its `prompt` and its last `answer`. Of a preference pair (`pair`) the chosen answer counts. Rows of
one `fingerprint` are the same, learned turns and all, but for white space and call ids, rows of one `exact`
byte for byte, rows of one `said` but for white space, system prompts and tools.
"""
FAULTS: Mapping[str, Any] = {"file": pl.String, "line": pl.Int64, "reason": pl.String, "evidence": pl.String}
STRUCTURED = "tool_calls"
"""The wire format of calls that stand beside the text."""
_BEGINNING = 200


@dataclass(frozen=True)
class Scanned:
    """The facts of every row that can be read, in the order of the files, and the lines that cannot."""

    rows: pl.DataFrame
    faults: pl.DataFrame


@dataclass(frozen=True)
class _Measure:
    """What a process does with some lines."""

    data: Opened
    features: Sequence[str]
    chat: Chat | None

    def __call__(self, lines: Lines) -> tuple[Lines, pl.DataFrame, pl.DataFrame]:
        file = Path(lines.place).name
        place = {"split": self.data.split_of(lines.place), "file": file}
        rows: list[dict[str, Any]] = []
        faults: list[tuple[Any, ...]] = []
        for number, read in read_rows(lines):
            if isinstance(read, Fault):
                told = read.evidence.removeprefix(f"{lines.place}, line {number}: ")
                faults.append((file, number, read.reason, told))
                continue
            talk = read.found.talk
            row = {**place, "line": number, **_told(read), **_said(talk), **_named(read)}
            row["tokens"] = count_tokens(self.chat, talk) if self.chat else None
            row.update(zip(self.features, compute(talk, self.features), strict=True))
            rows.append(row)
        return (
            Lines(lines.source, lines.place, lines.label, None, [], [], lines.size, lines.total),
            pl.DataFrame(rows, {**FACTS, **schema(self.features)}, orient="row"),
            pl.DataFrame(faults, dict(FAULTS), orient="row"),
        )


def scan(
    data: Opened,
    progress: Progress | None = None,
    *,
    features: Sequence[str] = (),
    chat: Chat | None = None,
) -> Scanned:
    """Measure every row of a data set, perhaps with `features` as further columns.

    What its manifest knows of rows (task, project, outcome, pin) is told too. DatasetError where a file
    cannot be read.
    """
    rows = [pl.DataFrame(schema={**FACTS, **schema(features)})]
    faults = [pl.DataFrame(schema=dict(FAULTS))]
    done = 0
    try:
        for lines, part, unread in spread(_Measure(data, features, chat), chunks(data)):
            rows.append(part)
            faults.append(unread)
            done += lines.size
            if progress:
                progress(f"reading {data.name}", done, data.size)
    except OSError as error:
        raise DatasetError(
            f"Cannot read {data.path}: {error.strerror or error}; mend its permissions or copy it."
        ) from error
    return Scanned(with_known(data, pl.concat(rows).rechunk()), pl.concat(faults).rechunk())


def _told(read: Read) -> dict[str, Any]:
    """What the file says of a row."""
    columns = read.found.columns
    same = ("session_id", "task", "category", "project", "outcome", "feedback")
    return {
        "id": columns["conversation_id"],
        "own_id": read.own_id,
        "pin": columns["split"],
        "pair": read.rejected is not None,
        **{key: columns[key] for key in same},
    }


def _said(talk: Talk) -> dict[str, Any]:
    """What a conversation holds."""
    roles = [message["role"] for message in talk.messages]
    turns = list(turns_of(talk).values())
    texts = {message["role"]: message["content"] for message in reversed(talk.messages)}
    return {
        "messages": len(roles),
        "systems": roles.count("system"),
        "users": roles.count("user"),
        "turns": len(turns),
        "results": roles.count("tool"),
        "characters": char_count(talk),
        "calls": sum(len(turn.tools) for turn in turns),
        "call_turns": sum(bool(turn.tools) for turn in turns),
        "broken_turns": sum(bool(turn.errors) for turn in turns),
        "tools": [tool for turn in turns for tool in turn.tools],
        "offered": [tool["name"] for tool in talk.tools],
        "formats": sorted({turn.format for turn in turns if turn.format}),
        "system": _beginning(texts["system"]) if "system" in texts else None,
        "prompt": talk.prompt,
        "answer": talk.messages[talk.assistants[-1]]["content"][:_BEGINNING] if turns else None,
    }


def _beginning(text: str) -> str:
    """A text, or the beginning and the hash of a long one: no two are shown alike."""
    if len(text) <= _BEGINNING:
        return text
    return f"{text[:_BEGINNING]}... {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _named(read: Read) -> dict[str, str]:
    talk = read.found.talk
    said = [message for message in talk.messages if message["role"] != "system"]
    names = {
        # Who keeps one of two rows must not lose what only the other one teaches.
        "fingerprint": "-".join([fingerprint(talk), *map(str, weightless(talk))]),
        "exact": _exact(talk.messages, talk),
        "said": fingerprint(replace(talk, messages=said, tools=[])),
    }
    if read.rejected is None:
        return names
    other = Talk(read.rejected, talk.tools, as_found=True)
    return {
        "fingerprint": names["fingerprint"] + fingerprint(other),
        "exact": names["exact"] + _exact(other.messages, talk),
    }


def _exact(messages: Sequence[Message], talk: Talk) -> str:
    """A name for messages and tools as they are, call ids aside."""
    plain = [
        [
            message["role"],
            message["content"],
            [[call["name"], call["arguments"]] for call in message.get("tool_calls", [])],
            cast("Mapping[str, Any]", message).get("weight", 1),
        ]
        for message in messages
    ]
    return hashlib.sha256(canonical_json([plain, talk.toolset])).hexdigest()[:32]


@dataclass(frozen=True)
class Turn:
    """The calls of an assistant turn, the tools they name, their wire format, and what cannot be read.

    `calls` lacks structured calls whose arguments are no JSON object; `tools` names them all.
    """

    calls: tuple[Call, ...]
    tools: tuple[str, ...]
    format: str | None
    errors: tuple[str, ...]


def calls_of_turn(talk: Talk, position: int) -> Turn:
    """The calls of the assistant turn at `position`, structured or in whatever text."""
    message = talk.messages[position]
    if made := message.get("tool_calls"):
        calls = [
            Call(call["name"], call["arguments"]) for call in made if isinstance(call["arguments"], dict)
        ]
        broken = [call["name"] for call in made if not isinstance(call["arguments"], dict)]
        told = tuple(f"the arguments of a call of {name!r} are no JSON object" for name in broken)
        return Turn(tuple(calls), tuple(call["name"] for call in made), STRUCTURED, told)
    parsed = calls_in(message["content"], talk.tools)
    return Turn(parsed.calls, tuple(call.name for call in parsed.calls), parsed.format, parsed.errors)


def turns_of(talk: Talk) -> dict[int, Turn]:
    """The calls of every assistant turn, by its position."""
    return {position: calls_of_turn(talk, position) for position in talk.assistants}
