"""Batches hold every needed token and every target once, and the order of batches is fair."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tracemill.curate.chat.render import Rendered
from tracemill.train.batches import Batch, Layout, common, make_batch, needed, sort_alike
from tracemill.train.order import families, micro_batches, order

layouts = st.builds(
    Layout,
    lanes=st.integers(1, 3),
    pays=st.integers(0, 6),
    chunk=st.none() | st.integers(1, 5),
    most=st.integers(1, 60),
    shares=st.booleans(),
)


@st.composite
def rendered(draw: st.DrawFn) -> Rendered:
    """A sequence over two tokens, so that many begin alike, with one or two loss spans."""
    tokens = draw(st.lists(st.integers(1, 2), min_size=2, max_size=14))
    start = draw(st.integers(1, len(tokens) - 1))
    end = draw(st.integers(start + 1, len(tokens)))
    if end == len(tokens) or draw(st.booleans()):
        return Rendered(tokens, ((start, end),))
    return Rendered(tokens, ((start, end), (draw(st.integers(end, len(tokens) - 1)), len(tokens))))


def path(batch: Batch, at: int, row: int) -> list[int]:
    """The tokens that row `row` of call `at` sees, from the first on: those of the calls it goes on from."""
    call = batch.calls[at]
    own = call.tokens[row, : call.lengths[row]].tolist()
    if call.parent is None:
        assert call.begin == 0
        return own
    assert call.parent < at
    before = path(batch, call.parent, row if call.fork is None else call.fork)
    assert len(before) >= call.begin
    return before[: call.begin] + own


@given(st.lists(rendered(), min_size=1, max_size=8), layouts)
def test_every_target_is_predicted_once_from_its_very_history(parts: list[Rendered], layout: Layout) -> None:
    batch = make_batch(parts, range(len(parts)), layout)
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for at, call in enumerate(batch.calls):
        assert 0 <= call.lane < layout.lanes
        assert call.continuations == sum(other.parent == at for other in batch.calls)
        assert call.continuations or len(call.targets), "computed for nothing"
        for (row, column), target in zip(call.where.T.tolist(), call.targets.tolist(), strict=True):
            assert column < call.lengths[row]
            found[tuple(path(batch, at, row)[: call.begin + column + 1]), target] += 1
    expected = Counter(
        (tuple(part.tokens[:position]), part.tokens[position])
        for part in parts
        for start, end in part.spans
        for position in range(start, end)
    )
    assert found == expected


@given(st.lists(rendered(), min_size=1, max_size=8), layouts)
def test_sharing_never_computes_more(parts: list[Rendered], layout: Layout) -> None:
    batch = make_batch(parts, range(len(parts)), layout)
    computed = sum(sum(call.lengths) for call in batch.calls)
    assert computed <= sum(map(needed, parts))
    if layout.shares and layout.pays <= 1:
        prefixes = {tuple(part.tokens[:end]) for part in parts for end in range(1, needed(part) + 1)}
        assert computed == len(prefixes), "each token after each history is computed once"


def test_a_prefix_of_a_prefix_is_shared_and_what_is_short_is_not() -> None:
    agent, session = list(range(100)), list(range(200, 240))
    parts = [
        Rendered([*agent, *session, 1, 2], ((140, 142),)),
        Rendered([*agent, *session, 3, 4, 5], ((141, 143),)),
        Rendered([*agent, 6, 7], ((100, 102),)),
    ]
    batch = make_batch(parts, range(3), Layout(pays=32))
    assert [(call.begin, call.lengths) for call in batch.calls] == [
        (0, (100,)),
        (100, (40,)),
        (140, (2, 1)),
        (100, (1,)),
    ]
    batch = make_batch(parts, range(3), Layout(pays=64))  # 40 tokens of a session saved are less than a call
    assert [(call.begin, call.lengths) for call in batch.calls] == [(0, (100,)), (100, (42, 41, 1))]


def test_rows_that_share_nothing_are_one_call_a_lane() -> None:
    parts = [Rendered([row, *range(50)], ((40, 51),)) for row in range(60, 68)]
    for lanes in (1, 2, 4):
        batch = make_batch(parts, range(8), Layout(lanes))
        assert len(batch.calls) == lanes
        assert Counter(call.lane for call in batch.calls) == Counter(range(lanes))
        assert batch.tokens == 8 * 50


def test_a_sequence_alone_goes_through_the_lanes_in_chunks() -> None:
    batch = make_batch([Rendered(list(range(1000)), ((900, 1000),))], [0], Layout(lanes=2, chunk=512))
    assert [(call.begin, call.tokens.shape[1], call.lane) for call in batch.calls] == [
        (0, 500, 0),
        (500, 499, 1),
    ]


def growing(session: int, turns: int) -> list[Rendered]:
    tokens = [session]
    parts: list[Rendered] = []
    for turn in range(turns):
        tokens = [*tokens, *range(100 * turn, 100 * turn + 100)]
        parts.append(Rendered([*tokens, 7, 8], ((len(tokens), len(tokens) + 2),)))
        tokens = [*tokens, 9]
    return parts


def computed(parts: list[Rendered], batches: list[list[int]]) -> int:
    return sum(make_batch(parts, rows).tokens for rows in batches)


def test_turns_of_a_session_stay_together() -> None:
    parts = [part for session in range(20) for part in growing(1000 + session, turns=4)]
    ordered = sort_alike(parts, range(len(parts)))
    assert [sorted(family) for family in families(parts, ordered, 4)] == [
        list(range(at, at + 4)) for at in range(0, 80, 4)
    ]
    for batch in itertools.islice(order(parts, 4, seed=0), 20):
        assert len({row // 4 for row in batch}) == 1
    scattered = [list(range(at, 80, 20)) for at in range(20)]
    together = list(itertools.islice(order(parts, 4, seed=0), 20))
    assert 2 * computed(parts, together) < computed(parts, scattered)


@settings(max_examples=30)
@given(st.lists(rendered(), min_size=1, max_size=25), st.integers(1, 8), st.integers(0, 5))
def test_no_row_is_seen_twice_more_often_than_another(parts: list[Rendered], size: int, seed: int) -> None:
    batches = list(itertools.islice(order(parts, size, seed), 60))
    assert {len(indices) for indices in batches} == {min(size, len(parts))}
    seen = Counter(index for indices in batches for index in indices)
    times = [seen[index] for index in range(len(parts))]
    assert max(times) - min(times) <= 1


@given(st.lists(rendered(), min_size=1, max_size=10), st.none() | st.integers(1, 40), layouts)
def test_micro_batches_keep_to_their_tokens(parts: list[Rendered], most: int | None, layout: Layout) -> None:
    groups = micro_batches(parts, range(len(parts)), most, layout)
    assert sorted(row for group in groups for row in group) == list(range(len(parts)))
    for group in groups:
        assert most is None or len(group) == 1 or make_batch(parts, group, layout).tokens <= most


@settings(max_examples=50)
@given(rendered(), rendered())
def test_common_counts_equal_tokens(one: Rendered, other: Rendered) -> None:
    limit = min(needed(one), needed(other))
    pairs = zip(one.tokens[:limit], other.tokens[:limit], strict=True)
    assert common(one, other) == next((i for i, (a, b) in enumerate(pairs) if a != b), limit)
