"""A training run: steps, checkpoints that a judge scores, the best kept, a state to go on from.

In: a loaded mlx-lm model, training sequences, `Settings` and a judge, a callable that says how good the model
is at this moment (the caller decides what that means). Out: an `Outcome` with the chosen checkpoint's weights
and the curve. Only a `Keeper` writes here, and only states to resume from (`adapter.py` writes the adapter).
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any, NoReturn

import mlx.core as mx

from tracemill.curate.chat.render import Rendered
from tracemill.train import blas, choice
from tracemill.train.choice import Checkpoint, Judged
from tracemill.train.errors import Interrupted, TrainError
from tracemill.train.frozen import Progress
from tracemill.train.keeping import Arrays, Keeper, Saved, State
from tracemill.train.settings import Settings
from tracemill.train.steps import Steps
from tracemill.train.stopping import Stop, listening
from tracemill.train.strength import STRENGTHS, can_be_weakened, weakened

Observe = Callable[[int, Mapping[str, float]], None]
"""What is told of every step: its number, and figures by name."""


@dataclass(frozen=True)
class Outcome:
    """What a training run found."""

    weights: Arrays
    """Parameters of the chosen checkpoint, named as mlx-lm names them."""
    chosen: Checkpoint
    guarded: bool
    """Whether the chosen checkpoint keeps as much of the guard as was asked, or nothing was asked."""
    base: Judged | None
    """What the judge found before the first step, where the guard is watched."""
    found: list[Checkpoint]
    losses: list[float]
    """Mean loss in nats per target token, one a step."""
    stopped: str | None
    """Why it ended before its last step."""
    seconds_per_step: float
    strength: float = 1.0
    """Share of what the chosen checkpoint learned that is in `weights`."""


def fit(
    model: Any,
    parts: Sequence[Rendered],
    settings: Settings,
    judge: Callable[[], Judged],
    *,
    valid: Sequence[Rendered] = (),
    start: Arrays | None = None,
    before: Judged | None = None,
    keeper: Keeper | None = None,
    begun: Saved | None = None,
    progress: Progress | None = None,
    observe: Observe | None = None,
) -> Outcome:
    """Train `model` on `parts`; leave the chosen checkpoint's weights in it.

    The loss on `valid` is measured at checkpoints and decides nothing. `before` is what the judge would find
    before the first step; where it is not known, and the guard needs it, the judge is asked. A run goes on
    from the state `begun`. Where no checkpoint keeps the guard, the most accurate is tried with less of what
    it learned (`strength.py`). With a `keeper` states are saved, and Ctrl-C saves one and raises Interrupted.
    TrainError where a step does not fit into memory, as soon as a loss is not finite or diverges, and where
    every checkpoint is below the floor of the guard.
    """
    with listening() as stop:
        lanes = begun.state.lanes if begun else None
        try:
            steps = Steps(model, parts, settings, valid=valid, start=start, lanes=lanes, progress=progress)
            weakens = can_be_weakened(settings, begun_from_base=start is None)
            run = _Run(steps, judge, before, keeper, begun, progress, observe, stop, weakens=weakens)
            run.go()
        finally:
            blas.adapt_threads()
    return run.outcome()


@dataclass(frozen=True)
class _Less:
    """A share of what a checkpoint learned, and what the judge found of it."""

    strength: float
    weights: Arrays
    found: Checkpoint


class _Run:
    """A training run: its steps, and how far it is."""

    def __init__(
        self,
        steps: Steps,
        judge: Callable[[], Judged],
        before: Judged | None,
        keeper: Keeper | None,
        saved: Saved | None,
        progress: Progress | None,
        observe: Observe | None,
        stop: Stop,
        *,
        weakens: bool,
    ):
        self._steps, self._settings, self._judge = steps, steps.settings, judge
        self._keeper, self._progress, self._observe, self._stop = keeper, progress, observe, stop
        self._state, self._kept = (
            (saved.state, saved.kept) if saved else (State(steps.lanes, base=before), {})
        )
        self._weakens = weakens
        self._less: _Less | None = None
        if saved:
            steps.restore(saved.weights, saved.optimizer)

    def go(self) -> None:
        """Train until the steps are done or there is a reason to stop."""
        settings, state = self._settings, self._state
        if settings.guarded and state.step == 0:
            state.base = state.base or self._judged()
            self._tell(0, state.base)
        due = set(settings.checkpoint_steps())
        indices = islice(self._steps.order(), state.step, None)
        while True:
            if state.step in due and not (state.found and state.found[-1].step == state.step):
                self._checkpoint()
                self._save()
            if state.stopped or state.step == settings.steps:
                break
            self._step(next(indices))
            if self._stop.asked:
                self._interrupt()
            if state.step in due or (
                self._keeper and self._keeper.every and state.step % self._keeper.every == 0
            ):
                self._save()
        if self._weakens and state.base and not self._best():
            self._weaken()

    def _weaken(self) -> None:
        """Find how much of what the most accurate checkpoint learned keeps the guard."""
        kept = next(one for one in self._state.found if one.step == self._state.kept)
        for strength in STRENGTHS:
            less = weakened(self._kept, strength)
            self._steps.model.load_weights(list(less.items()), strict=False)
            self._less = _Less(strength, less, replace(kept, judged=self._judged()))
            if self._keeps_guard(self._less.found):
                return

    def outcome(self) -> Outcome:
        """What was found, the chosen weights in the model. TrainError where no checkpoint may be kept."""
        state, floor = self._state, self._settings.guard_floor
        chosen = next((one for one in state.found if one.step == state.kept), None)
        less = self._less or (_Less(1.0, self._kept, chosen) if chosen else None)
        if less is None or (state.base and choice.lost(state.base, less.found) > 1 - floor):
            raise TrainError(
                f"No checkpoint kept the base's general ability. {state.stopped or ''} "
                "Nothing was saved; lower --learning-rate or the steps."
            )
        self._steps.model.load_weights(list(less.weights.items()), strict=False)
        self._steps.model.eval()
        return Outcome(
            less.weights,
            less.found,
            self._keeps_guard(less.found),
            state.base,
            state.found,
            state.losses,
            state.stopped,
            state.busy / max(state.step, 1),
            less.strength,
        )

    def _step(self, indices: Sequence[int]) -> None:
        state, began = self._state, time.perf_counter()
        value = self._steps.take(indices, state.step + 1)
        state.step += 1
        state.losses.append(value)
        state.busy += time.perf_counter() - began
        if not math.isfinite(value):
            self._fail(f"The loss became {value} at step {state.step}; try a lower --learning-rate.")
        if choice.diverged(state.losses):
            self._fail(
                f"The loss rose from {min(state.losses[: choice.START]):.2f} to {value:.2f} by step "
                f"{state.step} and stayed there: the learning rate {self._settings.learning_rate:g} is too "
                f"high, try --learning-rate {self._settings.learning_rate / 5:.1g}."
            )
        if self._observe:
            told = {"loss/train": value, "learning rate": self._steps.rate}
            figures = {f"{name}/train": one for name, one in self._steps.figures().items()}
            self._observe(state.step, told | figures)
        if self._progress:
            self._progress("training", state.step, self._settings.steps)

    def _weights(self) -> Arrays:
        """The weights that learn, of which nothing but numbers may be kept."""
        found = self._steps.weights()
        if not all(mx.isfinite(array).all().item() for array in found.values()):
            self._fail(
                f"The weights are not finite after step {self._state.step}; try a lower --learning-rate."
            )
        return found

    def _fail(self, reason: str) -> NoReturn:
        """Stop a run that cannot be gone on with; its states would lead here again."""
        if self._keeper:
            self._keeper.discard()
        raise TrainError(f"{reason} Nothing was saved.")

    def _checkpoint(self) -> None:
        """Judge the model as it is, keep its weights if it is the best, and see whether to go on."""
        state, settings = self._state, self._settings
        since = state.found[-1].step if state.found else 0
        self._steps.model.eval()
        valid = self._steps.valid_loss()
        figures = dict(self._steps.figures(valid=True))
        found = Checkpoint(state.step, self._judged(), fmean(state.losses[since:]), valid, figures)
        state.found.append(found)
        if (self._best() or self._next_best()) is found:
            state.kept, self._kept = state.step, self._weights()
        state.stopped = choice.over(
            state.base, state.found, settings.patience, settings.guard_floor, settings.guard_loss
        )
        if state.step == settings.steps:
            state.stopped = None
        self._tell(state.step, found.judged, valid, figures)

    def _best(self) -> Checkpoint | None:
        return choice.best(self._state.base, self._state.found, self._settings.most_lost)

    def _keeps_guard(self, one: Checkpoint) -> bool:
        return choice.best(self._state.base, [one], self._settings.most_lost) is not None

    def _next_best(self) -> Checkpoint | None:
        """Where none keeps the guard: the most accurate, if it can be weakened, else the mildest."""
        state, settings = self._state, self._settings
        if self._weakens:
            return choice.best(None, state.found, None)
        return choice.mildest(state.base, state.found, settings.guard_floor) if state.base else None

    def _judged(self) -> Judged:
        """What the judge finds. Ctrl-C ends it at once: the state before it is saved, it is asked again."""
        self._steps.model.eval()
        blas.adapt_threads()
        try:
            with self._stop.at_once():
                return self._judge()
        except KeyboardInterrupt:
            self._interrupt()
        finally:
            blas.one_thread()

    def _tell(
        self,
        step: int,
        judged: Judged,
        valid: float | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        if self._observe:
            told = {"exact tool calls": judged.score, "loss/valid": valid}
            guard = {f"guard/{name}": worth for name, worth in judged.guard.items()}
            guard |= {f"{name}/valid": one for name, one in (figures or {}).items()}
            self._observe(step, {name: value for name, value in told.items() if value is not None} | guard)

    def _interrupt(self) -> NoReturn:
        if self._keeper is None:
            raise KeyboardInterrupt
        self._save()
        raise Interrupted(
            f"Stopped after step {self._state.step} of {self._settings.steps}, which is saved: "
            "the same command goes on from there, --fresh starts anew."
        )

    def _save(self) -> None:
        if self._keeper:
            self._keeper.save(Saved(self._state, self._weights(), self._steps.moments(), self._kept))
