"""LoRA fine-tuning: steps over batches, checkpoints scored by a judge, the best one kept.

In: a loaded mlx-lm model, training sequences, `Settings` and `score`, a callable that says how good the
model is at this moment (higher is better; the caller decides what that means). Out: `Outcome` with the best
checkpoint's weights and the curve. Nothing is written here (`adapter.py` does that).
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from tracemill.curate.chat.render import Rendered
from tracemill.train import blas
from tracemill.train.errors import TrainError
from tracemill.train.examples import common_prefix, in_order, make_batch, order
from tracemill.train.forward import Frozen, Progress, batch_loss, cut, lane_streams
from tracemill.train.settings import Settings


@dataclass
class Outcome:
    """What a training run found."""

    weights: dict[str, mx.array]
    """Adapter parameters of the best checkpoint, named as mlx-lm names them."""
    best_step: int
    best_score: float | None
    losses: list[float] = field(default_factory=list[float])
    """Mean loss in nats per target token, one a step."""
    scores: list[tuple[int, float | None]] = field(default_factory=list[tuple[int, float | None]])
    """(step, score) of every checkpoint."""
    seconds_per_step: float = 0.0


def add_lora(model: Any, settings: Settings) -> None:
    """Freeze `model` and put trainable LoRA layers of `settings` on its last layers."""
    mx.random.seed(settings.seed)
    model.freeze()
    linear_to_lora_layers(model, settings.layers, settings.lora())


def fit(
    model: Any,
    parts: Sequence[Rendered],
    settings: Settings,
    score: Callable[[], float | None],
    progress: Progress | None = None,
) -> Outcome:
    """Train the LoRA layers of `model` on `parts`; leave the best checkpoint's weights in the model.

    Among equal scores the later checkpoint wins; so does it where `score` cannot tell (None).
    TrainError as soon as a loss is not finite.
    """
    add_lora(model, settings)
    streams = lane_streams()
    if len(streams) > 1:
        blas.one_thread()
    parted = cut(model, settings.layers)
    shared = common_prefix(parts) if parted.shares_prefixes else 0
    frozen = Frozen(parted, parts, shared, streams, progress) if parted.lower else None
    optimizer = optim.AdamW(learning_rate=_schedule(settings))
    # A batch of short sequences has few targets. Dividing each batch by the same number gives all targets the
    # same weight; dividing by its own would let a handful of short answers outweigh whole sessions.
    usual = settings.batch_size * sum(end - start for part in parts for start, end in part.spans) / len(parts)
    loss_and_grad: Any = nn.value_and_grad(
        model, partial(batch_loss, parted, frozen, streams=streams, divisor=usual)
    )
    outcome = Outcome({}, 0, None)
    to_score = set(settings.checkpoint_steps())
    busy = 0.0
    for step, indices in enumerate(_batches(parts, settings), start=1):
        began = time.perf_counter()
        batch = make_batch(parts, indices, shared, len(streams))
        loss, grads = loss_and_grad(batch)
        optimizer.update(model, grads)
        mx.eval(model.trainable_parameters(), optimizer.state, loss)
        if not math.isfinite(value := loss.item() * usual / batch.targets):
            raise TrainError(
                f"The loss became {value} at step {step}; try a lower --learning-rate. Nothing was saved."
            )
        outcome.losses.append(value)
        busy += time.perf_counter() - began
        if progress:
            progress("training", step, settings.steps)
        if step in to_score:
            blas.adapt_threads()
            found = score()
            if len(streams) > 1:
                blas.one_thread()
            outcome.scores.append((step, found))
            if found is None or outcome.best_score is None or found >= outcome.best_score:
                outcome.best_step, outcome.best_score = step, found
                # Arrays are immutable values: the next update makes new ones.
                outcome.weights = dict(
                    cast(list[tuple[str, mx.array]], tree_flatten(model.trainable_parameters()))
                )
    blas.adapt_threads()
    outcome.seconds_per_step = busy / settings.steps
    model.load_weights(list(outcome.weights.items()), strict=False)
    return outcome


def _batches(parts: Sequence[Rendered], settings: Settings) -> Iterator[list[int]]:
    if settings.in_order:
        return in_order(len(parts), settings.batch_size, settings.steps, settings.seed)
    lengths = [len(part.tokens) for part in parts]
    return islice(order(lengths, settings.batch_size, settings.seed), settings.steps)


def _schedule(settings: Settings) -> Callable[[mx.array], mx.array]:
    warm = max(settings.steps // 10, 1)
    peak = settings.learning_rate
    rise = optim.linear_schedule(peak / warm, peak, warm)
    fall = optim.cosine_decay(peak, max(settings.steps - warm, 1), peak / 10)
    return optim.join_schedules([rise, fall], [warm])
