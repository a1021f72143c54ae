"""Attention that reads what all rows of a batch begin with once, instead of a copy of it for each row.

In: an mlx-lm model, the keys and values of the tokens that its rows share, and rows that go on from them.
Out: the model's own logits, within float tolerance. In mlx-lm's batches each row has its copy of a shared
prompt, so every head of every row is a product of one line with many keys; here the lines of all rows make
one matrix (as in Hydragen, arXiv 2402.05099). Exponentials, which cost MLX's x86 build more than the
products do (it calls the C library for each step of its polynomial), are powers of two at a fifth of that.

This is for MLX on the CPU: a GPU has one kernel for all of attention. Importing this module imports MLX:
activate the BLAS first.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

import mlx.core as mx
import numpy as np
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import BatchKVCache, ConcatenateKVCache, KVCache
from numpy.polynomial import Chebyshev, Polynomial

from tracemill.train.caches import state

Layer = tuple[mx.array, mx.array]
"""Keys and values of one layer: (1, key heads, tokens, head size), each an array of its own."""
LOWEST = -60.0
"""Exponent of the smallest weight, also that of hidden keys: 2**LOWEST of the largest is lost in float32."""

POLYNOMIAL: list[float] = (
    Chebyshev.interpolate(np.exp2, 5, domain=[-1, 0]).convert(kind=Polynomial, domain=[-1, 1]).coef.tolist()
)
"""Of 2**x for x from -1 to 0, the constant first."""
_REPLACING = threading.RLock()


class Beginning(ConcatenateKVCache):
    """One layer's keys and values of some prompts, after a prefix; `offset` counts both, as positions do."""

    def __init__(self, prefix: Layer | None = None):
        """Nothing yet after `prefix`."""
        super().__init__()
        self.prefix = prefix
        self.offset = _length(prefix)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Layer:
        """Take the keys and values of more tokens; gives all but the prefix."""
        own = cast(Layer, super().update_and_fetch(keys, values))
        self.offset += _length(self.prefix)
        return own

    def make_mask(self, N: int, return_array: bool = True, **options: Any) -> mx.array:  # noqa: ARG002, N803
        """Which of its row's own keys each of N tokens sees."""
        _refuse_window(**options)
        return create_causal_mask(N, offset=self.offset - _length(self.prefix))


class Rows(BatchKVCache):
    """One layer's keys and values of some rows that are completed, after a prefix."""

    prefix: Layer | None = None

    @classmethod
    def after(cls, prefix: Layer | None, rows: Sequence[KVCache]) -> Self:
        """Rows that go on from `prefix`, each with what its own cache has."""
        empty = all(row.empty() for row in rows)
        made = cast(Self, cls([0] * len(rows)) if empty else cls.merge(rows))
        made.prefix = prefix
        made.offset = made.offset + _length(prefix)
        return made

    def make_mask(self, N: int, return_array: bool = True, **options: Any) -> mx.array:  # noqa: ARG002, N803
        """Which of its row's own keys each of N tokens sees."""
        _refuse_window(**options)
        return super().make_mask(N)


def _length(prefix: Layer | None) -> int:
    return prefix[0].shape[2] if prefix else 0


def _refuse_window(window_size: int | None = None) -> None:
    if window_size:
        raise ValueError("A prefix cannot be shared by layers that see the last tokens only.")


def can_share(model: Any) -> bool:
    """Whether `model`, of plain caches, runs on the CPU and attends in the way that `sharing` replaces.

    Models of 16 bits do not: two ways to compute their logits differ by more than the probe allows.
    """
    if mx.default_device() != mx.Device(mx.cpu):
        return False
    first, last = mx.array([[1, 2]]), mx.array([[3], [4]])
    try:
        plain = model(mx.concatenate([mx.repeat(first, 2, axis=0), last], axis=1))[:, -1]
        with sharing(model):
            before = begin(model)
            model(first, cache=before)
            after = [Rows.after(state(cache), [KVCache(), KVCache()]) for cache in before]
            shared = model(last, cache=after)[:, -1]
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # another cache, mask or model
        return False
    return bool(mx.allclose(plain, shared, rtol=1e-3, atol=1e-3).item())


def begin(model: Any, prefix: Sequence[Layer] | None = None) -> list[Beginning]:
    """Caches for prompts with nothing in them after `prefix`, one for each layer of `model`."""
    return [Beginning(layer) for layer in prefix or [None] * len(model.layers)]


@contextmanager
def sharing(model: Any) -> Generator[None]:
    """Within, layers of `model` attend to the prefix of their caches, and exponentials are the fast ones.

    One thread at a time: what is replaced is a name in mlx-lm's modules, which all models of a kind share.
    """
    modules = {sys.modules.get(type(module).__module__) for module in model.modules()} - {None}
    makers: dict[str, Callable[[Any], Any]] = {
        "scaled_dot_product_attention": _attention,
        "swiglu": _swiglu,
    }
    # mlx-lm's models call both by the name they imported them under.
    with _REPLACING:
        before = [
            (module, name, vars(module)[name])
            for module in modules
            for name in makers
            if name in vars(module)
        ]
        for module, name, plain in before:
            setattr(module, name, makers[name](plain))
        try:
            yield
        finally:
            for module, name, plain in before:
                setattr(module, name, plain)


def attend(
    queries: mx.array, keys: mx.array, values: mx.array, prefix: Layer | None, scale: float, mask: Any
) -> mx.array:
    """Attention of `queries` (B, H, L, D) over `prefix` and then over `keys`, `values` (B, K, T, D).

    `mask` says where a query looks at its row's own keys: true or false, (L, T) or (B, 1, L, T); None for
    everywhere. Query heads are neighbours of those that share a key head. ValueError for another mask.
    """
    if mask is not None and (isinstance(mask, str) or mask.dtype != mx.bool_):
        raise ValueError("Only a mask of true and false can be shared.")
    rows, heads, length, _ = queries.shape
    key_heads = keys.shape[1]
    lines = heads // key_heads * length

    def together(each: mx.array) -> mx.array:
        """(B, K, lines, N) of every row as (K, B * lines, N)."""
        return each.swapaxes(0, 1).reshape(key_heads, rows * lines, -1)

    def apart(all_rows: mx.array) -> mx.array:
        return all_rows.reshape(key_heads, rows, lines, -1).swapaxes(0, 1)

    asked = (queries * (scale * math.log2(math.e))).reshape(rows, key_heads, lines, -1)
    own = asked @ keys.swapaxes(2, 3)
    if mask is not None:
        hidden = mx.where(mask[:, :, None] if mask.ndim == 4 else mask, 0.0, -1e9)
        own = (own.reshape(rows, key_heads, -1, length, own.shape[-1]) + hidden).reshape(own.shape)
    top = own.max(-1, keepdims=True)
    if prefix is None:
        weights = _power(own - top)
        found = weights @ values / weights.sum(-1, keepdims=True)
    else:
        shared = together(asked) @ prefix[0][0].swapaxes(1, 2)
        top = mx.maximum(top, apart(shared.max(-1, keepdims=True)))
        weights, on_shared = _power(own - top), _power(shared - together(top))
        total = weights.sum(-1, keepdims=True) + apart(on_shared.sum(-1, keepdims=True))
        found = (weights @ values + apart(on_shared @ prefix[1][0])) / total
    return found.reshape(rows, heads, length, -1)


def _power(exponents: mx.array) -> mx.array:
    """2 to the power of `exponents`, which are 0 at most, or of LOWEST; within 3e-7 of it."""
    exponents = mx.maximum(exponents, LOWEST)
    whole = exponents.astype(mx.int32)
    part = exponents - whole
    found: Any = POLYNOMIAL[-1]
    for coefficient in POLYNOMIAL[-2::-1]:
        found = found * part + coefficient
    return found * ((whole + 127) << 23).view(mx.float32)  # a float32 without fraction: its exponent's bits


def _attention(plain: Callable[..., mx.array]) -> Callable[..., mx.array]:
    def attention(
        queries: mx.array, keys: mx.array, values: mx.array, cache: Any, scale: float, mask: Any, **other: Any
    ) -> mx.array:
        if isinstance(cache, Beginning | Rows):
            if any(value is not None for value in other.values()):
                raise ValueError("A prefix is shared by plain attention only.")
            return attend(queries, keys, values, cache.prefix, scale, mask)
        return plain(queries, keys, values, cache=cache, scale=scale, mask=mask, **other)

    return attention


def _swiglu(plain: Callable[..., mx.array]) -> Callable[..., mx.array]:
    def swiglu(gate: mx.array, x: mx.array) -> mx.array:
        if gate.dtype != mx.float32:
            return plain(gate, x)
        return gate / (1.0 + mx.power(2.0, gate * -math.log2(math.e))) * x

    return swiglu
