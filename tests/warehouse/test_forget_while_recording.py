"""Forgetting while processes record, ingest and are killed: nothing else is lost, nothing comes twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from forgetting import Killed, check, facts, files_with, kill_at, left_behind
from session_events import session, spool
from tracemill.tracer.home import Home
from tracemill.tracer.spool import spool_files
from tracemill.warehouse.forget import forget
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import query

MARKER = "the launch code of the moon rocket"

# Two sessions take turns; what of `keeps` was really written is noted outside the home.
WRITER = f"""
import itertools, os, signal, sys, time
from tracemill.tracer import Home, Spool, events
told = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
spool, me = Spool(Home.find()), str(os.getpid())
for n in itertools.count():
    for session in ("goes", "keeps" + me):
        text = f"{{session}} {{n}} " + ("{MARKER}" if session == "goes" else "x" * (n * 37 % 3000))
        name = spool.message({{"role": "user", "content": text}}, session)
        request = f"{{me}}-{{session}}-{{n}}"
        written = spool.write(events.request(session, request, run_id="r" + me, step=n, model="m",
                              previous=None, kept=0, added=[name], toolset_id=None, id="e" + request))
        if written and session != "goes":
            os.write(told, f"e{{request}}\\n".encode())
    if n % 10 == 0:
        time.sleep(0.02)
    if not going:
        sys.exit(spool.dropped)
"""
INGEST = "from tracemill.tracer.home import Home; from tracemill.warehouse.ingest import ingest; ingest(Home.find())"
FORGET = (
    "import sys; from tracemill.tracer.home import Home; from tracemill.warehouse.forget import forget; "
    "forget(Home.find(), sys.argv[1:])"
)


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts programs in the home of the test; those that still run at its end are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, *words: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TRACEMILL_HOME": str(home.root)}
        process = subprocess.Popen([sys.executable, "-c", program, *words], env=environment)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def grown(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


def test_all_other_events_are_there_exactly_once(
    home: Home, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    notes = [tmp_path / f"written-{number}" for number in range(2)]
    writers = [start(WRITER, str(note)) for note in notes]
    spool(home, session("s1"))
    for note in notes:
        wait_until(partial(grown, note, 2000))
    ingest(home)
    for named in (["goes"], ["s1"]):
        before = [note.stat().st_size for note in notes]
        ingester = start(INGEST)
        forget(home, named)
        assert ingester.wait() == 0
        # All go on.
        for note, size in zip(notes, before, strict=True):
            wait_until(partial(grown, note, size))
    for writer in writers:
        writer.terminate()
    assert [writer.wait() for writer in writers] == [0, 0]
    ingest(home)
    written = [line for note in notes for line in note.read_text().split()]
    stored = query(home, "SELECT event_id FROM events WHERE kind = 'request'")["event_id"].to_list()
    assert len(stored) == len(set(stored))
    # The last note of a writer may be missing, the last event not.
    assert set(written) <= set(stored)
    assert len(set(stored) - set(written)) <= len(notes)
    assert not any("goes" in event for event in stored)
    assert files_with(home, MARKER) == []
    check(home)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_whoever_comes_after_a_kill_completes_it(
    home: Home, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]], seed: int
) -> None:
    wait = random.Random(seed)
    for number in range(4):
        spool(
            home,
            session("s1", prompt=f"{MARKER} {number}", steps=2),
            session(f"k{number}", steps=20),
            file=f"{number}.ndjson",
        )
    note = tmp_path / "written"
    writer = start(WRITER, str(note))
    ingest(home)
    began = time.monotonic()
    whole = Home(tmp_path / "whole")
    shutil.copytree(home.root, whole.root)
    forget(whole, ["s1"])
    took = time.monotonic() - began
    for _ in range(3):
        forgetting = start(FORGET, "s1")
        wait_until(home.forgotten.exists)
        time.sleep(wait.random() * took)
        forgetting.send_signal(signal.SIGKILL)
        forgetting.wait()
        if not files_with(home, MARKER):
            break
    writer.terminate()
    assert writer.wait() == 0
    if seed % 2:
        forget(home, ["s1"])
    else:
        ingest(home)
    written = set(note.read_text().split())
    stored = set(query(home, "SELECT event_id FROM events WHERE kind = 'request'")["event_id"].to_list())
    assert written <= stored
    kept = query(home, "SELECT session_id FROM sessions WHERE starts_with(session_id, 'k') ORDER BY 1")
    assert kept["session_id"].to_list() == sorted(
        [*(f"k{number}" for number in range(4)), f"keeps{writer.pid}"]
    )
    assert query(home, "SELECT * FROM sessions WHERE session_id = 's1'").is_empty()
    assert files_with(home, f"{MARKER} ") == []
    assert set(left_behind(home)) <= {"forgotten.new"}
    check(home)


@pytest.mark.parametrize("step", range(14))
def test_at_every_step_a_kill_only_delays_it(home: Home, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    for number in range(2):
        spool(
            home,
            session("s1", prompt=f"{MARKER} {number}", steps=2),
            session(f"k{number}", steps=2),
            file=f"import-{number}.ndjson",
        )
    ingest(home)
    before = facts(home)
    with monkeypatch.context() as patched:
        kill_at(step, patched)
        with pytest.raises(Killed):
            forget(home, ["s1"])
    if home.forgotten.exists():
        ingest(home)
        assert files_with(home, MARKER) == []
        assert len(spool_files(home)) == 2
    else:
        ingest(home)
        assert facts(home) == before
        forget(home, ["s1"])
    assert {id for (id, *_) in facts(home)["sessions"]} == {"k0", "k1"}
    assert set(left_behind(home)) <= {"forgotten.new"}
    check(home)
