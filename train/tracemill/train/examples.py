"""Data set rows as token sequences ready to train on.

In: rows and a `Chat`. Out: `Examples`, sequences that passed the token proof and fit into the context. No
MLX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracemill.curate.chat.fit import fit_row
from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.train.errors import TrainError


@dataclass(frozen=True)
class Examples:
    """What a data set gives to learn from, within a context."""

    parts: list[Rendered]
    """Sequences that passed the token proof, each with at least one target."""
    cut: int
    """How many of them begin with a history whose first turns were cut."""
    dropped: list[str]
    """Why a turn, or a row, is learned nowhere: one sentence each."""


def sequences(chat: Chat, rows: Sequence[Row], context: int) -> Examples:
    """Proved sequences of `rows`, none longer than `context` tokens.

    TrainError where none is left; ProofError where a row is not faithful.
    """
    parts: list[Rendered] = []
    dropped: list[str] = []
    cut = 0
    for row in rows:
        fitted = fit_row(chat, row, context)
        parts += fitted.parts
        cut += fitted.cut
        dropped += fitted.dropped
        if not fitted.parts and not fitted.dropped:
            dropped.append(f"Row {row['id']} has no assistant turn to learn.")
    if not parts:
        reason = dropped[0].rstrip(".") if dropped else "it has no row"
        raise TrainError(
            f"The data set has no turn to learn from within the context of {context} tokens ({reason}); "
            "raise --context or export other sessions."
        )
    return Examples(parts, cut, dropped)
