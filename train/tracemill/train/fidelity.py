"""How far a shipped form of a model is from the adapter it was made of.

In: the adapter on its base, the base alone, the form, and token sequences. Out: a `Fidelity`: the difference
of their logits at every position, beside how far the adapter itself had moved them. Importing this module
imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn


@dataclass(frozen=True)
class Fidelity:
    """Over `tokens` positions: how the logits of the form differ from those of the adapter."""

    tokens: int
    largest: float
    """The largest difference of a logit."""
    typical: float
    """Root mean square of the differences."""
    of_change: float
    """That, as a share of how far the adapter moved the logits of its base: 1 is all of it lost."""
    same_choice: float
    """Share of the positions at which both think the same token likeliest."""


def fidelity(
    form: nn.Module, adapter: nn.Module, base: nn.Module, sequences: Sequence[Sequence[int]]
) -> Fidelity:
    """Compare three models on the same token sequences, one at a time; ValueError without any token."""
    tokens = same = 0
    largest = lost = changed = 0.0
    for sequence in sequences:
        one, other, before = (_logits(model, sequence) for model in (form, adapter, base))
        tokens += len(sequence)
        same += int(_number(mx.sum(mx.argmax(one, -1) == mx.argmax(other, -1))))
        largest = max(largest, _number(mx.max(mx.abs(one - other))))
        lost += _number(mx.sum(mx.mean(mx.square(one - other), -1)))
        changed += _number(mx.sum(mx.mean(mx.square(other - before), -1)))
    if not tokens:
        raise ValueError("no token to compare on")
    return Fidelity(
        tokens=tokens,
        largest=largest,
        typical=(lost / tokens) ** 0.5,
        of_change=(lost / changed) ** 0.5 if changed else 0.0,
        same_choice=same / tokens,
    )


def _logits(model: Any, tokens: Sequence[int]) -> mx.array:
    """(positions, vocabulary), in float32."""
    logits = model(mx.array([list(tokens)]))[0].astype(mx.float32)
    mx.eval(logits)
    return logits


def _number(value: mx.array) -> float:
    return float(cast("float", value.item()))
