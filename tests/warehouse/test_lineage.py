"""Labels and lineage: written to the spool, known to the warehouse, and there again when it is made anew."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from session_events import session, spool
from tracemill.tracer.home import Home
from tracemill.warehouse import lineage, store
from tracemill.warehouse.errors import WarehouseError
from tracemill.warehouse.examples import EXAMPLES
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Checkpoint, Dataset, DatasetRow, Evaluation, EvaluationItem, Training
from tracemill.warehouse.made import made_of
from tracemill.warehouse.read import query

DATASET = Dataset(
    dataset_id="d1",
    path="/home/ada/data/d1",
    content_hash="ab" * 32,
    recipe={"steps": ["outcome"]},
    rows=[
        DatasetRow("row1", "train", "s1"),
        DatasetRow("row2", "train", "s1"),
        DatasetRow("row3", "test", "s2"),
    ],
    base="tiny",
    seed=7,
    counts={"train": 2, "test": 1},
)
TRAINING = Training(
    training_id="t1",
    base="tiny",
    path="/home/ada/adapters/t1",
    checkpoints=[
        Checkpoint(10, train_loss=1.5, score=0.5),
        Checkpoint(20, score=0.75, chosen=True, details={"low": 0.6}),
    ],
    dataset_id="d1",
    seed=1,
    recipe={"rank": 8},
    score=0.75,
)
EVALUATION = Evaluation(
    evaluation_id="e1",
    suite="holdout",
    base="tiny",
    items=[
        EvaluationItem("i1", 1.0, "call", "call", "s2"),
        EvaluationItem("i2", 0.0, "call", "talk", "s2", "read"),
    ],
    training_id="t1",
    baseline_id="e0",
    score=0.5,
    verdict="undecided",
    details={"interval": [0.1, 0.9]},
)
LINEAGE = (
    "datasets dataset_rows training_runs checkpoints evaluations evaluation_items "
    "outcomes feedback lineage notes"
)


def recorded(home: Home) -> dict[str, list[tuple[object, ...]]]:
    return {table: query(home, f"FROM {table} ORDER BY ALL").rows() for table in LINEAGE.split()}


@pytest.fixture
def filled(home: Home) -> Home:
    spool(home, session("s1", outcome=None), session("s2"))
    store.record_dataset(home, DATASET)
    store.record_training(home, TRAINING)
    store.record_evaluation(home, EVALUATION)
    return home


def test_what_was_made_of_the_sessions_can_be_asked(filled: Home) -> None:
    assert query(filled, "SELECT path, seed, recipe, counts->>'train' FROM datasets").rows() == [
        ("/home/ada/data/d1", 7, '{"steps":["outcome"]}', "2")
    ]
    assert query(filled, "SELECT row_id, split, session_id FROM dataset_rows ORDER BY 1").rows() == [
        ("row1", "train", "s1"),
        ("row2", "train", "s1"),
        ("row3", "test", "s2"),
    ]
    assert query(
        filled, "SELECT step, train_loss, score, chosen, details FROM checkpoints ORDER BY 1"
    ).rows() == [
        (10, 1.5, 0.5, False, "{}"),
        (20, None, 0.75, True, '{"low":0.6}'),
    ]
    assert query(
        filled, "SELECT training_id, verdict, details->>'$.interval[1]' FROM evaluations"
    ).rows() == [("t1", "undecided", "0.9")]
    assert query(
        filled, "SELECT item_id, score, generated, category FROM evaluation_items ORDER BY 1"
    ).rows() == [
        ("i1", 1.0, "call", None),
        ("i2", 0.0, "talk", "read"),
    ]


def test_one_query_leads_from_an_adapter_to_the_events_it_came_from(filled: Home) -> None:
    found = query(
        filled,
        "SELECT DISTINCT l.adapter, e.file FROM lineage AS l JOIN events AS e USING (session_id) "
        "WHERE l.training_id = 't1' AND e.kind = 'response'",
    )
    assert found.rows() == [("/home/ada/adapters/t1", "a.ndjson")]
    assert query(filled, EXAMPLES["session-in-adapters"].sql).rows() == [
        ("t1", "/home/ada/adapters/t1", 1, 2)
    ]


def test_a_warehouse_made_anew_from_the_spool_knows_it_all(filled: Home) -> None:
    store.label(filled, "s1", outcome="bad", score=-0.5, note="wrong file")
    store.record_note(filled, lineage.Note("t1", "longer prompts"))
    before = recorded(filled)
    assert [row[1:3] for row in before["notes"]] == [("t1", "longer prompts")]
    filled.warehouse.unlink()
    filled.snapshot.unlink()
    ingest(filled)
    assert recorded(filled) == before


def test_a_record_of_the_same_id_replaces_the_one_before(filled: Home) -> None:
    store.record_training(
        filled, Training("t1", "tiny", "/moved", [Checkpoint(20, score=1.0, chosen=True)], "d1")
    )
    assert query(filled, "SELECT path FROM training_runs").rows() == [("/moved",)]
    assert query(filled, "SELECT step, score FROM checkpoints").rows() == [(20, 1.0)]
    store.record_dataset(filled, Dataset("d1", "/p", "x", {}, [DatasetRow("row9", "train", "s1")]))
    assert query(filled, "SELECT row_id FROM dataset_rows").rows() == [("row9",)]
    store.record_evaluation(filled, Evaluation("e1", "holdout", "tiny", [EvaluationItem("i9", 1.0)]))
    assert query(filled, "SELECT item_id FROM evaluation_items").rows() == [("i9",)]
    before = recorded(filled)
    filled.warehouse.unlink()
    ingest(filled)
    assert recorded(filled) == before


def test_a_label_is_an_outcome_and_the_newest_counts(filled: Home) -> None:
    store.label(filled, "s2", outcome="bad", note="it lied")
    assert query(
        filled, "SELECT outcome, source, note FROM session_outcomes WHERE session_id = 's2'"
    ).rows() == [("bad", "label", "it lied")]
    store.label(filled, "s2", outcome="good")
    assert query(filled, "SELECT outcome FROM session_overview WHERE session_id = 's2'").rows() == [("good",)]
    assert query(filled, "SELECT count(*) FROM feedback").item() == 0


def test_a_score_is_feedback_and_no_outcome(filled: Home) -> None:
    store.label(filled, "s1", score=-0.25, note="slow")
    assert query(filled, "SELECT outcome, feedback FROM session_overview WHERE session_id = 's1'").rows() == [
        (None, -0.25)
    ]
    with pytest.raises(ValueError, match="between -1 and 1"):
        store.label(filled, "s1", score=2)


def test_a_spool_that_cannot_be_written_is_one_sentence(home: Home) -> None:
    home.ensure(home.root)
    home.spool.write_text("in the way")
    with pytest.raises(WarehouseError, match=r"^Cannot write to the spool .*; free some space"):
        store.label(home, "s1", outcome="good")


def test_an_adapter_knows_its_lineage_whatever_is_in_the_row_ids(home: Home) -> None:
    odd = "quote \" and ' and \u2028 and \x00 and é" + os.sep
    store.record_dataset(home, Dataset("d", str(Path("/p")), "h", {}, [DatasetRow(odd, "train", odd)]))
    assert query(home, "SELECT row_id, session_id FROM dataset_rows").rows() == [(odd, odd)]


ROWS = [DatasetRow(f"row{number}", "train", f"s{number % 2}") for number in range(5)]


def test_a_data_set_of_many_rows_is_one_data_set(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "ROWS_PER_EVENT", 2)
    store.record_dataset(home, replace(DATASET, rows=iter(ROWS)))
    assert query(home, "FROM dataset_rows ORDER BY row_id").rows() == [
        ("d1", row.row_id, row.split, row.session_id) for row in ROWS
    ]
    assert made_of(home, ["s1"])[0].rows == 2
    store.record_dataset(home, replace(DATASET, rows=ROWS[:3]))
    assert query(home, "SELECT count(*) FROM dataset_rows").item() == 3
    before = recorded(home)
    home.warehouse.unlink()
    ingest(home)
    assert recorded(home) == before


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_data_set_shows_when_all_of_it_is_there(
    home: Home, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    monkeypatch.setattr(lineage, "ROWS_PER_EVENT", 2)
    made = list(lineage.events_of(replace(DATASET, rows=ROWS)))
    for number in order:
        assert query_or_none(home) in (None, (0, 0))
        spool(home, [made[number]])
        ingest(home)
    assert query_or_none(home) == (1, 5)
    assert query(
        home, "SELECT (SELECT count(*) FROM unfinished_datasets), count(*) FROM unfinished_rows"
    ).rows() == [(0, 0)]


def test_a_recording_that_was_cut_short_is_completed_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "ROWS_PER_EVENT", 2)
    spool(home, list(lineage.events_of(replace(DATASET, rows=ROWS)))[:1])
    ingest(home)
    assert query_or_none(home) == (0, 0)
    assert made_of(home, ["s0", "s1"]) == []
    for wanted in (ROWS, ROWS[:3], ROWS):
        store.record_dataset(home, replace(DATASET, rows=wanted))
        assert query_or_none(home) == (1, len(wanted))
        assert query(home, "SELECT count(*) FROM unfinished_rows").item() == 0
    before = recorded(home)
    home.warehouse.unlink()
    ingest(home)
    assert recorded(home) == before
    assert query(home, "SELECT count(*) FROM unfinished_rows").item() == 0


def query_or_none(home: Home) -> tuple[object, ...] | None:
    if not home.snapshot.exists():
        return None
    return query(home, "SELECT (SELECT count(*) FROM datasets), count(*) FROM dataset_rows").row(0)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the kernel does not tell the most memory held"
)
def test_a_million_rows_are_recorded_in_bounded_memory(home: Home) -> None:
    ingest(home)
    script = (
        "import re\n"
        "from pathlib import Path\n"
        "from tracemill.tracer.home import Home\n"
        "from tracemill.warehouse.lineage import Dataset, DatasetRow\n"
        "from tracemill.warehouse.store import record_dataset\n"
        "rows = (DatasetRow(f'{n:032x}', 'train', f'{n % 9999:032x}') for n in range(1_000_000))\n"
        "record_dataset(Home.find(), Dataset('d1', '/d1', 'h', {}, rows))\n"
        # Not ru_maxrss: that begins with what the parent held.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert query(home, "SELECT count(*), count(DISTINCT session_id) FROM dataset_rows").rows() == [
        (1_000_000, 9999)
    ]
    assert int(done.stdout) < 2_000_000, "kB"
