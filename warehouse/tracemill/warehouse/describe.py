"""The schema in its own words: every table, view and column with the comment it was created with.

In: nothing but the migrations. Out: `Relation`s for `tracemill sql --tables`, and `docs/schema.md`, which a
test keeps equal to `markdown()`. Make it anew with `python -m tracemill.warehouse.describe > docs/schema.md`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, cast

import duckdb

from tracemill.warehouse.migrate import migrate


@dataclass(frozen=True)
class Column:
    """A column, its DuckDB type and what it means."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Relation:
    """A table or a view, what it holds, and its columns in order."""

    name: str
    kind: Literal["table", "view"]
    comment: str
    columns: list[Column]


def relations() -> list[Relation]:
    """Everything that can be queried: the views first, which answer most questions, then the tables."""
    connection = duckdb.connect(":memory:")
    try:
        migrate(connection)
        found = connection.execute(
            "SELECT view_name, 'view', comment, view_oid FROM duckdb_views() WHERE NOT internal "
            "UNION ALL SELECT table_name, 'table', comment, table_oid FROM duckdb_tables() ORDER BY 2 DESC, 4"
        ).fetchall()
        return [
            _relation(connection, *row)
            for row in cast("list[tuple[str, Literal['table', 'view'], str, int]]", found)
        ]
    finally:
        connection.close()


def _relation(
    connection: duckdb.DuckDBPyConnection, name: str, kind: Literal["table", "view"], comment: str, _: int
) -> Relation:
    columns = connection.execute(
        "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns() WHERE table_name = ? "
        "ORDER BY column_index",
        [name],
    ).fetchall()
    return Relation(
        name, kind, comment, [Column(*column) for column in cast("list[tuple[str, str, str]]", columns)]
    )


def markdown() -> str:
    """The text of docs/schema.md."""
    head = (
        "# Schema\n\n"
        "What `tracemill sql` can ask. Times are UTC. `tracemill sql --example` has questions to\n"
        "start from. This page is made from the schema's own comments, which `tracemill sql --tables`\n"
        "shows too, by `python -m tracemill.warehouse.describe > docs/schema.md`.\n"
    )
    return head + "".join(_section(relation) for relation in relations())


def _section(relation: Relation) -> str:
    rows = "".join(f"| {column.name} | {column.type} | {column.comment} |\n" for column in relation.columns)
    return (
        f"\n## {relation.name}\n\n{relation.kind.capitalize()}. {relation.comment}\n\n"
        f"| column | type | meaning |\n|---|---|---|\n{rows}"
    )


if __name__ == "__main__":
    sys.stdout.write(markdown())
