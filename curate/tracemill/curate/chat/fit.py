"""Rows longer than the context, as sequences that fit.

In: a `Chat`, a row and a number of tokens. Out: `Fitted`: sequences of at most that many tokens, every one
with a target, and why a turn could not be kept. A turn whose history fits is learned after all of it. For the
others whole turns (an assistant message with its tool results) are cut from the left, after the system
prompt; the user message that the first kept turn answers stays, so no history begins with a tool result or
with an answer to nobody. Each turn is learned once.

Where the template keeps prefixes a cut leaves half of the room to the turns that follow in the same sequence;
elsewhere each turn has a sequence to itself, after as much history as fits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from tracemill.curate.chat.codec import RowMessage, from_row
from tracemill.curate.chat.prefixes import keeps_prefixes
from tracemill.curate.chat.proof import Row, learned_turns, prove
from tracemill.curate.chat.render import Rendered, render_turn
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import ProofError, TemplateError


@dataclass(frozen=True)
class Fitted:
    """Sequences of one row that fit into the context."""

    parts: list[Rendered]
    cut: int = 0
    """How many of them begin with a history that was cut."""
    dropped: list[str] = field(default_factory=list[str])
    """Why a turn is learned nowhere, one sentence each."""


def fit_row(chat: Chat, row: Row, context: int) -> Fitted:
    """Proved sequences of `row` of at most `context` tokens; ProofError where the row is not faithful."""
    left = learned_turns(row["messages"])
    parts, learned = _leading(prove(chat, row), context)
    left = left[learned:]
    together = bool(left) and keeps_prefixes(chat, from_row(row["messages"]))
    cut = 0
    dropped: list[str] = []
    while left:
        try:
            begin = _beginning(chat, row, left[0], context, together)
            kept, learned = _following(chat, row, begin, left if together else left[:1], context)
        except (ProofError, TemplateError) as error:
            dropped.append(str(error))
            kept, learned = [], 1
        parts += kept
        cut += len(kept)
        left = left[learned:]
    return Fitted(parts, cut, dropped)


def fit_answers(chat: Chat, rows: Sequence[Row], context: int) -> tuple[list[Rendered], bool]:
    """The last turns of rows that differ in nothing else, each after the same prompt; and whether it was cut.

    Each is learned alone, in at most `context` tokens. ProofError where a row is not faithful, or where a
    turn does not fit after nothing but the message that it answers.
    """
    position = len(rows[0]["messages"]) - 1
    asked = [_without(row, 0, [position]) for row in rows]
    parts = [part for row in asked for part in prove(chat, row)]
    cut = max(len(part.tokens) for part in parts) > context
    if cut:
        begin = max(_beginning(chat, row, position, context, together=False) for row in asked)
        parts = [part for row in asked for part in prove(chat, _without(row, begin, [position]))]
    prompts = [part.tokens[: part.spans[0][0]] for part in parts]
    if any(prompt != prompts[0] for prompt in prompts) or max(len(part.tokens) for part in parts) > context:
        raise ProofError(f"Row {rows[0]['id']}: its answers cannot be put after one prompt.")
    return parts, cut


def _leading(parts: Sequence[Rendered], context: int) -> tuple[list[Rendered], int]:
    """What of a row's sequences fits, up to the first turn that does not; and how many turns that are."""
    kept: list[Rendered] = []
    learned = 0
    for part in parts:
        spans = tuple(span for span in part.spans if span[1] <= context)
        if spans:
            kept.append(Rendered(part.tokens[: spans[-1][1]], spans))
        learned += len(spans)
        if len(spans) < len(part.spans):
            break
    return kept, learned


def _following(
    chat: Chat, row: Row, begin: int, left: Sequence[int], context: int
) -> tuple[list[Rendered], int]:
    """What is learned of the turns `left` by beginning at message `begin`; and how many turns that are."""
    several = 1
    while True:
        kept, learned = _leading(prove(chat, _without(row, begin, left[:several])), context)
        if not learned:  # a template that writes a turn longer the more there is before it
            raise ProofError(f"Row {row['id']}: Turn {left[0]} cannot be cut to {context} tokens.")
        if learned < several or several >= len(left):
            return kept, learned
        several *= 2


def _beginning(chat: Chat, row: Row, position: int, context: int, together: bool) -> int:
    """The first message to keep before the turn at `position`: the earliest that leaves room for the turn.

    With other turns `together`, half of the room is left to them. ProofError where the turn does not fit
    after nothing but the message that it answers.
    """
    messages = row["messages"]
    start, end = _extent(chat, row, position, position)
    if end > context:
        raise ProofError(
            f"Row {row['id']}: Turn {position} has {end} tokens with nothing but the message it answers; "
            f"the context is {context}."
        )
    most = start + (context - end) // (2 if together else 1)
    first = _head(messages)
    turns = [i for i in range(first, position + 1) if messages[i]["role"] in ("user", "assistant")]
    return turns[bisect_left(turns, True, key=lambda begin: _extent(chat, row, begin, position)[0] <= most)]


def _extent(chat: Chat, row: Row, begin: int, position: int) -> tuple[int, int]:
    """Where the turn at `position` starts and ends, in tokens, if the history begins at message `begin`."""
    shorter = _without(row, begin, [position])
    messages = from_row(shorter["messages"])
    return render_turn(chat, messages, shorter["tools"], len(messages) - 1).spans[0]


def _without(row: Row, begin: int, learn: Sequence[int]) -> Row:
    """The row without its turns before message `begin` and after the last of `learn`, the others context."""
    messages = row["messages"]
    head = range(min(_head(messages), begin))
    asked = [i for i in range(len(head), begin) if messages[i]["role"] == "user"]
    opening = asked[-1:] if messages[begin]["role"] != "user" else []
    kept = [*head, *opening, *range(begin, learn[-1] + 1)]
    return {**row, "messages": [_weighed(messages[i], i in learn) for i in kept]}


def _weighed(message: RowMessage, learn: bool) -> RowMessage:
    return message if learn or message["role"] != "assistant" else {**message, "weight": 0}


def _head(messages: Sequence[RowMessage]) -> int:
    """How many system messages a row begins with."""
    return next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
