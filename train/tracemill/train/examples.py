"""Data set rows as token sequences ready to train on, and batches of them.

In: rows and a `Chat`. Out: `Rendered` sequences that passed the token proof, and from them `Batch` objects:
one shared prefix, the right-padded rest of every sequence, and the positions that bear loss. Pure Python and
numpy, no MLX.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.train.errors import TrainError

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """Token ids of one training step.

    prefix: (P,) ids that begin every sequence. suffix: (B, S) ids of the rest, padded on the right with 0.
    where: (2, T) row and column in `suffix` of the hidden states that predict `targets`: (T,) ids.
    """

    prefix: Ints
    suffix: Ints
    where: Ints
    targets: Ints


def sequences(chat: Chat, rows: Sequence[Row], max_tokens: int) -> tuple[list[Rendered], int]:
    """Proved sequences of `rows`, and how many were left out for being longer than `max_tokens`.

    TrainError where none is left; ProofError where a row is not faithful.
    """
    rendered = [part for row in rows for part in prove(chat, row)]
    kept = [part for part in rendered if len(part.tokens) <= max_tokens and part.spans]
    if not kept:
        longest = max((len(part.tokens) for part in rendered), default=0)
        raise TrainError(
            f"The data set has no row to learn from: {len(rendered)} sequences, the longest {longest} long, "
            f"none within the context of {max_tokens} tokens; raise --max-tokens or export other sessions."
        )
    return kept, len(rendered) - len(kept)


def order(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Indices of one batch after another, for ever: each epoch a new seeded permutation, cut across epochs.

    With fewer rows than a batch, the batch is all rows.
    """
    chance = random.Random(seed)
    size = min(batch_size, count)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += chance.sample(range(count), count)
        batch, waiting = waiting[:size], waiting[size:]
        yield batch


def make_batch(parts: Sequence[Rendered], share_prefix: bool = True) -> Batch:
    """Batch `parts`, splitting off the longest token prefix they share (none with `share_prefix` False).

    The prefix ends before the hidden state that predicts the first target, so every target is in the suffix.
    """
    shared = _common_prefix(parts) if share_prefix else 0
    width = max(len(part.tokens) for part in parts) - shared
    suffix = np.zeros((len(parts), width), np.int32)
    where: list[tuple[int, int]] = []
    targets: list[int] = []
    for i, part in enumerate(parts):
        suffix[i, : len(part.tokens) - shared] = part.tokens[shared:]
        for start, end in part.spans:
            where += [(i, position - 1 - shared) for position in range(start, end)]
            targets += part.tokens[start:end]
    return Batch(
        np.array(parts[0].tokens[:shared], np.int32),
        suffix,
        np.array(where, np.int32).T,
        np.array(targets, np.int32),
    )


def _common_prefix(parts: Sequence[Rendered]) -> int:
    limit = min(part.spans[0][0] for part in parts) - 1
    first, last = min(part.tokens for part in parts), max(part.tokens for part in parts)
    for i in range(limit):
        if first[i] != last[i]:
            return i
    return max(limit, 0)
