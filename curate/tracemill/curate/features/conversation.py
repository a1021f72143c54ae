"""What the first steps ask of a conversation: its fingerprint, its turns, the faults of its calls."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from typing import Any, cast

from tracemill.curate.chat.codec import Call
from tracemill.curate.features.talk import Talk
from tracemill.tracer.messages import Message, Tool, canonical_json

# A deferred call waits for a person or for another process: that is no fault of the model.
_FINE = ("ok", "deferred")


def prompt(talk: Talk) -> str:
    """What makes two prompts the same."""
    return talk.prompt


def weightless(talk: Talk) -> list[int]:
    """Assistant turns that the source itself keeps out of the loss (`weight` 0)."""
    return [i for i in talk.assistants if cast("Mapping[str, Any]", talk.messages[i]).get("weight", 1) == 0]


def assistants(talk: Talk) -> list[int]:
    """Positions of the assistant turns."""
    return talk.assistants


def fingerprint(talk: Talk) -> str:
    """The name of messages and tools without call ids, white space and Unicode form levelled."""
    parts = [talk.toolset]
    for message in talk.messages:
        calls = [[call["name"], call["arguments"]] for call in message.get("tool_calls", ())]
        parts.append(message["role"])
        parts.append(" ".join(_composed(message["content"]).split()))
        parts.append(canonical_json(calls).decode("utf-8", "surrogatepass") if calls else "")
    # That separator is white space to `split` and escaped in JSON, so it stands in no part.
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def turns(talk: Talk) -> list[int]:
    """A 64-bit name for every assistant turn (parallel to `assistants`), made of it and what came before.

    That is what stands between it and the turn before, system messages aside, so a turn is found again in a
    branch of the request tree and where an agent trims its history or writes the time into its instructions.
    """
    found: list[int] = []
    before: list[Message] = []
    for message in talk.messages:
        if message["role"] == "assistant":
            name = hashlib.sha256(canonical_json([before, _spoken(message)])).digest()[:8]
            found.append(int.from_bytes(name, "big"))
            before = []
        elif message["role"] != "system":
            before.append(message)
    return found


def _spoken(message: Message) -> dict[str, Any]:
    # Reasoning that is kept apart is not in a row, and some models are not sent it again.
    return {key: value for key, value in message.items() if key != "thinking"}


def empty_turns(talk: Talk) -> list[int]:
    """Assistant turns without text and calls."""
    return [
        i
        for i in talk.assistants
        if not talk.messages[i]["content"].strip() and not talk.messages[i].get("tool_calls")
    ]


def blind_turns(talk: Talk) -> list[int]:
    """Assistant turns from the first image or file on.

    A row holds a marker such as `[image/png]` in its place, and who learns to answer that learns to make
    things up.
    """
    first = _first_file(talk)
    return [i for i in talk.assistants if i >= first]


def first_file(talk: Talk) -> str | None:
    """The first image or file, in words; null where there is none."""
    at = _first_file(talk)
    if at == len(talk.messages):
        return None
    files = talk.messages[at].get("attachments", [])
    return f"message {at} holds " + ", ".join(f"{one['media_type']} ({one['bytes']} bytes)" for one in files)


def _first_file(talk: Talk) -> int:
    marked = (i for i, message in enumerate(talk.messages) if message.get("attachments"))
    return next(marked, len(talk.messages))


def text_fault(talk: Talk) -> str | None:
    """Why it has no `<tool_call>` text form; null where it has one."""
    return talk.text_fault


def call_count(talk: Talk) -> int:
    """How many calls its messages ask for."""
    return len(talk.called)


def called_tools(talk: Talk) -> list[str]:
    """The tools it calls, each once, sorted."""
    return sorted({call.name for _, call, _ in talk.called})


def tool_count(talk: Talk) -> int:
    """How many tools were offered."""
    return len(talk.tools)


def failed_turns(talk: Talk) -> list[int]:
    """Positions of the assistant turns with a call that failed.

    A call has failed where its tool was not offered, a required argument is missing or it did not end well.
    """
    return list(_faults(talk))


def call_faults(talk: Talk) -> str | None:
    """What failed in those turns, in words; null where nothing did."""
    return "; ".join(f"turn {position}: {fault}" for position, fault in _faults(talk).items()) or None


def _faults(talk: Talk) -> dict[int, str]:
    """The last fault of each assistant turn that has one, by its position."""
    if not talk.called:
        return {}
    offered = {tool["name"]: tool for tool in talk.tools}
    status = {(end["position"], end["tool_call_id"]): end["status"] for end in talk.ended}
    return {
        position: fault
        for position, call, call_id in talk.called
        if (fault := _fault(call, offered, status.get((position, call_id), "ok")))
    }


def _fault(call: Call, offered: Mapping[str, Tool], status: str) -> str | None:
    if call.name not in offered:
        return f"{call.name} was not offered"
    missing = [
        key for key in offered[call.name]["parameters"].get("required", []) if key not in call.arguments
    ]
    if missing:
        return f"{call.name} lacks {', '.join(missing)}"
    return None if status in _FINE else f"{call.name} ended as {status}"
