"""Fine-tuning: steps over batches, checkpoints that a judge scores, the best kept, a state to go on from.

In: a loaded mlx-lm model, training sequences, `Settings` and a judge, a callable that says how good the model
is at this moment (the caller decides what that means). Out: an `Outcome` with the chosen checkpoint's weights
and the curve. Only a `Keeper` writes here, and only states to resume from (`adapter.py` writes the adapter).
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any, NoReturn, cast

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map_with_path

from tracemill.curate.chat.render import Rendered
from tracemill.train import blas, choice, memory
from tracemill.train.choice import Checkpoint, Judged
from tracemill.train.errors import Interrupted, TrainError
from tracemill.train.forward import cut, lane_streams, layout
from tracemill.train.frozen import Progress
from tracemill.train.gradients import Gradients, largest
from tracemill.train.keeping import Arrays, Keeper, Saved, State
from tracemill.train.order import in_order, order
from tracemill.train.schedule import rate
from tracemill.train.settings import Settings
from tracemill.train.stopping import Stop, listening
from tracemill.train.trainee import prepare, weights

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


def fit(
    model: Any,
    parts: Sequence[Rendered],
    settings: Settings,
    judge: Callable[[], Judged],
    *,
    valid: Sequence[Rendered] = (),
    keeper: Keeper | None = None,
    begun: Saved | None = None,
    progress: Progress | None = None,
    observe: Observe | None = None,
) -> Outcome:
    """Train `model` on `parts`; leave the chosen checkpoint's weights in it.

    The loss on `valid` is measured at checkpoints and decides nothing. A run goes on from the state `begun`.
    With a `keeper` states are saved, and Ctrl-C saves one and raises Interrupted. TrainError where a step
    does not fit into memory, as soon as a loss is not finite or diverges, and where every checkpoint is below
    the floor of the guard.
    """
    prepare(model, settings)
    with listening() as stop:
        run = _Run(model, parts, settings, judge, valid, keeper, begun, progress, observe, stop)
        try:
            run.go()
        finally:
            blas.adapt_threads()
    return run.outcome()


class _Run:
    """A training run: the model, its optimizer and how far it is."""

    def __init__(
        self,
        model: Any,
        parts: Sequence[Rendered],
        settings: Settings,
        judge: Callable[[], Judged],
        valid: Sequence[Rendered],
        keeper: Keeper | None,
        saved: Saved | None,
        progress: Progress | None,
        observe: Observe | None,
        stop: Stop,
    ):
        self._model, self._parts, self._settings, self._judge = model, parts, settings, judge
        self._keeper, self._progress, self._observe, self._stop = keeper, progress, observe, stop
        targets = sum(end - start for part in parts for start, end in part.spans)
        # A batch of short sequences has few targets. Dividing each batch by the same number gives all targets
        # the same weight; dividing by its own would let a handful of short answers outweigh whole sessions.
        self._usual = settings.batch_size * targets / len(parts)
        lengths = [len(part.tokens) for part in parts]
        self._longest = max(lengths)
        count = min(settings.layers or len(model.layers), len(model.layers))
        trained = sum(array.nbytes for array in weights(model).values())
        parted = cut(model, count, settings.grad_checkpoint)
        lanes = saved.state.lanes if saved else len(lane_streams())
        at_once, computed = largest(parts, settings.batch_size, settings.batch_tokens, layout(parted, lanes))
        memory.check(
            memory.shape(model, count, trained, settings.grad_checkpoint), at_once, lengths,
            targets / sum(lengths), memory.available(), computed,
        )  # fmt: skip
        self._optimizer = optim.AdamW(learning_rate=rate(settings), weight_decay=settings.weight_decay)
        self._optimizer.init(model.trainable_parameters())
        self._state, self._kept = (saved.state, saved.kept) if saved else (State(lanes), {})
        if saved:
            self._restore(saved)
        self._streams = _streams(self._state.lanes)
        # A BLAS with as many threads as happen to be free would not give the same last digits twice.
        blas.one_thread()
        visits = settings.steps * settings.batch_size
        most = settings.batch_tokens
        self._gradients = Gradients(
            model, parted, parts, self._streams, visits=visits, batch_tokens=most, progress=progress
        )
        visits = len(settings.checkpoint_steps()) * len(valid)
        self._valid = (
            Gradients(model, parted, valid, self._streams, visits=visits, batch_tokens=most)
            if valid
            else None
        )

    def go(self) -> None:
        """Train until the steps are done or there is a reason to stop."""
        settings, state = self._settings, self._state
        if settings.guard_loss is not None and state.base is None:
            state.base = self._judged()
            self._tell(0, state.base)
        due = set(settings.checkpoint_steps())
        indices = islice(self._order(), state.step, None)
        while True:
            if state.step in due and not (state.found and state.found[-1].step == state.step):
                self._checkpoint()
                self._save()
            if state.stopped or state.step == settings.steps:
                return
            self._step(next(indices))
            if self._stop.asked:
                self._interrupt()
            if state.step in due or (
                self._keeper and self._keeper.every and state.step % self._keeper.every == 0
            ):
                self._save()

    def _order(self) -> Iterator[list[int]]:
        settings = self._settings
        if settings.in_order:
            return in_order(len(self._parts), settings.batch_size, settings.steps, settings.seed)
        return order(self._parts, settings.batch_size, settings.seed, self._gradients.layout)

    def outcome(self) -> Outcome:
        """What was found, the chosen weights in the model. TrainError where no checkpoint may be kept."""
        state = self._state
        if not self._kept:
            raise TrainError(
                f"No checkpoint kept the base's general ability. {state.stopped or ''} "
                "Nothing was saved; lower --learning-rate or the steps."
            )
        self._model.load_weights(list(self._kept.items()), strict=False)
        self._model.eval()
        chosen = next(one for one in state.found if one.step == state.kept)
        return Outcome(
            self._kept,
            chosen,
            self._best() is not None,
            state.base,
            state.found,
            state.losses,
            state.stopped,
            state.busy / max(state.step, 1),
        )

    def _step(self, indices: Sequence[int]) -> None:
        state, began = self._state, time.perf_counter()
        # Dropout depends on seed and step alone: a resumed run draws what the other one would have drawn.
        mx.random.seed(((self._settings.seed & 0xFFFFFFFF) << 32) + state.step + 1)
        self._model.train()
        with memory.told(len(indices), self._longest):
            loss, grads, targets = self._gradients.of(indices, self._usual)
            self._optimizer.update(self._model, grads)
            mx.eval(self._model.trainable_parameters(), self._optimizer.state, loss)
        value = cast(float, loss.item()) * self._usual / targets
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
            self._observe(
                state.step,
                {"loss/train": value, "learning rate": cast(float, self._optimizer.learning_rate.item())},
            )
        if self._progress:
            self._progress("training", state.step, self._settings.steps)

    def _weights(self) -> Arrays:
        """The weights that learn, of which nothing but numbers may be kept."""
        found = weights(self._model)
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
        self._model.eval()
        valid = self._valid.mean_loss() if self._valid else None
        found = Checkpoint(state.step, self._judged(), fmean(state.losses[since:]), valid)
        state.found.append(found)
        chosen = self._best()
        if chosen is None and state.base is not None:
            chosen = choice.mildest(state.base, state.found, settings.guard_floor)
        if chosen is found:
            # Arrays are immutable values: the next update makes new ones.
            state.kept, self._kept = state.step, self._weights()
        state.stopped = choice.over(
            state.base, state.found, settings.patience, settings.guard_floor, settings.guard_loss
        )
        if state.step == settings.steps:
            state.stopped = None
        self._tell(state.step, found.judged, valid)

    def _best(self) -> Checkpoint | None:
        return choice.best(self._state.base, self._state.found, self._settings.guard_loss)

    def _judged(self) -> Judged:
        """What the judge finds. Ctrl-C ends it at once: the state before it is saved, it is asked again."""
        self._model.eval()
        blas.adapt_threads()
        try:
            with self._stop.at_once():
                return self._judge()
        except KeyboardInterrupt:
            self._interrupt()
        finally:
            blas.one_thread()

    def _tell(self, step: int, judged: Judged, valid: float | None = None) -> None:
        if self._observe:
            told = {"exact tool calls": judged.score, "loss/valid": valid}
            guard = {f"guard/{name}": worth for name, worth in judged.guard.items()}
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
            moments = cast(Arrays, dict(cast(Any, tree_flatten(self._optimizer.state))))
            self._keeper.save(Saved(self._state, self._weights(), moments, self._kept))

    def _restore(self, saved: Saved) -> None:
        """Put the arrays of a state into model and optimizer; TrainError where they are those of another."""
        own = weights(self._model)
        if {name: array.shape for name, array in own.items()} != {
            name: array.shape for name, array in saved.weights.items()
        }:
            raise TrainError(
                "The saved state belongs to another base or other layers; give --fresh to start anew."
            )
        self._model.load_weights(list(saved.weights.items()), strict=False)

        def moment(path: str, _: mx.array) -> mx.array:
            return saved.optimizer[path]

        self._optimizer.state = tree_map_with_path(moment, self._optimizer.state)


def _streams(lanes: int) -> list[mx.Stream]:
    """As many streams as the run has lanes; on a GPU its one stream."""
    if mx.default_device() != mx.Device(mx.cpu):
        return lane_streams()
    return [mx.new_stream(mx.cpu) for _ in range(lanes)]
