"""What never changes while a model learns, computed once.

In: the layers below the first one that learns, and sequences. Out: their states at any call of a batch. They
are kept where they are needed more than once and fit; else each step computes them anew. What sequences share
is computed and kept once. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import mlx.core as mx

from tracemill.curate.chat.render import Rendered
from tracemill.train.batches import Batch, Call, Layout, common, make_batch, needed, sort_alike
from tracemill.train.caches import Caches

Progress = Callable[[str, int, int], None]
MOST_STATES = 2**30
"""Bytes of states kept; a larger data set computes them anew in every step."""
AT_ONCE = 128
"""Sequences laid out together, in the order of their tokens: what more of them share is computed again."""
EVERY = 8192
"""Tokens computed before their caches are let go."""


class Frozen:
    """The states below the first layer that learns."""

    def __init__(
        self,
        lower: Callable[..., mx.array],
        layers: int,
        parts: Sequence[Rendered],
        layout: Layout,
        streams: Sequence[mx.Stream],
        keep: bool = True,
        progress: Progress | None = None,
    ):
        """`lower(tokens, cache)` gives the states of (B, S) tokens after `layers` layers."""
        self._lower, self._layers, self._layout, self._streams = lower, layers, layout, streams
        self._pieces: list[list[tuple[int, int, int]]] = [[] for _ in parts]
        self._own: dict[int, mx.array] = {}
        if not keep or not layers:
            return
        ordered = sort_alike(parts, range(len(parts)))
        total = self._divide(parts, ordered)
        one = lower(mx.array([[0]]), cache=None)
        if total * one.shape[-1] * one.dtype.size <= MOST_STATES:
            self._compute(parts, ordered, progress)

    def of(self, batch: Batch) -> Callable[[int], mx.array]:
        """A function that gives (B, S, hidden size) states of the call at an index, padding as it comes.

        It has to be called for every call in their order, each on the stream of the call.
        """
        caches = Caches(self._layers)

        def states(at: int) -> mx.array:
            call = batch.calls[at]
            if self._own:
                return self._kept(call)
            return mx.stop_gradient(self._lower(mx.array(call.tokens), cache=caches.of(batch, at)))

        return states

    def _divide(self, parts: Sequence[Rendered], ordered: Sequence[int]) -> int:
        """Find whose states the tokens of each sequence have, and where; returns how many differ."""
        total = 0
        pieces: list[tuple[int, int, int]] = []
        alike = [0, *(common(parts[one], parts[other]) for one, other in pairwise(ordered))]
        for row, same in zip(ordered, alike, strict=True):
            pieces = [(owner, start, min(end, same)) for owner, start, end in pieces if start < same]
            if same < needed(parts[row]):
                pieces.append((row, same, needed(parts[row])))
                total += needed(parts[row]) - same
            self._pieces[row] = pieces
        return total

    def _compute(self, parts: Sequence[Rendered], ordered: Sequence[int], progress: Progress | None) -> None:
        found: dict[int, list[mx.array]] = {}
        for first in range(0, len(ordered), AT_ONCE):
            batch = make_batch(parts, ordered[first : first + AT_ONCE], self._layout)
            caches, fresh = Caches(self._layers), 0
            for at, call in enumerate(batch.calls):
                with mx.stream(self._streams[call.lane]):
                    states = self._lower(mx.array(call.tokens), cache=caches.of(batch, at))
                    self._take(call, states, found)
                fresh += call.tokens.size
                if fresh >= EVERY or at == len(batch.calls) - 1:
                    mx.eval(found, caches.arrays())
                    fresh = 0
            if progress:
                progress("frozen layers", min(first + AT_ONCE, len(ordered)), len(ordered))
        self._own = {
            row: states[0] if len(states) == 1 else mx.concatenate(states) for row, states in found.items()
        }
        mx.eval(self._own)

    def _take(self, call: Call, states: mx.array, found: dict[int, list[mx.array]]) -> None:
        """Keep what of the states of a call belongs to the sequences it was computed for."""
        for at, (row, length) in enumerate(zip(call.rows, call.lengths, strict=True)):
            owner, start, _ = self._pieces[row][-1]
            begin = max(start - call.begin, 0)
            if owner == row and begin < length:
                found.setdefault(row, []).append(states[at, begin:length])

    def _kept(self, call: Call) -> mx.array:
        width = call.tokens.shape[1]
        rows = [
            self._piece(row, call.begin, length) for row, length in zip(call.rows, call.lengths, strict=True)
        ]
        return mx.stack(
            [mx.pad(row, [(0, width - len(row)), (0, 0)]) if len(row) < width else row for row in rows]
        )

    def _piece(self, row: int, begin: int, length: int) -> mx.array:
        """States of `length` tokens of a sequence from `begin` on."""
        taken: list[mx.array] = []
        for owner, start, end in self._pieces[row]:
            first, last = max(start, begin), min(end, begin + length)
            if first < last:
                own = self._pieces[owner][-1][1]
                taken.append(self._own[owner][first - own : last - own])
        return taken[0] if len(taken) == 1 else mx.concatenate(taken)
