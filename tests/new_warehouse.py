"""A new warehouse in a twentieth of the time: a copy of one that was migrated.

In: a path to keep it at. Out: a stand-in for `migrate` that copies it into an empty warehouse, for ingestions in
this process; whatever else there is, it leaves to `migrate`. That the migrations make what they
should is tested by tests/warehouse/test_migrations.py, and by every test that ingests in another process.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import duckdb

from tracemill.warehouse.migrate import migrate, version_of
from tracemill.warehouse.writing import quoted


def copying(migrated: Path) -> Callable[[duckdb.DuckDBPyConnection], bool]:
    """A `migrate` that copies the migrated file onto an empty one, whose permissions stay as they are."""

    def copy(connection: duckdb.DuckDBPyConnection) -> bool:
        found = connection.execute(
            "SELECT database_name, path FROM duckdb_databases() WHERE database_name = current_database()"
        ).fetchone()
        name, path = cast("tuple[str, str | None]", found)
        # What a process that was killed left to be done is no empty warehouse.
        if path is None or version_of(connection) or Path(f"{path}.wal").exists():
            return migrate(connection)
        if not migrated.exists():
            _make(migrated)
        connection.execute("USE memory")
        connection.execute(f"DETACH {name}")
        shutil.copyfile(migrated, path)
        _attach(connection, Path(path), name)
        return True

    return copy


def _make(path: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        _attach(connection, path, "warehouse")
        migrate(connection)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    connection.execute(f"ATTACH '{quoted(path)}' AS {name}")
    connection.execute(f"USE {name}")
