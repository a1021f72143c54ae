"""Loss and gradient of any batch of some sequences.

In: a model that learns, cut where it begins to, and sequences. Out: for indices of them the loss and its
gradient, by way of one batch or, where that is to need less memory, of several whose gradients add up.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

from tracemill.curate.chat.render import Rendered
from tracemill.train.batches import Layout, make_batch, sort_alike
from tracemill.train.forward import Cut, batch_loss, layout
from tracemill.train.frozen import Frozen, Progress
from tracemill.train.order import micro_batches


def largest(
    parts: Sequence[Rendered], batch_size: int, batch_tokens: int | None, layout: Layout
) -> tuple[int, float]:
    """Of a step of the longest sequences: how many go through at once, and what share of them is computed.

    That is the share of their tokens, padded to the longest, that is left where what they share counts once.
    """
    longest = sorted(range(len(parts)), key=lambda row: len(parts[row].tokens))[-batch_size:]
    groups = micro_batches(parts, longest, batch_tokens, layout)
    tokens, count = max((make_batch(parts, group, layout).tokens, len(group)) for group in groups)
    return count, tokens / (count * len(parts[longest[-1]].tokens))


class Gradients:
    """Loss and gradient of batches of `parts`."""

    def __init__(
        self,
        model: Any,
        cut: Cut,
        parts: Sequence[Rendered],
        streams: Sequence[mx.Stream],
        *,
        visits: int,
        batch_tokens: int | None = None,
        progress: Progress | None = None,
    ):
        """`visits`: how many sequences all steps take together, to know whether any is needed again.

        `batch_tokens`: most tokens computed at once, what they share counted once; None is a batch at once.
        """
        self.figures: dict[str, float] = {}
        """What else was found of the sequences that were measured last, by name."""
        self.layout = layout(cut, len(streams))
        self._cut, self._parts, self._streams, self._most = cut, parts, streams, batch_tokens
        keep = visits > len(parts)
        self._frozen = (
            Frozen(cut.lower, cut.lower_layers, parts, self.layout, streams, keep, progress)
            if cut.lower
            else None
        )
        self._loss_and_grad: Any = nn.value_and_grad(
            model, partial(batch_loss, cut, self._frozen, streams=streams)
        )

    def of(self, indices: Sequence[int], divisor: float) -> tuple[mx.array, Any, int]:
        """Cross-entropy in nats, summed over the targets of the sequences `indices`, over `divisor`.

        Returns it, its gradient as the model names its trainable parameters, and the number of targets. Where
        one batch does it, nothing is evaluated yet.
        """
        groups = micro_batches(self._parts, indices, self._most, self.layout)
        batches = [make_batch(self._parts, group, self.layout) for group in groups]
        loss, grads = self._loss_and_grad(batches[0], divisor=divisor)
        for batch in batches[1:]:
            mx.eval(loss, grads)
            more, added = self._loss_and_grad(batch, divisor=divisor)
            loss, grads = loss + more, tree_map(mx.add, grads, added)
        return loss, grads, sum(batch.targets for batch in batches)

    def tokens(self, indices: Sequence[int]) -> int:
        """Tokens that a batch of the sequences `indices` computes, padding counted, what they share once."""
        groups = micro_batches(self._parts, indices, self._most, self.layout)
        return sum(make_batch(self._parts, group, self.layout).tokens for group in groups)

    def mean_loss(self, size: int = 8) -> float:
        """Mean loss in nats per target over all sequences, `size` at a time, alike ones together."""
        alike = sort_alike(self._parts, range(len(self._parts)))
        total, targets = mx.array(0.0), 0
        for start in range(0, len(alike), size):
            for group in micro_batches(self._parts, alike[start : start + size], self._most, self.layout):
                batch = make_batch(self._parts, group, self.layout)
                total += batch_loss(self._cut, self._frozen, batch, self._streams, 1.0)
                targets += batch.targets
                mx.eval(total)
        return cast(float, total.item()) / targets
