"""Data set rows as token sequences ready to train on.

In: rows and a `Chat`. Out: `Examples`, sequences that passed the token proof and fit into the context. No
MLX.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tracemill.curate.chat.fit import fit_row
from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.train.errors import TrainError

MARKS = re.compile(
    r"<\|im_start\|>\w+\n|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(system|user|assistant)\|>\n|<\|turn>"
)
"""How a message begins in the text of common chat templates."""


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


def valid_sequences(chat: Chat, dataset: Dataset, context: int) -> list[Rendered]:
    """The sequences of the validation split, for its loss; none where none of them fits."""
    rows = dataset.rows("valid")
    try:
        return sequences(chat, rows, context).parts if rows else []
    except TrainError:
        return []


def check_unrendered(dataset: Dataset) -> None:
    """TrainError where most rows hold the text of a chat template instead of messages.

    Trained on, the marks of that template would stand as words inside a turn of ours.
    """
    rows = dataset.rows("train")
    found = [(row["id"], mark[0]) for row in rows if (mark := MARKS.search(row["messages"][0]["content"]))]
    if rows and len(found) > len(rows) / 2:
        raise TrainError(
            f"{dataset.folder}/train.jsonl was rendered for a chat template already: row {found[0][0]} holds "
            f"{found[0][1]!r} as text; give its messages one by one, or export it again."
        )
