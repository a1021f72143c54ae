"""The steps of a training run: a model that learns, its optimizer, and what a batch does to both.

In: a loaded mlx-lm model, sequences and `Settings`. Out: the loss of one step after another. How good the
model is, which weights are kept and when to stop is for `loop.py` to say; `estimate.py` takes the time.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map_with_path

from tracemill.curate.chat.render import Rendered
from tracemill.train import blas, memory
from tracemill.train.batches import Layout
from tracemill.train.errors import TrainError
from tracemill.train.forward import cut, lane_streams, layout
from tracemill.train.frozen import Progress
from tracemill.train.gradients import Gradients, largest
from tracemill.train.keeping import Arrays
from tracemill.train.order import in_order, order
from tracemill.train.preference import Preferences
from tracemill.train.schedule import rate
from tracemill.train.settings import Settings
from tracemill.train.trainee import prepare, weights


class Steps:
    """A model and its optimizer, ready to learn from `parts`."""

    def __init__(
        self,
        model: Any,
        parts: Sequence[Rendered],
        settings: Settings,
        *,
        valid: Sequence[Rendered] = (),
        start: Arrays | None = None,
        lanes: int | None = None,
        progress: Progress | None = None,
    ):
        """Freeze all of `model` that is not to learn, and see that a step fits into memory, else TrainError.

        `start`: weights of an adapter to go on from. `lanes`: in how many a batch is computed, as many as
        there are cores where it is not said.
        """
        prepare(model, settings)
        if start:
            if _shapes(weights(model)) != _shapes(start):
                raise TrainError("The adapter to go on from has other layers or another rank; train it anew.")
            model.load_weights(list(start.items()), strict=False)
        self.model, self.parts, self.settings = model, parts, settings
        self.lanes = lanes or len(lane_streams())
        targets = sum(end - start for part in parts for start, end in part.spans)
        # A batch of short sequences has few targets. Dividing each batch by the same number gives all targets
        # the same weight; dividing by its own would let a handful of short answers outweigh whole sessions.
        examples = len(parts) // settings.together
        self._usual = settings.batch_size * (targets / examples if settings.beta is None else 1)
        lengths = [len(part.tokens) for part in parts]
        self._longest = max(lengths)
        count = min(settings.layers or len(model.layers), len(model.layers))
        trained = sum(array.nbytes for array in weights(model).values())
        parted = cut(model, count, settings.grad_checkpoint)
        at_once, computed = largest(
            parts, settings.batch_size * settings.together, settings.batch_tokens, layout(parted, self.lanes)
        )
        memory.check(
            memory.shape(model, count, trained, settings.grad_checkpoint), at_once, lengths,
            targets / sum(lengths), memory.available(), computed, settings.together,
        )  # fmt: skip
        self._optimizer = optim.AdamW(learning_rate=rate(settings), weight_decay=settings.weight_decay)
        self._optimizer.init(model.trainable_parameters())
        streams = _streams(self.lanes)
        # A BLAS with as many threads as happen to be free would not give the same last digits twice.
        blas.one_thread()
        learner = Gradients if settings.beta is None else partial(Preferences, beta=settings.beta)
        visits, most = settings.steps * settings.batch_size * settings.together, settings.batch_tokens
        began = time.perf_counter()
        self._gradients = learner(
            model, parted, parts, streams, visits=visits, batch_tokens=most, progress=progress
        )
        self.prepare_seconds = time.perf_counter() - began
        """What was computed once, before the first step, took: the layers that do not learn."""
        visits = len(settings.checkpoint_steps()) * len(valid)
        self._valid = (
            learner(model, parted, valid, streams, visits=visits, batch_tokens=most) if valid else None
        )

    def order(self) -> Iterator[list[int]]:
        """Indices of the sequences of one step after another."""
        settings, together = self.settings, self.settings.together
        firsts = self.parts[::together]
        if settings.in_order:
            batches = in_order(len(firsts), settings.batch_size, settings.steps, settings.seed)
        else:
            batches = order(firsts, settings.batch_size, settings.seed, self._gradients.layout)
        for batch in batches:
            yield [together * one + at for one in batch for at in range(together)]

    @property
    def layout(self) -> Layout:
        """How batches are laid out on this device."""
        return self._gradients.layout

    def tokens(self, indices: Sequence[int]) -> int:
        """Tokens that a step of these sequences computes, what they share counted once."""
        return self._gradients.tokens(indices)

    def take(self, indices: Sequence[int], step: int) -> float:
        """Learn from these sequences in the step number `step`; the mean loss before it.

        It is in nats per target token, or per pair where the model learns to prefer.

        TrainError where there is no memory for it.
        """
        # Dropout depends on seed and step alone: a resumed run draws what the other one would have drawn.
        mx.random.seed(((self.settings.seed & 0xFFFFFFFF) << 32) + step)
        self.model.train()
        with memory.told(len(indices) // self.settings.together, self._longest):
            loss, grads, targets = self._gradients.of(indices, self._usual)
            self._optimizer.update(self.model, grads)
            mx.eval(self.model.trainable_parameters(), self._optimizer.state, loss)
        return cast(float, loss.item()) * self._usual / targets

    def valid_loss(self) -> float | None:
        """Mean loss on the validation sequences, in what `take` gives it; None where there are none."""
        return self._valid.mean_loss() if self._valid else None

    def figures(self, *, valid: bool = False) -> Mapping[str, float]:
        """What else the last step found by name, or with `valid` the last `valid_loss`."""
        found = self._valid if valid else self._gradients
        return found.figures if found else {}

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return cast(float, self._optimizer.learning_rate.item())

    def weights(self) -> Arrays:
        """The weights that learn, by name. Arrays are immutable values: the next step makes new ones."""
        return weights(self.model)

    def moments(self) -> Arrays:
        """The state of the optimizer, by name."""
        return cast(Arrays, dict(cast(Any, tree_flatten(self._optimizer.state))))

    def restore(self, saved: Arrays, moments: Arrays) -> None:
        """Put saved arrays into model and optimizer; TrainError where they are those of another run."""
        if _shapes(self.weights()) != _shapes(saved):
            raise TrainError(
                "The saved state belongs to another base or other layers; give --fresh to start anew."
            )
        self.model.load_weights(list(saved.items()), strict=False)

        def moment(path: str, _: mx.array) -> mx.array:
            return moments[path]

        self._optimizer.state = tree_map_with_path(moment, self._optimizer.state)


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _streams(lanes: int) -> list[mx.Stream]:
    """As many streams as the run has lanes; on a GPU its one stream."""
    if mx.default_device() != mx.Device(mx.cpu):
        return lane_streams()
    return [mx.new_stream(mx.cpu) for _ in range(lanes)]
