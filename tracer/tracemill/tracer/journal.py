"""What is known of the sessions that a process records: who continues whom.

In: sessions as they open and requests as they are made, with all their messages. Out: events in the spool;
a request is told as the difference to the earlier request of its session that it extends best, so that a
session of N steps costs O(N). One journal serves a process; it starts afresh whenever the spool's file does,
so that every spool file can be read by itself.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.message_ids import Histories
from tracemill.tracer.messages import common_prefix
from tracemill.tracer.spool import Spool, shared_spool

SESSIONS_REMEMBERED = 256
BRANCHES_REMEMBERED = 8


@dataclass(frozen=True)
class DeferredCall:
    """A tool call that ended its run unanswered: a person or another process will answer it."""

    request_id: str | None
    tool_call_id: str
    tool: str
    raw_arguments: Any


@dataclass
class _Session:
    branches: list[tuple[str, tuple[str, ...]]] = field(default_factory=list[tuple[str, tuple[str, ...]]])
    """Requests that nothing continues yet, oldest first: request id and message ids."""
    deferred: dict[str, DeferredCall] = field(default_factory=dict[str, DeferredCall])


class Journal:
    """Writes sessions and requests, and remembers what the next request needs."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._lock = threading.RLock()
        self._generation = spool.generation
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self.histories = Histories()

    def open_session(
        self, session_id: str, agent: str, about: Callable[[], tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Write the session's event unless this file has it; `about` gives its project and metadata."""
        self.spool.redactor.refresh()
        with self._lock:
            known = self._refreshed()
            if session_id in known:
                known.move_to_end(session_id)
                return
            project, metadata = about()
            known[session_id] = _Session()
            while len(known) > SESSIONS_REMEMBERED:
                known.popitem(last=False)
        self.spool.write(
            events.session(session_id, agent=agent, project=project, source="pydantic-ai", metadata=metadata)
        )

    def chain(self, session_id: str, request_id: str, ids: tuple[str, ...]) -> tuple[str | None, int]:
        """The request that this one goes on from, and how many of its messages, told by ids, it keeps.

        None and 0 where it begins anew.
        """
        with self._lock:
            branches = self._session(session_id).branches
            if len(branches) == 1 and 0 < len(branches[0][1]) == common_prefix(branches[0][1], ids):
                previous, known = branches[0]
                branches[0] = request_id, ids
                return previous, len(known)
            shared = [common_prefix(known, ids) for _, known in branches]
            whole = [0 < shared[i] == len(known) for i, (_, known) in enumerate(branches)]
            # A branch that is extended in full is the one that goes on, however much another one shares.
            best = max(range(len(branches)), key=lambda i: (whole[i], shared[i], i), default=None)
            previous, kept = (branches[best][0], shared[best]) if best is not None else (None, 0)
            if best is not None and whole[best]:
                del branches[best]
            branches.append((request_id, ids))
            del branches[:-BRANCHES_REMEMBERED]
        return (previous, kept) if kept else (None, 0)

    def forget_after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that did not survive."""
        self._lock = threading.RLock()
        self.histories = Histories()

    def defer(self, session_id: str, call: DeferredCall) -> None:
        """Remember a call that a later run of the session will see answered."""
        with self._lock:
            self._session(session_id).deferred[call.tool_call_id] = call

    def deferred(self, session_id: str, tool_call_id: str) -> DeferredCall | None:
        """The deferred call of that id, once."""
        with self._lock:
            return self._session(session_id).deferred.pop(tool_call_id, None)

    def _session(self, session_id: str) -> _Session:
        sessions = self._refreshed()
        return sessions.get(session_id) or sessions.setdefault(session_id, _Session())

    def _refreshed(self) -> OrderedDict[str, _Session]:
        if self._generation != self.spool.generation:
            self._generation = self.spool.generation
            self._sessions.clear()
        return self._sessions


_journals: dict[Path, Journal] = {}


def _after_fork() -> None:
    for journal in list(_journals.values()):
        journal.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def shared_journal(home: Home | None = None) -> Journal:
    """The journal of this process for a home."""
    spool = shared_spool(home)
    return _journals.setdefault(spool.home.root, Journal(spool))
