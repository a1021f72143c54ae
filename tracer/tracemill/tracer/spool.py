"""The spool: append-only files of events, the source of truth.

In: events, from any thread of a process. Out: one NDJSON line each, redacted, written by `os.write` to a file
of this process alone (0600), so that a killed process leaves whole lines and at most one torn one. Events
that are due at one moment are one write (`Spool.together`). Message and toolset bodies are written once per
file and named by content. A spool never raises into the agent that writes to it: what cannot be written is
counted in `dropped`, warned about once and let go.

A file that was deleted, or whose right to be written was taken away, is left for another one: that is how
`tracemill.warehouse.rewrite` changes what stands in a spool while agents record. The line that was being
written meanwhile is written again; it has the same id, so it counts once.

`read_events` gives the lines back, from any byte offset, and leaves a torn last line for the next reading.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tracemill.tracer import events
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.forgotten import forgotten_sessions
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, Tool, compact_json, named_by, spelled, toolset_id
from tracemill.tracer.redact import Redactor, SessionRedactor

logger = logging.getLogger("tracemill")

BODIES_REMEMBERED = 20_000

_encode = compact_json()


_Line = tuple[bytes, str | None]
"""An event as it is written, and its session."""


class _Waiting(threading.local):
    """The lines that a thread will write together, while it collects them."""

    lines: list[_Line] | None = None


class _Together:
    """A `with` statement around what is written together; one inside another adds to it."""

    __slots__ = ("_lines", "_spool")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __enter__(self) -> None:
        waiting = self._spool.waiting
        self._lines: list[_Line] | None = None
        if waiting.lines is None:
            self._lines = waiting.lines = []

    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            self._spool.waiting.lines = None
            if self._lines:
                self._spool.put_all(self._lines)


class Spool:
    """The writer of one process. Cheap to make: its file appears with the first event."""

    def __init__(self, home: Home | None = None, redactor: Redactor | None = None) -> None:
        self.home = home or Home.find()
        self.redactor = redactor or Redactor()
        self.dropped = 0
        """Events that could not be written."""
        self.path: Path | None = None
        """The file being written; another one after a fork or when somebody deleted it."""
        self.generation = 0
        """Counts the files: what was written before it changed is in another file."""
        self._start_afresh()
        _spools.add(self)

    def _start_afresh(self) -> None:
        # Also runs in a forked child: the lock may be held by a thread that did not survive the fork.
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._torn = False
        self._warned = False
        self._names: dict[tuple[str, str], str] = {}
        self._bodies: set[str] = set()
        self._forgotten: frozenset[str] = frozenset()
        self.waiting = _Waiting()
        """What is to be written together."""
        self.path = None
        self.generation += 1

    def write(self, event: events.AnyEvent) -> bool:
        """Append one event, redacted; False where it could not be written.

        One of a session that was forgotten is let go.
        """
        fields = cast("dict[str, Any]", event)
        try:
            line = encode(self.redactor.redact_event(fields))
        except Exception as error:
            self._let_go(error)
            return False
        return self._write(line, fields.get("session_id"))

    def append(self, line: str, session_id: str) -> bool:
        """Append the line of an event without secrets, newline included; as `write` in all else."""
        return self._write(line.encode(), session_id)

    def _write(self, line: bytes, session_id: str | None) -> bool:
        lines = self.waiting.lines
        if lines is None:
            return self.put_all([(line, session_id)])
        lines.append((line, session_id))
        return True

    def together(self) -> _Together:
        """What this thread writes inside is on disk, by one `os.write`, when it is left.

        Where it is not, `generation` has gone up: nobody may rely on what was to be written.
        """
        return _Together(self)

    def put_all(self, lines: Sequence[_Line]) -> bool:
        """Write lines at once, or one by one where that fails; whether all of them are written."""
        try:
            with self._lock:
                while not self._append(lines):
                    pass
        except Exception as error:
            if len(lines) > 1:
                # As many of them as can be; one that is there already counts once.
                written = [self.put_all([line]) for line in lines]
                return all(written)
            self._let_go(error)
            self._forget_bodies()
            self.generation += 1
            return False
        return True

    def standing(self) -> int | None:
        """The generation of the file that has what was written; None where that file is gone."""
        with self._lock:
            gone = self._descriptor is not None and not self._file_is_there()
            return None if gone else self.generation

    def message(self, body: Message, session_id: str = "") -> str:
        """Write a message unless this file has it, and return the id of its redacted form in a session."""
        return self.messages((body,), session_id)[0]

    def messages(self, bodies: Iterable[Message], session_id: str = "") -> list[str]:
        """As `message`, for each of several."""
        redactor = self.redactor.session(session_id)
        return [self._message(body, session_id, redactor) for body in bodies]

    def _message(self, body: Message, session_id: str, redactor: SessionRedactor) -> str:
        clean = redactor.spelled(body)
        as_it_is, canonical = clean or spelled(body)
        name = named_by(canonical)
        original = session_id, name
        known = self._known(original)
        if known is not None:
            return known
        redacted = body if clean else redactor.redact_message(body, canonical)
        if redacted is not body:
            as_it_is, canonical = spelled(redacted)
            name = named_by(canonical)
        # The line of `events.message`, made of the JSON that is there already.
        line = (
            f'{{"v":{events.VERSION},"id":"message-{name}","ts":{events.now()},"kind":"message",'
            f'"message_id":"{name}","message":{as_it_is}}}\n'
        )
        return self._write_body(original, line, name)

    def toolset(self, tools: Sequence[Tool], session_id: str = "") -> str:
        """Write a toolset unless this file has it, and return the id of its redacted form in a session."""
        original = session_id, toolset_id(tools)
        known = self._known(original)
        if known is None:
            redacted = cast("list[Tool]", self.redactor.redact(list(tools), session_id))
            name = toolset_id(redacted)
            line = _encode(events.toolset(redacted, name)) + "\n"
            known = self._write_body(original, line, name)
        return known

    def forget_after_fork(self) -> None:
        """In a forked child: leave the parent's file alone and start one of our own."""
        descriptor = self._descriptor
        self._start_afresh()
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; the next event opens another one."""
        with self._lock:
            descriptor, self._descriptor, self.path = self._descriptor, None, None
            self._forget_bodies()
            self.generation += 1
        if descriptor is not None:
            os.close(descriptor)

    def _known(self, original: tuple[str, str]) -> str | None:
        with self._lock:
            found = self._names.get(original)
            if found is not None and not self._file_is_there():
                self._forget_bodies()
                return None
            return found

    def _write_body(self, original: tuple[str, str], line: str, name: str) -> str:
        # Most bodies are the same in every session; the file has each of them once.
        known = name in self._bodies and self.standing() is not None
        known = known or self._write(line.encode("utf-8", "replace"), original[0])
        if known and original[0] not in self._forgotten:
            if len(self._names) >= BODIES_REMEMBERED:
                # Those that turn up again are written again; that costs some bytes and changes nothing.
                self._forget_bodies()
            self._bodies.add(name)
            self._names[original] = name
        return name

    def _forget_bodies(self) -> None:
        self._names.clear()
        self._bodies.clear()

    def _file_is_there(self) -> bool:
        if self._descriptor is None:
            return False
        found = os.fstat(self._descriptor)
        return bool(found[stat.ST_NLINK] and found[stat.ST_MODE] & stat.S_IWUSR)

    def _append(self, lines: Sequence[_Line]) -> bool:
        """Append lines; False if the file may have been given up before they were in it."""
        descriptor = self._open() if self._descriptor is None else self._descriptor
        whole = b"".join([line for line, session_id in lines if session_id not in self._forgotten])
        if not whole:
            return True
        # A line cut short by a full disk must not swallow the next one.
        whole = b"\n" + whole if self._torn else whole
        written = os.write(descriptor, whole)
        self._torn = written < len(whole)
        if self._torn:
            raise OSError(f"only {written} of {len(whole)} bytes were written to {self.path}")
        if self._file_is_there():
            return True
        os.close(descriptor)
        self._descriptor = None
        self.generation += 1
        return False

    def _open(self) -> int:
        folder = self.home.ensure(self.home.spool)
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{uuid.uuid4().hex[:8]}.ndjson"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self.path = folder / name
        self._descriptor = os.open(self.path, flags, 0o600)
        self._forget_bodies()
        self._torn = False
        # What is recorded in spite of it, the warehouse takes out again.
        with suppress(OSError, TracemillError):
            self._forgotten = frozenset(forgotten_sessions(self.home))
        return self._descriptor

    def _let_go(self, error: Exception) -> None:
        self.dropped += 1
        if not self._warned:
            self._warned = True
            logger.warning(
                "Tracemill cannot record to %s: %s. The agent goes on; lost events are counted.",
                self.home.spool,
                error,
            )


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()
_shared: dict[Path, Spool] = {}


def shared_spool(home: Home | None = None) -> Spool:
    """The spool of this process for a home: every recorder of the process writes to the same file."""
    found = home or Home.find()
    return _shared.setdefault(found.root, Spool(found))


def _after_fork() -> None:
    for spool in list(_spools):
        # The parent goes on writing to its descriptor; the child must close its copy and start its own file.
        spool.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class SpoolLine:
    """One complete line: `start` and `end` are byte offsets, `fault` says why there is no event."""

    start: int
    end: int
    event: events.AnyEvent | None
    fault: str | None


def read_events(path: Path, offset: int = 0) -> Iterator[SpoolLine]:
    """The complete lines of a spool file from byte `offset` on; go on later from the last line's `end`.

    A last line without its newline is not consumed: it is being written, or was torn by a kill. A line that
    is no event is given back with its fault and its position, so that one bad line costs one line.
    """
    with path.open("rb") as file:
        file.seek(offset)
        start = offset
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            end = start + len(raw)
            if raw.strip():
                yield _decode(raw, start, end)
            start = end


def spool_files(home: Home) -> list[Path]:
    """The spool files of a home, oldest name first; none where nothing was recorded.

    A folder or a dangling link of such a name is none.
    """
    with suppress(OSError), os.scandir(home.spool) as entries:
        return sorted(Path(entry) for entry in entries if entry.name.endswith(".ndjson") and _is_file(entry))
    return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link in a circle
        return entry.is_file()
    return False


def _decode(raw: bytes, start: int, end: int) -> SpoolLine:
    try:
        value: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return SpoolLine(start, end, None, f"not JSON: {error}")
    fault = events.fault(value)
    return SpoolLine(start, end, None if fault else cast("events.AnyEvent", value), fault)


def encode(event: Mapping[str, Any]) -> bytes:
    """The line of an event, newline included. ValueError or TypeError where it is not JSON."""
    return _encode(event).encode() + b"\n"
