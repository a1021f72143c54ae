"""How well a model predicts plain text.

In: a loaded model, its tokenizer and `Passage`s. Out: the loss of each passage, in nats per token. MLX is
imported inside the function: activate the BLAS first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy import stats

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.generate import Progress
from tracemill.evaluate.guard.items import Passage
from tracemill.evaluate.statistics import ALPHA, Interval

LOST = 100.0
"""Nats per token of a model whose weights are no numbers any more: no text has any probability."""


@dataclass(frozen=True)
class TextResult:
    """The mean cross-entropy in nats of the `tokens` of a passage after the first."""

    id: str
    kind: str
    digest: str
    tokens: int
    loss: float

    @property
    def predicted(self) -> float:
        """The inverse of the perplexity, 0..1: the probability of a token, as a geometric mean."""
        return math.exp(-self.loss)

    def asdict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return asdict(self)


def read_texts(
    model: Any, chat: Chat, texts: Sequence[Passage], progress: Progress | None = None
) -> list[TextResult]:
    """The loss of every passage; LOST where it is not a finite number."""
    import mlx.core as mx
    import mlx.nn as nn

    results: list[TextResult] = []
    for done, one in enumerate(texts, start=1):
        tokens: list[int] = chat.tokenizer.encode(one.text, add_special_tokens=False)
        ids = mx.array(tokens)
        logits = model(ids[None, :-1])[0].astype(mx.float32)
        mean: Any = nn.losses.cross_entropy(logits, ids[1:], reduction="mean")
        loss = float(mean.item())
        loss = loss if math.isfinite(loss) else LOST
        results.append(TextResult(one.id, one.kind, one.digest, len(tokens) - 1, loss))
        if progress:
            progress("reading plain text", done, len(texts))
    return results


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values with Student's t interval; ValueError for less than two."""
    if len(values) < 2:
        raise ValueError("one value has no interval")
    mean = math.fsum(values) / len(values)
    half = float(stats.sem(values)) * float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1))
    return Interval(mean, mean - half, mean + half)
