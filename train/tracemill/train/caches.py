"""Key-value caches that a call takes over from the one it goes on from.

In: the calls of a batch, in their order. Out: for each the caches to run it with, through which gradients
flow back. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import mlx.core as mx
from mlx_lm.models.cache import ConcatenateKVCache

from tracemill.train.batches import Batch, Call


class Caches:
    """The caches of one batch in `layers` layers, let go as soon as no later call needs them."""

    def __init__(self, layers: int):
        """No caches yet."""
        self._layers = layers
        self._made: dict[int, list[ConcatenateKVCache]] = {}
        self._left: dict[int, int] = {}

    def of(self, batch: Batch, at: int) -> list[ConcatenateKVCache] | None:
        """Caches for the call at `at`, one a layer; None for a call that stands for itself."""
        call = batch.calls[at]
        if call.parent is not None:
            caches = [_continued(cache, call) for cache in self._made[call.parent]]
            self._left[call.parent] -= 1
            if not self._left[call.parent]:
                del self._made[call.parent]
        elif call.continuations:
            caches = [ConcatenateKVCache() for _ in range(self._layers)]
        else:
            return None
        if call.continuations:
            self._made[at], self._left[at] = caches, call.continuations
        return caches

    def arrays(self) -> list[mx.array]:
        """What later calls need."""
        return [part for caches in self._made.values() for cache in caches for part in state(cache)]


def broadcast(caches: Sequence[ConcatenateKVCache], count: int) -> list[ConcatenateKVCache]:
    """Caches of shape (count, heads, P, head size) from those of one row."""
    return [_with(*(_copies(part, count) for part in state(cache))) for cache in caches]


def _continued(cache: ConcatenateKVCache, call: Call) -> ConcatenateKVCache:
    count = len(call.rows)
    if call.fork is None:
        return _with(*(part[:count, :, : call.begin] for part in state(cache)))
    row = slice(call.fork, call.fork + 1)
    return _with(*(_copies(part[row, :, : call.begin], count) for part in state(cache)))


def _copies(part: mx.array, count: int) -> mx.array:
    return mx.broadcast_to(part, (count, *part.shape[1:]))


def state(cache: ConcatenateKVCache) -> tuple[mx.array, mx.array]:
    """The keys and values of a cache that is not empty."""
    return cast(tuple[mx.array, mx.array], cache.state)


def _with(keys: mx.array, values: mx.array) -> ConcatenateKVCache:
    cache = ConcatenateKVCache()
    cache.state = keys, values
    return cache
