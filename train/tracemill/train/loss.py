"""Cross-entropy over a large vocabulary, never with the logits of all targets at once.

In: states, the frozen head that makes logits of them, and target tokens. Out: the loss of each target, whose
gradient is computed with it, a few at a time. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

CHUNK = 256
"""Targets whose logits are there at once: for 50,000 tokens of vocabulary 50 MB."""


def cross_entropy(head: Callable[[mx.array], mx.array], states: mx.array, targets: mx.array) -> mx.array:
    """The loss in nats of each of (T,) `targets` that (T, hidden size) `states` predict: (T,), float32.

    Gradients flow into `states` and not into the head, which does not learn.
    """

    def part(states: mx.array, targets: mx.array) -> mx.array:
        return nn.losses.cross_entropy(head(states).astype(mx.float32), targets)

    @mx.custom_function
    def each(states: mx.array) -> tuple[mx.array, mx.array]:
        losses: list[mx.array] = []
        grads: list[mx.array] = []
        for start in range(0, len(targets), CHUNK):
            some, these = targets[start : start + CHUNK], states[start : start + CHUNK]
            if grads:  # one chunk after another: else MLX makes the logits of all of them first
                these = cast(mx.array, mx.depends(these, grads[-1]))
            # The loss of a target depends on its own state alone, so one pass gives the gradient of each.
            found: Any = mx.vjp(partial(part, targets=some), [these], [mx.ones(len(some))])
            losses.append(found[0][0])
            grads.append(found[1][0])
        return mx.concatenate(losses), mx.concatenate(grads)

    def gradient(primal: mx.array, cotangents: Sequence[mx.array], outputs: Sequence[mx.array]) -> mx.array:
        return (cotangents[0][:, None] * outputs[1]).astype(primal.dtype)

    cast(Any, each).vjp(gradient)
    loss: Any = each(states)
    return loss[0]
