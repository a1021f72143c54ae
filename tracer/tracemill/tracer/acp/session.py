"""One session of an editor with an agent, as events.

In: the messages of the session, in the order of sending. Out: the events they mean. A prompt is a run with
one request (what the person said) and one response (all that the agent said in the turn); the next prompt
continues it. Permissions are feedback: what a person allowed scores 1, what they rejected -1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracemill.tracer import events
from tracemill.tracer.acp.calls import EditorCall, milliseconds
from tracemill.tracer.acp.content import (
    Object,
    as_list,
    as_object,
    as_text,
    model_named,
    option_chosen,
    plan_entries,
    prompt_content,
)
from tracemill.tracer.acp.reply import Reply
from tracemill.tracer.messages import Message, content_id

Told = list[events.AnyEvent]

_PASSED_OVER = frozenset(
    {
        *("user_message_chunk", "available_commands_update", "current_mode_update"),
        *("session_info_update", "usage_update", "plan_removed"),
    }
)
"""Known updates that say nothing of what was done."""


@dataclass
class Connection:
    """What all sessions of one connection have in common."""

    redact: Callable[[Message, str], Message]
    """Takes a message and the id of its session."""
    agent: str
    """As the agent calls itself."""
    project: str
    """The folder of a session that never says its own."""
    process: Mapping[str, Any]
    """Kept with each session; its `recording` tells this connection from any other."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the person who started the recording said of its sessions."""
    client: Object = field(default_factory=dict[str, Any])
    """Name and version of the editor."""
    counts: Counter[str] = field(default_factory=Counter[str])
    """How many sessions, prompts, tool calls and decisions there were."""
    unknown: Counter[str] = field(default_factory=Counter[str])
    """Updates of a kind that the protocol did not have when this was written."""


@dataclass
class Run:
    """A prompt and what comes of it."""

    prompt: str
    """Name of the JSON-RPC request that is answered at its end."""
    started: float
    cancelled: bool = False
    """Whether the person asked to stop it."""
    doubtful: bool = False
    """Whether it may have been answered unseen: the next prompt tells."""
    run_id: str = field(default_factory=events.new_id)
    request_id: str = field(default_factory=events.new_id)
    reply: Reply = field(default_factory=Reply)


class EditorSession:
    """Follows one session."""

    def __init__(self, connection: Connection, name: str) -> None:
        """`name` is the session's id between editor and agent; unique in their connection only."""
        self.session_id = content_id(["acp-tee", connection.process.get("recording"), name])
        self.project = connection.project
        self.model = "unknown"
        self.loading = False
        """An agent that loads a session tells all of it again."""
        self.runs: list[Run] = []
        """Unfinished ones; an agent works at the first."""
        self.terminals: dict[str, str] = {}
        """The last known output of each terminal."""
        self._connection = connection
        self._name = name
        self._described = False
        self._latest: Run | None = None
        self._length = 0
        """Messages of the latest run's request."""
        self._answer: events.MessageEvent | None = None
        """The answer to it."""
        self._calls: dict[str, EditorCall] = {}

    def prompt(self, ts: float, params: Object, name: str) -> Told:
        """A `session/prompt`, the request of that name, begins a run."""
        ended = [event for run in list(self.runs) if run.doubtful for event in self.end(run, ts, None)]
        text, attachments = prompt_content(as_list(params.get("prompt")))
        body: Message = {"role": "user", "content": text}
        if attachments:
            body["attachments"] = attachments
        asked = events.message(self._connection.redact(body, self.session_id), ts=ts)
        # The answer is told again: the file that has it may have been closed meanwhile.
        bodies = [*([self._answer] if self._answer else []), asked]
        added = [body["message_id"] for body in bodies]
        run = Run(name, ts)
        told: Told = [
            *ended,
            *self._description(ts),
            events.run_start(
                self.session_id,
                run.run_id,
                parent_run_id=None,
                agent=self._connection.agent,
                model=self.model,
                ts=ts,
            ),
            *bodies,
            events.request(
                self.session_id,
                run.request_id,
                run_id=run.run_id,
                step=0,
                model=self.model,
                previous=self._latest.request_id if self._latest else None,
                kept=self._length,
                added=added,
                # An editor is never told which tools the model was offered.
                toolset_id=None,
                ts=ts,
            ),
        ]
        self._connection.counts["prompts"] += 1
        self.runs.append(run)
        self._latest, self._answer = run, None
        self._length += len(added)
        return told

    def end(
        self,
        run: Run,
        ts: float,
        status: events.RunStatus | None,
        stop_reason: str | None = None,
        error: str | None = None,
    ) -> Told:
        """A run is over; without a status, it was only seen until here."""
        self.runs.remove(run)
        told: Told = []
        for call in self._calls.values():
            if call.run_id == run.run_id:
                told += call.run_is_over(ts, cancelled=status == "cancelled")
        reply = run.reply.message()
        said = (
            None if reply is None else events.message(self._connection.redact(reply, self.session_id), ts=ts)
        )
        if said is not None:
            told.append(said)
        if run is self._latest:
            self._answer = said
        took = milliseconds(run.started, ts)
        told.append(
            events.response(
                self.session_id,
                run.request_id,
                message_id=said and said["message_id"],
                finish_reason=stop_reason,
                latency_ms=took,
                error=error if said is None else None,
                ts=ts,
            )
        )
        if status is not None:
            told.append(
                events.run_end(
                    self.session_id,
                    run.run_id,
                    status=status,
                    error=error,
                    latency_ms=took,
                    stop_reason=stop_reason,
                    ts=ts,
                )
            )
        return told

    def update(self, ts: float, update: Object) -> Told:
        """What a `session/update` says; what comes outside of a turn belongs to none, tool calls apart."""
        kind = update.get("sessionUpdate")
        run = self.runs[0] if self.runs else None
        if kind in ("tool_call", "tool_call_update"):
            call = self._call(ts, update)
            return call.update(update, ts, self.terminals) if call else []
        if kind == "agent_message_chunk":
            if run is not None:
                run.reply.say(update)
        elif kind == "agent_thought_chunk":
            if run is not None:
                run.reply.think(update)
        elif kind in ("plan", "plan_update"):
            if run is not None:
                return [events.plan(self.session_id, run.run_id, entries=plan_entries(update), ts=ts)]
        elif kind == "config_option_update":
            self.model = model_named(update) or self.model
        elif kind not in _PASSED_OVER:
            self._connection.unknown[as_text(kind, "without a kind")] += 1
        return []

    def ask(self, ts: float, params: Object) -> Told:
        """A `session/request_permission`: a person is asked about a call, which may be news by itself."""
        news = as_object(params.get("toolCall"))
        call = self._call(ts, news)
        return [*call.update(news, ts, self.terminals), *call.start()] if call else []

    def decide(self, ts: float, params: Object, result: Object) -> Told:
        """The answer to it: to cancel is to decide nothing."""
        call = self._calls.get(as_text(as_object(params.get("toolCall")).get("toolCallId")))
        if call is None:
            return []
        call.cancelled = as_object(result.get("outcome")).get("outcome") == "cancelled"
        kind = option_chosen(params, result)
        decision = events.permission(self.session_id, call.call_id, kind, ts=ts)
        if decision is None:
            return []
        self._connection.counts["decisions"] += 1
        call.rejected = decision["score"] < 0
        return [decision]

    def _call(self, ts: float, news: Object) -> EditorCall | None:
        """The call that is spoken of; None where there never was a prompt."""
        name = as_text(news.get("toolCallId"))
        run = self.runs[0] if self.runs else self._latest
        call = self._calls.get(name)
        if run is None:
            return call
        # Some agents number their calls anew in each turn.
        anew = call is not None and news.get("sessionUpdate") == "tool_call"
        if call is None or (anew and (call.ended or call.run_id != run.run_id)):
            run.reply.pause()
            call = self._calls[name] = EditorCall(self.session_id, run.run_id, run.request_id, name, ts)
            self._connection.counts["tool calls"] += 1
        return call

    def _description(self, ts: float) -> Told:
        if self._described:
            return []
        self._described = True
        self._connection.counts["sessions"] += 1
        metadata: Object = {
            **self._connection.metadata,
            "acp_session": self._name,
            "process": dict(self._connection.process),
        }
        if self._connection.client:
            metadata["client"] = self._connection.client
        described = events.session(
            self.session_id,
            agent=self._connection.agent,
            project=self.project,
            source="acp",
            metadata=metadata,
            ts=ts,
        )
        return [described]
