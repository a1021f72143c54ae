"""Splits by cluster, project and tool: nothing divided, tools held out, nothing that comes later moves back."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.curate.splits import SPLITS, SplitOptions, assign

TOOLS = ["read", "write", "run"]
COLUMNS = {
    "conversation_id": pl.String,
    "session_id": pl.String,
    "prompt": pl.String,
    "task": pl.String,
    "split": pl.String,
    "project": pl.String,
    "cluster": pl.String,
    "tools": pl.List(pl.String),
}


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(
        [{**dict.fromkeys(COLUMNS), "tools": [], **row} for row in rows], schema=COLUMNS
    ).with_columns(
        conversation_id=pl.format("c{}", pl.int_range(pl.len())),
        session_id=pl.coalesce("session_id", pl.format("s{}", pl.int_range(pl.len()))),
        prompt=pl.coalesce("prompt", pl.format("p{}", pl.int_range(pl.len()))),
    )


_some = st.sampled_from
rows_of_all_kinds = st.lists(
    st.fixed_dictionaries(
        {
            "session_id": _some([None, "s", "t"]),
            "task": _some([None, "", "a", "b", "c", "d"]),
            "project": _some([None, "/p", "/q", "/r"]),
            "cluster": _some([None, None, "x", "y"]),
            "tools": st.lists(_some(TOOLS), unique=True),
        }
    ),
    max_size=40,
)


def split(rows: pl.DataFrame, **options: object) -> dict[str, str]:
    placed = assign(rows, SplitOptions.model_validate({"valid": 0.2, "test": 0.2, **options}))
    return dict(placed.select("conversation_id", "split").rows())


def test_near_copies_stay_on_one_side() -> None:
    rows = frame(*({"cluster": f"x{at // 4}"} for at in range(200)))
    placed = list(split(rows).values())
    assert all(len(set(placed[at : at + 4])) == 1 for at in range(0, 200, 4))
    assert set(placed) == set(SPLITS)
    apart = list(split(rows.drop("cluster")).values())
    assert any(len(set(apart[at : at + 4])) > 1 for at in range(0, 200, 4))


def test_a_project_is_drawn_once_and_stays_on_one_side() -> None:
    rows = frame(*({"project": f"/p{at % 200}", "task": f"t{at}"} for at in range(2000)))
    placed = split(rows, repository=True, valid=0, test=0.2)
    assert len({(at % 200, name) for at, name in enumerate(placed.values())}) == 200
    assert list(placed.values()).count("test") == pytest.approx(400, abs=120)
    assert len({(at % 200, name) for at, name in enumerate(split(rows).values())}) > 200


def test_a_tool_that_is_called_often_enough_is_held_out() -> None:
    rows = frame(*({"tools": [TOOLS[0] if at % 6 else TOOLS[1]]} for at in range(36)))
    options = {"valid": 0.01, "test": 0.01, "stratify": True}
    for seed in range(20):
        placed = split(rows, seed=seed, **options)
        splits: dict[str, set[str]] = defaultdict(set)
        for name, tools in rows.select("conversation_id", "tools").rows():
            splits[tools[0]].add(placed[name])
        assert splits == {TOOLS[0]: set(SPLITS), TOOLS[1]: set(SPLITS)}
    assert set(split(rows, **{**options, "stratify": False}).values()) != set(SPLITS)
    few = frame(*({"tools": ["read"]} for _ in range(4)))
    assert set(split(few, **options).values()) == {"train"}


def test_a_pin_comes_before_a_tool() -> None:
    rows = frame(*({"tools": ["read"], "split": "train"} for _ in range(20)))
    assert set(split(rows, stratify=True).values()) == {"train"}


@given(rows_of_all_kinds, st.integers(0, 5), st.booleans(), st.booleans())
def test_no_group_is_divided(
    rows: list[dict[str, object]], seed: int, repository: bool, stratify: bool
) -> None:
    given_rows = frame(*rows)
    placed = assign(
        given_rows, SplitOptions(valid=0.2, test=0.2, seed=seed, repository=repository, stratify=stratify)
    )
    assert placed["conversation_id"].to_list() == given_rows["conversation_id"].to_list()
    for key in ("session_id", "task", "cluster", *(["project"] if repository else [])):
        known = placed.filter(pl.col(key) != "")
        assert known.group_by(key).agg(pl.col("split").n_unique())["split"].eq(1).all()
    if placed.height:
        assert "train" in placed["split"]


@given(rows_of_all_kinds, st.integers(0, 5), st.booleans(), st.integers(0, 40))
def test_what_comes_later_moves_nothing_towards_train(
    rows: list[dict[str, object]], seed: int, repository: bool, first: int
) -> None:
    anchors = [{"task": f"anchor {at}", "project": f"/anchor {at}", "tools": ["read"]} for at in range(12)]
    every = frame(*anchors, *rows)
    options = {"seed": seed, "repository": repository, "stratify": True}
    before, after = split(every.head(12 + first), **options), split(every, **options)
    for name, was in before.items():
        assert SPLITS.index(after[name]) >= SPLITS.index(was)


@given(rows_of_all_kinds, st.lists(st.sampled_from([None, None, *SPLITS]), min_size=40), st.integers(0, 5))
def test_every_split_says_what_decided_it(
    rows: list[dict[str, object]], pins: list[str | None], seed: int
) -> None:
    pinned: list[dict[str, object]] = [{**row, "split": pin} for row, pin in zip(rows, pins, strict=False)]
    given_rows = frame(*pinned)
    placed = assign(given_rows, SplitOptions(valid=0.2, test=0.2, seed=seed, stratify=True))
    known = {row["conversation_id"]: row for row in placed.iter_rows(named=True)}
    for row in known.values():
        decisive = known[row["by"]]
        assert decisive["split"] == row["split"]
        assert decisive["by"] == row["by"]
        assert (row["decided"] == "pin") == (decisive["pin"] == row["split"] and decisive["pin"] is not None)
        assert row["pin"] is None or row["decided"] == "pin"
