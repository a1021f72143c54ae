"""Spans of the GenAI conventions come in as sessions and go out as they were."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interchange import known_spans, read_and_written, sessions_of, there_and_back, write_lines
from tracemill.tracer import TracemillError
from tracemill.tracer.dumps import otlp
from tracemill.tracer.dumps.formats import DUMP_FORMATS
from tracemill.tracer.importers.formats import FORMATS
from tracemill.tracer.importers.imported_session import (
    Id,
    ImportedCall,
    ImportedRun,
    ImportedSession,
    ImportedTurn,
    Outcome,
)
from tracemill.tracer.importers.options import Options
from tracemill.tracer.importers.records import Source

Document = dict[str, Any]

_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
_word = st.sampled_from(["a", "b", "c"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | _text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_word, inner, max_size=2),
    max_leaves=4,
)
_object = st.dictionaries(_word, _json, max_size=2)


def _fields(required: dict[str, Any], **optional: Any) -> Any:
    return st.fixed_dictionaries(required, optional=optional)


# What OTLP has for values: exactly one of these.
_value = st.recursive(
    st.one_of(
        _text.map(lambda value: {"stringValue": value}),
        st.booleans().map(lambda value: {"boolValue": value}),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: {"intValue": str(value)}),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda value: {"doubleValue": value}),
        st.just({"doubleValue": "NaN"}),
        st.just({"bytesValue": "QUJD"}),
    ),
    lambda inner: st.lists(inner, max_size=2).map(lambda values: {"arrayValue": {"values": values}}),
    max_leaves=3,
)
_attributes = st.lists(
    st.tuples(st.sampled_from(["my.team", "http.route", "gen_ai.provider.name", "gen_ai.request.seed"]), _value).map(
        lambda pair: {"key": pair[0], "value": pair[1]}
    ),
    unique_by=lambda one: one["key"],
    max_size=3,
)  # fmt: skip

_file = st.one_of(
    _fields(
        {"type": st.just("blob"), "modality": _word, "content": st.just("QUJD")},
        mime_type=st.just("image/png"),
    ),
    _fields({"type": st.just("uri"), "modality": _word, "uri": _text}, mime_type=st.just("image/png")),
    _fields({"type": st.just("file"), "modality": _word, "file_id": _text}),
)
_plain = st.one_of(
    _fields({"type": st.just("text"), "content": _text}), _file, _fields({"type": _word, "x": _json})
)
_call = _fields({"type": st.just("tool_call"), "name": _word}, id=_word, arguments=_object | _text)
_result = _fields({"type": st.just("tool_call_response"), "response": _json | _text}, id=_word)
_thought = _fields({"type": st.just("reasoning"), "content": _text})
_message = st.one_of(
    _fields({"role": st.sampled_from(["system", "user"]), "parts": st.lists(_plain, max_size=3)}, name=_word),
    _fields({"role": st.just("assistant"), "parts": st.lists(_plain | _call | _thought, max_size=3)}),
    _fields({"role": st.just("tool"), "parts": st.lists(_result, max_size=2)}),
    _fields({"role": _word, "parts": st.lists(_plain | _result, max_size=3)}),
)
_tool = _fields(
    {"type": st.just("function"), "name": _word}, description=_text, parameters=_object, strict=st.booleans()
)


def _said(name: str, value: Any) -> Document:
    match value:
        case str():
            return {"key": name, "value": {"stringValue": value}}
        case int():
            return {"key": name, "value": {"intValue": value}}
        case _ if name.endswith("reasons"):
            return {"key": name, "value": {"arrayValue": {"values": [{"stringValue": one} for one in value]}}}
        case _:
            return {"key": name, "value": {"stringValue": json.dumps(value)}}


@st.composite
def _exports(draw: st.DrawFn, traces: int = 2) -> list[Document]:
    """The records of a file: the spans of some traces, whoever wrote them."""
    spans: list[Document] = []
    conversations: dict[str, str | None] = {}
    for trace in range(draw(st.integers(1, traces))):
        trace_id = f"{trace + 1:032x}"
        conversation = conversations[trace_id] = draw(st.sampled_from([None, "one", "two"]))
        history: list[Any] = draw(st.lists(_message, max_size=3))
        within: list[str] = []
        clock = 1_700_000_000_000_000_000 + draw(st.integers(0, 10**9))
        for _ in range(draw(st.integers(1, 5))):
            kind = draw(st.sampled_from(["invoke_agent", "chat", "chat", "execute_tool", "embeddings", None]))
            said: dict[str, Any] = {"gen_ai.operation.name": kind} if kind else {}
            if conversation:
                said["gen_ai.conversation.id"] = conversation
            if kind == "invoke_agent":
                said |= draw(_fields({}, **{"gen_ai.agent.name": _word, "gen_ai.request.model": _word}))
            elif kind == "execute_tool":
                said |= draw(
                    _fields(
                        {"gen_ai.tool.name": _word},
                        **{
                            "gen_ai.tool.call.id": _word,
                            "gen_ai.tool.call.arguments": _object | _text,
                            "gen_ai.tool.call.result": _text,
                        },
                    )
                )
            elif kind == "chat":
                answer = {**draw(_message), "role": "assistant"}
                said |= draw(
                    _fields(
                        {"gen_ai.input.messages": st.just(list(history))},
                        **{
                            "gen_ai.system_instructions": st.lists(_plain, max_size=2),
                            "gen_ai.request.model": _word,
                            "gen_ai.response.model": _word,
                            "gen_ai.usage.input_tokens": st.integers(0, 99),
                            "gen_ai.usage.output_tokens": st.integers(0, 99),
                            "gen_ai.response.finish_reasons": st.lists(_word, min_size=1, max_size=1),
                            "gen_ai.tool.definitions": st.lists(_tool, max_size=2),
                        },
                    )
                )
                outputs = [answer, *draw(st.lists(_message, max_size=1))]
                said["gen_ai.output.messages"] = [
                    {**one, "finish_reason": draw(_word)} if draw(st.booleans()) else one for one in outputs
                ]
                history = draw(st.sampled_from([history, [*history, answer], history[:1]]))
                history = [*history, *draw(st.lists(_message, max_size=2))]
            clock += draw(st.integers(0, 10**9))
            span: Document = {
                "traceId": trace_id,
                "spanId": f"{len(spans) + 1:016x}",
                "name": draw(_word),
                "kind": draw(st.sampled_from([1, 3])),
                "startTimeUnixNano": str(clock),
                "endTimeUnixNano": str(clock + draw(st.integers(0, 10**9))),
                "attributes": [
                    *(_said(name, value) for name, value in said.items()),
                    *(one for one in draw(_attributes) if one["key"] not in said),
                ],
                **draw(
                    _fields(
                        {},
                        status=_fields({}, code=st.sampled_from([1, 2]), message=_text),
                        events=st.lists(
                            _fields({"name": _word, "timeUnixNano": st.just("5")}, attributes=_attributes),
                            max_size=1,
                        ),
                        links=st.just([{"traceId": "ab" * 16, "spanId": "cd" * 8}]),
                        flags=st.just(256),
                    )
                ),
            }
            if within and draw(st.booleans()):
                span["parentSpanId"] = draw(st.sampled_from(within))
            within.append(span["spanId"])
            spans.append(span)
    # Somebody must have asked a model: a trace in which nobody did is no session.
    for trace_id in {span["traceId"] for span in spans}:
        spans.append(_asked(trace_id, f"{len(spans) + 1:016x}", conversations[trace_id]))
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": draw(_word)}}]}
    size = draw(st.integers(1, len(spans)))
    return [
        {
            "resourceSpans": [
                {
                    "resource": resource,
                    "scopeSpans": [{"scope": {"name": draw(_word)}, "spans": spans[at : at + size]}],
                }
            ]
        }
        for at in range(0, len(spans), size)
    ]


def _asked(trace_id: str, span_id: str, conversation: str | None) -> Document:
    said = {
        **({"gen_ai.conversation.id": conversation} if conversation else {}),
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "ho"}]}],
    }
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "name": "chat",
        "startTimeUnixNano": "1600000000000000000",
        "endTimeUnixNano": "1600000001000000000",
        "attributes": [_said(name, value) for name, value in said.items()],
    }


@given(_exports())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_spans_are_written_as_they_were_read(documents: list[Document]) -> None:
    assert known_spans(read_and_written("otel-genai", documents)) == known_spans(documents)


@given(_exports(traces=6))
@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_spans_come_out_of_the_warehouse_as_they_went_in(documents: list[Document]) -> None:
    assert known_spans(there_and_back("otel-genai", documents)) == known_spans(documents)


def _span(trace: str, id: str, kind: str, at: int, parent: str | None = None, **said: Any) -> Document:
    named = {"gen_ai.operation.name": kind, **{f"gen_ai.{name}": value for name, value in said.items()}}
    return {
        "traceId": trace,
        "spanId": id,
        **({"parentSpanId": parent} if parent else {}),
        "name": kind,
        "startTimeUnixNano": str(at * 10**9),
        "endTimeUnixNano": str((at + 1) * 10**9),
        "attributes": [_said(name.replace("__", "."), value) for name, value in named.items()],
    }


def test_a_call_that_waited_for_another_is_a_span_from_when_it_ran() -> None:
    def call(name: str, ended: float, latency_ms: float | None) -> ImportedCall:
        made: Any = {"id": name, "name": name, "arguments": {}}
        return ImportedCall(Id(name), made, "{}", "ok", "", None, 11.0, ended, latency_ms)

    made = [call("first", 13.0, 2000.0), call("second", 16.5, 3500.0), call("untold", 17.0, None)]
    answer: Any = {"role": "assistant", "content": "", "tool_calls": [one.call for one in made]}
    turn = ImportedTurn(Id("r"), [{"role": "user", "content": "hi"}], answer, made, sent=10.0, received=11.0)
    session = ImportedSession("s", "pydantic-ai", "coder", 10.0, [ImportedRun([turn], Id("u"))])
    written = list(DUMP_FORMATS["otel-genai"].write(session, Counter()))
    times = {
        span["name"].removeprefix("execute_tool "): (int(span["start"]), int(span["end"]))
        for span in otlp.spans_of(written[0])
    }
    assert [times[one] for one in ("first", "second", "untold")] == [
        (11_000_000_000, 13_000_000_000), (13_000_000_000, 16_500_000_000), (11_000_000_000, 17_000_000_000),
    ]  # fmt: skip
    (back,) = sessions_of("otel-genai", written)
    assert [one.started for one in back.turns()[0].calls] == [11.0, 11.0, 11.0]


def _export(*spans: Document) -> Document:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


TRACE, ANSWER = "ab" * 16, [{"role": "assistant", "parts": [{"type": "text", "content": "ho"}]}]
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]


def test_the_outermost_conversation_is_the_session() -> None:
    spans = [
        _span(TRACE, "1" * 16, "invoke_agent", 1, conversation__id="one", agent__name="boss"),
        _span(TRACE, "2" * 16, "execute_tool", 2, "1" * 16, tool__name="ask"),
        _span(TRACE, "3" * 16, "invoke_agent", 3, "2" * 16, conversation__id="two", agent__name="helper"),
        _span(TRACE, "4" * 16, "chat", 4, "3" * 16, input__messages=ASKED, output__messages=ANSWER),
        _span(
            "cd" * 16,
            "5" * 16,
            "chat",
            5,
            conversation__id="one",
            input__messages=ASKED,
            output__messages=ANSWER,
        ),
    ]
    # The lines of a file are in no order.
    (session,) = sessions_of(
        "otel-genai", [_export(spans[4]), _export(spans[3], spans[1]), _export(spans[0], spans[2])]
    )
    boss, helper, alone = session.runs
    assert (session.agent, session.metadata["conversation"]) == ("boss", "one")
    assert (helper.agent, helper.parent, boss.parent, alone.parent) == ("helper", boss.key, None, None)
    assert [str(turn.key) for turn in session.turns()] == [TRACE + "4" * 16, "cd" * 16 + "5" * 16]


def test_calls_without_spans_are_told_by_the_messages() -> None:
    call = {"type": "tool_call", "id": "c", "name": "look", "arguments": {"x": 1}}
    asked = [{"role": "assistant", "parts": [call]}]
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "seen"}]}
    spans = [
        _span(TRACE, "1" * 16, "chat", 1, input__messages=ASKED, output__messages=asked),
        _span(TRACE, "2" * 16, "chat", 2, input__messages=[*ASKED, *asked, result], output__messages=ANSWER),
    ]
    (session,) = sessions_of("otel-genai", [_export(*spans)])
    first, last = session.turns()
    assert (last.previous, last.kept) == (first.key, 1)
    assert [(call.status, call.result) for call in first.calls] == [("ok", "seen")]
    (answer,) = last.added[1:]
    assert (answer["role"], answer.get("name"), answer["content"]) == ("tool", "look", "seen")


def test_an_evaluation_is_an_outcome() -> None:
    span = _span(TRACE, "1" * 16, "chat", 1, input__messages=ASKED, output__messages=ANSWER)
    told = [
        _said("gen_ai.evaluation.name", "Correctness"),
        _said("gen_ai.evaluation.score.label", "fail"),
        {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.25}},
    ]
    span["events"] = [{"name": "gen_ai.evaluation.result", "attributes": told}]
    (session,) = sessions_of("otel-genai", [_export(span)])
    assert session.outcomes == [Outcome("bad", 0.25, "Correctness")]


def test_other_spans_are_left_out_and_counted(tmp_path: Path) -> None:
    other = {**_span(TRACE, "2" * 16, "x", 1), "name": "GET /", "attributes": []}
    embedding = _span(TRACE, "3" * 16, "embeddings", 2)
    asked = _span(TRACE, "1" * 16, "chat", 1, input__messages=ASKED, output__messages=ANSWER)
    path = write_lines(tmp_path / "in.jsonl", [_export(asked, other, embedding)])
    source = Source(path)
    (session,) = FORMATS["otel-genai"].read([source], Options())
    assert source.left_out == {"span that is not GenAI": 1}
    assert session.left_out == {"span embeddings, but for the metadata": 1}


def test_ids_in_base64_are_read() -> None:
    # What protobuf's own JSON has, and some exporters write.
    span = _span(TRACE, "1" * 16, "chat", 1, input__messages=ASKED, output__messages=ANSWER)
    span |= {
        "traceId": b64encode(bytes.fromhex(TRACE)).decode(),
        "spanId": b64encode(bytes.fromhex("1" * 16)).decode(),
    }
    span["kind"] = "SPAN_KIND_CLIENT"
    (session,) = sessions_of("otel-genai", [_export(span)])
    assert [str(turn.key) for turn in session.turns()] == [TRACE + "1" * 16]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"resourceLogs": []}, "no resourceSpans"),
        ([1, 2], "no resourceSpans"),
        (_export({"spanId": "1"}), "no field 'traceId'"),
        (_export({"traceId": "xyz", "spanId": "1"}), "not as OTLP"),
    ],
)
def test_what_is_no_export_of_spans_is_refused(broken: Any, why: str) -> None:
    asked = _span(TRACE, "1" * 16, "chat", 1, input__messages=ASKED, output__messages=ANSWER)
    with pytest.raises(TracemillError, match=why):
        sessions_of("otel-genai", [_export(asked), broken])
