"""A conversation between an editor and an agent, message by message, and the events it gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, cast

from tracemill.tracer import events
from tracemill.tracer.acp.record import AcpRecord
from tracemill.tracer.acp.session import Connection
from tracemill.tracer.redact import Redactor

AnyDict = dict[str, Any]
OPTIONS = [
    {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
    {"optionId": "ever", "name": "Always allow", "kind": "allow_always"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
    {"optionId": "never", "name": "Always reject", "kind": "reject_always"},
]


class Talk:
    """Both sides of a connection; every message takes a second. Answers name the request they answer."""

    def __init__(self) -> None:
        self.connection = Connection(
            Redactor({}).redact_message,
            agent="agent",
            project="/somewhere",
            process={"pid": 7, "recording": "recording1"},
        )
        self.record = AcpRecord(self.connection)
        self.events: list[AnyDict] = []
        self.now = 1000.0
        self._ids: Iterator[int] = count()

    def say(self, sender: Any, message: AnyDict) -> list[AnyDict]:
        """One message as it is on the wire; the events it gives."""
        self.now += 1
        return self._heard(self.record.take(sender, self.now, {"jsonrpc": "2.0", **message}))

    def close(self, status: Any, error: str | None = None) -> list[AnyDict]:
        """The connection is over; the events that gives."""
        return self._heard(self.record.close(self.now, status, error))

    def _heard(self, told: list[events.AnyEvent]) -> list[AnyDict]:
        for event in told:
            assert events.fault(event) is None
        self.events += cast("list[AnyDict]", told)
        return cast("list[AnyDict]", told)

    def client(self, method: str, params: AnyDict, id: Any = None) -> Any:
        """A request of the editor; its id."""
        name = next(self._ids) if id is None else id
        self.say("client", {"id": name, "method": method, "params": params})
        return name

    def agent(self, method: str, params: AnyDict, id: Any = None) -> Any:
        """A request of the agent; its id. Both sides count from 0, as they do in life."""
        name = next(self._ids) if id is None else id
        self.say("agent", {"id": name, "method": method, "params": params})
        return name

    def client_answers(self, id: Any, result: AnyDict) -> list[AnyDict]:
        return self.say("client", {"id": id, "result": result})

    def agent_answers(self, id: Any, result: AnyDict) -> list[AnyDict]:
        return self.say("agent", {"id": id, "result": result})

    def open(self, session: str = "s", cwd: str = "/project") -> None:
        """A new session."""
        self.agent_answers(
            self.client("session/new", {"cwd": cwd, "mcpServers": []}),
            {"sessionId": session, "_meta": {"resume_token": "resume-me-5d41402abc"}},
        )

    def prompt(self, text: str = "Do it.", session: str = "s", id: Any = None) -> Any:
        blocks = [{"type": "text", "text": text}]
        return self.client("session/prompt", {"sessionId": session, "prompt": blocks}, id)

    def update(self, what: str, /, session: str = "s", **fields: Any) -> list[AnyDict]:
        """A notification of the agent."""
        told = {"sessionId": session, "update": {"sessionUpdate": what, **fields}}
        return self.say("agent", {"method": "session/update", "params": told})

    def chunk(self, text: str, session: str = "s", kind: str = "agent_message_chunk", **fields: Any) -> None:
        self.update(kind, session, content={"type": "text", "text": text}, **fields)

    def permission(self, call: AnyDict, option: str | None, session: str = "s") -> list[AnyDict]:
        """A person is asked about a call and chooses an option, or none; the events of the answer."""
        asked = {"sessionId": session, "toolCall": call, "options": OPTIONS}
        name = self.agent("session/request_permission", asked)
        chosen = {"outcome": "selected", "optionId": option} if option else {"outcome": "cancelled"}
        return self.client_answers(name, {"outcome": chosen})

    def of(self, kind: str) -> list[AnyDict]:
        return [event for event in self.events if event["kind"] == kind]

    def one(self, kind: str) -> AnyDict:
        (event,) = self.of(kind)
        return event

    def bodies(self) -> dict[str, AnyDict]:
        return {event["message_id"]: event["message"] for event in self.of("message")}

    def answers(self) -> list[AnyDict | None]:
        """The assistant message of each response."""
        bodies = self.bodies()
        return [event["message_id"] and bodies[event["message_id"]] for event in self.of("response")]

    def calls(self) -> list[AnyDict]:
        """Starts and ends joined; `status` is None for an unfinished call."""
        ends = {event["call_id"]: event for event in self.of("tool_end")}
        starts = self.of("tool_start")
        assert len({start["call_id"] for start in starts}) == len(starts)
        assert len(ends) == len(self.of("tool_end"))
        return [{"status": None, **start, **ends.get(start["call_id"], {})} for start in starts]
