"""Clusters of near copies, and in each of them whom to keep.

In: signatures, a way to read the shingles of some rows, a threshold, and who is preferred. Out: `Clusters`. A
row goes only where it is near, exactly verified, to a row that stays: in a chain a-b-c of near copies whose
ends differ, b alone does not stand for both unless it is the one preferred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracemill.curate.near.candidates import Judge, Positions, components, promising
from tracemill.curate.near.shingled import Reader, Shingled, shingled

_TRIES = 50
_REMEMBERED = 2_000_000
_ROUNDS = 256
"""How many rows of a cluster are compared with all others of it. Few clusters have so many that differ."""
_LIKELY = 256
"""With how many of the further ones each of the others is compared, and how many a bucket holds."""


@dataclass(frozen=True)
class Clusters:
    """Parallel arrays over rows.

    `cluster` is the first row of the connected component of near copies, `leader` the row that is kept
    instead (the row itself where it is kept), `similarity` the Jaccard similarity to it.
    """

    cluster: Positions
    leader: Positions
    similarity: NDArray[np.float64]


@dataclass(frozen=True)
class Near:
    """The clusters of rows and what decides them, while the shingles that it takes are at hand
    (`clustered`)."""

    cluster: Positions
    judge: Judge
    known: Shingled


@contextmanager
def clustered(signatures: NDArray[np.uint16], read: Reader, threshold: float) -> Generator[Near]:
    """Cluster rows whose similarity is `threshold` or more; only the shingles that this takes are read, once
    each.

    Memory: some 8-byte arrays of the number of rows, beside `signatures`.
    """
    size = len(signatures)
    hopeful = promising(signatures, threshold)
    rough = components(signatures, hopeful)
    rows = _several(rough)
    with shingled(size, read(rows)) as known:
        apart: set[int] = set()

        def near(left: Positions, right: Positions) -> NDArray[np.bool_]:
            found = hopeful(left, right)
            # Many pairs meet in several bands; those that were found apart need no second look.
            name = np.minimum(left, right) * size + np.maximum(left, right)
            found[found] = [pair not in apart for pair in name[found].tolist()]
            asked = np.flatnonzero(found)
            found[asked] = known.similarity(left[asked], right[asked]) >= threshold
            if len(apart) > _REMEMBERED:
                apart.clear()
            apart.update(name[asked[~found[asked]]].tolist())
            return found

        exact = components(signatures[rows], lambda left, right: near(rows[left], rows[right]))
        cluster = np.arange(size)
        cluster[rows] = rows[exact]
        yield Near(cluster, near, known)


def find(
    signatures: NDArray[np.uint16],
    read: Reader,
    threshold: float,
    preference: Positions | None = None,
    fixed: NDArray[np.bool_] | None = None,
    stands: Judge | None = None,
) -> Clusters:
    """Clusters, and the row that is kept for each row.

    `preference` ranks rows, the lowest is kept (default: their order); rows that are `fixed` are kept in any
    case and should be the most preferred. The first of a pair leads the second only where it `stands` for it.
    """
    order = np.arange(len(signatures)) if preference is None else preference
    stays = np.zeros(len(signatures), np.bool_) if fixed is None else fixed
    with clustered(signatures, read, threshold) as near:
        return _led(near, signatures, order, stays, stands)


def across(
    signatures: NDArray[np.uint16], read: Reader, threshold: float, side: Positions
) -> list[tuple[int, int, float]]:
    """Rows that have a near copy on another `side`: row, copy, similarity.

    In a cluster, rows are compared with the first `_TRIES` of each other side.
    """
    with clustered(signatures, read, threshold) as near:
        rows = _several(near.cluster)
        parts = pl.DataFrame({"row": rows, "cluster": near.cluster[rows], "side": side[rows]})
        firsts = parts.filter(pl.int_range(pl.len()).over("cluster", "side") < _TRIES)
        found: dict[int, tuple[int, float]] = {}
        for (_,), part in parts.group_by("cluster", maintain_order=True):
            others = firsts.filter(pl.col("cluster") == part["cluster"][0])
            if others["side"].n_unique() > 1:
                found |= _copies(part, others, near)
    return [(row, other, alike) for row, (other, alike) in sorted(found.items())]


def _copies(part: pl.DataFrame, others: pl.DataFrame, near: Near) -> dict[int, tuple[int, float]]:
    """A near copy of each row of `part` among the `others` of another side, if there is one."""
    found: dict[int, tuple[int, float]] = {}
    waiting, side = part["row"].to_numpy(), part["side"].to_numpy()
    for other, its_side in others.select("row", "side").iter_rows():
        asked = waiting[side != its_side]
        copies = np.full(len(asked), other)
        alike = near.judge(asked, copies)
        similar = near.known.similarity(asked[alike], copies[alike])
        found |= dict(zip(asked[alike].tolist(), [(other, one) for one in similar.tolist()], strict=True))
        rest = ~np.isin(waiting, asked[alike])
        waiting, side = waiting[rest], side[rest]
    return found


def _several(labels: Positions) -> Positions:
    """The rows whose label others have too."""
    return np.flatnonzero(np.bincount(labels, minlength=len(labels))[labels] > 1)


def _led(
    near: Near,
    signatures: NDArray[np.uint16],
    preference: Positions,
    fixed: NDArray[np.bool_],
    stands: Judge | None,
) -> Clusters:
    """In every cluster the most preferred row leads those near to it, then the next of the others does."""
    cluster = near.cluster
    leader, similarity = np.arange(len(cluster)), np.ones(len(cluster))
    waiting = _several(cluster)
    waiting = waiting[np.lexsort((preference[waiting], cluster[waiting]))]

    def leads(first: Positions, rows: Positions) -> NDArray[np.bool_]:
        free = ~fixed[rows] & (first != rows)
        if stands is not None:
            free[free] = stands(first[free], rows[free])
        free[free] = near.judge(first[free], rows[free])
        return free

    for _ in range(_ROUNDS):
        if not len(waiting):
            break
        groups = cluster[waiting]
        heads = np.concatenate([[True], groups[1:] != groups[:-1]])
        first = waiting[heads][np.cumsum(heads) - 1]
        led = leads(first, waiting)
        leader[waiting[led]] = first[led]
        waiting = waiting[~led & ~heads]
    for row, first in _led_by_likely(waiting, cluster, signatures, leads):
        leader[row] = first
    changed = np.flatnonzero(leader != np.arange(len(leader)))
    similarity[changed] = near.known.similarity(leader[changed], changed)
    return Clusters(cluster, leader, similarity)


def _led_by_likely(
    waiting: Positions, cluster: Positions, signatures: NDArray[np.uint16], leads: Judge
) -> Iterator[tuple[int, int]]:
    """The same for the rest of clusters of many rows that differ: rows that are led, each with its leader.

    All with all would cost the square of such a cluster. A row is compared with the `_LIKELY` leaders that
    agree with it in most bands; so near one of many others it may stay.
    """
    bands = np.ascontiguousarray(signatures[waiting]).view(np.uint64)
    buckets: dict[tuple[int, int, int], list[int]] = {}
    for at, (row, values) in enumerate(zip(waiting.tolist(), bands.tolist(), strict=True)):
        own = [(int(cluster[row]), band, value) for band, value in enumerate(values)]
        agree = Counter(one for place in own for one in buckets.get(place, ()))
        likely = waiting[sorted(one for one, _ in agree.most_common(_LIKELY))]
        led = leads(likely, np.full(len(likely), row))
        if led.any():
            yield row, int(likely[led.argmax()])
            continue
        for place in own:
            known = buckets.setdefault(place, [])
            if len(known) < _LIKELY:
                known.append(at)
