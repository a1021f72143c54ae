"""Sessions forgotten for good: no byte of them anywhere, nothing of the others lost, whatever stands around them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetting import check, facts, files_with, left_behind
from session_events import AnyDict, lines, session, spool
from tracemill.tracer import events
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.forgotten import forgotten_sessions
from tracemill.tracer.home import Home
from tracemill.tracer.messages import message_id
from tracemill.tracer.spool import Spool, spool_files
from tracemill.warehouse import store, sweep
from tracemill.warehouse.closing import CLOSED
from tracemill.warehouse.errors import WarehouseError
from tracemill.warehouse.forget import forget, lift, stored_bytes
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Dataset, DatasetRow, Evaluation, EvaluationItem, Training
from tracemill.warehouse.made import made_of
from tracemill.warehouse.read import query

MARKER = "the launch code of the moon rocket"


def sessions_of(home: Home) -> list[str]:
    return query(home, "SELECT session_id FROM sessions ORDER BY 1")["session_id"].to_list()


def body(text: str) -> AnyDict:
    """The event of a message that nobody names."""
    event: Any = events.message({"role": "user", "content": text}, ts=1.0)
    return event


@pytest.fixture
def kept(tmp_path: Path) -> Home:
    """What is to be left: a home in which the other session alone was ever recorded."""
    other = Home(tmp_path / "other")
    spool(other, session("s2"))
    ingest(other)
    return other


def test_no_byte_is_left_and_the_others_are_whole(home: Home, kept: Home) -> None:
    spool(home, session("s1", prompt=MARKER, task=MARKER), session("s2"))
    ingest(home)
    assert len(files_with(home, MARKER)) == 3
    done = forget(home, ["s1"])
    assert files_with(home, MARKER) == files_with(home, "s1-") == []
    assert (done.sessions, done.made, done.recording) == (["s1"], [], 0)
    assert facts(home) == facts(kept)
    assert query(home, "SELECT session_id FROM forgotten").rows() == [("s1",)]
    check(home)
    assert left_behind(home) == []
    assert all(path.stat().st_mode & 0o777 == 0o400 for path in spool_files(home))
    assert home.forgotten.stat().st_mode & 0o777 == 0o600


def test_what_is_freed_is_said(home: Home) -> None:
    spool(home, session("s1", prompt=MARKER * 100_000), session("s2"))
    ingest(home)
    before = stored_bytes(home)
    done = forget(home, ["s1"])
    assert done.freed == before - stored_bytes(home) > 1_000_000


def test_it_does_not_come_back(home: Home, kept: Home) -> None:
    spool(home, session("s1", prompt=MARKER), session("s2"))
    backup = home.root.with_name("backup.ndjson")
    shutil.copy(home.spool / "a.ndjson", backup)
    ingest(home)
    forget(home, ["s1"])
    assert ingest(home).events == 0
    home.warehouse.unlink()
    ingest(home)
    assert sessions_of(home) == ["s2"]
    # A backup of the spool is put back.
    shutil.copy(backup, home.spool / "b.ndjson")
    report = ingest(home)
    assert report.forgotten == len([event for event in session("s1") if "session_id" in event])
    assert files_with(home, MARKER) == []
    assert facts(home) == facts(kept)
    check(home)


def test_copies_that_were_never_taken_in_go_too(home: Home) -> None:
    spool(home, session("s1", prompt=MARKER), session("s2"))
    spool(home, session("s1", prompt=MARKER), session("s3"), file="import-1234.ndjson")
    ingest(home)
    forget(home, ["s1"])
    assert files_with(home, MARKER) == []
    assert sessions_of(home) == ["s2", "s3"]
    check(home)
    # An import is named by its content, which it no longer has.
    assert not (home.spool / "import-1234.ndjson").exists()


def test_a_file_of_which_nothing_is_left_is_deleted(home: Home) -> None:
    spool(home, session("s1"), file="a.ndjson")
    # Prompt, tools and results are the same in both.
    spool(home, session("s2"), file="b.ndjson")
    ingest(home)
    assert query(home, "SELECT DISTINCT file FROM events WHERE kind = 'toolset'").rows() == [("a.ndjson",)]
    forget(home, ["s1"])
    assert [path.name for path in spool_files(home)] == ["b.ndjson"]
    check(home)
    forget(home, ["s2"])
    assert spool_files(home) == []
    assert all(rows == [] for rows in facts(home).values())


def test_a_body_that_stands_nowhere_else_keeps_its_file(home: Home) -> None:
    made = session("s2")
    shared, rest = [made[1]], [made[0], *made[2:]]
    spool(home, shared, session("s1", prompt=MARKER), file="a.ndjson")
    spool(home, rest, file="b.ndjson")
    ingest(home)
    forget(home, ["s1"])
    assert [path.name for path in spool_files(home)] == ["a.ndjson", "b.ndjson"]
    assert files_with(home, MARKER) == []
    check(home)


def test_remains_of_a_killed_recorder_go_and_other_faults_stay(home: Home) -> None:
    torn = lines([body(f"torn {MARKER}")])[:-9]
    unknown = [
        {**session("s2")[0], "id": "x", "kind": "dream"},
        {**session("s1")[0], "id": "y", "kind": "dream"},
    ]
    path = spool(home, session("s1"), [body(f"orphan {MARKER}")], torn + b"\n", b"\xff\xfe\n", unknown)
    spool(home, session("s2"), torn)
    ingest(home)
    forget(home, ["s1"])
    assert files_with(home, MARKER) == []
    assert path.read_bytes().count(b"dream") == 1
    assert query(home, "SELECT reason FROM bad_lines").rows() == [("unknown kind dream",)]
    check(home)


def test_a_file_that_waits_for_a_newer_tracemill_keeps_its_rest(home: Home) -> None:
    newer = [{**event, "v": 2, "id": f"{event['id']}-v2"} for event in session("s3")]
    theirs = [{**event, "v": 2, "id": f"{event['id']}-v2"} for event in session("s1", prompt=MARKER)]
    path = spool(home, [body("named by a newer request")], session("s1", prompt=MARKER), session("s2"), newer)
    spool(home, [event for event in theirs if "session_id" in event])
    ingest(home)
    forget(home, ["s1"])
    assert files_with(home, MARKER) == []
    written = path.read_bytes()
    assert b"s1-" not in written
    assert written.endswith(lines(newer))
    assert b"named by a newer request" in written
    check(home)


def test_events_of_a_killed_forgetting_are_taken_out_by_the_next_ingestion(home: Home, kept: Home) -> None:
    spool(home, session("s1", prompt=MARKER), session("s2"))
    ingest(home)
    home.forgotten.write_text(json.dumps({"s1": 1.0}))
    assert ingest(home).forgotten > 0
    assert files_with(home, MARKER) == []
    assert facts(home) == facts(kept)


def test_what_killed_processes_left_behind_goes_too(home: Home) -> None:
    spool(home, session("s1"), session("s2"))
    ingest(home)
    (home.root / "warehouse.duckdb.tmp").mkdir()
    (home.root / "warehouse.duckdb.tmp" / "spilled").write_text(MARKER)
    (home.root / "spill-4194305").mkdir()  # beyond the highest process id of Linux
    (home.root / "spill-4194305" / "spilled").write_text(MARKER)
    (home.root / "traces.new").write_text(MARKER)
    old = home.spool / ".import-abc.tmp"
    old.write_text(MARKER)
    os.utime(old, (0, 0))
    fresh = home.spool / ".import-def.tmp"
    fresh.write_text("being written")
    forget(home, ["s1"])
    assert files_with(home, MARKER) == []
    assert left_behind(home) == [".import-def.tmp"]


def test_a_running_recorder_leaves_the_session_out(home: Home) -> None:
    recorder = Spool(home)

    def record(name: str) -> None:
        for event in session(name, prompt=f"{MARKER} {name}"):
            if event["kind"] == "message":
                recorder.message(event["message"], name)
            elif event["kind"] == "toolset":
                recorder.toolset(event["tools"], name)
            else:
                recorder.write(event)  # pyright: ignore[reportArgumentType]

    record("s1")
    record("s2")
    ingest(home)
    assert forget(home, ["s1"]).recording == 1
    record("s1")
    record("s3")
    recorder.close()
    assert (recorder.dropped, ingest(home).forgotten) == (0, 0)
    assert sessions_of(home) == ["s2", "s3"]
    assert files_with(home, f"{MARKER} s1") == []
    check(home)
    # Each file can be read by itself: what both sessions have in common was written again.
    newest = json.loads(b"[" + b",".join(spool_files(home)[-1].read_bytes().splitlines()) + b"]")
    assert {event["kind"] for event in newest} >= {"toolset", "message", "request"}


def test_a_message_on_its_way_when_the_file_is_closed_is_written_in_the_next(home: Home) -> None:
    recorder = Spool(home)
    recorder.write(session("s1")[0])  # pyright: ignore[reportArgumentType]
    first = recorder.path
    assert first is not None
    first.chmod(CLOSED)
    name = recorder.message({"role": "user", "content": "hello"}, "s1")
    assert first != recorder.path
    assert recorder.path is not None
    assert (
        json.loads(recorder.path.read_bytes())["message_id"]
        == name
        == message_id({"role": "user", "content": "hello"})
    )
    recorder.close()


def test_a_message_that_another_session_is_about_to_name_stays(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, told = Spool(home), session("s1", steps=1)
    shared = told[3]["message"]
    spool(home, told)
    ingest(home)
    real = sweep.close_all

    def then_go_on(connection: Any, home: Home, catch_up: Callable[[], object]) -> None:
        real(connection, home, catch_up)
        recorder.message(shared, "s2")
        catch_up()

    monkeypatch.setattr(sweep, "close_all", then_go_on)
    forget(home, ["s1"])
    recorder.write(
        events.request("s2", "q", run_id="r", step=0, model="m", previous=None, kept=0, added=[message_id(shared)], toolset_id=None)
    )  # fmt: skip
    recorder.close()
    assert ingest(home).events == 1
    assert query(home, "SELECT content FROM request_messages").rows() == [("You search.",)]
    check(home)


DATASET = Dataset(
    "d1", "/data/d1", "h", {}, [DatasetRow("r1", "train", "s1"), DatasetRow("r2", "test", "s2")]
)
TRAINING = Training("t1", "tiny", "/adapters/t1", [], "d1")
EVALUATION = Evaluation(
    "e1",
    "holdout",
    "tiny",
    [
        EvaluationItem("i1", 1.0, MARKER, f"{MARKER}!", "s1", "read", {"asked": MARKER}),
        EvaluationItem("i2", 0.0, "call", "talk", "s2"),
    ],
    path="/reports/e1.html",
)


def test_what_was_made_of_it_is_named_and_evaluations_no_longer_quote_it(home: Home) -> None:
    spool(home, session("s1", prompt=MARKER), session("s2"))
    for folder in (home.datasets / "d1", home.reports):
        home.ensure(folder)
    (home.reports / "e1.html").touch()
    store.record_dataset(home, DATASET)
    store.record_training(home, TRAINING)
    store.record_evaluation(home, EVALUATION)
    named = [(one.kind, one.id, one.path, one.rows, one.of) for one in made_of(home, ["s1"])]
    assert named == [
        ("data set", "d1", str(home.datasets / "d1"), 1, 2),
        ("adapter", "t1", None, 1, 1),
        ("evaluation", "e1", str(home.reports / "e1.html"), 1, 2),
    ]
    # It learned from the rows of its training split only.
    assert [one.kind for one in made_of(home, ["s2"])] == ["data set", "evaluation"]
    done = forget(home, ["s1"])
    assert [one.id for one in done.made] == ["d1", "t1", "e1"]
    assert done.made[0].mend == f"rm -r {home.datasets / 'd1'}; `tracemill export` makes one without it"
    assert done.made[1].mend == "nothing here; copies elsewhere still hold it"
    assert files_with(home, MARKER) == []
    assert query(
        home, "SELECT item_id, score, expected, generated, details FROM evaluation_items ORDER BY 1"
    ).rows() == [("i1", 1.0, None, None, "{}"), ("i2", 0.0, "call", "talk", "{}")]
    check(home)
    # What was made of it is known as long as it is there, and forgetting again finds nothing to do.
    assert [one.id for one in forget(home, ["s1"]).made] == ["d1", "t1", "e1"]


def test_lifting_lets_it_be_recorded_again(home: Home) -> None:
    spool(home, session("s1"), session("s2"))
    ingest(home)
    forget(home, ["s1", "s2"])
    lift(home, ["s1"])
    assert forgotten_sessions(home).keys() == {"s2"}
    assert query(home, "SELECT session_id FROM forgotten").rows() == [("s2",)]
    spool(home, session("s1"), session("s2"), file="again.ndjson")
    ingest(home)
    assert sessions_of(home) == ["s1"]
    lift(home, ["s2"])
    assert query(home, "FROM forgotten").rows() == []


def test_a_damaged_list_is_one_sentence_for_people_and_nothing_to_a_recorder(home: Home) -> None:
    spool(home, session("s1"))
    for damage in ("{", "[]", '{"s1": "yesterday"}'):
        home.forgotten.write_text(damage)
        with pytest.raises(
            TracemillError, match=r"^Cannot tell which sessions were forgotten: .* is damaged; restore"
        ):
            ingest(home)
        recorder = Spool(home)
        assert recorder.write(session("s2")[0])  # pyright: ignore[reportArgumentType]
        recorder.close()


def test_too_little_room_is_one_sentence_and_nothing_happened(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool(home, session("s1"))
    ingest(home)
    nearly_full = shutil.disk_usage(home.root)._replace(free=1_000_000)

    def disk_usage(path: Path) -> Any:
        assert path == home.root
        return nearly_full

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(
        WarehouseError, match=r"^Forgetting needs \d+ MB of free space .* nothing was forgotten, make room"
    ):
        forget(home, ["s1"])
    assert not home.forgotten.exists()
    monkeypatch.undo()
    monkeypatch.setenv("TRACEMILL_HOME", str(home.root))
    assert sessions_of(home) == ["s1"]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_spool_without_any_sessions_is_as_if_they_had_never_been(
    tmp_path: Path, data: st.DataObject
) -> None:
    name = os.urandom(8).hex()
    home, other = Home(tmp_path / name), Home(tmp_path / f"{name}-other")
    ids = [f"s{number}" for number in range(data.draw(st.integers(1, 5), "sessions"))]
    gone = set(data.draw(st.lists(st.sampled_from(ids), unique=True), "forgotten"))
    files = [f"{letter}.ndjson" for letter in "abc"] + ["import-0a.ndjson"]
    steps = {id: data.draw(st.integers(1, 3), "steps") for id in ids}
    for id in ids:
        made = session(id, steps=steps[id], prompt=f"{MARKER} {id}." if id in gone else None)
        for file in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=2, unique=True), "files"):
            noise = data.draw(
                st.sampled_from([b"", b"\n", b"no event\n", b'{"v":1,"kind":"dream"}\n']), "noise"
            )
            spool(home, made, noise, file=file)
        if id not in gone:
            spool(other, made)
    if data.draw(st.booleans(), "known before"):
        ingest(home)
    else:
        home.ensure(home.spool)
        home.forgotten.write_text(json.dumps(dict.fromkeys(gone, 1.0)))
    ingest(home)
    forget(home, sorted(gone))
    other.ensure(other.spool)
    ingest(other)
    assert facts(home) == facts(other)
    assert files_with(home, MARKER) == []
    assert left_behind(home) == []
    check(home)
    with duckdb.connect(str(home.snapshot), read_only=True) as connection:
        assert {id for (id,) in connection.execute("SELECT session_id FROM forgotten").fetchall()} == gone
