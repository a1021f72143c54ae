"""Conversations some sessions at a time, so that a warehouse of any size is read once and in bounded memory.

In: a home with a snapshot. Out: batches, each of whole sessions and with the views that put conversations
together, over its own rows alone. The views walk from request to request; over everything, once for each
batch, that would cost the square of what is recorded. So all rows are sorted by batch first, in memory up to
a limit and beyond it in a file that is gone in the end.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import duckdb
import polars as pl

from tracemill.tracer.home import Home
from tracemill.warehouse.read import RECORDED, asked, conversations_sql, frame, in_words, interruptible

REQUESTS = 10_000
"""A batch ends with the session that brings it to so many requests."""
TEXT = 64 * 2**20
"""And with the one that brings it to so many bytes of messages, each counted as often as it was added."""
_MEMORY = "25%"
_VIEWS = (
    "session_outcomes",
    "conversation_requests",
    "conversation_messages",
    "conversation_calls",
    "conversations",
)
# A message belongs to every batch in which it stands, so it is written once for each.
_STAGED = {
    "requests": "SELECT b.batch, r.* FROM requests AS r JOIN memory.staged.batches AS b "
    "ON b.session_id = coalesce(r.session_id, '')",
    "responses": "SELECT b.batch, a.* FROM responses AS a "
    "JOIN memory.staged.requests AS b USING (request_id)",
    "messages": "SELECT b.batch, m.message_id, m.message FROM messages AS m JOIN ("
    "SELECT DISTINCT batch, unnest(added) AS message_id FROM memory.staged.requests "
    "UNION SELECT batch, message_id FROM memory.staged.responses) AS b USING (message_id)",
    **{
        name: f"SELECT b.batch, t.* FROM {name} AS t JOIN memory.staged.batches AS b USING (session_id)"
        for name in ("sessions", "tool_calls", "outcomes")
    },
}
_MADE_OF_MESSAGE = """,
  json_extract_string(message, '$.role') AS role, json_extract_string(message, '$.content') AS content,
  json_extract(message, '$.tool_calls') AS tool_calls"""
_LINKS = """
SELECT DISTINCT coalesce(r.session_id, '') AS one, coalesce(p.session_id, '') AS other
FROM requests AS r JOIN requests AS p ON p.request_id = r.previous_request_id
WHERE r.session_id IS DISTINCT FROM p.session_id
"""
# Measured before they are joined, so that no table of the join holds them.
_TEXTS = """
  SELECT s.session_id, sum(m.length) AS text FROM (
    SELECT coalesce(session_id, '') AS session_id, unnest(added) AS message_id FROM requests
    UNION ALL SELECT coalesce(r.session_id, ''), a.message_id
    FROM responses AS a JOIN requests AS r USING (request_id)
  ) AS s JOIN (SELECT message_id, strlen(message) AS length FROM messages) AS m USING (message_id)
  GROUP BY ALL
"""
_ALL_TEXT = f"SELECT sum(text) FROM ({_TEXTS})"
# The sum of two numbers that never fall is another for every one of either.
_BATCHES = f"""
CREATE TABLE memory.staged.batches AS
WITH texts AS ({_TEXTS}), sizes AS (
  SELECT coalesce(session_id, '') AS session_id, count(*) AS size, min(rowid) AS place
  FROM requests GROUP BY ALL
), together AS (
  SELECT coalesce(l.first, s.session_id) AS first, sum(s.size) AS size, min(s.place) AS place,
         sum(coalesce(t.text, 0)) AS text
  FROM sizes AS s LEFT JOIN texts AS t USING (session_id)
  LEFT JOIN memory.staged.links AS l USING (session_id) GROUP BY ALL
), numbered AS (
  SELECT first, ((sum(size) OVER in_order - 1) // $size
    + greatest(sum(text) OVER in_order - 1, 0) // $text)::INTEGER AS batch
  FROM together WINDOW in_order AS (ORDER BY place)
)
SELECT s.session_id, n.batch, s.size
FROM sizes AS s LEFT JOIN memory.staged.links AS l USING (session_id)
JOIN numbered AS n ON n.first = coalesce(l.first, s.session_id)
"""


@dataclass(frozen=True)
class Batch:
    """Some sessions: of `total` requests that the warehouse has, `requests` are theirs.

    `place` stands before the name of a view to mean this batch; without it all that is recorded is meant.
    """

    requests: int
    total: int
    place: str
    connection: duckdb.DuckDBPyConnection

    def conversations(self, where: str | None = None) -> pl.DataFrame:
        """Its conversations of which everything was recorded, as `read.conversations` gives them."""
        return self.query(conversations_sql(where, self.place))

    def query(self, sql: str) -> pl.DataFrame:
        """The rows of one SELECT; QueryError says why there are none."""
        with in_words():
            return frame(self.connection, sql)


def batches(home: Home, size: int = REQUESTS, text: int = TEXT) -> Generator[Batch]:
    """All that is recorded, in batches of whole sessions; each is good until the next is asked for.

    Sessions that continue requests of each other are in one batch. QueryError where a question fails.
    """
    with asked(home) as connection:
        total = frame(connection, "SELECT count(*) FROM requests").item()
        if total <= size and (frame(connection, _ALL_TEXT).item() or 0) <= text:
            yield Batch(total, total, RECORDED, connection)
            return
    # Its snapshot may be a later one.
    with asked(home, _MEMORY) as connection:
        total = frame(connection, "SELECT count(*) FROM requests").item()
        for batch, requests in interruptible(connection, lambda: _staged(connection, size, text)):
            connection.execute(f"SET VARIABLE batch = {batch}")
            yield Batch(requests, total, "memory.main.", connection)


def _staged(connection: duckdb.DuckDBPyConnection, size: int, text: int) -> list[tuple[int, int]]:
    """Sorts the rows that conversations are made of by batch; the batches, and the requests of each."""
    written = dict(
        connection.execute(
            "SELECT view_name, sql FROM duckdb_views() WHERE database_name = 'traces' AND NOT internal"
        ).fetchall()
    )
    links = _firsts(connection.execute(_LINKS).fetchall())
    connection.execute("CREATE SCHEMA memory.staged")
    connection.execute("CREATE TABLE memory.staged.links (session_id VARCHAR, first VARCHAR)")
    if links:
        connection.executemany("INSERT INTO memory.staged.links VALUES (?, ?)", links)
    connection.execute(_BATCHES, {"size": size, "text": text})
    for name, rows in _STAGED.items():
        # Sorting long texts takes many times their length; messages come about in order by themselves.
        order = "" if name == "messages" else "ORDER BY batch"
        connection.execute(f"CREATE TABLE memory.staged.{name} AS {rows} {order}")
    connection.execute("USE memory")
    for name in _STAGED:
        more = _MADE_OF_MESSAGE if name == "messages" else ""
        connection.execute(
            f"CREATE VIEW {name} AS SELECT * EXCLUDE batch{more} FROM memory.staged.{name} "
            "WHERE batch = getvariable('batch')"
        )
    connection.execute("CREATE VIEW toolsets AS FROM traces.toolsets")
    for name in _VIEWS:
        connection.execute(written[name])
    connection.execute("USE traces")
    return connection.execute(
        "SELECT batch, sum(size)::BIGINT FROM memory.staged.batches GROUP BY batch ORDER BY batch"
    ).fetchall()


def _firsts(links: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each linked session with the one that stands for all that are linked to it, however far."""
    first: dict[str, str] = {}

    def of(session: str) -> str:
        while (above := first.setdefault(session, session)) != session:
            first[session] = first[above]
            session = above
        return session

    for one, other in links:
        low, high = sorted((of(one), of(other)))
        first[high] = low
    return [(session, of(session)) for session in first]
