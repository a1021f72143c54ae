"""The schema and its history: numbered SQL scripts, applied once each and in order.

In: an open connection to a warehouse of any age, empty included. Out: the same at the newest version. The
missing scripts run in one transaction, so a warehouse is at one version or at the next, never between.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import cast

import duckdb

from tracemill.tracer.errors import TracemillError


@dataclass(frozen=True)
class Migration:
    """One step of the schema; versions count from 1 without gaps."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Every migration this version of Tracemill knows, oldest first."""
    folder = resources.files("tracemill.warehouse") / "migrations"
    scripts = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return [
        Migration(int(script.name[:4]), script.name.removesuffix(".sql"), script.read_text(encoding="utf-8"))
        for script in scripts
    ]


def version_of(connection: duckdb.DuckDBPyConnection) -> int:
    """The schema version of a database; 0 if nothing was ever applied to it."""
    known = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE table_name = 'migrations' AND database_name = current_database()"
    ).fetchone()
    if known is None:
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    return cast("tuple[int]", row)[0]


def migrate(connection: duckdb.DuckDBPyConnection, steps: Sequence[Migration] | None = None) -> bool:
    """Apply what is missing of `steps` (by default all there are); True if anything was.

    TracemillError if the database was made by a newer Tracemill.
    """
    steps = migrations() if steps is None else steps
    current, newest = version_of(connection), steps[-1].version
    if current > newest:
        raise TracemillError(
            f"The warehouse has schema version {current} and this Tracemill knows {newest}: "
            "it was written by a newer one; upgrade tracemill."
        )
    missing = [step for step in steps if step.version > current]
    if not missing:
        return False
    connection.begin()
    try:
        connection.execute(
            """CREATE TABLE IF NOT EXISTS migrations
                 (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied TIMESTAMP NOT NULL);
               COMMENT ON TABLE migrations IS 'Which versions of the schema were applied, and when.';
               COMMENT ON COLUMN migrations.version IS 'Number of the step.';
               COMMENT ON COLUMN migrations.name IS 'Its script.';
               COMMENT ON COLUMN migrations.applied IS 'When.';"""
        )
        for step in missing:
            connection.execute(step.sql)
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, now() AT TIME ZONE 'UTC')", [step.version, step.name]
            )
        connection.commit()
    except BaseException:
        with suppress(duckdb.TransactionException):  # after a full disk there is nothing left to roll back
            connection.rollback()
        raise
    return True
