"""From the spool into the warehouse, and from the warehouse to the snapshot that queries read.

In: a home, whose spool files other processes may be writing to at this moment. Out: an `IngestReport`, and
a fresh `home.snapshot` where anything changed. One ingester works at a time (file lock). Each batch of lines
and the byte offsets it came from are one transaction, and an event id counts once, so a kill at any moment
costs nothing but the work of that batch. While there is much to take in, the snapshot is made anew every few
seconds. A last line without its newline waits, and so does a file from its first line of a newer version on;
a line that is no event is put down in `bad_lines` and skipped. Events come in any order; `ingest.sql` and
`lineage.sql` say how they become rows.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import cast

import duckdb

from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.warehouse import lineage, rewrite
from tracemill.warehouse.backlog import Backlog, Line, sizes
from tracemill.warehouse.migrate import migrate
from tracemill.warehouse.sweep import sweep
from tracemill.warehouse.writing import (
    LOCK_SECONDS,
    Progress,
    errors_of,
    is_behind,
    locked,
    opened,
    publish,
)

logger = logging.getLogger(__name__)

BATCH_BYTES = 64 << 20
"""How much of the spool one transaction takes at most; bounds memory."""

BATCH_SECONDS = 1.0
"""How long a transaction may take; the next batch is smaller where one took longer."""

PUBLISH_SECONDS = 2.0
"""How long rows wait for the snapshot while there are more to take in."""

# The field that names the row an event is about; it must be text.
_KEYS = {
    "session": "session_id",
    "message": "message_id",
    "toolset": "toolset_id",
    "run_start": "run_id",
    "run_end": "run_id",
    "request": "request_id",
    "response": "request_id",
    "tool_start": "call_id",
    "tool_end": "call_id",
    "feedback": "session_id",
    "outcome": "session_id",
    "git": "session_id",
    "plan": "session_id",
    "dataset": "dataset_id",
    "dataset_rows": "part_of",
    "training": "training_id",
    "evaluation": "evaluation_id",
    "note": "about",
}


@dataclass(frozen=True)
class IngestReport:
    """What one ingestion did."""

    events: int = 0
    """Events that were new."""
    sessions: int = 0
    """Sessions that are new or grew."""
    bad_lines: int = 0
    """Lines that were no events; the table bad_lines says why."""
    newer_files: int = 0
    """Spool files that wait for a newer Tracemill from some line on."""
    forgotten: int = 0
    """Events of sessions that were forgotten, found and taken out of spool and warehouse."""
    published: bool = False
    """Whether the snapshot was made anew."""


def ingest(
    home: Home, progress: Progress | None = None, *, lock_seconds: float = LOCK_SECONDS
) -> IngestReport:
    """Bring the warehouse up to date with the spool, then publish the snapshot if it is behind.

    What a killed `forget` or `redact` has left to do is done first, and what was recorded of forgotten
    sessions is taken out again. WarehouseError if another ingester keeps the lock, or the home cannot be
    written; nothing is half-written. `progress` counts bytes of the spool.
    """
    with errors_of(home), locked(home, lock_seconds):
        return ingest_alone(home, progress)


def ingest_alone(home: Home, progress: Progress | None = None) -> IngestReport:
    """The same for one who holds the lock already."""
    rewrite.complete(home)
    taken = Taken(sizes(home))
    forgotten, published, pause = 0, False, PUBLISH_SECONDS
    whole = False
    while not whole:
        before = taken.changes
        with opened(home.warehouse) as connection:
            migrated = migrate(connection)
            if migrated:
                _look_again(connection)
            whole = take_in(connection, home, progress, taken, pause)
            forgotten += sweep(connection, home, partial(take_in, connection, home), progress)
            if Path(f"{home.warehouse}.wal").exists():
                # Closing does it too, but in silence where the disk is full; the copy would be stale.
                connection.execute("CHECKPOINT")
        rewrite.complete(home)
        if migrated or taken.changes > before or is_behind(home):
            began = time.monotonic()
            publish(home)
            published = True
            # Where a copy takes long, most of the time is still for taking in.
            pause = max(PUBLISH_SECONDS, 3 * (time.monotonic() - began))
    return IngestReport(
        taken.events, len(taken.sessions), taken.bad_lines, len(taken.waiting), forgotten, published
    )


def _look_again(connection: duckdb.DuckDBPyConnection) -> None:
    """After an upgrade: what the older Tracemill did not know may be known now, so read it once more."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE again AS
             SELECT file, min(byte_offset) AS start FROM bad_lines
             WHERE reason LIKE 'unknown kind %' GROUP BY file;
           UPDATE spool_files SET byte_offset = least(byte_offset, again.start) FROM again
             WHERE spool_files.file = again.file;
           DELETE FROM bad_lines USING again
             WHERE bad_lines.file = again.file AND bad_lines.byte_offset >= again.start;"""
    )


@dataclass
class Taken:
    """What an ingestion has taken in so far."""

    ends: dict[str, int]
    """How far it goes in each spool file."""
    events: int = 0
    bad_lines: int = 0
    sessions: set[str] = field(default_factory=set[str])
    waiting: set[str] = field(default_factory=set[str])
    """Files that wait for a newer Tracemill."""
    done: int = 0
    """Bytes of the spool."""
    batch: int = 4 << 20
    """How many bytes the next transaction takes."""

    @property
    def changes(self) -> int:
        """How many lines changed the warehouse."""
        return self.events + self.bad_lines


def take_in(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    progress: Progress | None = None,
    taken: Taken | None = None,
    seconds: float = math.inf,
) -> bool:
    """Take in new lines, a batch at a time; False where `seconds` were over before all were in.

    The caller holds the lock, and the schema is the newest.
    """
    until = time.monotonic() + seconds
    taken = taken or Taken(sizes(home))
    rows = connection.execute("SELECT file, byte_offset FROM spool_files").fetchall()
    backlog = Backlog(home, dict(cast("list[tuple[str, int]]", rows)), taken.ends)
    if not backlog:
        return True
    _stage(connection)
    total = taken.done + len(backlog)
    while backlog:
        began, size = time.monotonic(), len(backlog)
        lines, reached = backlog.batch(min(taken.batch, BATCH_BYTES))
        if lines:
            _ingest_batch(connection, lines, reached, taken)
        for name in taken.waiting:
            backlog.leave(name)
        taken.done += size - len(backlog)
        taken.batch = _next_size(taken.batch, time.monotonic() - began)
        if progress:
            progress("ingesting bytes", taken.done, total)
        if backlog and time.monotonic() > until:
            return False
    return True


def _next_size(size: int, seconds: float) -> int:
    if seconds > BATCH_SECONDS:
        return max(size // 2, 1 << 20)
    return min(size * 2, BATCH_BYTES) if seconds < BATCH_SECONDS / 2 else size


def _stage(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE lines (file VARCHAR, start BIGINT, text VARCHAR)")
    connection.execute("CREATE OR REPLACE TEMP TABLE required (kind VARCHAR, fields VARCHAR[], key VARCHAR)")
    wanted = {**events.FIELDS, **lineage.FIELDS}
    with connection.appender("required") as appender:
        appender.append_rows((kind, sorted(wanted[kind]), key) for kind, key in _KEYS.items())


def _ingest_batch(
    connection: duckdb.DuckDBPyConnection, lines: list[Line], reached: dict[str, int], taken: Taken
) -> None:
    """One transaction: the lines become rows and the offsets move on, up to a line of a newer version."""
    connection.begin()
    try:
        connection.execute("DELETE FROM lines")
        with connection.appender("lines") as appender:
            appender.append_rows(line for line in lines if line[2] is None or not line[2].isspace())
        connection.execute(_script("ingest.sql"))
        counted = connection.execute(
            "SELECT count(*), list(DISTINCT session_id) FILTER (session_id IS NOT NULL), "
            "count(*) FILTER (list_contains($made, kind)), "
            "(SELECT count(*) FROM parsed WHERE fault IS NOT NULL) FROM incoming",
            {"made": list(lineage.FIELDS)},
        ).fetchone()
        events, sessions, made, bad_lines = cast("tuple[int, list[str] | None, int, int]", counted)
        newer = dict(cast("list[tuple[str, int]]", connection.execute("FROM newer").fetchall()))
        if made:
            connection.execute(_script("lineage.sql"))
        at = {**reached, **newer}
        connection.execute(
            "INSERT OR REPLACE INTO spool_files SELECT unnest($files), unnest($offsets)",
            {"files": list(at), "offsets": list(at.values())},
        )
        connection.commit()
    except BaseException:
        with suppress(duckdb.TransactionException):  # after a full disk there is nothing left to roll back
            connection.rollback()
        raise
    taken.events += events
    taken.bad_lines += bad_lines
    taken.sessions.update(sessions or ())
    taken.waiting.update(newer)
    logger.debug("%d lines of %s: %d new events, %d bad", len(lines), list(reached), events, bad_lines)


def _script(name: str) -> str:
    return (resources.files("tracemill.warehouse") / name).read_text(encoding="utf-8")
