"""A conversation as token sequences with a loss span for every assistant turn worth learning.

In: a `Chat`, neutral messages, the tools offered, and which assistant turns to learn. Out: `Rendered`
sequences: one for the conversation where the template keeps prefixes (`prefixes`), else one per turn, each
with its history as a server would render it. A span begins where the served prompt ends and ends with the
first stop token after it. It comes from comparing renderings, never from searching for markers, so nothing
that a tool result or a user says can move it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tracemill.curate.chat.prefixes import keeps_prefixes
from tracemill.curate.chat.prompts import prompt_ends
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import ProofError
from tracemill.tracer.messages import Message, Tool

MANY = 16
"""Turns from which on their prompts are not written one by one, where that shows the same."""


@dataclass(frozen=True)
class Rendered:
    """Tokens, and half-open spans `(start, end)` of the tokens that bear loss, stop token included."""

    tokens: list[int]
    spans: tuple[tuple[int, int], ...]


def render(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], learn: Collection[int]
) -> list[Rendered]:
    """Token sequences that learn the assistant messages at `learn`; ProofError for an unfaithful turn."""
    positions = sorted(learn)
    if len(positions) > 1 and keeps_prefixes(chat, messages):
        whole = _session(chat, messages, tools, positions)
        if whole is not None:
            return [whole]
    return [render_turn(chat, messages, tools, position) for position in positions]


def _session(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], positions: Sequence[int]
) -> Rendered | None:
    """One sequence for all turns; None where this conversation has a prompt that is not how it begins."""
    whole = render_turn(chat, messages, tools, positions[-1])
    starts = _starts(chat, messages, tools, positions, whole)
    spans: list[tuple[int, int]] = []
    for start in starts or ():
        end = _stop(chat, whole.tokens, start)
        if end is None or (spans and start < spans[-1][1]):
            return None
        spans.append((start, end))
    if starts is None or spans[-1][1] > whole.spans[0][0]:
        return None
    return Rendered(whole.tokens, (*spans, *whole.spans))


def _starts(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], positions: Sequence[int], whole: Rendered
) -> list[int] | None:
    """Where the turns before the last begin in `whole`; None where a prompt is not how it begins."""
    if len(positions) > MANY:
        found = prompt_ends(chat, messages, tools, positions, whole.tokens[: whole.spans[0][0]])
        if found is not None:
            return found
    starts: list[int] = []
    for position in positions[:-1]:
        prompt = chat.prompt(messages[:position], tools)
        if whole.tokens[: len(prompt)] != prompt:
            return None
        starts.append(len(prompt))
    return starts


def render_turn(chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], position: int) -> Rendered:
    """The assistant turn at `position`, after the very prompt a server would feed the model.

    ProofError unless the prompt is how the conversation begins and a stop token ends the turn.
    """
    prompt = chat.prompt(messages[:position], tools)
    tokens = chat.conversation(messages[: position + 1], tools)
    start = len(prompt)
    if tokens[:start] != prompt:
        joined = _joined(chat, messages, tools, position, prompt)
        if joined is None:
            raise ProofError(f"{_named(messages, position)}: {_difference(chat, prompt, tokens)}")
        tokens = joined
    end = _stop(chat, tokens, start)
    if end is None:
        tokens += _next_header(chat, messages, tools, position, tokens)
        end = _stop(chat, tokens, start)
    if end is None:
        raise ProofError(
            f"{_named(messages, position)}: no stop token ends it; the template writes "
            f"{chat.tokenizer.decode(tokens[-3:])!r} there, which is none of the model's end tokens."
        )
    after = [token for token in tokens[end:] if token not in chat.stop_tokens]
    if text := chat.tokenizer.decode(after).strip():
        raise ProofError(
            f"{_named(messages, position)}: it goes on after its stop token "
            f"{chat.tokenizer.decode(tokens[end - 1 : end])!r} with {text[:40]!r}; "
            "the recorded text holds a stop token of this model."
        )
    return Rendered(tokens[:end], ((start, end),))


def _joined(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], position: int, prompt: list[int]
) -> list[int] | None:
    """The prompt and, read by itself, the text that follows it; None where the text begins in another way.

    Some tokenizers merge the line breaks that end a prompt with those or the word after them. A model that is
    served the prompt never gets the merged token, so it must not be what it learns.
    """
    asked = chat.written(messages[:position], tools, add_generation_prompt=True)
    text = chat.written(messages[: position + 1], tools)
    if not text.startswith(asked):
        return None
    rest: list[int] = chat.tokenizer.encode(text[len(asked) :], add_special_tokens=False)
    same = chat.tokenizer.decode(prompt + rest) == chat.tokenizer.decode(
        chat.tokenizer.encode(text, add_special_tokens=False)
    )
    return prompt + rest if same else None


def _stop(chat: Chat, tokens: Sequence[int], start: int) -> int | None:
    """Where the turn that begins at `start` ends, its stop token included."""
    return next((i + 1 for i in range(start, len(tokens)) if tokens[i] in chat.stop_tokens), None)


def _next_header(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], position: int, tokens: Sequence[int]
) -> list[int]:
    """The token that the next message begins with, where it is a stop token: GLM's turns end so."""
    following: Message = {"role": "user", "content": "Go on."}
    if calls := messages[position].get("tool_calls"):
        following = {"role": "tool", "content": "", "tool_call_id": calls[0]["id"], "name": calls[0]["name"]}
    longer = chat.conversation([*messages[: position + 1], following], tools)
    begins = longer[: len(tokens)] == list(tokens)
    return [token for token in longer[len(tokens) : len(tokens) + 1] if begins and token in chat.stop_tokens]


def _named(messages: Sequence[Message], position: int) -> str:
    """The turn as a person would point at it."""
    calls = len(messages[position].get("tool_calls", []))
    what = "an answer in words" if not calls else "a tool call" if calls == 1 else f"{calls} tool calls"
    before = {"tool": " after a tool result", "assistant": " after another assistant turn"}
    role = messages[position - 1]["role"] if position else ""
    return f"Turn {position} ({what}{before.get(role, '')})"


def _difference(chat: Chat, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """The first token in which the prompt and the training sequence differ, and what follows it."""
    same = (one == other for one, other in zip(prompt, tokens, strict=False))
    at = next((i for i, equal in enumerate(same) if not equal), min(len(prompt), len(tokens)))
    served, trained = (repr(chat.tokenizer.decode(list(ids[at : at + 6]))) for ids in (prompt, tokens))
    return (
        f"the served prompt is not how the training sequence begins: from token {at} on it is {served} when "
        f"served and {trained} when trained; the template writes an answer differently than it asks for one."
    )
