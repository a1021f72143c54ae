"""The order of a recipe is the order of training: a curriculum is not shuffled."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from conversations import assistant, record, user
from tiny import tiny_model
from tracemill.curate.export import export
from tracemill.tracer.home import Home
from tracemill.train.base import resolve
from tracemill.train.choice import Judged
from tracemill.train.finetune import finetune
from tracemill.train.order import in_order
from tracemill.train.settings import Settings
from tracemill.warehouse.ingest import ingest

numbers = st.integers(1, 12)


@given(numbers, numbers, numbers, st.integers(0, 3))
def test_rows_come_in_their_order_and_all_of_them_where_there_are_steps_enough(
    count: int, batch: int, steps: int, seed: int
) -> None:
    batches = list(in_order(count, batch, steps, seed))
    assert [len(indices) for indices in batches] == [min(batch, count)] * steps
    flat = list(itertools.chain(*batches))
    if len(flat) < count:
        assert flat == sorted(set(flat)), "a sample, in order"
    else:
        assert flat == [at % count for at in range(len(flat))]


def test_training_keeps_the_order_that_a_recipe_asks_for(home: Home, tmp_path: Path) -> None:
    for number in range(6):
        record(home, f"s{number}", [user(f"Say {number}."), assistant("Yes. " * (6 - number))])
    ingest(home)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\n[steps.outcome]\n[split]\nvalid = 0\ntest = 0\n[order]\nby = "short to long"\n'
    )
    dataset, plain = export(home, recipe=recipe), export(home)
    assert dataset.ordered and not plain.ordered
    sizes = [len(row["messages"][1]["content"]) for row in dataset.rows("train")]
    assert sizes == sorted(sizes)
    base = resolve(str(tiny_model(tmp_path / "tiny")), home)
    few = Settings(steps=2, batch_size=2, layers=1, checkpoints=1)
    made = [
        finetune(home, one, base, few, lambda model, chat: Judged(None), "none").adapter
        for one in (dataset, plain)
    ]
    assert [adapter.card["settings"]["in_order"] for adapter in made] == [True, False]
