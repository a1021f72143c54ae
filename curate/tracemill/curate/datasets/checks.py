"""What is wrong with one row of a data set.

In: a row as it was read, and perhaps the chat template that its tokens are proved for. Out: what is wrong, by
kind, in words; `MENDS` says what to do about each kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.template import Chat
from tracemill.curate.datasets.facts import Turn
from tracemill.curate.datasets.reading import Read
from tracemill.curate.errors import CodecError, ProofError
from tracemill.curate.features.arguments import misfits
from tracemill.curate.features.conversation import weightless
from tracemill.curate.features.talk import Talk
from tracemill.tracer.messages import ToolCall

MENDS: Mapping[str, str] = {
    "not JSON": "mend the line, or delete it",
    "not an object": "write one JSON object a line",
    "wrong encoding": "save the file as UTF-8, without a half of a character",
    "too large": "delete the row, or what it should not hold: nobody trains on so long a text",
    "duplicate key": "keep one of the two",
    "no messages": 'give the row "messages": a list of {"role": ..., "content": ...}',
    "unknown role": "use system, user, assistant and tool",
    "no text": "make every content a text",
    "broken calls": 'give each call a "function" with a "name" and "arguments", as OpenAI does',
    "broken tools": 'make "tools" a list of {"name", "description", "parameters"}, or of OpenAI\'s functions',
    "id twice": "give one of the rows another id; `tracemill dataset merge` makes ids unique",
    "mixed formats": "give each format a file of its own, or make them one: [rewrites.wire] in a recipe",
    "nothing to learn": "add an assistant turn of weight 1, or delete the row",
    "empty turn": "delete the turn, or give it weight 0",
    "unreadable call": "mend the call, or delete the row",
    "tool not offered": 'add the tool to the "tools" of the row, or delete the row',
    "arguments do not fit": "mend the arguments or the schema, or delete the row",
    "result without call": "put the call before its result, or delete the row",
    "bad weight": "make the weight 0 or 1",
    "pair without difference": "delete the pair: what is chosen is what is rejected",
    "no token proof": "write calls as <tool_call> JSON ([rewrites.wire] in a recipe), or mend the template",
    "no rows": "fill the file, or delete it",
    "no train.jsonl": "name the file of the training rows train.jsonl; `tracemill dataset split` makes one",
    "changed file": "export again, or delete manifest.json (made.json) to use your own version",
}
_MOST = 300


def wrong_with(read: Read, turns: Mapping[int, Turn], chat: Chat | None = None) -> Iterator[tuple[str, str]]:
    """Everything wrong with a row, given its turns: a kind (a key of `MENDS`) and the details."""
    talk = read.found.talk
    yield from _turns(talk)
    yield from _weights(talk)
    yield from _calls(talk, turns)
    yield from _results(talk, turns)
    if read.rejected is not None and read.rejected == talk.messages:
        yield "pair without difference", "chosen and rejected are the same messages"
    if chat is not None and (told := _unproved(chat, read)):
        yield "no token proof", told


def _turns(talk: Talk) -> Iterator[tuple[str, str]]:
    learned = set(talk.assistants) - set(weightless(talk))
    if not learned:
        told = "all its assistant turns have weight 0" if talk.assistants else "it has no assistant turn"
        yield "nothing to learn", told
    for at in sorted(learned):
        message = talk.messages[at]
        if not message["content"].strip() and not message.get("tool_calls"):
            yield "empty turn", f"message {at} says nothing and calls nothing"


def _weights(talk: Talk) -> Iterator[tuple[str, str]]:
    for at, message in enumerate(talk.messages):
        weight = cast("Mapping[str, Any]", message).get("weight", 1)
        if isinstance(weight, bool) or weight not in (0, 1):
            yield "bad weight", f"message {at} has the weight {weight!r}"


def _calls(talk: Talk, turns: Mapping[int, Turn]) -> Iterator[tuple[str, str]]:
    offered = {tool["name"] for tool in talk.tools}
    for at, turn in turns.items():
        for told in turn.errors:
            yield "unreadable call", f"message {at}: {told[:_MOST]}"
        for name in dict.fromkeys(turn.tools):
            if offered and name not in offered:
                yield "tool not offered", f"message {at} calls {name!r}; offered are {_listed(offered)}"
    for fault in misfits(_structured(talk, turns)) or []:
        yield fault["reason"], f"message {fault['turn']}: {fault['evidence']}"


def _structured(talk: Talk, turns: Mapping[int, Turn]) -> Talk:
    """The conversation with the calls that can be read, and no others, beside the text of their turns."""
    if not talk.tools:
        return talk
    messages = list(talk.messages)
    for at, turn in turns.items():
        calls: list[ToolCall] = [
            {"id": "", "name": call.name, "arguments": call.arguments} for call in turn.calls
        ]
        messages[at] = {**messages[at], "tool_calls": calls}
    return replace(talk, messages=messages)


def _results(talk: Talk, turns: Mapping[int, Turn]) -> Iterator[tuple[str, str]]:
    """Results of tools that answer no call: of its id where it has one, else of any turn before it."""
    ids: set[str] = set()
    called = False
    for at, message in enumerate(talk.messages):
        if message["role"] == "assistant":
            ids |= {call["id"] for call in message.get("tool_calls", [])}
            called = called or bool(turns[at].tools or turns[at].errors)
        elif message["role"] == "tool":
            name = message.get("tool_call_id")
            if name is not None and ids and name not in ids:
                yield "result without call", f"message {at} answers the call {name!r}, which nothing made"
            elif not called:
                yield (
                    "result without call",
                    f"message {at} is a result, and no turn before calls a tool",
                )


def _unproved(chat: Chat, read: Read) -> str | None:
    talk = read.found.talk
    try:
        prove(chat, _row(read, talk))
    except (CodecError, ProofError) as error:
        return str(error)[:_MOST]
    return None


def _row(read: Read, talk: Talk) -> Row:
    messages = talk.row_messages()
    for at in weightless(talk):
        messages[at]["weight"] = 0
    columns = read.found.columns
    return {
        "id": columns["conversation_id"],
        "session_id": columns["session_id"],
        "category": columns["category"] or "",
        "messages": messages,
        "tools": talk.tools,
    }


def _listed(names: set[str], most: int = 8) -> str:
    listed = ", ".join(sorted(names)[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed
