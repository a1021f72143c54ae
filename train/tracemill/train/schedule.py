"""The learning rate of every step.

In: `Settings`. Out: a function from the optimizer's step to the rate. The step is part of the optimizer's
state, so a resumed run goes on where it was. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.optimizers as optim

from tracemill.train.settings import Settings

END = 0.1
"""Share of the peak that a falling rate ends at."""


def rate(settings: Settings) -> Callable[[mx.array], mx.array]:
    """The rate after n updates: up to the peak over the warm-up, then as `settings.schedule` says."""
    peak = settings.learning_rate
    warm = max(round(settings.steps * settings.warmup), 1) if settings.warmup else 0
    falls = _after_warmup(settings, max(settings.steps - warm, 1))
    if not warm:
        return falls
    # The first update is to move the weights too: a rate of 0 would waste its step.
    return optim.join_schedules([optim.linear_schedule(peak / warm, peak, warm), falls], [warm])


def _after_warmup(settings: Settings, steps: int) -> Callable[[mx.array], mx.array]:
    peak = settings.learning_rate
    if settings.schedule == "cosine":
        return optim.cosine_decay(peak, steps, peak * END)
    if settings.schedule == "linear":
        return optim.linear_schedule(peak, peak * END, steps)
    return lambda _: mx.array(peak)
