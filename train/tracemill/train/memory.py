"""Whether a training step fits into memory, said before it is tried.

On a CPU nothing can be done once it does not: Linux ends the process. In: the sizes of a model and the
lengths of sequences. Out: an estimate in bytes, and a TrainError that says what would fit. The estimate
counts what a backward pass keeps of a Llama-like layer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracemill.train.errors import TrainError

FLOAT = 4
GB = 1e9
WORDS = ("alloc", "out of memory", "memory")


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide what a step needs."""

    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    layers: int
    """That learn: what lies below keeps nothing."""
    trainable: int
    """Bytes of the weights that learn."""
    checkpointed: bool = False
    """Whether a layer that learns keeps only what goes into it."""


def shape(model: Any, layers: int, trainable: int, checkpointed: bool = False) -> Shape | None:
    """The sizes of a loaded model; None where its configuration names them otherwise."""
    args = getattr(model, "args", None)
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    sizes = [getattr(args, name, None) for name in names]
    if not all(isinstance(size, int) for size in sizes):
        return None
    hidden, intermediate, heads, vocabulary = (int(size or 0) for size in sizes)
    return Shape(hidden, intermediate, heads, vocabulary, layers, trainable, checkpointed)


def needed(shape: Shape, batch: int, length: int, targets: int, computed: float = 1.0) -> int:
    """About how many bytes a step of `batch` sequences of `length` tokens takes, `targets` of them with loss.

    Per token and layer: the states that the norms, projections and the gated MLP need again; per pair of
    tokens and head: scores and their softmax. Logits are kept twice, and a gradient and two moments a weight.
    `computed`: share of the tokens that is computed, where sequences share the others.
    """
    token = 12 * shape.hidden + 6 * shape.intermediate
    pairs = 2 * shape.heads * length
    whole, inputs = (1, shape.layers * shape.hidden) if shape.checkpointed else (shape.layers, 0)
    states = round(computed * batch * length * (whole * (token + pairs) + inputs))
    return FLOAT * (states + 2 * targets * shape.vocabulary) + 3 * shape.trainable


def check(
    shape: Shape | None,
    batch: int,
    lengths: Sequence[int],
    share: float,
    free: int | None,
    computed: float = 1.0,
    together: int = 1,
) -> None:
    """TrainError where the `batch` longest of `lengths` cannot fit into `free` bytes.

    `share`: targets per token; `computed`: see `needed`; `together`: sequences that count as one of a batch.
    Where the model's sizes or the free memory are unknown nothing is refused.
    """
    if shape is None or free is None or not lengths:
        return
    batch, longest = min(batch, len(lengths)), max(lengths)

    def bytes_of(batch: int, length: int) -> int:
        return needed(shape, batch, length, round(batch * length * share), computed)

    want = bytes_of(batch, longest)
    if want <= free:
        return
    raise TrainError(
        f"A step of {batch} sequences of up to {longest} tokens needs about {want / GB:.1f} GB and "
        f"{free / GB:.1f} GB are free; {_advice(bytes_of, batch, longest, free, together)}."
    )


def _advice(bytes_of: Callable[[int, int], int], batch: int, longest: int, free: int, together: int) -> str:
    for fewer in range((batch - 1) // together, 0, -1):
        if bytes_of(fewer * together, longest) <= free:
            return f"--batch-size {fewer} would fit"
    for context in range(longest - longest % 64, 0, -64):
        if bytes_of(together, context) <= free:
            return f"--batch-size 1 with --context {context} would fit"
    return "not even one short sequence would fit: take a smaller base model or fewer --layers"


@contextmanager
def told(batch: int, longest: int) -> Generator[None]:
    """Turn the allocator's failure in a step into a TrainError, where MLX can still tell of it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(word in str(error).lower() for word in WORDS):
            raise
        half = f"--batch-size {batch // 2}" if batch > 1 else f"--context {longest // 2}"
        raise TrainError(
            f"There is no memory for a step of {batch} sequences of up to {longest} tokens; try {half}."
        ) from error


def available() -> int | None:
    """Bytes this process can still take: of its device, machine or container; None where it is not known."""
    import mlx.core as mx

    if mx.default_device() != mx.Device(mx.cpu):
        sizes = mx.device_info()
        size = sizes.get("max_recommended_working_set_size") or sizes.get("memory_size")
        return int(size) - mx.get_active_memory() if size else None
    if sys.platform != "linux":
        return None
    limits = [_machine(), _container()]
    return min((limit for limit in limits if limit is not None), default=None)


def _machine() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _container() -> int | None:
    """What the memory limit of the container leaves (cgroup v2)."""
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
