"""Less of what was learned, where all of it costs too much general ability.

In: the LoRA weights of a checkpoint. Out: the same with a share of their change to the base. Half of a change
often keeps most of the calls and nearly all of what the base could do (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models", who mix the weights of both models; of LoRA the product is the change).
"""

from __future__ import annotations

from tracemill.train.keeping import Arrays
from tracemill.train.settings import Settings

STRENGTHS = (0.75, 0.5, 0.25)
"""Tried in this order: the first that keeps the guard keeps most of the calls."""


def can_be_weakened(settings: Settings, *, begun_from_base: bool) -> bool:
    """Whether a share of the weights is a share of the change: LoRA that began as no change at all."""
    return settings.method == "lora" and begun_from_base


def weakened(weights: Arrays, strength: float) -> Arrays:
    """`weights` that change the base by `strength` times as much."""
    return {name: array * strength if name.endswith("lora_b") else array for name, array in weights.items()}
