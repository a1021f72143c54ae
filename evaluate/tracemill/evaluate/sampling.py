"""Several samples of each item: how they are drawn, and what they say together.

In: items and a `Sampling`. Out: an item a sample, named `<item>~<number>`, so that everything that takes
items takes samples; then, of their results, pass@k and pass^k. Every sample has a seed of its own, which
follows from the seed of the evaluation and the sample's name: neither order nor batch size changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tracemill.evaluate.items import Item
from tracemill.evaluate.statistics import Interval, graded_difference, pass_at_k, pass_hat_k

if TYPE_CHECKING:
    from tracemill.evaluate.holdout import ItemResult

_KINDS = {"call": "tool calls", "answer": "answers", "direct": "direct answers"}


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn: `samples` of each item at a temperature; at 0 greedily, without a seed."""

    samples: int = 1
    temperature: float = 0.0
    seed: int = 0

    @property
    def text(self) -> str:
        """For people, as in `greedy` or `5 samples at temperature 0.7, seed 0`."""
        if not self.temperature:
            return "greedy"
        some = f"{self.samples} sample{'s' * (self.samples > 1)}"
        return f"{some} at temperature {self.temperature:g}, seed {self.seed}"


GREEDY = Sampling()


@dataclass(frozen=True)
class Passes:
    """Of `n` items of a kind: the chance that one of `k` samples is right (pass@k), that all are (pass^k)."""

    name: str
    n: int
    k: int
    one: Interval
    all: Interval


def sampled(items: Sequence[Item], sampling: Sampling) -> list[Item]:
    """Every item once for each of its samples; as they are where there is one."""
    if sampling.samples == 1:
        return list(items)
    return [replace(item, id=f"{item.id}~{n}") for item in items for n in range(1, sampling.samples + 1)]


def item_seed(seed: int, name: str) -> int:
    """The seed of the sample `name`: 31 bits, which every server takes."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4]) >> 1


def sampler(temperature: float, seed: int) -> Callable[[Any], Any]:
    """What draws the tokens of one completion, log probabilities to tokens.

    Its random numbers are its own, so they are the same whatever else is in the batch.
    """
    import mlx.core as mx

    key = mx.random.key(seed)

    def draw(logprobs: Any) -> Any:
        nonlocal key
        key, now = mx.random.split(key)
        return mx.random.categorical(logprobs / temperature, key=now)

    return draw


def passes(results: Sequence[ItemResult], sampling: Sampling) -> list[Passes]:
    """pass@k and pass^k by kind of item, for k = 1, 2, 4 and so on to the number of samples.

    Items of which not every sample was answered are left out. Intervals are over sessions.
    """
    k_values = [k for k in (2**power for power in range(30)) if k < sampling.samples] + [sampling.samples]
    found: list[Passes] = []
    for kind, name in _KINDS.items():
        right: dict[str, list[bool]] = {}
        sessions: dict[str, str] = {}
        for one in results:
            if one.item.kind == kind:
                item = one.item.id.rpartition("~")[0] if sampling.samples > 1 else one.item.id
                right.setdefault(item, []).append(one.score.right)
                sessions[item] = one.item.session_id
        whole = [item for item, outcomes in right.items() if len(outcomes) == sampling.samples]
        counts = [sum(right[item]) for item in whole]
        clusters = [sessions[item] for item in whole]
        for k in k_values if whole else []:
            some = [pass_at_k(sampling.samples, count, k) for count in counts]
            every = [pass_hat_k(sampling.samples, count, k) for count in counts]
            found.append(Passes(name, len(whole), k, _mean(some, clusters), _mean(every, clusters)))
    return found


def _mean(values: Sequence[float], sessions: Sequence[str]) -> Interval:
    if len(values) == 1:
        return Interval(fmean(values), 0.0, 1.0)
    found = graded_difference([0.0] * len(values), values, sessions)
    return Interval(found.estimate, max(found.low, 0.0), found.high)
