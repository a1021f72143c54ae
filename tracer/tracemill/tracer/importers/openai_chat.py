"""Imports sessions kept as OpenAI-style message lists.

In: a JSON list, JSON lines or one object, plain or gzipped; a record is a list of messages, or an object that
holds one. Out: one spool file with the events that a recorder would have written. All ids follow from the
content, so importing a session again, from whatever file, adds nothing. The file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from tracemill.tracer import events
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.tracer.importers import records
from tracemill.tracer.importers.chat_messages import Conversation, FoundCall, read_conversation, read_tools
from tracemill.tracer.importers.inferred_tools import infer_tools
from tracemill.tracer.importers.records import Record
from tracemill.tracer.importers.session_events import ImportedSession, Outcome, session_events
from tracemill.tracer.messages import Message, Tool, canonical_json, content_id, message_id
from tracemill.tracer.redact import Redactor
from tracemill.tracer.spool import encode

Progress = Callable[[str, int, int], None]

_MESSAGE_FIELDS = ("messages", "traj", "trajectory.messages")
# What a record says it is: with the same messages but another trial it is another session.
_OWN_IDS = ("id", "session_id", "conversation_id", "task_id", "instance_id", "trial")
_VERDICTS: dict[str, events.Verdict] = {"good": "good", "true": "good", "bad": "bad", "false": "bad"}


@dataclass(frozen=True)
class Options:
    """How records are read; fields are named by dotted paths such as `info.reward`."""

    messages_field: str | None = None
    """Where a record keeps its messages, if not under `messages`, `traj` or `trajectory.messages`."""
    outcome_field: str | None = None
    """A number above 0, true or "good" is a good outcome; other values are a bad one, none is none."""
    task_field: str | None = None
    """What the session was about; stored as the `task` of its metadata."""
    agent: str = "imported"
    """The name of the agent that held these sessions."""
    tools: tuple[Tool, ...] = ()
    """What was offered to sessions that do not say it; by default inferred from all their calls."""


@dataclass
class Imported:
    """What was imported to `path`; `left_out` counts, by name, what has no place in the neutral form."""

    path: Path
    sessions: int = 0
    messages: int = 0
    tool_calls: int = 0
    outcomes: int = 0
    inferred: tuple[str, ...] = ()
    """Names of tools inferred from the calls, because neither the file nor the options offer any."""
    left_out: Counter[str] = field(default_factory=Counter[str])


def import_openai_chat(
    source: Path,
    home: Home | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Import a file of sessions; TracemillError, with the place, where it cannot be read as such."""
    found = records.read_records(source)
    reader = _Reader(source, options or Options(), found)
    place = home or Home.find()
    folder = place.ensure(place.spool)
    try:
        reader.counts.path = _write(folder, reader, found, progress)
    except OSError as error:
        raise TracemillError(
            f"Cannot write the import of {source} to {folder}: {error.strerror}; make room there."
        ) from error
    return reader.counts


def _write(folder: Path, reader: _Reader, found: Sequence[Record], progress: Progress | None) -> Path:
    # A temporary file is 0600 from the start, and no reader of the spool looks at this name.
    handle, name = tempfile.mkstemp(dir=folder, prefix=".import-", suffix=".tmp")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for number, record in enumerate(found, 1):
                reader.add(record, file)
                if progress is not None:
                    progress("sessions", number, len(found))
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"import-{reader.digest.hexdigest()[:16]}.ndjson"
        if not path.exists():
            unfinished.replace(path)
        return path
    finally:
        unfinished.unlink(missing_ok=True)


def read_tool_file(path: Path) -> list[Tool]:
    """A JSON list of tools in OpenAI's form; TracemillError where it is none."""
    try:
        tools = read_tools({"tools": json.loads(path.read_text("utf-8"))})
    except (OSError, ValueError) as error:
        raise TracemillError(
            f"Cannot read the tools in {path}: {error}; give a JSON list of tools."
        ) from error
    if not tools:
        raise TracemillError(f"There are no tools in {path}; give a JSON list of tools.")
    return tools


class _Reader:
    """Turns records into events, and remembers which events are written already."""

    def __init__(self, source: Path, options: Options, found: Sequence[Record]) -> None:
        self.counts = Imported(source)
        self.digest = hashlib.sha256()
        """Names the events, whenever they are written."""
        self._source = source
        self._options = options
        self._modified = source.stat().st_mtime
        self._copies: Counter[str] = Counter()
        self._written: set[str] = set()
        self._harmless: set[str] = set()
        self._tools = list(options.tools) or self._inferred(found)

    def _inferred(self, found: Sequence[Record]) -> list[Tool]:
        read = (self._read(record) for record in found)
        tools = infer_tools(made.call for talk, offered in read if not offered for made in talk.calls)
        self.counts.inferred = tuple(tool["name"] for tool in tools)
        return tools

    def _read(self, record: Record) -> tuple[Conversation, list[Tool]]:
        try:
            return read_conversation(self._messages_of(record)), read_tools(record.value)
        except ValueError as error:
            raise self._refusal(record, f"{error}; mend or remove the record") from error

    def add(self, record: Record, file: IO[bytes]) -> None:
        """Write the events of one record."""
        session, left_out = self._session(record)
        self.counts.left_out.update(left_out)
        if session is None:
            return
        redactor = Redactor()
        for event in session_events(session, self._modified):
            if event["id"] not in self._written:
                self._written.add(event["id"])
                clean = redactor.redact_event(cast("dict[str, Any]", event))
                self.digest.update(canonical_json({**clean, "ts": 0}))
                file.write(encode(clean))
        self.counts.sessions += 1
        self.counts.messages += len(session.messages)
        self.counts.tool_calls += len(session.calls)
        self.counts.outcomes += session.outcome is not None

    def _session(self, record: Record) -> tuple[ImportedSession | None, Counter[str]]:
        talk, tools = self._read(record)
        answers = [i for i, message in enumerate(talk.messages) if message["role"] == "assistant"]
        if not answers:
            talk.left_out["session without an answer"] += 1
            return None, talk.left_out
        if after := len(talk.messages) - 1 - answers[-1]:
            talk.left_out["message after the last answer"] += after
        redactor = Redactor()
        session = ImportedSession(
            session_id=self._session_id(record.value, talk.messages),
            source="openai-chat",
            agent=self._options.agent,
            model=str(records.field(record.value, "model") or "unknown"),
            metadata=self._metadata(record.value),
            messages=[self._clean(message, redactor) for message in talk.messages],
            calls=[_clean_call(made, redactor) for made in talk.calls],
            tools=cast("list[Tool]", redactor.redact(tools or self._tools)),
            outcome=self._outcome(record),
        )
        return session, talk.left_out

    def _messages_of(self, record: Record) -> list[Any]:
        if isinstance(record.value, list):
            return cast("list[Any]", record.value)
        named = (self._options.messages_field,) if self._options.messages_field else _MESSAGE_FIELDS
        for path in named:
            items = records.field(record.value, path)
            if isinstance(items, list):
                return cast("list[Any]", items)
        raise self._refusal(
            record, f"there is no list of messages under {' or '.join(named)}; name the field that holds it"
        )

    def _session_id(self, value: Any, messages: list[Message]) -> str:
        own = {name: item for name, item in records.scalars(value) if name in _OWN_IDS}
        same = content_id({"messages": messages, "own": own})
        self._copies[same] += 1
        return content_id([same, self._copies[same]])

    def _metadata(self, value: Any) -> dict[str, Any]:
        metadata: dict[str, Any] = dict(records.scalars(value))
        task = records.field(value, self._options.task_field) if self._options.task_field else None
        if task is not None:
            metadata["task"] = task if isinstance(task, str) else canonical_json(task).decode()
        return metadata

    def _outcome(self, record: Record) -> Outcome | None:
        name = self._options.outcome_field
        told = records.field(record.value, name) if name else None
        if name is None or told is None:
            return None
        verdict = _VERDICTS.get(told.strip().lower()) if isinstance(told, str) else None
        score = None if isinstance(told, str) else _number(told)
        if score is not None:
            verdict = "good" if score > 0 else "bad"
        if verdict is None:
            raise self._refusal(
                record, f"its {name} is {told!r}, which is neither a number, true, false, good nor bad"
            )
        return Outcome(verdict, score, name)

    def _clean(self, message: Message, redactor: Redactor) -> Message:
        # Long system prompts stand in every session: most messages need to be looked through only once.
        name = message_id(message)
        if name in self._harmless:
            return message
        clean = redactor.redact_message(message)
        if clean == message:
            self._harmless.add(name)
        return clean

    def _refusal(self, record: Record, why: str) -> TracemillError:
        return TracemillError(
            f"Cannot import {self._source}: in {record.place}, {why}; nothing was imported."
        )


def _clean_call(made: FoundCall, redactor: Redactor) -> FoundCall:
    arguments = redactor.redact(made.call["arguments"])
    raw, result = redactor.redact(made.raw_arguments), redactor.redact(made.result)
    return FoundCall(made.turn, {**made.call, "arguments": arguments}, raw, result)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (bool, int, float)) else None
