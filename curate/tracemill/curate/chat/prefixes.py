"""Whether a chat template keeps prefixes: what it writes of a short conversation begins that of a longer one.

In: a `Chat`. Out: yes or no, found once for each `Chat` on made-up conversations (calls, several at once,
results, a second question; with and without thinking), in milliseconds. Where it is yes a conversation is one
sequence that learns all its turns; templates that rewrite history (they drop earlier thinking, say) need one
sequence per turn. The answer decides only how many sequences there are: that each prompt of a real
conversation is how its sequence begins is asserted for every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import TemplateError
from tracemill.tracer.messages import Message, Tool, ToolCall

THOUGHT = "</think>"
_proved: WeakKeyDictionary[Chat, dict[bool, bool]] = WeakKeyDictionary()


def keeps_prefixes(chat: Chat, messages: Sequence[Message]) -> bool:
    """Whether the template of `chat` keeps prefixes of conversations like `messages`, which think or not."""
    thinks = any(THOUGHT in message["content"] for message in messages if message["role"] == "assistant")
    known = _proved.setdefault(chat, {})
    if thinks not in known:
        known[thinks] = _probe(chat, thinks)
    return known[thinks]


def _probe(chat: Chat, thinks: bool) -> bool:
    """Yes if at least one probe is accepted, and none that is shows a prefix lost."""
    found: list[bool] = []
    for messages, tools in _probes(thinks):
        try:
            found.append(_keeps(chat, messages, tools))
        except TemplateError:
            continue  # many templates know no tools, no system prompt, or one call a turn
    return bool(found) and all(found)


def _keeps(chat: Chat, messages: Sequence[Message], tools: Sequence[Tool]) -> bool:
    whole = chat.conversation(messages, tools)
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = chat.prompt(messages[:position], tools)
        turn = chat.conversation(messages[: position + 1], tools)
        stop = next((i for i in range(len(prompt), len(turn)) if turn[i] in chat.stop_tokens), len(turn))
        written = turn[: stop + 1]
        if written[: len(prompt)] != prompt or whole[: len(written)] != written:
            return False
    return True


def _probes(thinks: bool) -> list[tuple[list[Message], list[Tool]]]:
    """Conversations from the plainest to one with everything."""
    thought = "<think>\nHm.\n</think>\n\n" * thinks
    words: list[Message] = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": f"{thought}Two."},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": f"{thought}Four."},
    ]
    system: Message = {"role": "system", "content": "Be brief."}
    tool: Tool = {
        "name": "look",
        "description": "Look.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    }
    single = [*words, *_round(thought, 4, 1), *words]
    several = [system, *words, *_round(f"{thought}I look.", 4, 1), *_round(thought, 7, 2), *words]
    return [(words, []), ([system, *words], []), (single, [tool]), (several, [tool])]


def _round(said: str, first: int, count: int) -> list[Message]:
    """A question, `count` calls at once, their results and an answer."""
    calls: list[ToolCall] = [
        {"id": f"call_{first + n}", "name": "look", "arguments": {"at": f"p{n}"}} for n in range(count)
    ]
    results: list[Message] = [
        {"role": "tool", "content": "Fine.", "tool_call_id": call["id"], "name": "look"} for call in calls
    ]
    turn: Message = {"role": "assistant", "content": said, "tool_calls": calls}
    return [{"role": "user", "content": "Look."}, turn, *results, {"role": "assistant", "content": "Seen."}]
