"""How every call of a conversation ended, for preference pairs."""

from __future__ import annotations

from tracemill.curate.features.talk import Talk


def endings(talk: Talk) -> list[str]:
    """The status of each structured call in order, '' where nobody knows; empty where none is known.

    A call of a tool that was not offered is `unknown`.
    """
    if not talk.ended:
        return []
    offered = {tool["name"] for tool in talk.tools}
    status = {(end["position"], end["tool_call_id"]): end["status"] for end in talk.ended}
    return [
        status.get((position, call["id"]), "") if call["name"] in offered else "unknown"
        for position in talk.assistants
        for call in talk.messages[position].get("tool_calls", [])
    ]
