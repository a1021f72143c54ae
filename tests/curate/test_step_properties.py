"""What holds for every step, whatever it is given: done once, blind to the order of rows, no row lost."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversations import frames
from tracemill.curate.features import FEATURES
from tracemill.curate.pipeline import Curated, curate
from tracemill.curate.sieve import Options
from tracemill.curate.steps import STEPS

CONTEXT_ONLY = ("branches",)
"""Steps that take turns out of the loss by what stands in other rows: done twice, they find other turns."""


def options(step: str) -> list[Options]:
    """The default options of a step, where it has any."""
    try:
        return [STEPS[step].options()]
    except ValueError:
        return []


RUNNABLE = [step for step in STEPS if options(step)]


def run(rows: pl.LazyFrame, step: str) -> Curated:
    return curate(rows, {step: options(step)[0]})


def kept(curated: Curated) -> list[tuple[Any, ...]]:
    return sorted(curated.rows.select("conversation_id", "context").rows())


@pytest.mark.parametrize("step", STEPS)
def test_a_step_reads_features_that_exist(step: str) -> None:
    assert set(STEPS[step].features) <= FEATURES.keys()
    assert STEPS[step].run.__doc__
    assert STEPS[step].mend


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
@given(rows=frames(), shuffle=st.randoms(use_true_random=False))
def test_all_are_kept_or_dropped_for_a_reason_in_whatever_order(rows: pl.LazyFrame, shuffle: Any) -> None:
    given = rows.collect()
    order = list(range(given.height))
    shuffle.shuffle(order)
    shuffled_rows = given[order].lazy()
    for step in RUNNABLE:
        curated = run(rows, step)
        ids = [*curated.rows["conversation_id"], *curated.dropped["conversation_id"]]
        assert sorted(ids) == sorted(given["conversation_id"]), step
        assert set(curated.dropped["step"]) <= {step}
        assert curated.dropped.null_count().sum_horizontal().sum() == 0, step
        shuffled = run(shuffled_rows, step)
        assert kept(shuffled) == kept(curated), step
        assert sorted(shuffled.dropped.rows()) == sorted(curated.dropped.rows()), step


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
@given(rows=frames())
def test_a_step_done_twice_is_a_step_done_once(rows: pl.LazyFrame) -> None:
    for step in RUNNABLE:
        if step in CONTEXT_ONLY:
            continue
        once = run(rows, step)
        twice = run(once.rows.lazy(), step)
        assert kept(twice) == kept(once), step
        assert twice.rows["conversation_id"].to_list() == once.rows["conversation_id"].to_list(), step
        assert twice.dropped.is_empty(), step


@given(rows=frames())
def test_context_names_assistant_turns_each_once(rows: pl.LazyFrame) -> None:
    curated = curate(rows, {step: options(step)[0] for step in ("calls", "branches", "learnable")})
    for messages, context in curated.rows.select("messages", "context").iter_rows():
        turns = [i for i, message in enumerate(json.loads(messages)) if message["role"] == "assistant"]
        assert context == sorted(set(context))
        assert set(context) <= set(turns)
