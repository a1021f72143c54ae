"""The tokens that end an assistant turn, found in what a chat template writes.

In: a tokenizer, and a callable that writes a conversation. Out: token ids. A model's configuration often
names another end of text than the one its template writes after a turn; a model that learned the template's,
served by a server that knows only the configured one, would never stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracemill.curate.errors import TemplateError
from tracemill.tracer.messages import Message

MARK = "qzvx"
"""Stands in a turn where nothing else has it, so what follows it is what the template writes after a turn."""

_ASK: Message = {"role": "user", "content": "Go."}
_ANSWER: Message = {"role": "assistant", "content": MARK}
_CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "call_0", "name": "look", "arguments": {"at": MARK}}],
}
_RESULT: Message = {"role": "tool", "content": "Fine.", "tool_call_id": "call_0", "name": "look"}


def turn_ends(
    tokenizer: Any, configured: frozenset[int], write: Callable[[Sequence[Message]], str]
) -> frozenset[int]:
    """The special tokens that end an answer and a call, none where the template writes a configured one."""
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    ends: set[int] = set()
    for turn, after in ((_ANSWER, _ASK), (_CALL, _RESULT)):
        alone = _after_mark(tokenizer, write, [_ASK, turn])
        followed = _after_mark(tokenizer, write, [_ASK, turn, after])
        ends |= _ends(alone, followed, special, configured)
    return frozenset(ends)


def _ends(alone: list[int], followed: list[int], special: set[int], configured: frozenset[int]) -> set[int]:
    """Of the special tokens that follow a turn whatever comes next the last one, else the first that ends a
    text; none where one of them is configured."""
    same = next(
        (i for i, (one, other) in enumerate(zip(alone, followed, strict=False)) if one != other),
        min(len(alone), len(followed)),
    )
    always = [token for token in alone[:same] if token in special]
    candidates = always or [token for token in alone if token in special]
    if not candidates or not configured.isdisjoint(candidates):
        return set()
    return {always[-1] if always else candidates[0]}


def _after_mark(
    tokenizer: Any, write: Callable[[Sequence[Message]], str], messages: Sequence[Message]
) -> list[int]:
    try:
        text = write(messages)
    except TemplateError:
        return []
    _, marked, rest = text.rpartition(MARK)
    return tokenizer.encode(rest, add_special_tokens=False) if marked else []
