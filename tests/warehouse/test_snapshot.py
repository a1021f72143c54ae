"""Several processes at once: writers of spools, ingesters, and readers while a snapshot is replaced."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from session_events import lines, session, spool
from tracemill.tracer.home import Home
from tracemill.warehouse import ingest as ingestion
from tracemill.warehouse.backlog import Backlog, sizes
from tracemill.warehouse.errors import WarehouseError
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import connect, query

INGEST = "from tracemill.tracer.home import Home; from tracemill.warehouse.ingest import ingest; print(ingest(Home.find()).events)"


def count(home: Home) -> int:
    return query(home, "SELECT count(*) FROM sessions").item()


def test_a_reader_keeps_its_snapshot_and_the_next_one_sees_the_new_rows(home: Home) -> None:
    spool(home, session("s1"))
    ingest(home)
    with connect(home) as reader:
        assert reader.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
        spool(home, session("s2"))
        ingest(home)
        assert reader.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
        # In this very process, while the old one is open.
        assert count(home) == 2
        assert len(reader.execute("FROM conversations").fetchall()) == 1
    assert count(home) == 2


def test_two_ingesters_share_the_work_and_lose_nothing(home: Home) -> None:
    for number in range(6):
        spool(home, *(session(f"s{number}-{at}") for at in range(20)), file=f"{number}.ndjson")
    running = [
        subprocess.Popen([sys.executable, "-c", INGEST], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    counts = [int(process.communicate()[0]) for process in running]
    assert sorted(counts)[:2] == [0, 0]
    assert sum(counts) == query(home, "SELECT count(*) FROM events").item()
    assert count(home) == 120


def test_a_second_ingester_gives_up_in_one_sentence(home: Home) -> None:
    with FileLock(home.ensure(home.root) / "warehouse.lock"), pytest.raises(WarehouseError) as busy:
        ingest(home, lock_seconds=0.05)
    assert str(busy.value) == (
        f"Another tracemill process has been ingesting into {home.root} for 0.05 s; try again when it is done."
    )


def test_a_warehouse_that_another_program_has_open_is_one_sentence(home: Home) -> None:
    spool(home, session("s1"))
    ingest(home)
    hold = f"import duckdb, sys; c = duckdb.connect({str(home.warehouse)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(WarehouseError, match=r"close the other program that has it open\.$") as refused:
            ingest(home)
        assert "\n" not in str(refused.value)
        assert count(home) == 1
        other.communicate("")
    ingest(home)


def test_ingesting_beside_a_writer_takes_only_whole_lines(home: Home) -> None:
    path = home.ensure(home.spool) / "live.ndjson"
    script = (
        "import sys, time, os\n"
        "text = sys.stdin.buffer.read()\n"
        f"file = os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)\n"
        "for start in range(0, len(text), 997):\n"
        "    os.write(file, text[start:start + 997]); time.sleep(0.001)\n"
    )
    made = [event for number in range(30) for event in session(f"s{number}")]
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(lines(made))
        writer.stdin.close()
        while writer.poll() is None:
            assert ingest(home).bad_lines == 0
            time.sleep(0.02)
    ingest(home)
    assert query(home, "SELECT count(*) FROM events").item() == len({event["id"] for event in made})


@pytest.mark.parametrize("rows_before", [0, 1])
def test_an_ingester_killed_after_its_commit_costs_nothing(home: Home, rows_before: int) -> None:
    if rows_before:
        spool(home, session("before"))
        ingest(home)
    spool(home, *(session(f"s{number}") for number in range(3)))
    # The callback is called after the commit and before the checkpoint: the rows are in DuckDB's log alone.
    kill = INGEST.replace("ingest(Home.find())", "ingest(Home.find(), lambda *_: __import__('os')._exit(9))")
    assert subprocess.run([sys.executable, "-c", kill], check=False).returncode == 9
    assert Path(f"{home.warehouse}.wal").exists()
    assert ingest(home).published
    assert count(home) == 3 + rows_before


def test_what_is_taken_in_shows_before_all_of_it_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "BATCH_BYTES", 40_000)
    monkeypatch.setattr(ingestion, "PUBLISH_SECONDS", 0.0)
    for number in range(4):
        spool(home, *(session(f"s{number}-{at}", steps=9) for at in range(10)), file=f"{number}.ndjson")
    seen: list[tuple[int, int, int]] = []

    def look(_: str, done: int, total: int) -> None:
        seen.append((done, total, count(home) if home.snapshot.exists() else 0))

    assert ingest(home, look).sessions == 40
    counts = [shown for *_, shown in seen]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert {total for _, total, _ in seen} == {seen[-1][0]}
    assert count(home) == 40


def test_files_take_turns(home: Home) -> None:
    for name in "abc":
        spool(home, *(session(f"{name}{at}") for at in range(5)), file=f"{name}.ndjson")
    backlog = Backlog(home, {}, sizes(home))
    assert {name for name, *_ in backlog.batch(3000)[0]} == {"a.ndjson", "b.ndjson", "c.ndjson"}
    read: dict[str, int] = {}
    while backlog:
        read |= backlog.batch(3000)[1]
    assert read == sizes(home)


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3])
def test_an_ingester_killed_at_any_moment_costs_nothing(home: Home, moment: float) -> None:
    spool(home, *(session(f"s{number}", steps=10) for number in range(100)))
    process = subprocess.Popen([sys.executable, "-c", INGEST], stdout=subprocess.DEVNULL)
    time.sleep(0.25 + moment)
    process.kill()
    process.wait()
    ingest(home)
    assert count(home) == 100
    assert query(home, "SELECT count(*) FROM responses").item() == 1000


def test_a_home_without_a_snapshot_says_what_to_do(home: Home) -> None:
    with pytest.raises(WarehouseError, match="run `tracemill ingest`, or record something first"):
        connect(home)


def test_a_damaged_snapshot_says_what_to_do(home: Home, tmp_path: Path) -> None:
    home.ensure(home.root)
    home.snapshot.write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError, match="delete it and run `tracemill ingest`"):
        connect(home)
