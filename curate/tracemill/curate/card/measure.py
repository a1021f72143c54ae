"""What a card knows of each row: the features of the steps, its calls in any wire format, what it is like.

In: the lines to look at. Out: a frame with a line per row: the columns of a source (`sources.SOURCE`, no
texts), `MEASURED` and the features that the steps ask for, so that a step of a recipe can be run on it as it
is. Prompts and likeness are those of the row as it stands; answers, calls and their arguments those of the
row with its calls read from whatever wire format they are in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

import polars as pl

from tracemill.curate.card.reading import Data, Rows, draw
from tracemill.curate.chat.codec import from_row
from tracemill.curate.chat.template import Chat
from tracemill.curate.chat_lines import Fault, Lines, read_lines
from tracemill.curate.datasets.facts import STRUCTURED
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import CodecError, TemplateError
from tracemill.curate.features import compute, schema
from tracemill.curate.features.conversation import weightless
from tracemill.curate.features.faults import excerpt
from tracemill.curate.features.likeness import packed
from tracemill.curate.features.talk import Talk
from tracemill.curate.leaks import measured
from tracemill.curate.manifest import rows_of
from tracemill.curate.rewrites import rewrite
from tracemill.curate.rewrites.edits import RewriteOptions
from tracemill.curate.rewrites.preambles import announces
from tracemill.curate.sieve import ORDER, Progress
from tracemill.curate.sources import SOURCE, TEXTS
from tracemill.curate.spread import spread
from tracemill.curate.wire import Parsed, calls_in
from tracemill.tracer.messages import Message

KNOWN: Mapping[str, Any] = {name: kind for name, kind in SOURCE.items() if name not in TEXTS}
AS_FOUND = ("weightless", "assistants", "fingerprint", "extent", "family", "marker", "secrets", "prose",
            "message_count", "char_count", "empty_turns")  # fmt: skip
READ = (
    "text_fault",
    "call_count",
    "called_tools",
    "tool_count",
    "answer_faults",
    "copies",
    "misfits",
    "python2",
)
_OF_TURNS = ("answer_faults", "copies", "misfits", "python2")
_CALL = pl.Struct(
    {
        "turn": pl.Int64,
        "tool": pl.String,
        "format": pl.String,
        "last": pl.Boolean,
        "learned": pl.Boolean,
        "offered": pl.Boolean,
        "error": pl.String,
    }
)
_TEXT_OF = pl.List(pl.Struct({"turn": pl.Int64, "text": pl.String}))
MEASURED: Mapping[str, Any] = {
    "data": pl.String,
    "side": pl.String,
    "draw": pl.UInt64,
    "prompt": pl.String,
    "said": pl.String,
    "minhash": pl.Binary,
    "shingles": pl.Binary,
    "system": pl.String,
    "learned": pl.Int64,
    "calls": pl.List(_CALL),
    "announced": _TEXT_OF,
    "prose_calls": _TEXT_OF,
    "tokens": pl.Int64,
}
"""Data set and split of a row, its draw, what leaks are found by (`leaks.measured`), its system prompt, the
turns it learns; every call that stands in it, readable or not (null `tool`), the texts that announce a call,
the turns that tell of a call instead of making one; its tokens, where a tokenizer counted them."""
TOKENS = 2_000
"""The most rows whose tokens are counted."""
_PROSE_CALL = re.compile(
    r"""^\s*(?:tool|function)[ _]call\s*:                     # Tool call: read_file with path ...
      | ^\s*Action\s*:[^\n]+\n\s*Action\ Input\s*:
      | \b(?:i['’]ll|i\ will|i\ would|let\ me|i['’]m\ going\ to|i\ am\ going\ to|i\ need\ to|i\ should)\s+
        (?:use|call|invoke|run|execute)\s+(?:the\s+)?[`"'*]*[\w.-]+[`"'*]*\s+(?:tool|function)\b
      | \b(?:calling|invoking|using|executing)\s+(?:the\s+)?[`"'*]*[\w.-]+[`"'*]*\s+tool\b
      | \[(?:calls?|calling|using|invokes?)\s+(?:the\s+)?[`"'*]*\w+[^\]\n]*\]""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_TALKED = 4_000


@dataclass(frozen=True)
class Measured:
    """The rows in order, and per data set what cannot be read of it."""

    rows: pl.DataFrame
    faults: tuple[tuple[str, Fault], ...]


def measure(rows: Rows, chat: Chat | None = None, progress: Progress | None = None) -> Measured:
    """Look at the chosen rows; with `chat`, count the tokens of 2,000 of them."""
    columns = {**KNOWN, **MEASURED, **schema((*AS_FOUND, *READ))}
    found = [pl.DataFrame(schema=columns)]
    faults: list[tuple[str, Fault]] = []
    done, total = 0, rows.looked_at
    work = partial(_measure, chat=chat, every=ceil(total / TOKENS) or 1)
    for part, unread in spread(work, ((data.name, data.files, lines) for data, lines in rows.parts)):
        found.append(part)
        faults += unread
        done += part.height
        if progress:
            progress("measuring", done, total)
    every = _with_manifests(pl.concat(found).rechunk(), rows.sets)
    return Measured(_numbered(every, len(rows.sets) > 1), tuple(faults))


def _with_manifests(rows: pl.DataFrame, sets: Sequence[Data]) -> pl.DataFrame:
    """`rows` with the task and the outcome that the manifests know; a row a turn is
    called `ID@3`, a repeated one `ID#2`."""
    told = [
        rows_of(data.files.folder, data.manifest).select(
            "task", "outcome", data=pl.lit(data.name), _id="conversation_id"
        )
        for data in sets
        if data.manifest
    ]
    if not told:
        return rows
    rows = rows.with_columns(_id=pl.col("conversation_id").str.replace(r"(@\d+)?(#\d+)?$", ""))
    both = rows.join(pl.concat(told), on=["data", "_id"], how="left", maintain_order="left", suffix="_told")
    return both.with_columns(
        task=pl.coalesce("task", "task_told"), outcome=pl.coalesce("outcome", "outcome_told")
    ).select(rows.drop("_id").columns)


def _numbered(rows: pl.DataFrame, several: bool) -> pl.DataFrame:
    """`rows` as steps take them, each with an id of its own."""
    name = pl.format("{}/{}", "data", "conversation_id") if several else pl.col("conversation_id")
    # A row of chat JSONL without an id is called after its data set already.
    own = pl.when(pl.col("conversation_id").str.starts_with(pl.col("data"))).then("conversation_id")
    rows = rows.with_columns(conversation_id=own.otherwise(name))
    again = pl.int_range(pl.len()).over("conversation_id")
    unique = pl.when(again > 0).then(pl.format("{} ({})", "conversation_id", again + 1))
    return (
        rows.with_columns(conversation_id=unique.otherwise("conversation_id"))
        .with_row_index(ORDER)
        .with_columns(pl.col(ORDER).cast(pl.Int64), context=pl.col("weightless"))
    )


def _measure(
    job: tuple[str, Opened, Lines], chat: Chat | None, every: int
) -> tuple[pl.DataFrame, list[tuple[str, Fault]]]:
    name, files, lines = job
    made: list[list[Any]] = []
    faults: list[tuple[str, Fault]] = []
    draws = iter([*([0] * len(lines.long)), *(draw(line) for _, line in lines.lines)])
    for found, drawn in zip(read_lines(lines), draws, strict=True):
        if isinstance(found, Fault):
            # A path says nothing to who reads the card elsewhere.
            told = found.evidence.replace(f"{files.folder}{os.sep}", "")
            faults.append((name, replace(found, evidence=told)))
            continue
        tokens = _tokens(chat, found.talk) if chat and drawn % every == 0 else None
        known = [found.columns[key] for key in KNOWN]
        made.append([*known, name, files.split_of(lines.place), drawn, *_row(found.talk), tokens,
                     *compute(found.talk, AS_FOUND), *_learned_faults(found.talk)])  # fmt: skip
    columns = {**KNOWN, **MEASURED, **schema((*AS_FOUND, *READ))}
    return pl.DataFrame(made, columns, orient="row"), faults


def _learned_faults(talk: Talk) -> list[Any]:
    """The features `READ`; what is wrong with a turn that is context is learned by nobody."""
    context = weightless(talk)
    found = zip(READ, compute(read_calls(talk), READ), strict=True)
    return [_elsewhere(value, context) if name in _OF_TURNS and value else value for name, value in found]


def _elsewhere(faults: list[dict[str, Any]], turns: list[int]) -> list[dict[str, Any]]:
    return [one for one in faults if one["turn"] not in turns]


def learned_calls() -> pl.Expr:
    """Of each call of a row, whether it is learned; where a row is a turn, those of its history are not."""
    return pl.col("calls").list.eval(pl.element().struct.field("learned"))


def learning(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of which some turn is learned, or that have none."""
    return rows.filter((pl.col("learned") > 0) | (pl.col("assistants").list.len() == 0))


def read_calls(talk: Talk) -> Talk:
    """The row with its calls read from whatever wire format they are in."""
    return rewrite(talk, {"wire": RewriteOptions()})[0]


def _row(talk: Talk) -> Iterator[Any]:
    yield from measured(talk)
    yield packed(talk).tobytes()
    yield next((message["content"] for message in talk.messages if message["role"] == "system"), None)
    unlearned = weightless(talk)
    yield len(talk.assistants) - len(unlearned)
    calls: list[dict[str, Any]] = []
    announced: list[dict[str, Any]] = []
    prose: list[dict[str, Any]] = []
    for at in talk.assistants:
        message = talk.messages[at]
        parsed = parsed_turn(message, talk)
        own = list(_calls(talk, at, parsed, at not in unlearned))
        calls += own
        before = parsed.before if own else ""
        if at in unlearned:
            continue
        if announces(before):
            announced.append({"turn": at, "text": before[:200]})
        elif not own and (told := _PROSE_CALL.search(message["content"][:_TALKED])):
            prose.append({"turn": at, "text": excerpt(message["content"][told.start() :])})
    yield from (calls, announced, prose)


def parsed_turn(message: Message, talk: Talk) -> Parsed:
    """An assistant turn with its calls, structured ones too."""
    if message.get("tool_calls"):
        return Parsed(message["content"], format=STRUCTURED)
    return calls_in(message["content"], talk.tools)


def _calls(talk: Talk, at: int, parsed: Parsed, learned: bool) -> Iterator[dict[str, Any]]:
    """The calls of a turn: those that can be read, then those that cannot."""
    message = talk.messages[at]
    offered = {tool["name"] for tool in talk.tools}
    shared = {"turn": at, "last": at == len(talk.messages) - 1, "learned": learned}
    for call in message.get("tool_calls", []):
        error = (
            None
            if isinstance(call["arguments"], dict)
            else f"arguments that are no object: {call['arguments']}"
        )
        tool = call["name"] if error is None else None
        yield {
            **shared,
            "tool": tool,
            "format": STRUCTURED,
            "error": error,
            "offered": _known(call["name"], offered),
        }
    for call in parsed.calls:
        yield {
            **shared,
            "tool": call.name,
            "format": parsed.format,
            "error": None,
            "offered": _known(call.name, offered),
        }
    for error in parsed.errors:
        form = error.partition(" at character ")[0]
        yield {**shared, "tool": None, "format": form, "error": error[:300], "offered": None}


def _known(name: str, offered: set[str]) -> bool | None:
    return name in offered if offered else None


def _tokens(chat: Chat, talk: Talk) -> int | None:
    try:
        return len(chat.conversation(from_row(talk.row_messages()), talk.tools))
    except (CodecError, TemplateError):
        return None
