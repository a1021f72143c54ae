"""Questions to the snapshot: read-only, and closed to everything but the snapshot.

In: SQL written by anybody, a recipe or a stranger's example included. Out: polars frames. A query cannot
write, cannot read a file or the network, cannot load an extension and cannot change a setting; what it tries
of that is refused with a `QueryError` of one line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from tracemill.tracer.home import Home
from tracemill.warehouse.errors import MistakeError, QueryError, WarehouseError
from tracemill.warehouse.writing import quoted

if TYPE_CHECKING:
    import polars as pl

_Result = TypeVar("_Result")
# Types, or parts of types, that polars cannot take over from Arrow.
_SHOWN_AS_TEXT = ("INTERVAL", "UNION", "VARIANT", "BIGNUM", "BIT")

RECORDED = "traces.main."
"""Stands before the name of a table or view to mean all that is recorded."""
_CONVERSATIONS = """
SELECT c.conversation_id, c.session_id, c.run_id, c.agent, c.source, c.task, c.category, c.split, c.outcome,
       c.started, c.messages, t.tools, coalesce(k.calls, '[]') AS calls
FROM (
  SELECT * FROM {place}conversations AS conversations WHERE complete AND ({where}
  )
) AS c
JOIN toolsets AS t USING (toolset_id)
LEFT JOIN (
  SELECT conversation_id, to_json(list(
    {{'position': position, 'tool_call_id': tool_call_id, 'tool': tool, 'status': status}}
    ORDER BY position, number
  )) AS calls
  FROM {place}conversation_calls GROUP BY conversation_id
) AS k USING (conversation_id)
ORDER BY c.started, c.ended, c.conversation_id
"""


def connect(home: Home, memory: str | None = None) -> duckdb.DuckDBPyConnection:
    """A locked-down connection to the snapshot as it is now; close it after use.

    Later snapshots do not reach it: it keeps the file it opened. `memory` bounds what it holds ("2GB", or
    "25%" of the machine's); what is more goes to a file. WarehouseError where there is no snapshot yet.
    """
    if not home.snapshot.exists():
        raise WarehouseError(
            f"There is no {home.snapshot} yet: run `tracemill ingest`, or record something first."
        )
    connection = duckdb.connect(":memory:")
    # Attached, not opened: DuckDB gives everybody who opens one path in one process the file of the first.
    try:
        connection.execute(f"ATTACH '{quoted(home.snapshot)}' AS traces (READ_ONLY)")
    except duckdb.Error as error:
        connection.close()
        raise WarehouseError(
            f"Cannot open {home.snapshot}: {_one_line(error)}; delete it and run `tracemill ingest`."
        ) from error
    connection.execute("USE traces")
    for setting in (
        "TimeZone = 'UTC'",
        "enable_progress_bar = false",  # it goes to standard output
        "python_enable_replacements = false",  # else a query could read our own variables
        f"temp_directory = '{quoted(home.root / f'spill-{os.getpid()}')}'",
        *([f"memory_limit = '{memory}'"] if memory else []),
        "autoload_known_extensions = false",
        "autoinstall_known_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def query(home: Home, sql: str) -> pl.DataFrame:
    """The rows of one SELECT (or DESCRIBE, SHOW, SUMMARIZE); QueryError says why there are none."""
    with asked(home) as connection:
        return frame(connection, sql)


def frame(connection: duckdb.DuckDBPyConnection, sql: str) -> pl.DataFrame:
    """The same, asked of a connection that is open (`asked`)."""
    return interruptible(connection, lambda: _rows(connection, sql))


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> pl.DataFrame:
    import polars as pl

    # The subquery gives columns of one name different names, which polars insists on.
    relation = connection.sql(_single(connection, sql)).select("*")
    columns = [_plain(name, str(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)]
    return pl.DataFrame(_Stream(relation.select(", ".join(columns)).__arrow_c_stream__()))


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], _Result]) -> _Result:
    """The result of `work`, which Ctrl-C ends; DuckDB alone looks for one between its tasks, often never."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(work)
        try:
            while not asked.done():
                wait([asked], timeout=0.2)  # not for ever: a signal may reach another thread than this one
        except KeyboardInterrupt:
            while not asked.done():  # a query that has not begun yet takes no notice
                connection.interrupt()
                wait([asked], timeout=0.1)
            raise
        return asked.result()


class _Stream:
    """An Arrow stream that outlives its reading; polars never gives back one that nobody else holds."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        del requested_schema
        return self.capsule


def conversations(home: Home, where: str | None = None) -> pl.LazyFrame:
    """The conversations of which everything was recorded, oldest first, for curation.

    `where` is an SQL condition over the columns of the view `conversations`. Columns of the result:
    conversation_id, session_id, run_id, agent, source, task, category, split, outcome (`good`, `bad`, null),
    started (UTC), messages (JSON list, the final response included), tools (JSON list), calls (JSON list of
    {position, tool_call_id, tool, status}; the status is `unknown` where a call was never executed).
    """
    return query(home, conversations_sql(where)).lazy()


def conversations_sql(where: str | None = None, place: str = RECORDED) -> str:
    """The question that `conversations` asks; `place` stands before the names of the views."""
    return _CONVERSATIONS.format(where=where or "true", place=place)


@contextmanager
def asked(home: Home, memory: str | None = None) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection for questions, whose failures are one line each; see `connect`."""
    connection = connect(home, memory)
    try:
        with in_words():
            yield connection
    finally:
        connection.close()


@contextmanager
def in_words() -> Generator[None]:
    """What DuckDB refuses or fails at within, as QueryErrors of one line."""
    try:
        yield
    except duckdb.PermissionException as error:
        raise MistakeError(
            f"Refused: {_one_line(error)}; queries read the warehouse and nothing else."
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise QueryError(
            f"There is not enough memory for what is asked of the warehouse: {_one_line(error)}; "
            "end other programs, or ask for less at once."
        ) from error
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        raise MistakeError(f"The query failed: {_one_line(error)}") from error
    except duckdb.Error as error:
        raise QueryError(f"The query failed: {_one_line(error)}") from error


def _single(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The text of the one reading statement in `sql`; QueryError for anything else."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise MistakeError(f"Refused: {len(statements)} statements; write exactly one SELECT.")
    if statements[0].type != duckdb.StatementType.SELECT:
        name = str(statements[0].type).rpartition(".")[2]
        raise MistakeError(
            f"Refused: this is a statement of the kind {name}; queries only read, so write a SELECT."
        )
    return statements[0].query


def _plain(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind == "HUGEINT":  # what sum() gives
        return f"CAST({column} AS BIGINT) AS {column}"
    return (
        f"CAST({column} AS VARCHAR) AS {column}" if any(word in kind for word in _SHOWN_AS_TEXT) else column
    )


def _one_line(error: Any) -> str:
    """DuckDB's message without the echo of the query, the arrow under it, and settings nobody can change."""
    told = str(error).split("\n\nPossible solutions")[0].split("\n\nLINE ")[0]
    return " ".join(told.split())
