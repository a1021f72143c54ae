"""Key-value caches for many prompts, each token of each conversation computed once.

In: a model and prompts. Out: the keys and values of what all prompts begin with, and for every prompt the
cache of what comes after, without its last token. The prompts of one session are prefixes of each other, and
all share a system prompt and tools: only the longest of each family is run, after the prefix that all share;
the others take slices of its cache. Activate the BLAS first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ConcatenateKVCache, KVCache, make_prompt_cache

from tracemill.evaluate.shared_prefix import Layer, begin
from tracemill.train import blas
from tracemill.train.batches import pad
from tracemill.train.caches import broadcast, state
from tracemill.train.forward import lane_streams

STEP = 512
"""Tokens of a prompt per forward pass: attention over more at once would need too much memory."""
AT_ONCE = 1024
"""Tokens of all prompts, with their padding, that go through the model together."""
TOGETHER = 2**15
"""Tokens of prompts whose caches are kept at once: 1.5 GB for SmolLM2-135M in float32."""
WORTH = 2**11
"""Tokens that are computed in the time that more prompts in a batch save."""


@dataclass(frozen=True)
class Prefilled:
    """What is computed of some prompts."""

    prefix: list[Layer] | None
    """Of each layer what all rows go on from; None where every row has the whole of its prompt."""
    rows: list[list[KVCache]]
    """For each prompt the caches of all layers."""


def fitting(prompts: Sequence[Sequence[int]], share: bool) -> int:
    """How many of `prompts`, sorted, are best completed together; at least one.

    Their caches have at most TOGETHER tokens, those that all begin with counted once where they `share` them,
    and none makes the others compute more than WORTH tokens that they had in common.
    """
    total, shared, families = 0, len(prompts[0]), 0
    for count, prompt in enumerate(prompts):
        total += len(prompt)
        if count and prompt[: len(prompts[count - 1])] != prompts[count - 1]:
            families += 1
        before, shared = shared, _shared([prompts[0], prompt])
        kept = total - (count * shared if share else 0)
        if count and (kept > TOGETHER or (families - 1) * (before - shared) > WORTH):
            return count
    return len(prompts)


def can_prefill(model: Any, prompts: Sequence[Sequence[int]]) -> bool:
    """Whether the model keeps plain key-value caches, which can be sliced at any length."""
    plain = all(type(cache) is KVCache for cache in make_prompt_cache(model))
    return plain and min(map(len, prompts)) > 1


def can_batch(model: Any) -> bool:
    """Whether mlx-lm computes prompts of unlike lengths together as it does alone, rounding aside.

    Some models cannot: Gemma 2 lays the mask of a batch on heads instead of rows.
    """
    long, short = make_prompt_cache(model), make_prompt_cache(model)
    last = mx.array([[4], [5]])
    try:
        model(mx.array([[1, 2, 3]]), cache=long)
        model(mx.array([[2]]), cache=short)
        rows = [one.merge([one, other]) for one, other in zip(long, short, strict=True)]
        batch = model(last, cache=rows)
        alone = mx.concatenate([model(last[:1], cache=long), model(last[1:], cache=short)])
    except (AttributeError, LookupError, TypeError, ValueError):
        return False
    return bool((mx.abs(batch - alone).max() <= 0.05 * mx.abs(alone).max()).item())


def prefill(model: Any, prompts: Sequence[Sequence[int]], share: bool) -> Prefilled:
    """The caches of `prompts`, in their order, each without the prompt's last token; see `can_prefill`.

    `share`: within `sharing`, so that rows have only what is their own.
    """
    shared = min(_shared(prompts), min(map(len, prompts)) - 1)
    prefix = _prefix(model, prompts[0][:shared], share)
    covers, covered = _families(prompts)
    streams = lane_streams()
    if len(streams) > 1:
        blas.one_thread()
    had = shared if share else 0
    caches: dict[int, list[KVCache]] = {}
    groups = _groups([(cover, len(prompts[cover]) - shared) for cover in covers], len(streams))
    for first in range(0, len(groups), len(streams)):
        at_once = groups[first : first + len(streams)]
        computed: list[Sequence[ConcatenateKVCache]] = []
        for group, stream in zip(at_once, streams, strict=False):
            with mx.stream(stream):
                layers = _caches(model, prefix, len(group), share)
                _run(model, layers, [prompts[cover][shared:] for cover in group])
            computed.append(layers)
        # Before they are sliced: asked for the rows of one group first, MLX computes one group after another.
        mx.eval([layer.state for layers in computed for layer in layers])
        for group, layers in zip(at_once, computed, strict=True):
            for row, cover in enumerate(group):
                for prompt in covered[cover]:
                    own = len(prompts[prompt]) - 1 - had
                    caches[prompt] = [_slice(layer, row, own) for layer in layers]
                mx.eval([layer.state for prompt in covered[cover] for layer in caches[prompt]])
    blas.adapt_threads()
    return Prefilled(prefix if share else None, [caches[prompt] for prompt in range(len(prompts))])


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with."""
    ends = min(prompts, key=list), max(prompts, key=list)  # the two that differ first
    unlike = (at for at, tokens in enumerate(zip(*ends, strict=False)) if tokens[0] != tokens[1])
    return next(unlike, min(map(len, ends)))


def _families(prompts: Sequence[Sequence[int]]) -> tuple[list[int], dict[int, list[int]]]:
    """The prompts that are no prefix of another, by length, and all prompts that each of them begins with."""
    covered: dict[int, list[int]] = {}
    cover: int | None = None
    # In lexicographic order a prefix comes before what it begins: backwards, a family's longest comes first.
    for prompt in sorted(range(len(prompts)), key=lambda i: list(prompts[i]), reverse=True):
        if cover is None or list(prompts[cover][: len(prompts[prompt])]) != list(prompts[prompt]):
            cover = prompt
        covered.setdefault(cover, []).append(prompt)
    return sorted(covered, key=lambda i: len(prompts[i])), covered


def _groups(lengths: Sequence[tuple[int, int]], lanes: int) -> list[list[int]]:
    """The prompts of (prompt, length), shortest first, in groups of AT_ONCE tokens or of one prompt.

    All are about as large, and as many as the lanes ask for, so that no lane waits for another.
    """
    total = sum(length for _, length in lengths)
    most = math.ceil(total / (lanes * math.ceil(total / (lanes * AT_ONCE))))
    groups: list[list[int]] = []
    for prompt, length in lengths:
        if not groups or len(groups[-1]) * length >= most:
            groups.append([])
        groups[-1].append(prompt)
    return groups


def _prefix(model: Any, tokens: Sequence[int], share: bool) -> list[Layer] | None:
    if not tokens:
        return None
    caches = _caches(model, None, 1, share)
    for start in range(0, len(tokens), STEP):
        model(mx.array([tokens[start : start + STEP]]), cache=caches)
        mx.eval([cache.state for cache in caches])
    # Not as parts of a larger array, which every product would copy first.
    layers = [(mx.contiguous(keys), mx.contiguous(values)) for keys, values in map(state, caches)]
    mx.eval(layers)
    return layers


def _caches(
    model: Any, prefix: Sequence[Layer] | None, count: int, share: bool
) -> Sequence[ConcatenateKVCache]:
    """Caches for `count` prompts after `prefix`, which they share or have a copy of."""
    if share:
        return begin(model, prefix)
    caches = [ConcatenateKVCache() for _ in model.layers]
    for cache, layer in zip(caches, prefix or [], strict=False):
        cache.state = layer
    return broadcast(caches, count) if prefix else caches


def _run(model: Any, caches: Sequence[ConcatenateKVCache], rest: Sequence[Sequence[int]]) -> None:
    padded = pad(rest)
    for start in range(0, padded.shape[1], STEP):
        model(mx.array(padded[:, start : start + STEP]), cache=caches)


def _slice(layer: ConcatenateKVCache, row: int, length: int) -> KVCache:
    cache = KVCache()
    if length:  # Copied, so that the others of its group and its padding need not be kept.
        keys, values = (mx.contiguous(part[row : row + 1, :, :length]) for part in state(layer))
        cache.state = keys, values, length
    return cache
