"""Key-value caches for many prompts, each token of each conversation computed once.

In: a model and prompts. Out: for every prompt the cache of all its tokens but the last. The prompts of one
session are prefixes of each other, and all share a system prompt and tools: only the longest of each family
is run, after the prefix that all share; the others take slices of its cache. Activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import mlx.core as mx
from mlx_lm.models.cache import ConcatenateKVCache, KVCache, make_prompt_cache

from tracemill.train import blas
from tracemill.train.batches import pad
from tracemill.train.caches import broadcast
from tracemill.train.forward import lane_streams

STEP = 512
"""Tokens of a prompt per forward pass: attention over more at once would need too much memory."""
AT_ONCE = 2048
"""Tokens of all prompts that go through the model together."""


def can_prefill(model: Any, prompts: Sequence[Sequence[int]]) -> bool:
    """Whether the model keeps plain key-value caches, which can be sliced at any length."""
    plain = all(type(cache) is KVCache for cache in make_prompt_cache(model))
    return plain and min(map(len, prompts)) > 1


def prefill(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[KVCache]]:
    """The caches of `prompts`, in their order, each without the prompt's last token; see `can_prefill`."""
    longest = min(map(len, prompts)) - 1
    shared = next((i for i in range(longest) if len({prompt[i] for prompt in prompts}) > 1), longest)
    prefix = _prefix(model, prompts[0][:shared])
    covers, covered = _families(prompts)
    streams = lane_streams()
    if len(streams) > 1:
        blas.one_thread()
    caches: dict[int, list[KVCache]] = {}
    groups = _groups([(cover, len(prompts[cover]) - shared) for cover in covers])
    for first in range(0, len(groups), len(streams)):
        for group, stream in zip(groups[first:], streams, strict=False):
            with mx.stream(stream):
                layers = _run(model, prefix, [prompts[cover][shared:] for cover in group])
                for row, cover in enumerate(group):
                    for prompt in covered[cover]:
                        caches[prompt] = [_slice(layer, row, len(prompts[prompt]) - 1) for layer in layers]
        mx.eval([layer.state for cache in caches.values() for layer in cache])
    blas.adapt_threads()
    return [caches[prompt] for prompt in range(len(prompts))]


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


def _groups(lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The prompts of (prompt, length), shortest first, in groups of at most AT_ONCE tokens, or one prompt."""
    groups: list[list[int]] = []
    for prompt, length in lengths:
        if not groups or (len(groups[-1]) + 1) * length > AT_ONCE:
            groups.append([])
        groups[-1].append(prompt)
    return groups


def _prefix(model: Any, tokens: Sequence[int]) -> list[ConcatenateKVCache] | None:
    if not tokens:
        return None
    caches = [ConcatenateKVCache() for _ in model.layers]
    for start in range(0, len(tokens), STEP):
        model(mx.array([tokens[start : start + STEP]]), cache=caches)
        mx.eval([cache.state for cache in caches])
    return caches


def _run(
    model: Any, prefix: list[ConcatenateKVCache] | None, rest: Sequence[Sequence[int]]
) -> list[ConcatenateKVCache]:
    caches = broadcast(prefix, len(rest)) if prefix else [ConcatenateKVCache() for _ in model.layers]
    padded = pad(rest)
    for start in range(0, padded.shape[1], STEP):
        model(mx.array(padded[:, start : start + STEP]), cache=caches)
    return caches


def _slice(layer: ConcatenateKVCache, row: int, length: int) -> KVCache:
    keys, values = cast(tuple[mx.array, mx.array], layer.state)
    cache = KVCache()
    cache.update_and_fetch(keys[row : row + 1, :, :length], values[row : row + 1, :, :length])
    return cache
