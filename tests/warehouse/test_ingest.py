"""From spool files into a real DuckDB file: once, whatever comes twice, torn, broken or out of order."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from session_events import AnyDict, lines, session, spool
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.tracer.spool import spool_files
from tracemill.warehouse import ingest as ingestion
from tracemill.warehouse.ingest import IngestReport, ingest

TABLES = [
    "sessions",
    "runs",
    "requests",
    "messages",
    "toolsets",
    "responses",
    "tool_calls",
    "feedback",
    "outcomes",
]


def contents(home: Home) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table of facts, in a fixed order."""
    with duckdb.connect(str(home.snapshot), read_only=True) as connection:
        return {table: connection.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


def one(home: Home, sql: str) -> object:
    with duckdb.connect(str(home.snapshot), read_only=True) as connection:
        row = connection.execute(sql).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def test_a_session_becomes_rows_of_every_kind(home: Home) -> None:
    spool(home, session(task="find it", category="search", split="train"))
    report = ingest(home)
    assert (report.sessions, report.bad_lines, report.published) == (1, 0, True)
    assert one(home, "SELECT agent, source, task, category, split FROM sessions") == (
        "coder",
        "pydantic-ai",
        "find it",
        "search",
        "train",
    )
    assert one(home, "SELECT status, latency_ms, epoch(ended - started) FROM runs") == ("ok", 99.0, 18.0)
    assert one(home, "SELECT added FROM requests WHERE step = 1") == one(
        home,
        "SELECT [message_id, (SELECT message_id FROM messages WHERE content = 'hit 0')] "
        "FROM responses WHERE request_id = 's1-request0'",
    )
    assert one(
        home, "SELECT tool, status, raw_arguments, arguments, result FROM tool_calls ORDER BY started LIMIT 1"
    ) == (
        "search",
        "ok",
        '{"query": "s1 0"}',
        '{"query":"s1 0"}',
        '{"hits":0}',
    )
    assert one(home, "SELECT role, name, tool_call_id FROM messages WHERE content = 'hit 1'") == (
        "tool",
        "search",
        "call_0",
    )
    assert one(home, "SELECT tools->>'$[0].name' FROM toolsets") == "search"
    assert one(home, "SELECT count(*) FROM events") == report.events == len(session())
    assert stat.S_IMODE(home.snapshot.stat().st_mode) == stat.S_IMODE(home.warehouse.stat().st_mode) == 0o600


def test_ingesting_again_changes_nothing(home: Home) -> None:
    spool(home, session())
    ingest(home)
    before, published = contents(home), home.snapshot.stat().st_ino
    assert ingest(home) == IngestReport()
    assert home.snapshot.stat().st_ino == published
    # The same events under another name, as after a restored backup.
    spool(home, session(), file="copy.ndjson")
    assert ingest(home).events == 0
    assert contents(home) == before


def test_what_comes_later_is_added(home: Home) -> None:
    made = session()
    spool(home, made[:7])
    ingest(home)
    spool(home, made[7:], session("s2"))
    assert ingest(home).sessions == 2
    later = contents(home)
    home.warehouse.unlink()
    ingest(home)
    assert contents(home) == later


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), cut=st.integers(0, 100))
def test_the_order_of_events_does_not_matter(tmp_path: Path, seed: int, cut: int) -> None:
    made = [*session("s1"), *session("s2", outcome="bad")]
    straight, shuffled = Home(tmp_path / f"{seed}-{cut}-a"), Home(tmp_path / f"{seed}-{cut}-b")
    spool(straight, made)
    ingest(straight)
    mixed = random.Random(seed).sample(made, len(made))
    spool(shuffled, mixed[:cut], file="z.ndjson")
    ingest(shuffled)
    spool(shuffled, mixed[cut:], file="a.ndjson")
    ingest(shuffled)
    assert contents(shuffled) == contents(straight)


def test_an_end_before_its_start_and_what_never_ended(home: Home) -> None:
    made = session()
    of = {kind: next(event for event in made if event["kind"] == kind) for kind in ("tool_start", "tool_end")}
    spool(home, [event for event in made if event["kind"] != "tool_start" and event["kind"] != "run_end"])
    ingest(home)
    assert one(home, "SELECT count(*) FROM tool_calls WHERE tool IS NULL AND status = 'ok'") == 2
    assert one(home, "SELECT status FROM runs") == "unfinished"
    spool(home, [of["tool_start"]])
    ingest(home)
    call = of["tool_end"]["call_id"]
    assert one(home, f"SELECT tool, status, result FROM tool_calls WHERE call_id = '{call}'") == (
        "search",
        "ok",
        '{"hits":0}',
    )
    spool(home, [{**of["tool_start"], "id": "lone", "call_id": "lone"}])
    ingest(home)
    assert one(home, "SELECT status FROM tool_calls WHERE call_id = 'lone'") == "unfinished"


def test_a_session_is_known_without_its_own_event_and_its_latest_description_counts(home: Home) -> None:
    made = session(task="old")
    spool(home, [event for event in made if event["kind"] != "session"])
    ingest(home)
    assert one(home, "SELECT session_id, agent FROM sessions") == ("s1", None)
    newer = {**made[0], "id": "newer", "ts": made[0]["ts"] + 1, "metadata": {"task": "new"}}
    spool(home, [newer])
    ingest(home)
    spool(home, [made[0]])
    ingest(home)
    assert one(home, "SELECT task FROM sessions") == "new"


def test_a_torn_last_line_waits_for_its_end(home: Home) -> None:
    text = lines(session())
    path = spool(home, text[:-20])
    assert ingest(home).bad_lines == 0
    assert one(home, "SELECT count(*) FROM outcomes") == 0
    assert one(home, "SELECT byte_offset FROM spool_files") == text[:-1].rfind(b"\n") + 1
    spool(home, text[-20:])
    assert ingest(home).events == 1
    assert one(home, "SELECT outcome FROM outcomes") == "good"
    assert path.read_bytes() == text


BAD: list[tuple[bytes, str]] = [
    (b'{"v":1,"id":"x","ts"\n', "not JSON"),
    (b'\xff\xfe{"v":1}\n', "not UTF-8"),
    (b"[1]\n", "not a JSON object"),
    (b'{"v":0,"id":"x","ts":1,"kind":"session"}\n', "event version 0, this Tracemill reads version 1"),
    (b'{"v":1,"id":"x","ts":1,"kind":"dream"}\n', "unknown kind dream"),
    (b'{"v":1,"id":"x","ts":1,"kind":"toolset","toolset_id":"t"}\n', "toolset event without tools"),
    (
        b'{"v":1,"id":"x","ts":"noon","kind":"toolset","toolset_id":"t","tools":[]}\n',
        "toolset event whose id or ts is none",
    ),
    (
        b'{"v":1,"id":"x","ts":1e300,"kind":"toolset","toolset_id":"t","tools":[]}\n',
        "toolset event whose id or ts is none",
    ),
    (
        b'{"v":1,"id":null,"ts":1,"kind":"toolset","toolset_id":"t","tools":[]}\n',
        "toolset event whose id or ts is none",
    ),
    (
        b'{"v":1,"id":"x","ts":1,"kind":"toolset","toolset_id":5,"tools":[]}\n',
        "toolset event whose toolset_id is no text",
    ),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_line_costs_one_line_and_says_why(home: Home, line: bytes, reason: str) -> None:
    first = lines(session("s1"))
    spool(home, first, line, session("s2"))
    report = ingest(home)
    assert (report.bad_lines, report.sessions) == (1, 2)
    assert one(home, "SELECT file, byte_offset, reason FROM bad_lines") == ("a.ndjson", len(first), reason)
    assert ingest(home).bad_lines == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    junk=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["v", "id", "ts", "kind", "kept", "added", "session_id"])
                        | st.text(max_size=5),
                        inner,
                        max_size=5,
                    )
                ),
                max_leaves=8,
            ),
        ),
        max_size=6,
    ),
    field=st.sampled_from(["id", "ts", "kind", "session_id", "kept", "added", "step", "call_id", "metadata"]),
)
def test_no_line_whatever_stops_ingestion(tmp_path: Path, junk: list[object], field: str) -> None:
    home = Home(tmp_path / os.urandom(8).hex())
    made: list[AnyDict] = session("s1")
    for value in junk:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode("utf-8", "surrogatepass")
        # Once as a line of its own, once as a field of an event that is otherwise in order.
        spool(home, raw.replace(b"\n", b" ") + b"\n")
        if not isinstance(value, bytes):
            spool(home, [{**event, field: value} for event in session("broken")])
    spool(home, made)
    # Behind a line of a newer version all of a file waits, by intent.
    assume(not ingest(home).newer_files)
    assert one(home, "SELECT count(*) FROM responses WHERE session_id = 's1'") == 3


def test_a_file_that_was_replaced_by_a_shorter_one_is_read_from_its_start(home: Home) -> None:
    path = spool(home, session("s1", steps=5))
    ingest(home)
    path.unlink()
    spool(home, session("s2", steps=1))
    assert ingest(home).bad_lines == 0
    assert one(home, "SELECT count(*) FROM sessions") == 2


def test_nothing_recorded_is_no_error(home: Home) -> None:
    assert ingest(home) == IngestReport(published=True)
    spool(home, b"")
    assert ingest(home) == IngestReport()
    assert one(home, "SELECT count(*) FROM session_overview") == 0


def test_batches_bound_memory_and_miss_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "BATCH_BYTES", 700)
    for number in range(4):
        spool(home, session(f"s{number}"), file=f"{number}.ndjson")
    seen: list[tuple[str, int, int]] = []
    report = ingest(home, lambda what, done, total: seen.append((what, done, total)))
    assert report.sessions == one(home, "SELECT count(*) FROM sessions") == 4
    assert one(home, "SELECT count(*) FROM responses") == 12
    total = sum(path.stat().st_size for path in home.spool.iterdir())
    assert len(seen) > 4
    assert seen[-1] == ("ingesting bytes", total, total)


def test_fifty_thousand_events_take_seconds(home: Home) -> None:
    spool(home, *(session(f"s{number}", steps=20) for number in range(500)))
    started = time.process_time()
    assert ingest(home).events > 50_000
    assert time.process_time() - started < 15


def test_a_warehouse_can_be_made_again_from_the_spool(home: Home) -> None:
    spool(home, session("s1"), session("s2"))
    ingest(home)
    before = contents(home)
    home.warehouse.unlink()
    home.snapshot.unlink()
    ingest(home)
    assert contents(home) == before


def test_a_kill_between_commit_and_publication_is_made_good(home: Home) -> None:
    spool(home, session("s1"))
    ingest(home)
    old = home.snapshot.read_bytes()
    spool(home, session("s2"))
    ingest(home)
    home.snapshot.write_bytes(old)
    os.utime(home.snapshot, ns=(0, home.warehouse.stat().st_mtime_ns - 1))
    assert ingest(home) == IngestReport(published=True)
    assert one(home, "SELECT count(*) FROM sessions") == 2


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        TracemillError, match=r"^Cannot create .*; set TRACEMILL_HOME to a folder you can write\.$"
    ):
        ingest(Home(tmp_path / "file" / "home"))


@pytest.mark.parametrize("largest_file", [500_000, 2_000_000])  # fails at the commit, at the checkpoint
def test_a_full_disk_is_one_sentence_and_leaves_the_old_snapshot(home: Home, largest_file: int) -> None:
    spool(home, session("s1"))
    ingest(home)
    before = home.snapshot.read_bytes()
    spool(home, *(session(f"new{number}", steps=20) for number in range(100)))
    # A limit on the size of files stands in for a full disk: writes fail in the same places.
    script = (
        "import resource, sys\n"
        "from tracemill.tracer.home import Home\n"
        "from tracemill.tracer.errors import TracemillError\n"
        "from tracemill.warehouse.ingest import ingest\n"
        "home = Home.find()\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file}, {largest_file}))\n"
        "try:\n    ingest(home)\n"
        "except TracemillError as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"Cannot write the warehouse {home.warehouse}: ")
    assert done.stderr.endswith("; free some space or set TRACEMILL_HOME to a folder you can write.\n")
    assert done.stderr.count("\n") == 1
    assert home.snapshot.read_bytes() == before
    assert sorted(path.name for path in home.root.iterdir() if "new" in path.name) == []
    ingest(home)
    assert one(home, "SELECT count(*) FROM sessions") == 101


def test_a_file_that_is_no_warehouse_is_one_sentence(home: Home) -> None:
    home.ensure(home.root)
    home.warehouse.write_bytes(b"this is no database" * 1000)
    with pytest.raises(
        TracemillError, match="delete it, and the next ingestion makes it again from the spool"
    ):
        ingest(home)


def test_what_is_no_file_is_passed_over(home: Home) -> None:
    spool(home, session("s1"))
    (home.spool / "dangling.ndjson").symlink_to(home.root / "nowhere")
    (home.spool / "circle.ndjson").symlink_to(home.spool / "circle.ndjson")
    (home.spool / "folder.ndjson").mkdir()
    assert ingest(home).sessions == 1
    assert [path.name for path in spool_files(home)] == ["a.ndjson"]


def test_a_file_that_goes_while_others_are_read_is_passed_over(home: Home) -> None:
    spool(home, session("s1"))
    gone = spool(home, session("s2"), file="b.ndjson")

    # It is listed and measured by then.
    def delete(*_: object) -> None:
        gone.unlink(missing_ok=True)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ingestion, "BATCH_BYTES", 1)
        assert ingest(home, delete).sessions == 1
    assert ingest(home).events == 0
