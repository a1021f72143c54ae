"""The spool on a real disk: whole lines, private files, kills, forks and full disks."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracemill.tracer import Home, Message, Spool, events, message_id, read_events, spool_files
from tracemill.tracer.spool import encode

USER: Message = {"role": "user", "content": "hello"}


def note(text: str) -> Any:
    return events.feedback("s", target="session", target_id="s", score=0, note=text)


def only_file(home: Home) -> Path:
    (path,) = spool_files(home)
    return path


def test_files_and_folders_are_private(home: Home) -> None:
    spool = Spool(home)
    assert not home.root.exists()
    assert spool.write(note("x"))
    assert spool.path == only_file(home)
    assert stat.S_IMODE(only_file(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.spool.stat().st_mode) == 0o700
    descriptor = spool._descriptor  # pyright: ignore[reportPrivateUsage] (nobody else knows it)
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    spool.close()


def test_an_event_is_one_line_and_comes_back_as_it_was(home: Home) -> None:
    spool = Spool(home)
    written = [
        note("two\nlines"),
        note("größer ✓"),
        events.run_end("s", "r", status="ok", error=None, latency_ms=1.5),
    ]
    for event in written:
        assert spool.write(event)
    lines = list(read_events(only_file(home)))
    assert [line.event for line in lines] == written
    assert lines[0].start == 0
    assert [line.end for line in lines[:-1]] == [line.start for line in lines[1:]]
    assert lines[-1].end == only_file(home).stat().st_size
    spool.close()


def test_bodies_are_written_once(home: Home) -> None:
    spool = Spool(home)
    tool: Any = {"name": "t", "description": "", "parameters": {"type": "object"}}
    assert {spool.message(USER) for _ in range(3)} == {message_id(USER)}
    assert len({spool.toolset([tool]) for _ in range(3)}) == 1
    assert spool.toolset([]) != spool.toolset([tool])
    kinds = [line.event["kind"] for line in read_events(only_file(home)) if line.event]
    assert kinds == ["message", "toolset", "toolset"]
    spool.close()


def test_a_message_is_named_by_what_is_on_disk(home: Home) -> None:
    spool = Spool(home)
    secret: Message = {"role": "user", "content": "use sk-proj-abcdefghij0123456789"}
    name = spool.message(secret)
    (line,) = read_events(only_file(home))
    event: Any = line.event
    assert event["message"]["content"] == "use [REDACTED:openai-key:1]"
    assert event["message_id"] == name == message_id(event["message"]) != message_id(secret)
    assert spool.message(secret) == name
    spool.close()


def test_reading_goes_on_where_it_stopped(home: Home) -> None:
    spool = Spool(home)
    spool.write(note("1"))
    (first,) = read_events(only_file(home))
    assert list(read_events(only_file(home), first.end)) == []
    spool.write(note("2"))
    (second,) = read_events(only_file(home), first.end)
    event: Any = second.event
    assert event["note"] == "2"
    spool.close()


def test_a_torn_tail_is_left_for_later_at_every_byte(tmp_path: Path) -> None:
    spool = Spool(Home(tmp_path))
    for text in ("eins", "zwei ✓", "drei"):
        spool.write(note(text))
    whole = only_file(Home(tmp_path)).read_bytes()
    spool.close()
    complete = list(read_events(only_file(Home(tmp_path))))
    torn = tmp_path / "torn.ndjson"
    for length in range(len(whole) + 1):
        torn.write_bytes(whole[:length])
        found = list(read_events(torn))
        assert found == [line for line in complete if line.end <= length]
        torn.write_bytes(whole)
        rest = list(read_events(torn, found[-1].end if found else 0))
        assert found + rest == complete


def test_bad_lines_are_reported_with_their_place(tmp_path: Path) -> None:
    good = json.dumps(note("x"))
    lines = [
        good,
        "{broken",
        good,
        "[1]",
        '{"v":2}',
        '{"v":1,"kind":"dance"}',
        '{"v":1,"kind":"outcome"}',
        "",
        "\xff",
    ]
    path = tmp_path / "some.ndjson"
    path.write_bytes(b"\n".join(line.encode("latin-1") for line in lines) + b"\n" + good.encode() + b"\n")
    found = list(read_events(path))
    data = path.read_bytes()
    faults = [line.fault for line in found]
    assert [fault is None for fault in faults] == [True, False, True, *[False] * 5, True]
    assert faults[3] == "not a JSON object"
    assert faults[4] == "event version 2, this Tracemill reads version 1"
    assert faults[5] == "unknown kind 'dance'"
    assert faults[6] == "outcome event without id, note, outcome, score, session_id, source, ts"
    for line in found:
        assert data[line.start : line.end].endswith(b"\n")
        assert (line.event is None) == (line.fault is not None)


def test_a_folder_that_cannot_be_written_costs_the_record_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    spool = Spool(Home(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert not spool.write(note("1"))
        assert spool.message(USER) == message_id(USER)
    assert spool.dropped == 2
    assert len(caplog.records) == 1
    assert "cannot record" in caplog.text


def test_a_full_disk_tears_one_line_and_no_more(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(home)
    spool.write(note("before"))
    real = os.write
    # The disk takes ten bytes more, then none, then somebody frees space.

    def ten_bytes(fd: int, data: bytes) -> int:
        return real(fd, data[:10])

    monkeypatch.setattr(os, "write", ten_bytes)
    assert not spool.write(note("torn"))

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert not spool.write(note("lost"))
    monkeypatch.setattr(os, "write", real)
    assert spool.write(note("after"))
    assert spool.dropped == 2
    assert len(caplog.records) == 1
    lines = list(read_events(only_file(home)))
    assert [line.fault is None for line in lines] == [True, False, True]
    last: Any = lines[-1].event
    assert last["note"] == "after"
    spool.close()


def test_what_is_no_json_is_dropped_and_counted(home: Home) -> None:
    spool = Spool(home)
    assert not spool.write(note("x") | {"score": float("nan")})
    assert not spool.write(note("x") | {"note": object()})
    assert spool.dropped == 2
    assert spool_files(home) == []


def test_a_deleted_file_is_replaced_and_complete_in_itself(home: Home) -> None:
    spool = Spool(home)
    spool.message(USER)
    first = only_file(home)
    generation = spool.generation
    first.unlink()
    spool.message(USER)
    spool.write(note("x"))
    assert only_file(home) != first
    assert spool.generation > generation
    assert [line.event["kind"] for line in read_events(only_file(home)) if line.event] == [
        "message",
        "feedback",
    ]
    spool.close()


def test_threads_do_not_mix_their_lines(home: Home) -> None:
    spool = Spool(home)

    def write(name: str) -> None:
        for n in range(100):
            spool.write(note(f"{name}{n} " + "x" * 5000))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(read_events(only_file(home)))
    assert len(found) == 400
    assert all(line.fault is None for line in found)
    spool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_writes_a_file_of_its_own(home: Home) -> None:
    spool = Spool(home)
    spool.message(USER)
    parent_file = spool.path
    child = os.fork()
    if child == 0:
        try:
            spool.message(USER)
            spool.write(note("child"))
            os._exit(0 if spool.path != parent_file and spool.dropped == 0 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.write(note("parent"))
    assert spool.path == parent_file
    told: dict[Path, list[str]] = {
        path: [line.event["kind"] for line in read_events(path) if line.event] for path in spool_files(home)
    }
    assert sorted(told.values()) == [["message", "feedback"], ["message", "feedback"]]
    spool.close()


WRITER = """
import itertools
from tracemill.tracer import Home, Spool, events
spool = Spool(Home.find())
for n in itertools.count():
    message = {"role": "user", "content": f"{n} " + "x" * (n * 37 % 3000)}
    name = spool.message(message)
    spool.write(events.request("s", str(n), run_id="r", step=n, model="m", previous=None, kept=0,
                               added=[name], toolset_id="t"))
"""


def test_kill_9_loses_nothing_that_was_written(home: Home, tracer_folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER],
        env={**os.environ, "TRACEMILL_HOME": str(home.root), "PYTHONPATH": str(tracer_folder)},
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 500_000 for path in spool_files(home)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = list(read_events(only_file(home)))
    assert [line.fault for line in lines if line.fault] == []
    told: list[Any] = [line.event for line in lines]
    bodies = {event["message_id"]: event["message"] for event in told if event["kind"] == "message"}
    requests = [event for event in told if event["kind"] == "request"]
    assert [event["step"] for event in requests] == list(range(len(requests)))
    for event in requests:
        assert bodies[event["added"][0]]["content"].startswith(f"{event['step']} ")
    # The kernel may stop a write at a page boundary: the last line is torn then, and no other.
    tail = only_file(home).read_bytes()[lines[-1].end :]
    assert b"\n" not in tail
    assert len(tail) < 5000


def test_importing_the_room_needs_the_standard_library_only(tracer_folder: Path) -> None:
    program = (
        "import sys, tracemill.tracer as t\n"
        "t.Spool; t.Redactor; t.read_events; t.message_id\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('pydantic', 'pydantic_ai', 'typing_extensions')])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(tracer_folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_kind_has_the_fields_of_the_architecture(
    shared_architecture: Callable[[], dict[str, set[str]]],
) -> None:
    documented = shared_architecture()
    common = {"v", "id", "ts", "kind"}
    for kind, fields in events.FIELDS.items():
        session = set() if kind in ("message", "toolset") else {"session_id"}
        assert fields == common | session | documented[kind], kind
    assert documented.keys() == events.FIELDS.keys()


@pytest.mark.parametrize(
    "body",
    [
        {
            "role": "tool",
            "tool_call_id": "c1",
            "name": "read",
            "content": 'a "b"\\ \n\t é % %s 日本 \x00\x7f',
        },
        {"role": "user", "content": ""},
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [{"id": "1", "name": "f", "arguments": {"b": 1.5}}],
        },
    ],
)
def test_the_line_of_a_message_is_that_of_its_event(
    home: Home, body: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not a clock that runs: every tenth time ends in a zero, which the encoder leaves out.
    monkeypatch.setattr(time, "time_ns", lambda: 1795206794_296381_123)
    spool = Spool(home)
    name = spool.message(body)
    raw = only_file(home).read_bytes()
    assert name == message_id(body)
    assert raw == encode(events.message(body, name, ts=1795206794.296381))
