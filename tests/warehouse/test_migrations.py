"""Every version of the schema leads to the newest one, with rows in it and without."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from session_events import session, spool
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.migrate import Migration, migrate, migrations, version_of

# Rows as they were when a version was the newest: one script for each version that brought tables or columns.
ROWS = {
    1: """
INSERT INTO spool_files VALUES ('a.ndjson', 10);
INSERT INTO events VALUES ('e1', 'session', TIMESTAMP '2026-01-01', 's1', 'a.ndjson', 0);
INSERT INTO sessions VALUES ('s1', 'coder', '/work', 'pydantic-ai', 'task', 'category', 'train', '{}',
  TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01');
INSERT INTO messages (message_id, message) VALUES ('m1', '{"role": "user", "content": "Hello"}'),
  ('m2', '{"role": "assistant", "content": "Hello to you"}');
INSERT INTO toolsets VALUES ('t1', '[]');
INSERT INTO requests VALUES ('r1', 's1', 'run1', 0, 'm', NULL, 0, ['m1'], 't1', TIMESTAMP '2026-01-01');
INSERT INTO responses VALUES ('r1', 's1', 'm2', 'stop', 1, 1, 1.0, NULL, TIMESTAMP '2026-01-01');
INSERT INTO outcomes VALUES ('e2', 's1', 'good', NULL, 'test', '', TIMESTAMP '2026-01-01');
""",
}

Snapshot = list[tuple[object, ...]]
VERSIONS = [step.version for step in migrations()]


def schema(connection: duckdb.DuckDBPyConnection) -> Snapshot:
    return connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE NOT internal ORDER BY ALL"
    ).fetchall()


def newest() -> Snapshot:
    with duckdb.connect() as connection:
        migrate(connection)
        return schema(connection)


def test_versions_count_from_one_without_gaps() -> None:
    assert list(range(1, len(VERSIONS) + 1)) == VERSIONS


@pytest.mark.parametrize("version", [0, *VERSIONS])
def test_an_empty_warehouse_of_any_version_becomes_the_newest(version: int, tmp_path: Path) -> None:
    path = str(tmp_path / "old.duckdb")
    with duckdb.connect(path) as old:
        if version:
            assert migrate(old, migrations()[:version])
        assert version_of(old) == version
    with duckdb.connect(path) as connection:
        assert migrate(connection) == (version < VERSIONS[-1])
        assert not migrate(connection)
        assert version_of(connection) == VERSIONS[-1]
        assert schema(connection) == newest()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_rows_of_any_version_are_kept_and_answer_the_views(version: int, tmp_path: Path) -> None:
    path = str(tmp_path / "old.duckdb")
    with duckdb.connect(path) as old:
        for step in migrations()[:version]:
            migrate(old, migrations()[: step.version])
            old.execute(ROWS.get(step.version, ""))
    with duckdb.connect(path) as connection:
        migrate(connection)
        assert schema(connection) == newest()
        found = connection.execute(
            "SELECT session_id, outcome, messages->>'$[*].content' FROM conversations"
        ).fetchall()
    assert found == [("s1", "good", ["Hello", "Hello to you"])]


def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    broken = Migration(VERSIONS[-1] + 1, "broken", "CREATE TABLE half (a INTEGER); SELECT nonsense;")
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        migrate(connection)
        with pytest.raises(duckdb.BinderException):
            migrate(connection, [*migrations(), broken])
        assert version_of(connection) == VERSIONS[-1]
        assert schema(connection) == newest()


def test_a_newer_warehouse_is_refused_in_one_sentence(home: Home) -> None:
    spool(home, session())
    ingest(home)
    future = Migration(VERSIONS[-1] + 1, "future", "SELECT 1;")
    with duckdb.connect(str(home.warehouse)) as connection:
        migrate(connection, [*migrations(), future])
    with pytest.raises(TracemillError, match=r"written by a newer one; upgrade tracemill\.$") as refused:
        ingest(home)
    assert "\n" not in str(refused.value)


def test_everything_says_what_it_means() -> None:
    with duckdb.connect() as connection:
        migrate(connection)
        silent = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL "
            "UNION ALL SELECT table_name, '' FROM duckdb_tables() WHERE comment IS NULL "
            "UNION ALL SELECT view_name, '' FROM duckdb_views() WHERE NOT internal AND comment IS NULL"
        ).fetchall()
    assert silent == []
