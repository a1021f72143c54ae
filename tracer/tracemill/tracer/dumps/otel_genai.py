"""Sessions as spans of OpenTelemetry's GenAI conventions.

In: a session. Out: one `ExportTraceServiceRequest` (OTLP/JSON) with a span for every run (`invoke_agent`),
every request (`chat`) and every tool call (`execute_tool`); the conventions are
https://github.com/open-telemetry/semantic-conventions-genai. Every request carries all of its messages, so
branches and failed requests show as they were. The labels of a session are events of its first run
(`gen_ai.evaluation.result`). What the conventions have no attribute for stands in attributes of our own,
`tracemill.*`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tracemill.tracer.dumps import otel_messages, otlp, own
from tracemill.tracer.dumps.atif import offered
from tracemill.tracer.dumps.conversations import Place, request_places
from tracemill.tracer.dumps.otlp import Span
from tracemill.tracer.dumps.own import object_at
from tracemill.tracer.dumps.times import nanoseconds
from tracemill.tracer.importers.imported_session import (
    ImportedCall,
    ImportedRun,
    ImportedSession,
    ImportedTurn,
    Key,
)
from tracemill.tracer.importers.residue import restored
from tracemill.tracer.messages import content_id, parse_arguments

NAME = "otel-genai"

INTERNAL, CLIENT = 1, 3
ERROR = 2
UNKNOWN = "unknown"
"""The reason why a model stopped, where it gave none; the conventions want one."""

_ROUNDED = 0.001
"""Seconds by which two times may differ that are the same."""
_SPAN_ID = re.compile("[0-9a-f]{48}")


def write(session: ImportedSession, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """The one request that carries the spans of a session."""
    if not session.runs:
        left_out["session without a run"] += 1
        return
    whole = restored(document(session), object_at(session.metadata, NAME).get("residue"))
    resources, scopes = whole["resources"], whole["scopes"]
    spans = [
        {**span, "resource": resources[span["resource"]], "scope": scopes[span["scope"]]}
        for _, span in sorted(whole["spans"].items(), key=lambda item: (int(item[1]["start"]), item[0]))
    ]
    yield otlp.request_of(spans)


def document(session: ImportedSession) -> dict[str, Any]:
    """The spans of a session by trace and span id; resource and scope by number."""
    made = _Spans(session, object_at(session.metadata, NAME, "forms"))
    for run in session.runs:
        made.add_run(run)
    if session.facts:
        first = next((run for run in session.runs if run.parent is None), session.runs[0])
        made.spans[made.id(first.key)]["events"] = [_event(dict(fact)) for fact in session.facts]
    described = own.session_fields(session, NAME)
    if session.rest:
        described["rest"] = list(session.rest)  # no request was ever sent with these
    about = {"service.name": session.agent, "tracemill.session": described}
    return {"resources": [{"attributes": about}], "scopes": [{"name": "tracemill"}], "spans": made.spans}


class _Spans:
    """Makes the spans of one session."""

    def __init__(self, session: ImportedSession, forms: Mapping[str, Any]) -> None:
        """`forms` are messages as they were where that is not how we write them, by request and number."""
        self._session, self._forms = session, forms
        self._places = request_places(session)
        keys = [str(part.key) for part in (*session.runs, *session.turns())]
        known = next((key[:32] for key in keys if _SPAN_ID.fullmatch(key)), None)
        self._trace = known or content_id(["trace", session.session_id])
        self.spans: dict[str, Span] = {}

    def id(self, key: Key) -> str:
        """The trace and the span of a run, a request or a call: its id, if that is one of OpenTelemetry's."""
        text = str(key)
        return text if _SPAN_ID.fullmatch(text) else self._trace + content_id(["span", text])[:16]

    def add_run(self, run: ImportedRun) -> None:
        """The spans of a run, its requests and calls."""
        turns = list(run.turns)
        times = [run.started, run.ended, *(turn.sent for turn in turns), *(turn.received for turn in turns)]
        known = [time for time in times if time is not None] or [self._session.ts]
        agent = run.agent or self._session.agent
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent,
            **self._model(run.model),
            "tracemill.run": own.run_fields(run),
        }
        self._add(
            run.key, f"invoke_agent {agent}", INTERNAL, run.parent,
            run.started if run.started is not None else min(known),
            run.ended if run.ended is not None else max(known), attributes, run.error,
            failed=run.status == "error",
        )  # fmt: skip
        for turn in turns:
            self._add_turn(run, turn)
            for call in turn.calls:
                self._add_call(run, call, turn.received or turn.sent, turn.key)
        for call in run.calls:
            self._add_call(run, call, run.started, None)

    def _add_turn(self, run: ImportedRun, turn: ImportedTurn) -> None:
        model = turn.model or run.model
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            **self._model(model),
            **({"gen_ai.response.model": turn.answered_by} if turn.answered_by else {}),
            **({"gen_ai.usage.input_tokens": turn.input_tokens} if turn.input_tokens is not None else {}),
            **({"gen_ai.usage.output_tokens": turn.output_tokens} if turn.output_tokens is not None else {}),
            **({"gen_ai.response.finish_reasons": [turn.finish_reason]} if turn.finish_reason else {}),
            **self._messages(turn),
            "tracemill.request": own.turn_fields(turn),
        }
        if (tools := offered(self._session, turn)) is not None:
            attributes["gen_ai.tool.definitions"] = [otel_messages.written_tool(tool) for tool in tools]
        sent = turn.sent if turn.sent is not None else self._session.ts
        self._add(
            turn.key, f"chat {model}", CLIENT, run.key, sent,
            turn.received if turn.received is not None else sent, attributes, turn.error,
            failed=turn.error is not None,
        )  # fmt: skip

    def _messages(self, turn: ImportedTurn) -> dict[str, Any]:
        forms = object_at(self._forms, str(turn.key))
        system, sent = self._input(self._places[turn.key])
        found: dict[str, Any] = {"gen_ai.system_instructions": system} if system else {}
        found["gen_ai.input.messages"] = sent
        if turn.answer is not None:
            answer = otel_messages.written(turn.answer)
            answers = forms.get("output") or [answer]
            answers = [{**answers[0], "finish_reason": turn.finish_reason or UNKNOWN}, *answers[1:]]
            found["gen_ai.output.messages"] = answers
        return found

    def _input(self, places: list[Place]) -> tuple[list[Any], list[Any]]:
        """The instructions and the messages of a request, those that were written otherwise as they were."""
        system: list[Any] = []
        sent: list[Any] = []
        at = 0
        while at < len(places):
            place = places[at]
            form = object_at(self._forms, str(place.turn), str(place.number))
            count = form.get("count", 1)
            group = [(one.turn, one.number) for one in places[at : at + count]]
            if form and group == [(place.turn, place.number + more) for more in range(count)]:
                (system if "system" in form else sent).extend(form.get("system") or [form["message"]])
                at += count
            else:
                sent.append(otel_messages.written(place.message))
                at += 1
        return system, sent

    def _add_call(self, run: ImportedRun, call: ImportedCall, asked: float | None, request: Key) -> None:
        arguments = parse_arguments(call.raw_arguments)
        said = own.call_fields(call, arguments, call.result)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.call["name"],
            "gen_ai.tool.call.id": call.call["id"],
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.arguments": arguments,
            **({} if call.result is None else {"gen_ai.tool.call.result": call.result}),
            "tracemill.call": {**said, **({} if request is None else {"request": request})},
        }
        started = _begun(call, asked or self._session.ts)
        self._add(
            call.key, f"execute_tool {call.call['name']}", INTERNAL, call.parent or run.key, started,
            call.ended if call.ended is not None else started, attributes, call.error,
            failed=call.status in ("error", "retry", "invalid", "unknown"),
        )  # fmt: skip

    def _model(self, model: str) -> dict[str, Any]:
        named = {} if model == "unknown" else {"gen_ai.request.model": model}
        return {"gen_ai.conversation.id": self._session.session_id, **named}

    def _add(
        self, key: Key, name: str, kind: int, parent: Key, start: float, end: float,
        attributes: dict[str, Any], error: str | None, *, failed: bool,
    ) -> None:  # fmt: skip
        id = self.id(key)
        span: Span = {
            "trace": id[:32], "id": id[32:], "name": name, "kind": kind, "attributes": attributes,
            "start": str(nanoseconds(start)), "end": str(nanoseconds(end)), "resource": 0, "scope": 0,
        }  # fmt: skip
        if parent is not None:
            span["parent"] = self.id(parent)[32:]
        if failed or error is not None:
            span["status"] = {"code": ERROR, **({"message": error} if error else {})}
            attributes["error.type"] = _error_type(error)
        self.spans[id] = span


def _begun(call: ImportedCall, asked: float) -> float:
    """When a call began to run: a recorded one may have waited for others since its answer came."""
    came = call.started if call.started is not None else asked
    if call.ended is None or call.latency_ms is None:
        return came
    begun = call.ended - call.latency_ms / 1000
    return begun if begun - came > _ROUNDED else came


def _error_type(error: str | None) -> str:
    """The name of an exception that an error begins with, or what the conventions have for others."""
    name, colon, _ = (error or "").partition(": ")
    return name if colon and name.isidentifier() else "_OTHER"


def _event(fact: dict[str, Any]) -> dict[str, Any]:
    """A label, a git state or a plan as an event of a span."""
    attributes: dict[str, Any] = {}
    if fact["kind"] in ("feedback", "outcome"):
        told = {
            "name": fact.get("source") or fact["kind"],
            "score.value": fact.get("score"),
            "score.label": fact.get("outcome"),
            "explanation": fact.get("note") or None,
        }
        attributes = {f"gen_ai.evaluation.{name}": item for name, item in told.items() if item is not None}
    name = "gen_ai.evaluation.result" if attributes else f"tracemill.{fact['kind']}"
    return {
        "name": name,
        "timeUnixNano": str(nanoseconds(fact["ts"])),
        "attributes": {**attributes, "tracemill.event": fact},
    }
