"""Data set rows as token sequences ready to train on, and batches of them.

In: rows and a `Chat`. Out: `Examples`, sequences that passed the token proof and fit into the context, and
from them `Batch` objects: one shared prefix, the right-padded rest of every sequence, and the positions that
bear loss. Pure Python and numpy, no MLX.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracemill.curate.chat.fit import fit_row
from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.train.errors import TrainError

Ints = npt.NDArray[np.int32]
WINDOW = 4
"""Batches sorted by length together: large enough to save padding, small enough to keep batches mixed."""


@dataclass(frozen=True)
class Lane:
    """A part of a batch that is computed on its own.

    rows: which sequences these are. suffix: (B, S) token ids after the shared prefix, padded on the right
    with 0. where: (2, T) row and column in `suffix` of the states that predict `targets`: (T,) token ids.
    """

    rows: tuple[int, ...]
    suffix: Ints
    where: Ints
    targets: Ints


@dataclass(frozen=True)
class Batch:
    """Token ids of one training step: the (P,) ids that begin every sequence, and the rest in lanes."""

    prefix: Ints
    lanes: tuple[Lane, ...]

    @property
    def targets(self) -> int:
        """How many tokens bear loss."""
        return sum(len(lane.targets) for lane in self.lanes)


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


def order(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Indices of one batch after another, for ever: each epoch a new seeded permutation, cut across epochs.

    Within a window of four batches, sequences are sorted by length, so that little of a batch is padding; the
    batches of a window come in random order. With fewer rows than a batch, the batch is all rows.
    """
    chance = random.Random(seed)
    size = min(batch_size, len(lengths))
    waiting: list[int] = []
    while True:
        while len(waiting) < WINDOW * size:
            waiting += chance.sample(range(len(lengths)), len(lengths))
        window, waiting = sorted(waiting[: WINDOW * size], key=lengths.__getitem__), waiting[WINDOW * size :]
        batches = [window[start : start + size] for start in range(0, len(window), size)]
        yield from chance.sample(batches, len(batches))


def in_order(count: int, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Indices of `steps` batches of `count` sequences in their order, which begins anew after the last one.

    Where the steps do not reach them all, a seeded sample comes in that order: a curriculum that goes from
    short to long is to end with long ones, however few steps there are.
    """
    size = min(batch_size, count)
    wanted = steps * size
    chosen = sorted(random.Random(seed).sample(range(count), wanted)) if wanted < count else range(count)
    for step in range(steps):
        yield [chosen[(step * size + at) % len(chosen)] for at in range(size)]


def make_batch(parts: Sequence[Rendered], rows: Sequence[int], shared: int, lanes: int = 1) -> Batch:
    """Batch the sequences `rows` of `parts`, the first `shared` tokens of which are the same.

    They are dealt to the lanes one by one, so that lanes of rows sorted by length are equally long.
    """
    dealt = [rows[first::lanes] for first in range(min(lanes, len(rows)))]
    prefix = np.array(parts[rows[0]].tokens[:shared], np.int32)
    return Batch(prefix, tuple(_make_lane(parts, some, shared) for some in dealt))


def _make_lane(parts: Sequence[Rendered], rows: Sequence[int], shared: int) -> Lane:
    where: list[tuple[int, int]] = []
    targets: list[int] = []
    for i, row in enumerate(rows):
        for start, end in parts[row].spans:
            where += [(i, position - 1 - shared) for position in range(start, end)]
            targets += parts[row].tokens[start:end]
    suffix = pad([parts[row].tokens[shared:] for row in rows])
    return Lane(tuple(rows), suffix, np.array(where, np.int32).T, np.array(targets, np.int32))


def pad(sequences: Sequence[Sequence[int]]) -> Ints:
    """(B, S) ids of sequences of up to S ids, padded on the right with 0."""
    padded = np.zeros((len(sequences), max(map(len, sequences))), np.int32)
    for row, ids in zip(padded, sequences, strict=True):
        row[: len(ids)] = ids
    return padded


def common_prefix(parts: Sequence[Rendered]) -> int:
    """How many tokens all `parts` begin with, short of the state that predicts any part's first target."""
    limit = min(part.spans[0][0] for part in parts) - 1
    first, last = min(part.tokens for part in parts), max(part.tokens for part in parts)
    return next((i for i in range(limit) if first[i] != last[i]), max(limit, 0))
