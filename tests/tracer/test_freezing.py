"""A frozen copy equals what it was made from, and nothing else that is written differently."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr

from tracemill.tracer.freezing import CannotFreezeError, freeze, freeze_fields, same, size

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Model(BaseModel):
    text: str
    numbers: list[float] = []
    _hidden: int = PrivateAttr(default=0)


@dataclass
class Record:
    text: str
    inner: Any = field(default_factory=dict[str, Any])


@dataclass
class Slotted:
    __slots__ = ("text",)
    text: str


def written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(JSON)
def test_a_copy_equals_its_original_and_an_equal_one(value: Any) -> None:
    frozen = freeze(value)
    assert same(value, frozen)
    assert same(copy.deepcopy(value), frozen)


@given(JSON, JSON)
def test_a_copy_equals_nothing_that_is_written_differently(one: Any, other: Any) -> None:
    assert same(other, freeze(one)) == (written(one) == written(other))


@given(st.dictionaries(st.text(), JSON, min_size=1), JSON, st.data())
def test_a_change_in_place_is_noticed(fields: dict[str, Any], other: Any, data: Any) -> None:
    frozen = freeze_fields([*fields.values()])
    name = data.draw(st.sampled_from(sorted(fields)))
    assume(written(fields[name]) != written(other))
    fields[name] = other
    assert not same([*fields.values()], frozen)


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ([1], (1,)), ("1", 1)]
)
def test_what_python_takes_for_equal_is_told_apart(one: Any, other: Any) -> None:
    assert not same(other, freeze(one))
    assert not same({"x": [other]}, freeze({"x": [one]}))
    assert not same([other], freeze_fields([one]))


def test_objects_are_looked_into() -> None:
    record = Record("a", {"model": Model(text="b"), "times": [datetime(2026, 1, 1, tzinfo=timezone.utc)]})
    frozen = freeze(record)
    assert same(copy.deepcopy(record), frozen)
    record.inner["model"].numbers.append(1)
    assert not same(record, frozen)
    model = Model(text="b")
    frozen = freeze(model)
    model._hidden = 1  # pyright: ignore[reportPrivateUsage] (what it is written as may depend on it)
    assert not same(model, frozen)
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    assert not same([noon.astimezone(timezone(timedelta(hours=1)))], freeze([noon]))


@pytest.mark.parametrize("value", [object(), Slotted("a"), [Slotted("a")], {1, 2}, lambda: None])
def test_what_cannot_be_watched_is_refused(value: Any) -> None:
    with pytest.raises(CannotFreezeError):
        freeze(value)


def test_what_cannot_be_compared_is_not_the_same() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no")

        __hash__ = None  # pyright: ignore[reportAssignmentType]

    assert not same({"x": Odd()}, freeze({"x": "text"}))


def test_size_counts_what_is_kept_alive() -> None:
    assert size(freeze(Record("abc", {"x": ["de", b"f", 12, None], "y": Model(text="gh")}))) == 8
