"""The loss of a batch, with nothing computed twice.

In: an mlx-lm model with LoRA on its last layers, and token sequences. Out: the cross-entropy over the targets
of a batch, equal within float tolerance to that of the plain forward pass over every padded row:

- the layers below the first LoRA layer never change, so their output is computed once a sequence (`Frozen`);
- the prefix that all sequences share runs once per step into key-value caches that are broadcast over the
  rows, and gradients flow back through it;
- logits are computed only where there is a target;
- rows run in lanes, each on a stream of its own, because MLX computes all but matrix products on one core per
  stream, and on x86 its exponentials cost as much as the products.

Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ConcatenateKVCache, KVCache, make_prompt_cache

from tracemill.curate.chat.render import Rendered
from tracemill.train.cores import usable_cores
from tracemill.train.examples import Batch, Lane, pad

Progress = Callable[[str, int, int], None]
MOST_STATES = 2**31
"""Bytes of frozen states kept; a larger data set computes them anew in every step."""


@dataclass(frozen=True)
class Cut:
    """A model cut below its first LoRA layer: `lower` never changes, `upper` learns, `head` gives logits.

    lower(tokens, cache) and upper(None, cache, states) return states (B, S, hidden size). `lower` is None for
    an architecture that cannot be cut; then upper(tokens, cache) returns logits and `head` passes them on.
    """

    lower: Callable[..., mx.array] | None
    upper: Callable[..., mx.array]
    head: Callable[[mx.array], mx.array]
    lower_layers: int
    upper_layers: int
    shares_prefixes: bool


def cut(model: Any, lora_layers: int) -> Cut:
    """Cut `model` below its last `lora_layers` layers, if a probe shows the parts to equal the whole."""
    shares = all(type(cache) is KVCache for cache in make_prompt_cache(model))
    count = len(model.layers)
    below = max(count - lora_layers, 0)
    probe = mx.array([[1, 2, 3]])
    try:
        made = _cut_llama(model, below, shares)
        states = made.upper(None, cache=None, input_embeddings=cast(Any, made.lower)(probe))
        if mx.allclose(made.head(states), model(probe), rtol=1e-3, atol=1e-4):
            return made
    except (AttributeError, TypeError, ValueError, IndexError):
        pass  # Another architecture than Llama's and its many kin.
    return Cut(None, model, lambda logits: logits, 0, count, shares)


def _cut_llama(model: Any, below: int, shares: bool) -> Cut:
    """The parts of a model laid out as mlx-lm's Llama; they share its layers, so what one learns all know."""
    inner = model.model
    lower, upper = copy.copy(inner), copy.copy(inner)
    lower.layers, upper.layers = inner.layers[:below], inner.layers[below:]
    lower.norm = nn.Identity()
    head = model.lm_head if "lm_head" in model else inner.embed_tokens.as_linear

    def embed(tokens: mx.array, cache: object = None) -> mx.array:  # noqa: ARG001 (called as `lower` is)
        return inner.embed_tokens(tokens)

    return Cut(lower if below else embed, upper, head, below, len(upper.layers), shares)


class Frozen:
    """The states below the first LoRA layer: of the shared prefix, and of each sequence after it."""

    def __init__(
        self,
        model: Cut,
        sequences: Sequence[Rendered],
        shared: int,
        streams: Sequence[mx.Stream],
        progress: Progress | None = None,
    ):
        """Compute the prefix, and the sequences unless they would take more than MOST_STATES bytes."""
        assert model.lower is not None
        self._lower, self._layers = model.lower, model.lower_layers
        cache = self._caches()
        self.prefix = self._lower(mx.array([sequences[0].tokens[:shared] or [0]]), cache=cache)
        self._cache = cache if shared else None
        mx.eval(self.prefix, [layer.state for layer in cache])
        size = self.prefix.shape[-1] * self.prefix.dtype.size
        self._rows: dict[int, mx.array] = {}
        if size * sum(len(part.tokens) - shared for part in sequences) <= MOST_STATES:
            self._compute([part.tokens[shared:] for part in sequences], streams, progress)

    def states(self, lane: Lane) -> mx.array:
        """(B, S, hidden size) states of a lane's suffixes, anything after their end."""
        if not self._rows:
            return mx.stop_gradient(self._run(mx.array(lane.suffix)))
        width = lane.suffix.shape[1]
        rows = [self._rows[row] for row in lane.rows]
        return mx.stack([mx.pad(row, [(0, width - len(row)), (0, 0)]) for row in rows])

    def _compute(
        self, suffixes: Sequence[Sequence[int]], streams: Sequence[mx.Stream], progress: Progress | None
    ) -> None:
        by_length = sorted(range(len(suffixes)), key=lambda i: len(suffixes[i]))
        chunks = [by_length[start : start + 8] for start in range(0, len(by_length), 8)]
        for first in range(0, len(chunks), len(streams)):
            for chunk, stream in zip(chunks[first:], streams, strict=False):
                with mx.stream(stream):
                    states = self._run(mx.array(pad([suffixes[i] for i in chunk])))
                    self._rows |= {i: row[: len(suffixes[i])] for i, row in zip(chunk, states, strict=True)}
            mx.eval(list(self._rows.values()))
            if progress:
                progress("frozen layers", min(first + len(streams), len(chunks)), len(chunks))

    def _run(self, suffix: mx.array) -> mx.array:
        cache = broadcast(self._cache, len(suffix)) if self._cache and self._layers else None
        return self._lower(suffix, cache=cache)

    def _caches(self) -> list[ConcatenateKVCache]:
        return [ConcatenateKVCache() for _ in range(self._layers)]


def lane_streams() -> list[mx.Stream]:
    """The streams that lanes run on: one per core on the CPU, one alone on a GPU."""
    if mx.default_device() != mx.Device(mx.cpu):
        return [mx.default_stream(mx.default_device())]
    return [mx.new_stream(mx.cpu) for _ in range(usable_cores())]


def batch_loss(
    model: Cut, frozen: Frozen | None, batch: Batch, streams: Sequence[mx.Stream], divisor: float
) -> mx.array:
    """Cross-entropy in nats, summed over the targets of `batch`, over `divisor`. Lane i runs on stream i."""
    prefix: list[ConcatenateKVCache] | None = None
    if len(batch.prefix):
        prefix = [ConcatenateKVCache() for _ in range(model.upper_layers)]
        if frozen:
            model.upper(None, cache=prefix, input_embeddings=frozen.prefix)
        else:
            model.upper(mx.array(batch.prefix)[None], cache=prefix)
    losses: list[mx.array] = []
    for lane, stream in zip(batch.lanes, streams, strict=False):
        with mx.stream(stream):
            cache = broadcast(prefix, len(lane.rows)) if prefix else None
            if frozen:
                states = model.upper(None, cache=cache, input_embeddings=frozen.states(lane))
            else:
                states = model.upper(mx.array(lane.suffix), cache=cache)
            logits = model.head(states[mx.array(lane.where[0]), mx.array(lane.where[1])])
            losses.append(_cross_entropy(logits.astype(mx.float32), mx.array(lane.targets)))
    return mx.stack(losses).sum() / divisor


def broadcast(caches: Sequence[ConcatenateKVCache], count: int) -> list[ConcatenateKVCache]:
    """Caches of shape (count, heads, P, head size) from those of one row."""
    copies = [ConcatenateKVCache() for _ in caches]
    for cache, made in zip(caches, copies, strict=True):
        keys, values = cast(tuple[mx.array, mx.array], cache.state)
        made.state = tuple(mx.broadcast_to(part, (count, *part.shape[1:])) for part in (keys, values))
    return copies


def _cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    return nn.losses.cross_entropy(logits, targets, reduction="sum")
