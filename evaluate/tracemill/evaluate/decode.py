"""Completions of many prompts that share a prefix, a token of each at a time.

In: a model, and the caches that `prefill` made. Out: the tokens of each completion, as soon as it is
finished; the places of finished ones are given to prompts that wait. Run it within `sharing`.

mlx-lm's own `BatchGenerator` does this for caches of any kind; this loop makes no log probabilities, which
nobody reads in a greedy evaluation and which cost as much as a tenth of the model, and fills several places
at once. Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, cast

import mlx.core as mx

from tracemill.evaluate.generate import Completions, Sampler
from tracemill.evaluate.prefill import Prefilled
from tracemill.evaluate.shared_prefix import Rows


def decode(
    model: Any,
    filled: Prefilled,
    last: Sequence[int],
    room: Sequence[int],
    stops: Collection[int],
    together: int,
    samplers: Sequence[Sampler] | None = None,
) -> Completions:
    """The number of each prompt and its completion, as soon as it ends; at most `together` at once.

    `last` is the last token of each prompt, which is not in its cache. A completion ends with one of `stops`,
    which it contains, or after as many tokens as `room` has for it.
    """
    waiting = deque(range(len(last)))
    said: list[list[int]] = [[] for _ in last]
    active: list[int] = []
    caches: list[Rows] = []
    tokens: list[int] = []
    while waiting or active:
        free = together - len(active)
        if waiting and 4 * free >= together:  # To join copies the caches of all: not for every place.
            joining = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            caches = _joined(caches if active else [], _merged(filled, joining))
            active, tokens = active + joining, tokens + [last[prompt] for prompt in joining]
        logits = model(mx.array(tokens)[:, None], cache=caches)[:, -1]
        tokens = _chosen(logits, [samplers[prompt] for prompt in active] if samplers else None)
        for prompt, token in zip(active, tokens, strict=True):
            said[prompt].append(token)
        goes_on = [
            tokens[row] not in stops and len(said[prompt]) < room[prompt] for row, prompt in enumerate(active)
        ]
        yield from ((prompt, said[prompt]) for prompt, on in zip(active, goes_on, strict=True) if not on)
        kept = [row for row, on in enumerate(goes_on) if on]
        if 0 < len(kept) < len(active):
            for cache in caches:
                cache.filter(mx.array(kept))
        active, tokens = [active[row] for row in kept], [tokens[row] for row in kept]


def _merged(filled: Prefilled, prompts: Sequence[int]) -> list[Rows]:
    prefix = filled.prefix or [None] * len(filled.rows[0])
    by_layer = zip(*(filled.rows[prompt] for prompt in prompts), strict=True)
    return [Rows.after(layer, rows) for layer, rows in zip(prefix, by_layer, strict=True)]


def _joined(caches: list[Rows], others: list[Rows]) -> list[Rows]:
    for cache, other in zip(caches, others, strict=False):
        cache.extend(other)
    return caches or others


def _chosen(logits: mx.array, samplers: Sequence[Sampler] | None) -> list[int]:
    if samplers is None:
        drawn = mx.argmax(logits, axis=-1)
    else:
        likely = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        drawn = mx.concatenate([sampler(likely[row : row + 1]) for row, sampler in enumerate(samplers)])
    return cast(list[int], drawn.tolist())
