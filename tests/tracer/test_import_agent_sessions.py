"""Sessions of mini-swe-agent, Claude Code and Codex: read as they are, again, while they grow, and broken."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.tracer.importers import mini_swe
from tracemill.tracer.importers.importing import Imported, import_sessions
from tracemill.tracer.importers.options import Options
from tracemill.tracer.importers.records import Source
from tracemill.tracer.spool import read_events, spool_files
from transcript import transcript

Recording = Callable[[], Any]

SAMPLES = Path(__file__).parent / "samples"
LONG_AGO = 1_772_400_000.0
LOGS = {
    "claude-code": "claude-code/-srv-app/5d0c1f6e-52a4-4b3e-9a0e-7d3f0a3c1b11.jsonl",
    "codex": "codex/2026/03/01/rollout-2026-03-01T10-00-00-019a2d7a-41c4-78b1-b7cc-a45d62a89cd5.jsonl",
}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """The sample files, written long ago."""
    copied = shutil.copytree(SAMPLES, tmp_path / "samples")
    for path in copied.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return copied


@pytest.mark.parametrize("name", ["mini-swe-agent", "claude-code", "codex"])
def test_samples_read_as_a_person_would_read_them(samples: Path, home: Home, name: str) -> None:
    found = import_sessions(name, [samples / name], home)
    left_out = "".join(f"left out: {count} x {what}\n" for what, count in sorted(found.left_out.items()))
    assert transcript(home) + left_out == (SAMPLES / f"{name}.txt").read_text("utf-8")
    before = found.path.read_bytes()
    assert import_sessions(name, [samples / name], home) == found
    assert spool_files(home) == [found.path]
    assert found.path.read_bytes() == before


@pytest.mark.parametrize("name", ["mini-swe-agent", "claude-code", "codex"])
def test_a_folder_is_told_by_what_it_looks_like(samples: Path, home: Home, name: str) -> None:
    first = sorted((samples / name).rglob("*.json*"))[0]
    (samples / name / "rollout-notes.jsonl").write_text('{"a": 1}\n')
    found = import_sessions("auto", [samples / name], home)
    assert found.format == name
    assert found.left_out["file that is no such session"] == 1
    other = "codex" if name == "claude-code" else "claude-code"
    for chosen in (other, "openai-chat"):
        if (chosen, name) == ("openai-chat", "mini-swe-agent"):
            continue  # a trajectory is a list of messages too
        with pytest.raises(TracemillError) as caught:
            import_sessions(chosen, [first], home)
        assert f"this looks like {name}: tracemill import {name} " in str(caught.value)


def test_what_the_options_say_goes_first(samples: Path, home: Home, recorded: Recording) -> None:
    options = Options(agent="mini", tools=({"name": "sh", "description": "", "parameters": {}},))
    found = import_sessions("mini-swe-agent", [samples / "mini-swe-agent"], home, options)
    assert found.inferred == ()
    assert {event["agent"] for event in recorded().of("session")} == {"mini"}
    assert [[tool["name"] for tool in tools] for tools in recorded().toolsets.values()] == [["sh"]]


@pytest.mark.parametrize("name", LOGS)
def test_a_gzipped_log_is_the_same_session(samples: Path, home: Home, name: str, tmp_path: Path) -> None:
    plain = samples / LOGS[name]
    packed = tmp_path / f"{plain.name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    os.utime(packed, (LONG_AGO, LONG_AGO))
    import_sessions(name, [plain], home)
    before = spool_files(home)
    import_sessions(name, [packed], home)
    assert _ids(spool_files(home)[-1]) == _ids(before[0])


@pytest.mark.parametrize("name", LOGS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_session_that_grows_is_the_session_it_would_have_been(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = (SAMPLES / LOGS[name]).read_bytes().splitlines(keepends=True)
    size = data.draw(st.integers(1, len(lines)))
    folder = tmp_path_factory.mktemp("growing")
    path, home, whole = folder / Path(LOGS[name]).name, Home(folder / "home"), Home(folder / "whole")
    path.write_bytes(b"".join(lines[:size]) + lines[size - 1][:20])
    try:
        import_sessions(name, [path], home)
    except TracemillError as error:
        assert "no session" in str(error) or "answer" in str(error)
    path.write_bytes(b"".join(lines))
    os.utime(path, (LONG_AGO, LONG_AGO))
    import_sessions(name, [path], home)
    import_sessions(name, [path], whole)
    told, wanted = _facts(home), _facts(whole)
    assert {id: told[id] for id in wanted} == wanted
    # Only how a run ended, and how the session is described, may have been told before it was known.
    early = {json.loads(told[id])["kind"] for id in told.keys() - wanted.keys()}
    assert early <= {"run_end", "session", "toolset", "message"}


def _facts(home: Home) -> dict[str, str]:
    """All events by id, the first of each, without what was inferred from the calls seen so far."""
    found: dict[str, str] = {}
    for path in sorted(spool_files(home), key=lambda path: path.stat().st_mtime_ns):
        for line in read_events(path):
            assert line.event is not None
            event = {name: value for name, value in line.event.items() if name != "toolset_id"}
            if event["kind"] != "toolset":
                found.setdefault(str(event["id"]), json.dumps({**event, "ts": 0}, sort_keys=True))
    return found


def _ids(path: Path) -> set[str]:
    return {str(line.event["id"]) for line in read_events(path) if line.event}


@pytest.mark.parametrize("name", LOGS)
def test_what_is_still_being_written_is_left_for_later(samples: Path, home: Home, name: str) -> None:
    path = samples / LOGS[name]
    lines = path.read_bytes().splitlines(keepends=True)
    first_block = next(n for n, line in enumerate(lines) if b'"thinking"' in line or b'"reasoning"' in line)
    path.write_bytes(b"".join(lines[: first_block + 1]) + lines[first_block + 1][:30])
    with pytest.raises(TracemillError, match="answer"):
        import_sessions(name, [path], home)
    assert not home.spool.exists() or spool_files(home) == []
    os.utime(path, (LONG_AGO, LONG_AGO))
    found = import_sessions(name, [path], home)
    assert found.left_out["last line, half written"] == 1


def test_bad_lines_cost_lines(samples: Path, home: Home, recorded: Recording) -> None:
    path = samples / LOGS["codex"]
    bad = b'{oops\n[1]\n\n"x"\n' + b'{"a":"\xff\xfe"}\n' + b"[" * 200_000 + b"\n"
    huge = json.dumps({"type": "event_msg", "payload": {"type": "huge", "text": "x" * 5_000_000}}).encode()
    path.write_bytes(path.read_bytes() + bad + huge + b'\n{"timestamp": ')
    os.utime(path, (LONG_AGO, LONG_AGO))
    found = import_sessions("codex", [path], home)
    expected = {
        "line that is no JSON": 1,
        "line that is no object": 2,
        "line that is nested too deeply": 1,
        "bytes that are not UTF-8, in a line": 1,
        "event huge": 1,
        "last line, half written": 1,
    }
    assert {what: found.left_out[what] for what in expected} == expected
    assert len(recorded().of("run_start")) == 4


@pytest.mark.parametrize("name", ["mini-swe-agent", "claude-code", "codex"])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no"),
        (b"\n\n", "no"),
        (b'{"a": 1}\n', ""),
        (gzip.compress(b'{"type": "user", "message": {}}\n' * 9999)[:-40], "broken or cut short"),
        (b'{"messages": [{"role": "user", "content": "hi"}]}', "looks like openai-chat"),
    ],
)
def test_a_file_without_sessions_is_one_sentence(
    tmp_path: Path, home: Home, name: str, data: bytes, told: str
) -> None:
    path = tmp_path / "rollout-x.jsonl"
    path.write_bytes(data)
    os.utime(path, (LONG_AGO, LONG_AGO))
    with pytest.raises(TracemillError) as caught:
        import_sessions(name, [path], home)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not home.spool.exists() or list(home.spool.iterdir()) == []


def test_a_folder_without_sessions_says_what_they_would_be_called(tmp_path: Path, home: Home) -> None:
    with pytest.raises(
        TracemillError, match=r"no codex sessions in .* \(they would be rollout-\*\.jsonl or "
    ):
        import_sessions("codex", [tmp_path], home)
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}')
    with pytest.raises(TracemillError, match=r"this looks like openai-chat: tracemill import openai-chat "):
        import_sessions("claude-code", [tmp_path], home)
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(TracemillError, match="it looks like none of"):
        import_sessions("auto", [tmp_path], home)


def test_a_sub_agent_whose_session_is_gone_is_a_session(
    samples: Path, home: Home, recorded: Recording
) -> None:
    (samples / LOGS["claude-code"]).unlink()
    found = import_sessions("claude-code", [samples / "claude-code"], home)
    assert found.sessions == 1
    assert recorded().one("run_start")["parent_run_id"] is None
    assert recorded().one("run_start")["agent"] == "Explore"


def test_old_side_chains_belong_to_the_call_with_their_prompt(
    tmp_path: Path, home: Home, recorded: Recording
) -> None:
    """Claude Code 1 kept sub-agents in the file of the session; such lines may lack ids and parents."""
    use = {"type": "tool_use", "id": "t1", "name": "Task", "input": {"prompt": "Look."}}
    lines: list[dict[str, Any]] = [
        {"type": "user", "message": {"role": "user", "content": "Go."}},
        {"type": "assistant", "message": {"role": "assistant", "content": [use]}},
        {"type": "user", "isSidechain": True, "message": {"role": "user", "content": "Look."}},
        {
            "type": "assistant",
            "isSidechain": True,
            "message": {"content": [{"type": "text", "text": "Seen."}]},
        },
        {
            "type": "user",
            "message": {"content": [{"type": "tool_result", "tool_use_id": "t1", "content": "Seen."}]},
        },
        {"type": "assistant", "message": {"content": "Done."}},
    ]
    path = tmp_path / "old.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    os.utime(path, (LONG_AGO, LONG_AGO))
    import_sessions("claude-code", [path], home)
    record = recorded()
    first, second = record.of("run_start")
    assert (first["parent_run_id"], second["parent_run_id"]) == (None, first["run_id"])
    last = record.of("request")[1]
    assert [m["content"] for m in record.messages(last)] == ["Go.", "", "Seen."]


def test_a_command_that_the_user_rejected(tmp_path: Path, home: Home, recorded: Recording) -> None:
    """Version 2 of mini-swe-agent, told to act in text, with a user who is asked."""
    block = "```mswea_bash_command\nrm -r /\n```"
    rejected = {
        "role": "user",
        "content": "Commands not executed.",
        "extra": {"interrupt_type": "UserRejection"},
    }
    messages = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": f"So: {block}"},
        rejected,
    ]
    path = tmp_path / "a.traj.json"
    path.write_text(json.dumps({"trajectory_format": "mini-swe-agent-1.1", "messages": messages, "info": {}}))
    import_sessions("mini-swe-agent", [tmp_path], home)
    (call,) = recorded().tool_calls()
    assert (call["status"], call["error"], call["raw_arguments"]) == (
        "denied",
        "Commands not executed.",
        block,
    )
    assert recorded().one("feedback")["target_id"] == call["call_id"]
    assert [message["role"] for message in recorded().bodies.values()] == ["user", "assistant", "user"]


_WORDS = st.sampled_from(
    [
        *(
            "user",
            "assistant",
            "system",
            "tool_use",
            "tool_result",
            "text",
            "thinking",
            "message",
            "reasoning",
        ),
        *("function_call", "function_call_output", "response_item", "event_msg", "session_meta", "compacted"),
        *("token_count", "thread_rolled_back", "task_complete", "turn_context", "exec_command_end", "image"),
        *("a", "b", "c", "exit", "tool", "", "2026-03-01T10:00:00Z", "```bash\nls\n```", "attachment"),
    ]
)
_NAMES = st.sampled_from(
    [
        *(
            "type",
            "message",
            "content",
            "role",
            "uuid",
            "parentUuid",
            "id",
            "tool_use_id",
            "name",
            "input",
            "text",
        ),
        *(
            "payload",
            "call_id",
            "arguments",
            "output",
            "timestamp",
            "info",
            "num_turns",
            "replacement_history",
        ),
        *(
            "isSidechain",
            "agentId",
            "toolUseResult",
            "usage",
            "isApiErrorMessage",
            "source",
            "last_token_usage",
        ),
        *(
            "messages",
            "trajectory",
            "extra",
            "tool_calls",
            "tool_call_id",
            "trajectory_format",
            "resolved",
            "model",
        ),
        *("attachment", "prompt", "summary", "action", "result", "duration", "secs", "response", "choices"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**18) | st.floats(allow_nan=True) | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=25,
)
_LINES = st.lists(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=7), min_size=1, max_size=8)


@pytest.mark.parametrize("name", ["mini-swe-agent", "claude-code", "codex", "openai-chat"])
@settings(max_examples=30, deadline=None)
@given(lines=_LINES)
def test_whatever_a_file_holds_it_is_imported_or_refused_in_a_sentence(
    name: str, lines: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    path = folder / "rollout-odd.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    os.utime(path, (LONG_AGO, LONG_AGO))
    home = Home(folder / "home")
    try:
        found = import_sessions(name, [path], home)
    except TracemillError as error:
        assert "\n" not in str(error)
        return
    events = list(read_events(found.path))
    assert events
    assert all(line.fault is None for line in events)
    assert import_sessions(name, [path], home) == found


def test_all_sessions_of_a_real_agent(shared_data: Path) -> None:
    """Every block the agent found in an answer is a call, and what ran is what the agent ran."""
    path = shared_data / "mini-swe-agent" / "sessions.jsonl.gz"
    blocks: Counter[int] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            for message in json.loads(line)["trajectory"]["messages"]:
                if message["role"] == "assistant":
                    blocks[len(re.findall(r"```bash\s*\n.*?\n```", message["content"], re.DOTALL))] += 1
    sessions = outcomes = good = 0
    statuses: Counter[str | None] = Counter()
    for session in mini_swe.read([Source(path)], Options()):
        sessions += 1
        outcomes += len(session.outcomes)
        good += session.outcomes[0].verdict == "good"
        statuses.update(made.status for turn in session.turns() for made in turn.calls)
        assert session.left_out == {"templates and limits of the agent (info.config.agent)": 1}
    assert (sessions, outcomes, good) == (250, 250, 185)
    assert sum(statuses.values()) == sum(count * times for count, times in blocks.items())
    assert statuses["ok"] + statuses["error"] == blocks[1]
    assert set(statuses) == {"ok", "error", "invalid"}


def test_what_was_imported_is_told(samples: Path, home: Home) -> None:
    told: list[tuple[str, int, int]] = []

    def tell(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    found: Imported = import_sessions("codex", [samples / "codex"], home, progress=tell)
    assert (found.sessions, found.tool_calls) == (2, 6)
    assert told[:2] == [("files", 1, 2), ("files", 2, 2)]
    assert told[-1] == ("sessions", 2, 2)
