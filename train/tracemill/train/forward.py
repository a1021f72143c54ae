"""The loss of a batch, with nothing computed twice.

In: an mlx-lm model with LoRA on its last layers, and token sequences. Out: the cross-entropy over the targets
of a batch, equal within float tolerance to that of the plain forward pass over every padded row:

- the layers below the first LoRA layer never change, so their output is computed once a sequence (`Frozen`);
- tokens that sequences share run once a step, into key-value caches from which the rest goes on
  (`batches`), and gradients flow back through them;
- logits are computed only where there is a target, and never all at once (`loss`);
- calls run in lanes, each on a stream of its own, because MLX computes all but matrix products on one core
  per stream, and on x86 its exponentials cost as much as the products.

Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache, make_prompt_cache

from tracemill.train.batches import Batch, Layout
from tracemill.train.caches import Caches
from tracemill.train.checkpointing import Checkpointed
from tracemill.train.cores import usable_cores
from tracemill.train.errors import TrainError
from tracemill.train.frozen import Frozen
from tracemill.train.loss import cross_entropy


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


def cut(model: Any, lora_layers: int, checkpointed: bool = False) -> Cut:
    """Cut `model` below its last `lora_layers` layers, if a probe shows the parts to equal the whole.

    `checkpointed`: layers that learn keep no inner states for the gradient (TrainError where that cannot be).
    """
    shares = all(type(cache) is KVCache for cache in make_prompt_cache(model))
    count = len(model.layers)
    below = max(count - lora_layers, 0)
    probe = mx.array([[1, 2, 3]])
    try:
        made = _cut_llama(model, below, shares, checkpointed)
        states = made.upper(None, cache=None, input_embeddings=cast(Any, made.lower)(probe))
        if mx.allclose(made.head(states), model(probe), rtol=1e-3, atol=1e-4):
            return made
    except (AttributeError, TypeError, ValueError, IndexError):
        pass  # Another architecture than Llama's and its many kin.
    if checkpointed:
        raise TrainError("The layers of this architecture cannot be checkpointed; train without it.")
    return Cut(None, model, lambda logits: logits, 0, count, shares)


def _cut_llama(model: Any, below: int, shares: bool, checkpointed: bool) -> Cut:
    """The parts of a model laid out as mlx-lm's Llama; they share its layers, so what one learns all know."""
    inner = model.model
    lower, upper = copy.copy(inner), copy.copy(inner)
    lower.layers, upper.layers = inner.layers[:below], inner.layers[below:]
    if checkpointed:
        upper.layers = [Checkpointed(layer) for layer in upper.layers]
    lower.norm = nn.Identity()
    head = model.lm_head if "lm_head" in model else inner.embed_tokens.as_linear

    def embed(tokens: mx.array, cache: object = None) -> mx.array:  # noqa: ARG001 (called as `lower` is)
        return inner.embed_tokens(tokens)

    return Cut(lower if below else embed, upper, head, below, len(upper.layers), shares)


def lane_streams() -> list[mx.Stream]:
    """The streams that lanes run on: one per core on the CPU, one alone on a GPU."""
    if mx.default_device() != mx.Device(mx.cpu):
        return [mx.default_stream(mx.default_device())]
    return [mx.new_stream(mx.cpu) for _ in range(usable_cores())]


def layout(model: Cut, lanes: int) -> Layout:
    """How batches are laid out for `model` on this device."""
    if mx.default_device() == mx.Device(mx.cpu):
        return Layout(lanes, shares=model.shares_prefixes)
    # A GPU computes many rows in the time of a few, and its attention skips what is masked by itself.
    return Layout(1, pays=1024, chunk=None, most=2**16, shares=model.shares_prefixes)


def batch_loss(
    model: Cut, frozen: Frozen | None, batch: Batch, streams: Sequence[mx.Stream], divisor: float
) -> mx.array:
    """Cross-entropy in nats, summed over the targets of `batch`, over `divisor`; each call on its stream."""
    return mx.stack([each.sum() for each in target_losses(model, frozen, batch, streams)]).sum() / divisor


def target_losses(
    model: Cut, frozen: Frozen | None, batch: Batch, streams: Sequence[mx.Stream]
) -> list[mx.array]:
    """Cross-entropy in nats of each target: (T,) for every call that has some, each made on its stream."""
    caches = Caches(model.upper_layers)
    below = frozen.of(batch) if frozen else None
    losses: list[mx.array] = []
    for at, call in enumerate(batch.calls):
        with mx.stream(streams[call.lane]):
            cache = caches.of(batch, at)
            if below:
                states = model.upper(None, cache=cache, input_embeddings=below(at))
            else:
                states = model.upper(mx.array(call.tokens), cache=cache)
            if len(call.targets):
                chosen = states[mx.array(call.where[0]), mx.array(call.where[1])]
                losses.append(cross_entropy(model.head, chosen, mx.array(call.targets)))
    return losses
