"""The lines of a run that are put together are those that events of the same content give."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from tracemill.tracer import Home, Spool, events, spool_files
from tracemill.tracer.json_text import spelled_text
from tracemill.tracer.messages import quoted
from tracemill.tracer.redact import Redactor
from tracemill.tracer.run_lines import RunLines
from tracemill.tracer.tool_calls import Call, Verdict

SECRET = "sk-ant-api03-" + "Zq7Xw2Rt9Lm4" * 3
ENVIRONMENT = {"HOME": "/home/jane", "DEPLOY_TOKEN": "Vb8tKq2mWz5x"}
SESSION, RUN = "session-1", "0" * 32
STAMP = re.compile(rb'"id":"[0-9a-f]{32}","ts":[0-9.]+')

texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=("Cs", "Lu")), max_size=4),
    st.sampled_from(
        (SECRET, "jane@example.com", "/home/jane/x", ENVIRONMENT["DEPLOY_TOKEN"], '{"a": "b\\n"}')
    ),
)
leaves = st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats())
values = st.recursive(
    leaves, lambda some: st.one_of(st.lists(some), st.dictionaries(texts, some)), max_leaves=6
)
own_ids = st.uuids().map(lambda one: one.hex)
calls = st.builds(
    Call,
    st.none() | own_ids,
    texts,
    texts,
    values,
    arguments=values,
    parent_call_id=st.none() | own_ids,
)
verdicts = st.builds(
    Verdict,
    st.sampled_from(("ok", "error", "retry", "deferred")),
    values,
    st.none() | texts,
    st.none() | st.floats(min_value=0, max_value=1e6),
)


def written(spool: Spool) -> bytes:
    return STAMP.sub(b"", b"".join(path.read_bytes() for path in spool_files(spool.home)))


def written_both_ways(lines_of: Callable[[RunLines], object], made: Sequence[Any]) -> None:
    """What `lines_of` writes is what the events of `made` are written as."""
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        quick = Spool(Home(Path(one)), Redactor(ENVIRONMENT))
        slow = Spool(Home(Path(other)), Redactor(ENVIRONMENT))
        lines_of(RunLines(quick, SESSION, RUN))
        for event in made:
            slow.write(event)
        quick.close()
        slow.close()
        assert written(quick) == written(slow)
        assert quick.dropped == slow.dropped


@given(st.text(st.characters() | st.characters(max_codepoint=0x7F) | st.just("\ud83d")))
def test_long_texts_are_spelled_as_short_ones(text: str) -> None:
    assert spelled_text(text * 200) == quoted(text * 200)


@given(calls, verdicts)
def test_the_lines_of_calls_are_those_of_events(call: Call, verdict: Verdict) -> None:
    def lines_of(lines: RunLines) -> None:
        lines.start(call)
        lines.end(call, verdict)

    start = events.tool_start(
        SESSION,
        call.call_id,
        run_id=RUN,
        request_id=call.request_id,
        tool_call_id=call.tool_call_id,
        tool=call.tool,
        raw_arguments=call.raw_arguments,
        parent_call_id=call.parent_call_id,
    )
    end = events.tool_end(
        SESSION,
        call.call_id,
        status=verdict.status,
        arguments=call.arguments,
        result=verdict.result,
        error=verdict.error,
        latency_ms=verdict.latency_ms,
    )
    written_both_ways(lines_of, (start, end))


tokens = st.none() | st.integers(min_value=0)


@given(st.none() | own_ids | texts, texts, texts, st.sampled_from(("ok", "error")), st.none() | texts)
def test_the_lines_of_a_run_are_those_of_its_events(
    parent_run_id: str | None, agent: str, model: str, status: events.RunStatus, error: str | None
) -> None:
    def lines_of(lines: RunLines) -> None:
        lines.run_start(parent_run_id, agent, model)
        lines.run_end(status, error, 0.5)

    start = events.run_start(SESSION, RUN, parent_run_id=parent_run_id, agent=agent, model=model)
    end = events.run_end(SESSION, RUN, status=status, error=error, latency_ms=0.5)
    written_both_ways(lines_of, (start, end))


@given(own_ids, texts, st.none() | own_ids, st.lists(own_ids, max_size=3), st.none() | own_ids)
def test_the_line_of_a_request_is_that_of_its_event(
    request_id: str, model: str, previous: str | None, added: list[str], toolset_id: str | None
) -> None:
    fields: Any = {"step": 3, "model": model, "previous": previous, "kept": 7}
    fields |= {"added": added, "toolset_id": toolset_id}
    written_both_ways(
        lambda lines: lines.request(request_id, **fields),
        [events.request(SESSION, request_id, run_id=RUN, **fields)],
    )


@given(own_ids, own_ids, st.none() | texts, tokens, tokens, st.none() | texts)
def test_the_line_of_a_response_is_that_of_its_event(
    request_id: str,
    message_id: str,
    finish_reason: str | None,
    input_tokens: int | None,
    output_tokens: int | None,
    model: str | None,
) -> None:
    fields: Any = {"message_id": message_id, "finish_reason": finish_reason, "model": model}
    fields |= {"input_tokens": input_tokens, "output_tokens": output_tokens, "latency_ms": 1.25}
    written_both_ways(
        lambda lines: lines.response(request_id, **fields),
        [events.response(SESSION, request_id, **fields)],
    )


@pytest.mark.parametrize("place", ["session", "run"])
def test_ids_that_become_a_secret_later_are_replaced(home: Home, place: str) -> None:
    environment: dict[str, Any] = {}
    spool = Spool(home, Redactor(environment))
    secret = "Vb8tKq2mWz5x"
    lines = RunLines(spool, *((secret, RUN) if place == "session" else (SESSION, secret)))
    lines.start(Call(None, "call-1", "read_file", {}))
    assert secret.encode() in written(spool)
    spool.close()
    for path in spool_files(home):
        path.unlink()
    environment["DEPLOY_TOKEN"] = secret
    lines.start(Call(None, "call-2", "read_file", {}))
    lines.end(Call(None, "call-2", "read_file", {}), Verdict("ok", "done"))
    told = written(spool)
    assert b"call-2" in told
    assert secret.encode() not in told
    spool.close()
