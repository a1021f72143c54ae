"""What is known of each row of a data set, measured in one pass over its files.

In: the files of a data set of any size. Out: `Scanned`: one frame with a line per row (columns `FACTS`), no
texts but the beginnings of a few, and what could not be read. Work is spread over processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.curate.chat_lines import Fault, Found, Lines, read_chat, read_lines
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.features.conversation import fingerprint
from tracemill.curate.features.length import char_count
from tracemill.curate.features.talk import Talk
from tracemill.curate.sieve import Progress
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.spread import spread
from tracemill.curate.wire import calls_in

FACTS: Mapping[str, Any] = {
    "split": pl.String,
    "file": pl.String,
    "line": pl.Int64,
    "id": pl.String,
    "session_id": pl.String,
    "task": pl.String,
    "category": pl.String,
    "outcome": pl.String,
    "feedback": pl.Float64,
    "messages": pl.Int64,
    "systems": pl.Int64,
    "users": pl.Int64,
    "turns": pl.Int64,
    "results": pl.Int64,
    "characters": pl.Int64,
    "calls": pl.Int64,
    "call_turns": pl.Int64,
    "broken_calls": pl.Int64,
    "tools": pl.List(pl.String),
    "offered": pl.List(pl.String),
    "formats": pl.List(pl.String),
    "system": pl.String,
    "prompt": pl.String,
    "fingerprint": pl.String,
}
"""The columns of a row: its place, what the file says of it, how many messages it has (by role: systems,
users, turns of the assistant, results of tools), characters, its calls, the turns that hold one and those
that hold one that cannot be read, the tool of each call, the tools offered, the wire formats of its calls,
the beginnings of its system prompt and of its prompt (`prompt_key`), and the name of what is said in it."""
FAULTS: Mapping[str, Any] = {"file": pl.String, "line": pl.Int64, "reason": pl.String, "evidence": pl.String}
STRUCTURED = "tool_calls"
"""The wire format of calls that stand beside the text."""


@dataclass(frozen=True)
class Scanned:
    """The facts of every row that can be read, in the order of the files, and the lines that cannot."""

    rows: pl.DataFrame
    faults: pl.DataFrame


def scan(data: Opened, progress: Progress | None = None) -> Scanned:
    """Measure every row of a data set; DatasetError where a file cannot be read."""
    rows = [pl.DataFrame(schema=dict(FACTS))]
    faults = [pl.DataFrame(schema=dict(FAULTS))]
    done = 0
    try:
        for lines, part, unread in spread(partial(_measure, data), chunks(data)):
            rows.append(part)
            faults.append(unread)
            done += lines[0]
            if progress:
                progress(f"reading {data.name}", done, lines[1])
    except OSError as error:
        raise DatasetError(f"Cannot read {data.path}: {error.strerror or error}; mend that.") from error
    return Scanned(pl.concat(rows).rechunk(), pl.concat(faults).rechunk())


def chunks(data: Opened) -> Iterator[Lines]:
    """The lines of all files, some at a time, in order."""
    return read_chat([file for _, file in data.files], data.name, BATCH_ROWS)


def placed(lines: Lines) -> Iterator[tuple[int, Found | Fault]]:
    """What stands in each line that is not blank, with its number."""
    numbers = [*(number for number, _ in lines.long), *(number for number, _ in lines.lines)]
    yield from zip(numbers, read_lines(lines), strict=True)


def _measure(data: Opened, lines: Lines) -> tuple[tuple[int, int], pl.DataFrame, pl.DataFrame]:
    split, file = data.split_of(lines.place), Path(lines.place).name
    rows: list[tuple[Any, ...]] = []
    faults: list[tuple[Any, ...]] = []
    for number, found in placed(lines):
        if isinstance(found, Fault):
            faults.append((file, number, found.reason, found.evidence))
            continue
        known = [found.columns[key] for key in ("conversation_id", "session_id", "task", "category")]
        told = [found.columns[key] for key in ("outcome", "feedback")]
        rows.append((split, file, number, *known, *told, *_said(found.talk)))
    return (
        (lines.size, lines.total),
        pl.DataFrame(rows, dict(FACTS), orient="row"),
        pl.DataFrame(faults, dict(FAULTS), orient="row"),
    )


def _said(talk: Talk) -> Iterator[Any]:
    roles = [message["role"] for message in talk.messages]
    yield len(roles)
    for role in ("system", "user", "assistant", "tool"):
        yield roles.count(role)
    yield char_count(talk)
    called: list[str] = []
    formats: set[str] = set()
    call_turns = broken = 0
    for position in talk.assistants:
        names, form, errors = calls_of_turn(talk, position)
        called += names
        call_turns += bool(names)
        broken += errors
        formats |= {form} if form else set()
    yield from (len(called), call_turns, broken, called)
    yield [tool["name"] for tool in talk.tools]
    yield sorted(formats)
    yield next((message["content"][:200] for message in talk.messages if message["role"] == "system"), None)
    yield talk.prompt
    yield fingerprint(talk)


def calls_of_turn(talk: Talk, position: int) -> tuple[list[str], str | None, bool]:
    """The tools that an assistant turn calls, the wire format, and whether a call cannot be read."""
    message = talk.messages[position]
    if calls := message.get("tool_calls"):
        broken = any(not isinstance(call["arguments"], dict) for call in calls)
        return [call["name"] for call in calls], STRUCTURED, broken
    parsed = calls_in(message["content"], talk.tools)
    return [call.name for call in parsed.calls], parsed.format, bool(parsed.errors)
