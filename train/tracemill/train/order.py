"""Which sequences come in which step.

In: sequences, a batch size and a seed. Out: indices, batch after batch. Each epoch is a permutation of all
sequences, so each is seen as often as any other; within a window of a few batches they are put together so
that little is padding and much is shared. Pure Python, no MLX.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tracemill.curate.chat.render import Rendered
from tracemill.train.batches import PLAIN, Layout, common, make_batch, sort_alike

WINDOW = 4
"""Batches put together at a time: large enough to save padding, small enough to keep batches mixed."""
SLACK = 16
"""Tokens at the end of a prompt that may be absent once its answer is history, such as an empty thought."""


def order(
    parts: Sequence[Rendered], batch_size: int, seed: int, layout: Layout = PLAIN
) -> Iterator[list[int]]:
    """Indices of one batch after another, for ever: each epoch a new seeded permutation, cut across epochs.

    The turns of one session that are sequences of their own stay together, in at most a batch, as they do
    where a session is one sequence. A window is sorted by length or by what sequences begin with, whichever
    leaves less to compute; its batches come in random order. With fewer rows than a batch, the batch is all
    rows.
    """
    chance = random.Random(seed)
    size = min(batch_size, len(parts))
    ordered = sort_alike(parts, range(len(parts)))
    rank = {row: at for at, row in enumerate(ordered)}
    together = families(parts, ordered, size)
    waiting: list[int] = []
    while True:
        while len(waiting) < WINDOW * size:
            waiting += [row for family in chance.sample(together, len(together)) for row in family]
        window, waiting = waiting[: WINDOW * size], waiting[WINDOW * size :]
        by_length = sorted(window, key=lambda row: len(parts[row].tokens))
        choices = [_cut(rows, size) for rows in (by_length, sorted(window, key=rank.__getitem__))]
        batches = min(choices, key=lambda batches: sum(cost(parts, rows, layout) for rows in batches))
        yield from chance.sample(batches, len(batches))


def in_order(count: int, batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Indices of `steps` batches of `count` sequences in their order, which begins anew after the last one.

    Where the steps do not reach them all, a seeded sample comes in that order: a curriculum that goes from
    short to long is to end with long ones, however few steps there are.
    """
    size = min(batch_size, count)
    wanted = steps * size
    chosen = sorted(random.Random(seed).sample(range(count), wanted)) if wanted < count else range(count)
    for step in range(steps):
        yield [chosen[(step * size + at) % len(chosen)] for at in range(size)]


def micro_batches(
    parts: Sequence[Rendered], rows: Sequence[int], most: int | None, layout: Layout = PLAIN
) -> list[list[int]]:
    """`rows` in groups that each need at most `most` tokens computed, what they share once; or one sequence.

    What begins alike stays together as far as it fits. The gradients of the groups add up to that of all
    rows.
    """
    if most is None:
        return [list(rows)]
    groups: list[list[int]] = []
    for row in sort_alike(parts, rows):
        if groups and make_batch(parts, [*groups[-1], row], layout).tokens <= most:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def cost(parts: Sequence[Rendered], rows: Sequence[int], layout: Layout) -> int:
    """What a batch of `rows` takes, in tokens: those computed, and what making its calls is worth."""
    batch = make_batch(parts, rows, layout)
    return batch.tokens + layout.pays * len(batch.calls)


def families(parts: Sequence[Rendered], ordered: Sequence[int], most: int) -> list[list[int]]:
    """The sequences in `ordered`, which is the order of their tokens, by session, `most` at a time.

    Two are of one session if one's prompt for its last turn is the beginning of the other's, and shorter.
    """
    found: list[list[int]] = [[ordered[0]]]
    for before, row in pairwise(ordered):
        one, other = sorted((parts[before], parts[row]), key=lambda part: part.spans[-1][0])
        prompt = one.spans[-1][0]
        grows = other.spans[-1][0] > prompt and common(one, other) >= prompt - SLACK
        if grows and len(found[-1]) < most:
            found[-1].append(row)
        else:
            found.append([row])
    return sorted(found, key=min)


def _cut(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
