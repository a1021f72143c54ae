"""Sessions kept as Pydantic AI's message lists: `result.all_messages_json()`, `ModelMessagesTypeAdapter`.

In: records, each a list of messages of Pydantic AI 1.x or 2.x, or an object that holds one. Out: a session
for each conversation, with its runs; a turn for every response. Messages are worded as a chat server is sent
them, instructions after the system prompts. What was offered to the model is not in the messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracemill.tracer.importers.described import metadata_of, outcomes_of
from tracemill.tracer.importers.history import History
from tracemill.tracer.importers.imported_session import (
    ImportedCall,
    ImportedRun,
    ImportedSession,
    ImportedTurn,
)
from tracemill.tracer.importers.options import Options
from tracemill.tracer.importers.pydantic_ai_parts import (
    answer_of,
    is_sent_again,
    request_messages,
    verdict_of,
)
from tracemill.tracer.importers.records import Record, Source, field_at, made_of_each
from tracemill.tracer.importers.values import as_count, as_list, as_object, as_text, as_time
from tracemill.tracer.messages import Message, content_id, message_id

NAME = "pydantic-ai"

_MESSAGE_FIELDS = ("messages", "all_messages", "message_history")
_KNOWN = frozenset(
    (
        "kind",
        "parts",
        "instructions",
        "timestamp",
        "run_id",
        "conversation_id",
        "usage",
        "model_name",
        "finish_reason",
    )
)
_SAYS_NOTHING = frozenset(("state", "model_id"))
_TOKENS = frozenset(
    ("input_tokens", "output_tokens", "request_tokens", "response_tokens", "total_tokens", "requests")
)


def looks_like(records: Sequence[Any]) -> bool:
    """Whether a record is a list of Pydantic AI's messages, or holds one."""
    return any(
        _is_message(item)
        for record in records
        for items in (record, *(field_at(record, name) for name in _MESSAGE_FIELDS))
        for item in as_list(items)[:1]
    )


def read(sources: Sequence[Source], options: Options) -> Iterator[ImportedSession]:
    """A session for each record; TracemillError, with the place, where one is none."""
    return made_of_each(_session, sources, options)


def _is_message(item: Any) -> bool:
    return as_object(item).get("kind") in ("request", "response") and "parts" in as_object(item)


def _session(record: Record, source: Source, options: Options, copies: Counter[str]) -> ImportedSession:
    messages = _messages_of(record, options)
    for number, item in enumerate(messages, 1):
        if not _is_message(item):
            raise record.refusal(f"message {number} is no request or response with parts")
    conversation = next((item["conversation_id"] for item in messages if item.get("conversation_id")), None)
    if conversation is None:
        same = content_id([NAME, messages])
        copies[same] += 1
        session_id = content_id([same, copies[same]])
    else:
        session_id = content_id([NAME, conversation])
    reader = _Reader(session_id)
    for item in messages:
        reader.add(item)
    times = [time for item in messages if (time := as_time(item.get("timestamp"))) is not None]
    return ImportedSession(
        session_id=session_id,
        source=NAME,
        agent=options.agent or "imported",
        ts=times[0] if times else source.modified,
        runs=reader.runs(),
        metadata={
            **metadata_of(record, options),
            **({"conversation_id": conversation} if conversation else {}),
        },
        rest=reader.rest(),
        outcomes=outcomes_of(record, options),
        left_out=reader.left_out,
    )


def _messages_of(record: Record, options: Options) -> list[dict[str, Any]]:
    if isinstance(record.value, list):
        return [as_object(item) for item in as_list(record.value)]
    named = (options.messages_field,) if options.messages_field else _MESSAGE_FIELDS
    for path in named:
        items = field_at(record.value, path)
        if isinstance(items, list):
            return [as_object(item) for item in as_list(items)]
    raise record.refusal(
        f"there is no list of messages under {' or '.join(named)}; name the field that holds it"
    )


class _Reader:
    """Reads the messages of one session, in their order."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._said: list[Message] = []
        """All that was said, instructions apart."""
        self._instructions: str | None = None
        self._sent: float | None = None
        self._open: dict[str, ImportedCall] = {}
        self._runs: dict[str | None, ImportedRun] = {}
        self._turns: dict[str | None, list[ImportedTurn]] = {}
        self._history = History()
        self._last: str | None = None
        """The key of the last turn."""
        self._answered = 0
        """How many messages there are up to the last answer."""
        self.left_out: Counter[str] = Counter()

    def add(self, item: Mapping[str, Any]) -> None:
        """Take up a message."""
        for name, value in item.items():
            if name not in _KNOWN | _SAYS_NOTHING and value not in (None, "", [], {}):
                self.left_out[f"field {name} of a {item['kind']}"] += 1
        if item["kind"] == "request":
            self._add_request(item)
        else:
            self._add_response(item)

    def runs(self) -> list[ImportedRun]:
        """The runs in their order; one that ends with a request never ended, as far as is known."""
        for key, run in self._runs.items():
            run.turns = self._turns[key]
            run.started = run.turns[0].sent
            run.ended = run.turns[-1].received
        return list(self._runs.values())

    def rest(self) -> list[Message]:
        """What was said after the last answer."""
        return self._said[self._answered :] if self._runs else []

    def _add_request(self, item: Mapping[str, Any]) -> None:
        self._settle(as_list(item["parts"]))
        self._said.extend(request_messages(as_list(item["parts"]), self.left_out))
        self._instructions = as_text(item.get("instructions"))
        self._sent = as_time(item.get("timestamp"))

    def _add_response(self, item: Mapping[str, Any]) -> None:
        parts, run = as_list(item["parts"]), as_text(item.get("run_id"))
        sent = self._with_instructions()
        answer, written = answer_of(parts, self.left_out)
        # The same however much of the conversation a file holds, and another one where it branches.
        new = [message_id(message) for message in (*self._said[self._answered :], answer)]
        key = self._last = content_id([self._last, self._instructions, *new])
        turns = self._turns.setdefault(run, [])
        previous, kept = self._history.place(key, sent, turns[-1].key if turns else None)
        made = [
            ImportedCall(content_id([key, number]), call, raw) for number, (call, raw) in enumerate(written)
        ]
        self._open = {call.call["id"]: call for call in made}
        self._runs.setdefault(run, ImportedRun([], run, model=as_text(item.get("model_name")) or "unknown"))
        usage = as_object(item.get("usage"))
        input_tokens = as_count(usage.get("input_tokens", usage.get("request_tokens")))
        output_tokens = as_count(usage.get("output_tokens", usage.get("response_tokens")))
        counted = bool(input_tokens or output_tokens)  # both are 0 where nobody counted
        for name, value in usage.items():
            if value and name not in _TOKENS:
                self.left_out[f"usage {name}"] += 1
        turns.append(
            ImportedTurn(
                key=key,
                added=sent[kept:],
                answer=answer,
                calls=made,
                previous=previous,
                kept=kept,
                model=as_text(item.get("model_name")),
                sent=self._sent,
                received=as_time(item.get("timestamp")),
                finish_reason=as_text(item.get("finish_reason")),
                input_tokens=input_tokens if counted else None,
                output_tokens=output_tokens if counted else None,
            )
        )
        if is_sent_again(parts):
            self._said.append(answer)
        self._answered = len(self._said)

    def _with_instructions(self) -> list[Message]:
        head = next((at for at, one in enumerate(self._said) if one["role"] != "system"), len(self._said))
        told: list[Message] = []
        if self._instructions is not None:
            told.append({"role": "system", "content": self._instructions})
        return [*self._said[:head], *told, *self._said[head:]]

    def _settle(self, parts: list[Any]) -> None:
        """What the parts of a request tell of the calls before it."""
        for part in map(as_object, parts):
            call = self._open.get(str(part.get("tool_call_id") or ""))
            if call is not None and part.get("part_kind") in ("tool-return", "retry-prompt"):
                call.status, call.result, call.error = verdict_of(part)
                call.ended = as_time(part.get("timestamp"))
                if call.status in ("invalid", "unknown"):
                    call.call = {**call.call, "arguments": None}
