"""A conversation as token sequences with a loss span for every assistant turn worth learning.

In: a `Chat`, neutral messages, the tools offered, and which assistant turns to learn. Out: `Rendered`
sequences. Where the template proves prefix-preserving for this very conversation (each shorter rendering is a
prefix of the whole) there is one sequence; elsewhere one per turn, with its history as a server would render
it. Spans come from comparing renderings, never from searching for markers, so nothing that a tool result
contains can move them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import ProofError
from tracemill.tracer.messages import Message, Tool


@dataclass(frozen=True)
class Rendered:
    """Tokens, and half-open spans `(start, end)` of the tokens that bear loss, stop token included."""

    tokens: list[int]
    spans: tuple[tuple[int, int], ...]


def render(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], learn: Collection[int]
) -> list[Rendered]:
    """Token sequences that learn the assistant messages at `learn`; ProofError for an unfaithful turn."""
    turns = [render_turn(chat, messages, tools, position) for position in sorted(learn)]
    if turns and all(shorter.tokens == turns[-1].tokens[: len(shorter.tokens)] for shorter in turns):
        return [Rendered(turns[-1].tokens, tuple(span for turn in turns for span in turn.spans))]
    return turns


def render_turn(chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], position: int) -> Rendered:
    """The assistant turn at `position`, after the very prompt a server would feed the model.

    ProofError unless the prompt is a prefix of the conversation and the turn ends with its only stop token.
    """
    prompt = chat.prompt(messages[:position], tools)
    tokens = chat.conversation(messages[: position + 1], tools)
    if tokens[: len(prompt)] != prompt:
        raise ProofError(
            f"Turn {position}: the served prompt is not how the training sequence begins; "
            "the template renders history or the generation prompt differently."
        )
    stops = [i for i in range(len(prompt), len(tokens)) if tokens[i] in chat.stop_tokens]
    if len(stops) != 1:
        raise ProofError(
            f"Turn {position}: {len(stops)} stop tokens in it; there must be exactly one, at its end."
        )
    end = stops[0] + 1
    return Rendered(tokens[:end], ((len(prompt), end),))
