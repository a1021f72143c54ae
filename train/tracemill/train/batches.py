"""Batches of token sequences, as forward passes in which every token that sequences share stands once.

In: sequences with their loss spans, which of them make a batch, and a `Layout`. Out: a `Batch` of `Call`s,
each a forward pass of its own that goes on from where an earlier one ended. Sequences that begin alike (one
system prompt and its tools, the turns of one session, whose prompts grow) form a tree of prefixes, and a
prefix is a call of its own where that saves more tokens than a call costs. Pure Python and numpy, no MLX.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tracemill.curate.chat.render import Rendered

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Layout:
    """What decides how a batch is laid out; none of it changes the loss or its gradient."""

    lanes: int = 1
    """Streams that compute at the same time."""
    pays: int = 32
    """Tokens whose computation takes as long as making one more call: less is not worth sharing."""
    chunk: int | None = 256
    """Most tokens of a sequence in one call, so that attention is not computed where it is masked."""
    most: int = 4096
    """Most tokens of all sequences in one call, but for one that is longer."""
    shares: bool = True
    """Whether a call can go on from another one: the model keeps plain key-value caches."""


PLAIN = Layout()


@dataclass(frozen=True)
class Call:
    """One forward pass over B pieces of sequences, each of which begins at token `begin` of its sequence.

    rows: for each piece a sequence that it is part of. tokens: (B, S) ids, padded on the right with 0;
    `lengths` tells how many are none. parent: the index of the call that has computed the tokens before
    `begin`, or None at the start; all pieces continue its row `fork`, or, where that is None, piece i
    continues its row i. continuations: how many calls go on from this one. where: (2, T) row and column in
    `tokens` of the states that predict `targets`: (T,) token ids; `owners`: (T,) whose they are. lane: which
    stream computes it.
    """

    rows: tuple[int, ...]
    begin: int
    tokens: Ints
    lengths: tuple[int, ...]
    parent: int | None
    fork: int | None
    continuations: int
    where: Ints
    targets: Ints
    owners: Ints
    lane: int


@dataclass(frozen=True)
class Batch:
    """The calls of one step, every one after the one that it goes on from."""

    calls: tuple[Call, ...]

    @property
    def targets(self) -> int:
        """How many tokens bear loss."""
        return sum(len(call.targets) for call in self.calls)

    @property
    def tokens(self) -> int:
        """How many tokens are computed, padding included."""
        return sum(call.tokens.size for call in self.calls)


@dataclass(frozen=True)
class _Node:
    """Tokens up to `end` that all of `rows` have in common, and how they go on."""

    end: int
    rows: tuple[int, ...]
    children: tuple[_Node, ...] = ()


def make_batch(parts: Sequence[Rendered], rows: Sequence[int], layout: Layout = PLAIN) -> Batch:
    """Lay out the sequences `rows` of `parts`, which may be the same more than once."""
    made = _Calls(parts, layout)
    if layout.shares:
        ordered = sort_alike(parts, rows)
        alike = [common(parts[one], parts[other]) for one, other in pairwise(ordered)]
        nodes = _tree(parts, ordered, alike, 0, layout.pays)
    else:
        nodes = [_Node(needed(parts[row]), (row,)) for row in rows]
    made.add(nodes, 0, None, None)
    return Batch(tuple(made.finished()))


def sort_alike(parts: Sequence[Rendered], rows: Iterable[int]) -> list[int]:
    """The sequences `rows` by the tokens of them that are computed: those that begin alike are neighbours."""
    return sorted(rows, key=lambda row: parts[row].tokens[: needed(parts[row])])


def needed(part: Rendered) -> int:
    """How many tokens of a sequence are computed: all that come before its last target."""
    return part.spans[-1][1] - 1


def common(one: Rendered, other: Rendered) -> int:
    """How many tokens that are computed two sequences begin with alike."""
    limit = min(needed(one), needed(other))
    if one.tokens[:limit] == other.tokens[:limit]:
        return limit
    low, high = 0, limit
    while low < high:  # whole slices compare much faster than single tokens
        middle = (low + high + 1) // 2
        if one.tokens[:middle] == other.tokens[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def pad(sequences: Sequence[Sequence[int]]) -> Ints:
    """(B, S) ids of sequences of up to S ids, padded on the right with 0."""
    padded = np.zeros((len(sequences), max(map(len, sequences))), np.int32)
    for row, ids in zip(padded, sequences, strict=True):
        row[: len(ids)] = ids
    return padded


def _tree(
    parts: Sequence[Rendered], rows: Sequence[int], alike: Sequence[int], begin: int, pays: int
) -> list[_Node]:
    """How `rows`, alike ones side by side, go on from `begin`; neighbours have `alike` tokens in common."""
    if not alike:
        end = needed(parts[rows[0]])
        return [_Node(end, (rows[0],))] if end > begin else []
    shared = min(alike)
    share = (shared - begin) * (len(rows) - 1) >= max(pays, 1)
    children: list[_Node] = []
    first = 0
    for last in [*(at for at, same in enumerate(alike) if same == shared), len(alike)]:
        group, within = rows[first : last + 1], alike[first:last]
        children += _tree(parts, group, within, shared if share else begin, pays)
        first = last + 1
    return [_Node(shared, tuple(rows), tuple(children))] if share else children


class _Calls:
    """The calls of a batch while they are made."""

    def __init__(self, parts: Sequence[Rendered], layout: Layout):
        self._parts, self._layout = parts, layout
        self._made: list[Call] = []
        self._continued: list[int] = []
        self._load = [0] * layout.lanes
        self._learned: dict[int, tuple[Ints, Ints]] = {}

    def finished(self) -> list[Call]:
        """All calls, each with the number of those that go on from it."""
        counted = zip(self._made, self._continued, strict=True)
        return [replace(call, continuations=count) for call, count in counted]

    def add(self, nodes: Sequence[_Node], begin: int, parent: int | None, fork: int | None) -> None:
        """Calls for `nodes`, which begin at `begin` after row `fork` of call `parent`, and what follows."""
        groups = self._groups(sorted(nodes, key=lambda node: node.end, reverse=True), begin)
        groups.sort(key=lambda group: len(group) * (group[0].end - begin), reverse=True)
        for group in groups:
            self._chain(group, begin, parent, fork, alone=len(groups) == 1)

    def _groups(self, nodes: Sequence[_Node], begin: int) -> list[list[_Node]]:
        """Nodes of like length together, longest first, in a group for each lane if they suffice."""
        groups: list[list[_Node]] = []
        waste = 0
        for node in nodes:
            if groups:
                waste += groups[-1][0].end - node.end
            if not groups or waste > self._layout.pays or self._full(groups[-1], begin):
                groups.append([])
                waste = 0
            groups[-1].append(node)
        while len(groups) < self._layout.lanes:
            largest = max(
                groups, key=lambda group: (len(group) > 1) * len(group) * (group[0].end - begin), default=[]
            )
            if len(largest) < 2 or len(largest) * (largest[0].end - begin) < 2 * self._layout.pays:
                break
            groups.remove(largest)
            groups += [largest[::2], largest[1::2]]
        return groups

    def _full(self, group: Sequence[_Node], begin: int) -> bool:
        width = min(group[0].end - begin, self._layout.chunk or group[0].end)
        return (len(group) + 1) * width > self._layout.most

    def _chain(
        self, group: Sequence[_Node], begin: int, parent: int | None, fork: int | None, alone: bool
    ) -> None:
        """Calls for nodes of like length, longest first, in chunks, and after each chunk what ends in it."""
        longest = group[0].end
        size = self._layout.chunk if self._layout.shares and self._layout.chunk else longest - begin
        # One piece alone goes through the lanes like through a pipeline: while a lane computes a layer of its
        # chunk, the next one computes the layer before it of the following chunk.
        pipeline = alone and len(group) == 1 and self._layout.chunk is not None and self._layout.shares
        if pipeline:
            size = max(min(size, -(-(longest - begin) // self._layout.lanes)), self._layout.pays)
        lane = self._lane(0)
        while begin < longest:
            end = min(begin + size, longest)
            if end + self._layout.pays // 2 > longest:
                end = longest
            group = [node for node in group if node.end > begin]
            lane = self._lane(len(group) * (end - begin)) if pipeline else lane
            if not pipeline:
                self._load[lane] += len(group) * (end - begin)
            at = self._call(group, begin, end, parent, fork, lane)
            for row, node in enumerate(group):
                if node.end <= end and node.children:
                    self.add(node.children, node.end, at, row)
            begin, parent, fork = end, at, None

    def _lane(self, tokens: int) -> int:
        """The lane with the least to do, which is given `tokens` more."""
        lane = min(range(len(self._load)), key=self._load.__getitem__)
        self._load[lane] += tokens
        return lane

    def _call(
        self, group: Sequence[_Node], begin: int, end: int, parent: int | None, fork: int | None, lane: int
    ) -> int:
        """One call over tokens `begin` to `end` of the nodes; returns its index."""
        rows = tuple(node.rows[0] for node in group)
        pieces = [self._parts[node.rows[0]].tokens[begin : min(end, node.end)] for node in group]
        where: list[Ints] = [np.zeros((2, 0), np.int32)]
        targets: list[Ints] = [np.zeros(0, np.int32)]
        owners: list[Ints] = [np.zeros(0, np.int32)]
        for at, (node, piece) in enumerate(zip(group, pieces, strict=True)):
            for row in node.rows:
                positions, ids = self._targets(row)
                here = slice(*np.searchsorted(positions, [begin, begin + len(piece)]))
                columns = positions[here] - begin
                where.append(np.stack([np.full_like(columns, at), columns]))
                targets.append(ids[here])
                owners.append(np.full_like(columns, row))
        self._made.append(
            Call(
                rows, begin, pad(pieces), tuple(map(len, pieces)), parent, fork, 0,
                np.concatenate(where, axis=1), np.concatenate(targets), np.concatenate(owners), lane,
            )
        )  # fmt: skip
        self._continued.append(0)
        if parent is not None:
            self._continued[parent] += 1
        return len(self._made) - 1

    def _targets(self, row: int) -> tuple[Ints, Ints]:
        """Positions of the states that predict the targets of a sequence, and the targets."""
        if row not in self._learned:
            part = self._parts[row]
            positions = np.concatenate([np.arange(a, b, dtype=np.int32) for a, b in part.spans])
            self._learned[row] = positions - 1, np.array(part.tokens, np.int32)[positions]
        return self._learned[row]
