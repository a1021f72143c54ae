"""The loss of a batch: shared prefix computed once, logits only where there is a target.

In: an mlx-lm model and a `Batch`. Out: the mean cross-entropy over its targets, equal within float tolerance
to that of the plain forward pass over every padded row. The prefix runs once through the model into
key-value caches, which are broadcast over the rows; gradients flow back through both.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ConcatenateKVCache, KVCache, make_prompt_cache

from tracemill.train.examples import Batch


def shares_prefixes(model: Any) -> bool:
    """Whether every layer keeps a plain key-value cache, the kind that can be computed once and broadcast."""
    return all(type(cache) is KVCache for cache in make_prompt_cache(model))


def has_known_head(model: Any) -> bool:
    """Whether `model(x)` is its `model.model` followed by the output embedding and nothing else."""
    if not hasattr(model, "model") or not hasattr(model.model, "embed_tokens"):
        return False
    probe = mx.array([[1, 2, 3]])
    try:
        return bool(mx.allclose(_head(model, model.model(probe)), model(probe), rtol=1e-3, atol=1e-4))
    except (AttributeError, TypeError, ValueError):
        return False


def batch_loss(model: Any, batch: Batch, known_head: bool) -> mx.array:
    """Mean cross-entropy in nats over the targets of `batch`; a scalar."""
    body = model.model if known_head else model
    cache = _prefix_cache(model, body, batch) if len(batch.prefix) else None
    states = body(mx.array(batch.suffix), cache=cache)
    rows, columns = mx.array(batch.where[0]), mx.array(batch.where[1])
    wanted = states[rows, columns]
    logits = _head(model, wanted) if known_head else wanted
    return nn.losses.cross_entropy(logits.astype(mx.float32), mx.array(batch.targets), reduction="mean")


def _prefix_cache(model: Any, body: Any, batch: Batch) -> list[ConcatenateKVCache]:
    caches = [ConcatenateKVCache() for _ in model.layers]
    body(mx.array(batch.prefix)[None], cache=caches)
    count = len(batch.suffix)
    for cache in caches:
        # Shape (1, heads, P, head size) before, (B, heads, P, head size) after.
        keys, values = cast(tuple[mx.array, mx.array], cache.state)
        cache.state = tuple(mx.broadcast_to(part, (count, *part.shape[1:])) for part in (keys, values))
    return caches


def _head(model: Any, states: mx.array) -> mx.array:
    return model.lm_head(states) if "lm_head" in model else model.model.embed_tokens.as_linear(states)
