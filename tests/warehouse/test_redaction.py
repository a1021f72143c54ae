"""What was stored under older rules, redacted: in every place, with every chain of messages intact, and once."""

from __future__ import annotations

import json
import os
import random
import re
import string
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetting import Killed, check, facts, files_with, kill_at, left_behind
from session_events import SEARCH, AnyDict, lines, session, spool
from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.messages import message_id, toolset_id
from tracemill.tracer.redact import Redactor
from tracemill.tracer.spool import Spool, spool_files
from tracemill.warehouse import closing, store
from tracemill.warehouse.closing import CLOSED
from tracemill.warehouse.errors import WarehouseError
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Dataset, DatasetRow, Evaluation, EvaluationItem
from tracemill.warehouse.read import query
from tracemill.warehouse.redaction import Redacted, redact

PLACEHOLDER = r"\[REDACTED:[a-z0-9-]+:[0-9]+\]"


def secret(seed: int) -> str:
    """A key of no one, of a form that the rules know."""
    return "sk-proj-" + "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=40))


KEY = secret(0)
rules = partial(Redactor, {})


def contents_of(home: Home) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mode)
        for path in sorted(home.root.rglob("*"))
        if path.is_file()
    }


def prompts(home: Home) -> dict[str, str]:
    return dict(
        query(
            home,
            "SELECT session_id, messages->>'$[1].content' FROM conversations WHERE complete ORDER BY 1",
        ).rows()
    )


def test_a_secret_is_gone_from_every_file_and_a_second_time_changes_nothing(home: Home) -> None:
    spool(
        home, session("s1", prompt=f"use {KEY}", task=KEY), session("s2"), session("s3", prompt=f"use {KEY}")
    )
    untouched = spool(home, session("s4"), file="b.ndjson")
    ingest(home)
    assert len(files_with(home, KEY)) == 3
    before = contents_of(home)
    would = redact(home, dry_run=True, redactor=rules)
    assert contents_of(home) == before
    done = redact(home, redactor=rules)
    assert done == would == Redacted(["s1", "s3"], {"openai-key": 3}, 1)
    assert files_with(home, KEY) == []
    assert untouched.read_bytes() == before["b.ndjson"][0]
    assert prompts(home) == {
        "s1": "use [REDACTED:openai-key:1]",
        "s2": "Find s2.",
        "s3": "use [REDACTED:openai-key:1]",
        "s4": "Find s4.",
    }
    assert (
        query(home, "SELECT task FROM sessions WHERE session_id = 's1'").item() == "[REDACTED:openai-key:1]"
    )
    check(home)
    assert left_behind(home) == []
    again = contents_of(home)
    assert redact(home, redactor=rules) == Redacted()
    assert {name: data for name, (data, _) in contents_of(home).items()} == {
        name: data for name, (data, _) in again.items()
    }


def test_every_kind_of_event_is_redacted(home: Home) -> None:
    at: Any = {"ts": 1.0}
    plan = events.plan("s1", "s1-run", entries=[{"content": KEY, "priority": "high", "status": "open"}], **at)
    git = events.git("s1", moment="end", root="/p", commit="c", branch=KEY, files=[KEY], **at)
    told: list[Any] = [
        *session("s1", status="error"),
        plan,
        git,
        events.tool_start("s1", "c", run_id="r", request_id=None, tool_call_id="t", tool="run", raw_arguments=f'{{"key": "{KEY}"}}', **at),
        events.tool_end("s1", "c", status="error", arguments={"key": KEY}, result=[KEY], error=KEY, **at),
        events.feedback("s1", target="session", target_id="s1", score=1, note=KEY, **at),
        events.outcome("s1", outcome="bad", source="test", note=KEY, evidence={"output": KEY}, **at),
        events.run_end("s1", "s1-run", status="error", error=KEY, latency_ms=None, **at),
        events.response("s1", "s1-request9", message_id=None, error=KEY, **at),
        events.toolset([{**SEARCH, "description": KEY}], **at),
        events.message({"role": "user", "content": f"named by nobody: {KEY}"}, **at),
    ]  # fmt: skip
    spool(home, told, f"no event, but {KEY}\n".encode(), lines([{**told[0], "v": 2, "agent": KEY}]))
    store.record_dataset(home, Dataset("d1", "/d1", "h", {}, [DatasetRow("r", "train", "s1")]))
    store.record_evaluation(home, Evaluation("e1", "x", "m", [EvaluationItem("i", 1.0, "a", "b", "s1")]))
    path = next(path for path in spool_files(home) if b'"evaluation"' in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(b'"expected":"a"', f'"expected":"{KEY}"'.encode()))
    done = redact(home, redactor=rules)
    assert files_with(home, KEY) == []
    assert done.sessions == ["s1"]
    assert [one.id for one in done.made] == ["d1", "e1"]
    check(home)
    assert redact(home, redactor=rules) == Redacted()


def test_numbers_go_on_after_those_that_stand_there(home: Home) -> None:
    old = "[REDACTED:openai-key:2] and [REDACTED:jwt:7]"
    spool(home, session("s1", prompt=f"{KEY}, not {secret(1)}"), [])
    made = session("s2", prompt=f"again {KEY}", task=old)
    spool(home, made, file="b.ndjson")
    ingest(home)
    redact(home, redactor=rules)
    assert prompts(home) == {
        "s1": "[REDACTED:openai-key:1], not [REDACTED:openai-key:2]",
        "s2": "again [REDACTED:openai-key:3]",
    }


def test_a_message_that_sessions_shared_is_theirs_apart_where_their_numbers_are(home: Home) -> None:
    one = session("s1", prompt=KEY)
    other = session("s2", prompt=KEY, task="[REDACTED:openai-key:1]")
    spool(home, one, [event for event in other if event["kind"] != "message"])
    spool(home, [event for event in other if event["kind"] == "message" and KEY not in str(event)])
    ingest(home)
    assert query(home, "SELECT count(*) FROM messages WHERE content LIKE 'sk-%'").item() == 1
    redact(home, redactor=rules)
    assert prompts(home) == {"s1": "[REDACTED:openai-key:1]", "s2": "[REDACTED:openai-key:2]"}
    check(home)


def test_a_password_that_is_learned_late_is_hidden_before_too(home: Home) -> None:
    word = "Xk29vLq81Zt4"
    spool(home, session("s1", prompt=f"I always type {word} there."), session("s2"))
    ingest(home)
    assert redact(home, redactor=rules) == Redacted()
    late = {"message": {"role": "user", "content": f"password={word}"}, "kind": "message", "v": 1, "ts": 1.0}
    name = message_id(cast(Any, late["message"]))
    request = next(event for event in session("s1") if event["kind"] == "request")
    spool(
        home,
        [
            {**late, "id": f"message-{name}", "message_id": name},
            {**request, "id": "late", "request_id": "late", "previous": None, "kept": 0, "added": [name]},
        ],
        file="late.ndjson",
    )
    redact(home, redactor=rules)
    assert files_with(home, word) == []
    hidden = "I always type [REDACTED:password:1] there."
    assert query(home, f"SELECT count(*) FROM messages WHERE content = '{hidden}'").item() == 1
    check(home)


def test_the_secrets_of_this_environment_are_redacted(home: Home) -> None:
    value = "quite-a-long-value-7"
    spool(home, session("s1", prompt=f"it is {value}"))
    redact(home, redactor=partial(Redactor, {"DEPLOY_TOKEN": value}))
    assert prompts(home) == {"s1": "it is [REDACTED:variable:1]"}


def test_messages_after_the_last_answer_keep_their_names(home: Home) -> None:
    rest: Any = events.message({"role": "user", "content": f"and {KEY}?"}, ts=1.0)
    made = session("s1")
    made[0]["metadata"] = {"after_last_answer": [rest["message_id"]]}
    spool(home, made, [rest])
    redact(home, redactor=rules)
    assert query(
        home,
        "SELECT m.content FROM sessions JOIN messages AS m ON m.message_id = metadata->>'$.after_last_answer[0]'",
    ).rows() == [("and [REDACTED:openai-key:1]?",)]


def test_a_spool_file_that_is_gone_is_an_error_that_names_it(home: Home) -> None:
    spool(home, session("s1"))
    spool(home, session("s2"), file="b.ndjson")
    ingest(home)
    (home.spool / "b.ndjson").unlink()
    before = facts(home)
    with pytest.raises(
        WarehouseError, match=r"of which 1 files are gone \(b.ndjson, ...\): put them back into"
    ):
        redact(home, redactor=rules)
    assert facts(home) == before


@st.composite
def conversations(draw: st.DrawFn, name: str) -> list[AnyDict]:
    """Requests that go on from any earlier one at any length, of messages that sessions share, with secrets."""
    made: list[Any] = []
    lengths: list[list[str]] = []

    def body(role: str) -> str:
        words = draw(st.lists(st.sampled_from(["go", "on", secret(1), secret(2), secret(3)]), max_size=4))
        event = events.message({"role": cast(Any, role), "content": " ".join(words)}, ts=1.0)
        made.append(event)
        return event["message_id"]

    tools = events.toolset(
        [{**SEARCH, "description": draw(st.sampled_from(["", secret(1), secret(4)]))}], ts=1.0
    )
    made.append(tools)
    made.append(events.session(name, agent="a", project="/p", source="test", id=f"{name}-0", ts=1.0))
    for number in range(draw(st.integers(1, 4))):
        before = draw(st.sampled_from([None, *range(len(lengths))]))
        known = [] if before is None else lengths[before]
        kept = draw(st.integers(0, len(known)))
        added = [body("user") for _ in range(draw(st.integers(0, 2)))]
        ids = [*known[:kept], *added]
        lengths.append(ids)
        previous = None if before is None else f"{name}-{before}"
        at: Any = {"id": f"{name}-q{number}", "ts": 2.0 + number}
        common: Any = {"run_id": "r", "step": number, "model": "m", "toolset_id": tools["toolset_id"]}
        made.append(
            events.request(
                name, f"{name}-{number}", previous=previous, kept=kept, added=added, **common, **at
            )
        )
        at["id"] = f"{name}-a{number}"
        made.append(events.response(name, f"{name}-{number}", message_id=body("assistant"), **at))
    return draw(st.permutations(made))


def told(home: Home) -> dict[str, tuple[str, list[AnyDict], list[AnyDict]]]:
    """Every conversation: its session, its messages, its tools."""
    rows = query(
        home,
        "SELECT conversation_id, session_id, messages, tools FROM conversations JOIN toolsets USING (toolset_id) "
        "WHERE complete",
    ).rows()
    return {id: (whose, json.loads(messages), json.loads(tools)) for id, whose, messages, tools in rows}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_conversations_of_the_redacted_spool_are_the_redacted_conversations(
    tmp_path: Path, data: st.DataObject
) -> None:
    home = Home(tmp_path / os.urandom(8).hex())
    for name in ("s1", "s2", "s3"):
        made = data.draw(conversations(name))
        cut = data.draw(st.integers(0, len(made)))
        spool(home, made[:cut], file="a.ndjson")
        spool(home, made[cut:], file=data.draw(st.sampled_from(["a.ndjson", "b.ndjson", "import-c.ndjson"])))
    ingest(home)
    before = told(home)
    redact(home, redactor=rules)
    after = told(home)
    assert after.keys() == before.keys()
    shown: dict[str, dict[str, str]] = {}
    for id, (whose, *was) in before.items():
        assert after[id][0] == whose
        texts, now = json.dumps(was), json.dumps(list(after[id][1:]))
        # What stood between the secrets stands between the placeholders.
        assert re.split(r"sk-proj-\w{40}", texts) == re.split(PLACEHOLDER, now)
        for hidden, placeholder in zip(
            re.findall(r"sk-proj-\w{40}", texts), re.findall(PLACEHOLDER, now), strict=True
        ):
            assert shown.setdefault(whose, {}).setdefault(hidden, placeholder) == placeholder
    for names in shown.values():
        assert len(set(names.values())) == len(names)
    assert files_with(home, "sk-proj-") == []
    assert left_behind(home) == []
    check(home)
    assert redact(home, redactor=rules) == Redacted()


# It has never heard of the secret that the environment of the test holds.
WRITER = """
import itertools, os, signal, sys, time
from tracemill.tracer import Home, Spool, events
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
spool, told = Spool(Home.find()), open(sys.argv[1], "ab", buffering=0)
for n in itertools.count():
    names = [spool.message({"role": "user", "content": text}, "s") for text in ("always " + sys.argv[2], f"{n}")]
    if spool.write(events.request("s", str(n), run_id="r", step=n, model="m", previous=None, kept=0, added=names,
                                  toolset_id=None, id=f"e{n}")):
        told.write(f"e{n}\\n".encode())
    if n % 10 == 0:
        time.sleep(0.02)
    if not going:
        sys.exit(spool.dropped)
"""


def test_agents_go_on_recording(home: Home, tmp_path: Path) -> None:
    value, note = "quite-a-long-value-7", tmp_path / "written"
    environment = {**os.environ, "TRACEMILL_HOME": str(home.root)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(note), value], env=environment)
    strict = partial(Redactor, {"DEPLOY_TOKEN": value})
    try:
        for round in range(1, 4):
            while not note.exists() or note.stat().st_size < 1000 * round:
                assert writer.poll() is None
                time.sleep(0.01)
            done = redact(home, redactor=strict)
            assert (done.sessions, done.recording) == (["s"], 1)
            closed = [path for path in spool_files(home) if path.stat().st_mode & 0o777 == CLOSED]
            assert closed
            assert not any(value.encode() in path.read_bytes() for path in closed)
    finally:
        writer.terminate()
        assert writer.wait() == 0
    redact(home, redactor=strict)
    assert files_with(home, value) == []
    stored = query(home, "SELECT event_id FROM events WHERE kind = 'request'")["event_id"].to_list()
    assert len(stored) == len(set(stored))
    assert set(note.read_text().split()) <= set(stored)
    check(home)


@pytest.mark.parametrize("step", range(0, 14, 2))
def test_at_every_step_a_kill_only_delays_it(home: Home, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    for number in range(2):
        spool(home, session(f"s{number}", prompt=KEY, steps=2), file=f"import-{number}.ndjson")
    ingest(home)
    before = facts(home)
    with monkeypatch.context() as patched:
        kill_at(step, patched)
        with pytest.raises(Killed):
            redact(home, redactor=rules)
    committed = (home.root / "rewrite" / "commit.json").exists() or not files_with(home, KEY)
    ingest(home)
    assert left_behind(home) == []
    if committed:
        assert files_with(home, KEY) == []
    else:
        assert facts(home) == before
    redact(home, redactor=rules)
    assert files_with(home, KEY) == []
    assert prompts(home) == {"s0": "[REDACTED:openai-key:1]", "s1": "[REDACTED:openai-key:1]"}
    check(home)


def test_a_request_on_its_way_names_what_its_message_is_called_now(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "quite-a-long-value-7"
    recorder = Spool(home, Redactor({}))
    late = [recorder.message({"role": "user", "content": f"it is {value}"}, "s")]
    recorder.write(session("s")[0])  # pyright: ignore[reportArgumentType]
    real = closing.close_all

    def then_go_on(connection: Any, home: Home, catch_up: Callable[[], object]) -> None:
        real(connection, home, catch_up)
        if late:
            name = late.pop()
            recorder.write(
                events.request("s", "q", run_id="r", step=0, model="m", previous=None, kept=0, added=[name], toolset_id=None)
            )  # fmt: skip
            catch_up()

    monkeypatch.setattr(closing, "close_all", then_go_on)
    redact(home, redactor=partial(Redactor, {"DEPLOY_TOKEN": value}))
    recorder.close()
    assert files_with(home, value) == []
    assert query(home, "SELECT content FROM request_messages").rows() == [("it is [REDACTED:variable:1]",)]
    check(home)


def test_a_recorder_with_older_rules_names_what_stands_in_its_next_file(home: Home) -> None:
    value = "quite-a-long-value-7"
    recorder = Spool(home, Redactor({}))
    tools = recorder.toolset([SEARCH], "s")
    first = recorder.message({"role": "user", "content": f"it is {value}"}, "s")
    for number in range(2):
        recorder.write(
            events.request("s", f"q{number}", run_id="r", step=number, model="m", previous=None, kept=0, added=[first], toolset_id=tools)
        )  # fmt: skip
        redact(home, redactor=partial(Redactor, {"DEPLOY_TOKEN": value}))
        assert recorder.toolset([SEARCH], "s") == tools == toolset_id([SEARCH])
        assert recorder.message({"role": "user", "content": f"it is {value}"}, "s") == first
    recorder.close()
    redact(home, redactor=partial(Redactor, {"DEPLOY_TOKEN": value}))
    assert files_with(home, value) == []
    check(home)
