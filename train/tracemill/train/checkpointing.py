"""Layers that compute their inner states again for the gradient instead of keeping them.

In: a layer of an mlx-lm model. Out: one that gives the same states and gradients in less memory, for about
one more forward pass. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ConcatenateKVCache

from tracemill.train.caches import state


class Checkpointed:
    """A layer of which a forward pass keeps only what goes in, its key-value cache included."""

    def __init__(self, layer: Any):
        """Wrap `layer`; its parameters stay where they are."""
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        """What the model around it asks of the layer, such as the kind of its attention."""
        return getattr(self._layer, name)

    def __call__(self, x: mx.array, mask: Any = None, cache: ConcatenateKVCache | None = None) -> mx.array:
        """The states after the layer; `cache` is extended as the layer would."""
        layer = self._layer
        learned = layer.trainable_parameters()

        def run(parameters: Any, x: mx.array, *before: mx.array) -> tuple[mx.array, ...]:
            layer.update(parameters)
            inner = None if cache is None else ConcatenateKVCache()
            if inner is not None and before:
                inner.state = before
            out = layer(x, mask, cache=inner)
            return (out, *state(inner)) if inner is not None else (out,)

        before = () if cache is None or cache.empty() else state(cache)
        out, *after = mx.checkpoint(run)(learned, x, *before)
        # A layer is called several times in a step, each time with the parameters that the gradient is of.
        layer.update(learned)
        if cache is not None:
            cache.state = tuple(after)
        return out
