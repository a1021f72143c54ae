"""Direct preference optimization: a model learns to prefer one answer to another.

In: a model that learns, and pairs of sequences. Out: the loss of a batch of pairs with its gradient, and how
well the model tells the answers apart. The loss of a pair is (Rafailov et al. 2023, arXiv:2305.18290, eq. 7)

    -log sigmoid(beta * ((p(chosen) - r(chosen)) - (p(rejected) - r(rejected))))

where p is the log-probability of the tokens of an answer, its stop token included, in nats, and r what it was
before the first step: by the base, or by the adapter that training began with. r is computed once. What
`sigmoid` is of is the reward margin; the model prefers what was chosen where it is above 0.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map

from tracemill.curate.chat.render import Rendered
from tracemill.train.batches import Batch, make_batch, sort_alike
from tracemill.train.curves import PREFERRED
from tracemill.train.forward import Cut, target_losses
from tracemill.train.frozen import Progress
from tracemill.train.gradients import Gradients
from tracemill.train.order import micro_batches

AT_ONCE = 8
"""Sequences whose log-probabilities are computed together where no gradient is asked for."""


class Preferences(Gradients):
    """Loss and gradient of batches of pairs: of `parts`, sequence 2i was chosen and 2i + 1 rejected."""

    def __init__(
        self,
        model: Any,
        cut: Cut,
        parts: Sequence[Rendered],
        streams: Sequence[mx.Stream],
        *,
        beta: float,
        visits: int,
        batch_tokens: int | None = None,
        progress: Progress | None = None,
    ):
        """Take the model as it is now for the reference; the rest is as in `Gradients`."""
        visits += len(parts)  # the reference is one more
        super().__init__(
            model, cut, parts, streams, visits=visits, batch_tokens=batch_tokens, progress=progress
        )
        self._beta = beta
        self._pair_loss_and_grad: Any = nn.value_and_grad(model, self._loss)
        model.eval()
        self._reference = self._log_probabilities(AT_ONCE, progress)
        self.figures: dict[str, float] = {}
        """Of the pairs that were measured last: their mean reward margin, and the share that is preferred."""

    def of(self, indices: Sequence[int], divisor: float) -> tuple[mx.array, Any, int]:
        """Loss summed over pairs, over `divisor`, its gradient, and how many pairs they are.

        `indices` names the sequences, chosen and rejected in turn; a pair that is named twice counts twice.
        """
        pairs = [at // 2 for at in indices[::2]]
        loss, grads = mx.array(0.0), None
        margins: list[mx.array] = []
        for group in self._groups(pairs):
            batch = make_batch(self._parts, sorted({at for pair in group for at in _both(pair)}), self.layout)
            (more, of_group), added = self._pair_loss_and_grad(batch, mx.array(group), divisor=divisor)
            loss, grads = loss + more, added if grads is None else tree_map(mx.add, grads, added)
            margins.append(of_group)
            mx.eval(loss, grads, of_group)
        self.figures = _figures(mx.concatenate(margins))
        return loss, grads, len(pairs)

    def mean_loss(self, size: int = AT_ONCE) -> float:
        """Mean loss in nats per pair over all pairs, `size` sequences at a time."""
        margins = self._margins(self._log_probabilities(size))
        self.figures = _figures(margins)
        return cast(float, _losses(margins).mean().item())

    def _loss(self, batch: Batch, pairs: mx.array, divisor: float) -> tuple[mx.array, mx.array]:
        margins = self._margins(self._of_batch(batch))[pairs]
        return _losses(margins).sum() / divisor, margins

    def _margins(self, found: mx.array) -> mx.array:
        """(N,) reward margins of all pairs by the log-probabilities of their sequences."""
        rewards = self._beta * (found - self._reference)
        return rewards[::2] - rewards[1::2]

    def _of_batch(self, batch: Batch) -> mx.array:
        """(2N,) log-probabilities in nats of the answers; 0 of those that are not in `batch`."""
        losses = mx.concatenate(target_losses(self._cut, self._frozen, batch, self._streams))
        owners = np.concatenate([call.owners for call in batch.calls])
        return mx.zeros(len(self._parts)).at[mx.array(owners)].subtract(losses)

    def _log_probabilities(self, size: int, progress: Progress | None = None) -> mx.array:
        """(2N,) log-probabilities in nats of all answers, `size` at a time, alike ones together."""
        alike = sort_alike(self._parts, range(len(self._parts)))
        found = mx.zeros(len(self._parts))
        for start in range(0, len(alike), size):
            for group in micro_batches(self._parts, alike[start : start + size], self._most, self.layout):
                found = found + self._of_batch(make_batch(self._parts, group, self.layout))
                mx.eval(found)
            if progress:
                progress("reference", min(start + size, len(alike)), len(alike))
        return found

    def _groups(self, pairs: Sequence[int]) -> list[list[int]]:
        """Pairs that go through the model together: all, or as many as have at most the tokens allowed."""
        groups: list[list[int]] = []
        for pair in pairs:
            more = [at for one in (*(groups[-1] if groups else ()), pair) for at in _both(one)]
            fits = self._most is None or make_batch(self._parts, more, self.layout).tokens <= self._most
            if groups and fits:
                groups[-1].append(pair)
            else:
                groups.append([pair])
        return groups


def _both(pair: int) -> tuple[int, int]:
    return 2 * pair, 2 * pair + 1


def _losses(margins: mx.array) -> mx.array:
    return -nn.log_sigmoid(margins)


def _figures(margins: mx.array) -> dict[str, float]:
    preferred = (margins > 0).astype(mx.float32)
    return {
        "reward margin": cast(float, margins.mean().item()),
        PREFERRED: cast(float, preferred.mean().item()),
    }
