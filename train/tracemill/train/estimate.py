"""How long a training run takes on this machine, and how much memory: a few of its own steps, timed.

In: the sequences of a run, its model and `Settings`, and how long a checkpoint takes to judge. Out: an
`Estimate` with advice. The steps are real ones: batches of all sizes that the run will see, and before them
its longest sequences, which take the most memory; that step compiles kernels and is not timed. What they
learn is thrown away. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Literal

import mlx.core as mx

from tracemill.curate.chat.render import Rendered
from tracemill.train import blas, memory
from tracemill.train.batches import make_batch, sort_alike
from tracemill.train.frozen import AT_ONCE, MOST_STATES, Progress
from tracemill.train.order import in_order, order
from tracemill.train.settings import Settings
from tracemill.train.steps import Steps

TIMED = 4
"""Steps that are timed: one from each quarter of the batches in order of their size."""
PLANNED = 200
"""Steps of which the sizes are counted; a longer run is taken to go on like them."""
SAMPLE = 512
"""Sequences of which it is counted what they share."""
FORWARD = 1 / 3
"""Of a step's time what a forward pass takes: the gradient takes about twice as long."""
GO, USABLE = 3600.0, 12 * 3600.0
"""Seconds in all: up to here nobody minds waiting, up to there it is done in a night."""

Advice = Literal["go", "usable", "smaller"]


@dataclass(frozen=True)
class Timed:
    """A step that was taken: its sequences, the tokens it computed, its seconds."""

    sequences: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What a run takes; times in seconds, sizes in bytes."""

    steps: int
    seconds_per_step: float
    """Mean over the whole run."""
    tokens_per_second: float
    prepare_seconds: float
    """Once, before the first step: the layers that do not learn, over all sequences."""
    checkpoints: int
    """How often the model is judged, the base included where the guard is watched."""
    checkpoint_seconds: float
    total_seconds: float
    peak_bytes: int
    """Most memory that the timed steps took, with all that was there already."""
    free_bytes: int | None
    """What was free before; None where it cannot be known."""
    timed: list[Timed]
    advice: Advice
    reason: str
    """The figures that led to the advice, as a sentence."""

    def asdict(self) -> dict[str, Any]:
        """The estimate as plain values, for JSON."""
        return asdict(self)


def estimate(
    model: Any,
    parts: Sequence[Rendered],
    settings: Settings,
    judged: Callable[[], float],
    *,
    valid: Sequence[Rendered] = (),
    progress: Progress | None = None,
) -> Estimate:
    """Take a few steps of the run of `settings` on `parts`; its `steps` are the steps it will take.

    `judged` asks the model what is asked at a checkpoint, or a part of it, and returns how many seconds all
    of it takes. The model learns: load another to train. TrainError where a step does not fit into memory.
    """
    free, held = memory.available(), _peak()
    planned = _planned(parts, settings)
    chosen = _chosen(parts, planned)
    numbers = {row: at for at, row in enumerate(dict.fromkeys(row for batch in chosen for row in batch))}
    some = [parts[row] for row in numbers]
    mx.eval(model(mx.array([[0] * 16])))  # kernels are compiled at their first use
    try:
        # Twice each sequence, so that what does not learn is computed before the first step, and timed apart.
        steps = Steps(model, some, replace(settings, steps=max(settings.steps, 2 * len(some))))
        timed: list[Timed] = []
        for number, batch in enumerate(chosen, start=1):
            if progress:
                progress("timing steps", number, len(chosen))
            rows = [numbers[row] for row in batch]
            began = time.perf_counter()
            steps.take(rows, number)
            timed.append(Timed(len(rows), steps.tokens(rows), time.perf_counter() - began))
        peak = _peak()
    finally:
        blas.adapt_threads()
    model.eval()
    timed = timed[1:]
    rate = sum(one.seconds for one in timed) / sum(one.tokens for one in timed)
    tokens = sum(make_batch(parts, batch, steps.layout).tokens for batch in planned) / len(planned)
    below = steps.prepare_seconds / max(_shared_tokens(some, steps), 1)
    all_tokens = _shared_tokens(parts, steps)
    width = mx.float32.size * getattr(getattr(model, "args", None), "hidden_size", 0)
    kept = settings.steps * settings.batch_size > len(parts) and all_tokens * width <= MOST_STATES
    per_step = tokens * (rate if kept else rate + below)
    checkpoints = len(settings.checkpoint_steps())
    scored = judged() + rate * FORWARD * _shared_tokens(valid, steps)
    prepare = below * all_tokens if kept else 0.0
    asked = checkpoints + settings.guarded
    total = prepare + settings.steps * per_step + asked * scored
    advice, reason = advise(settings.steps, per_step, asked, scored, total, peak - held, free)
    return Estimate(
        steps=settings.steps,
        seconds_per_step=per_step,
        tokens_per_second=1 / rate,
        prepare_seconds=prepare,
        checkpoints=asked,
        checkpoint_seconds=scored,
        total_seconds=total,
        peak_bytes=peak,
        free_bytes=free,
        timed=timed,
        advice=advice,
        reason=reason,
    )


def advise(
    steps: int, per_step: float, checkpoints: int, scored: float, total: float, took: int, free: int | None
) -> tuple[Advice, str]:
    """Whether to start such a run, and the figures that say so; times in seconds, sizes in bytes."""
    figures = f"{steps} steps of {duration(per_step)}"
    if checkpoints:
        figures += f" and {checkpoints} times scoring for {duration(scored)}"
    figures += f" come to {duration(total)}"
    if free is not None and took > free:
        return "smaller", (
            f"A step takes {took / memory.GB:.1f} GB of memory and {free / memory.GB:.1f} GB were free: "
            "give --batch-tokens or --grad-checkpoint, or pick a smaller model."
        )
    if total <= GO:
        return "go", f"{figures}."
    if total <= USABLE:
        return (
            "usable",
            f"{figures}: start it and come back; fewer --steps, --layers or checkpoints take less.",
        )
    return "smaller", (
        f"{figures}, and a night has {duration(USABLE)}: pick a model of {_part(total / USABLE)} "
        "the size, or fewer --steps."
    )


def duration(seconds: float) -> str:
    """A time as one says it: 0.35 s, 4.1 s, 15 minutes, 3.2 hours, 4.0 days."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def _part(times: float) -> str:
    """The share that is left of what is divided so that it is at most 1: half, a third, a 12th of."""
    names = {2: "half", 3: "a third of", 4: "a quarter of", 5: "a fifth of"}
    whole = math.ceil(times)
    return names.get(whole, f"1/{whole} of")


def _planned(parts: Sequence[Rendered], settings: Settings) -> list[list[int]]:
    """The batches of the first steps, or of all."""
    count = min(settings.steps, PLANNED)
    if settings.in_order:
        # From one end to the other: rows in an order of their own may grow longer to the end.
        batches = list(in_order(len(parts), settings.batch_size, settings.steps, settings.seed))
        return [batches[at * len(batches) // count] for at in range(count)]
    return list(islice(order(parts, settings.batch_size, settings.seed), count))


def _chosen(parts: Sequence[Rendered], planned: Sequence[list[int]]) -> list[list[int]]:
    """The longest sequences as one batch, and after it TIMED batches of all sizes."""
    longest = sorted(range(len(parts)), key=lambda row: len(parts[row].tokens))[-len(planned[0]) :]
    by_size = sorted(planned, key=lambda batch: make_batch(parts, batch).tokens)
    middles = [len(by_size) * (2 * at + 1) // (2 * TIMED) for at in range(TIMED)]
    return [longest, *(by_size[at] for at in middles)]


def _shared_tokens(parts: Sequence[Rendered], steps: Steps) -> float:
    """Tokens that one pass over `parts` computes, what neighbours share once; counted by a sample of many."""
    some = [parts[at * len(parts) // SAMPLE] for at in range(SAMPLE)] if len(parts) > SAMPLE else parts
    alike = sort_alike(some, range(len(some)))
    counted = sum(
        make_batch(some, alike[first : first + AT_ONCE], steps.layout).tokens
        for first in range(0, len(alike), AT_ONCE)
    )
    return counted * len(parts) / max(len(some), 1)


def _peak() -> int:
    """Most bytes this process has held: on a CPU of the machine's memory, else of the device's."""
    if mx.default_device() != mx.Device(mx.cpu):
        return mx.get_peak_memory()
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
