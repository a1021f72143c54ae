"""`tracemill sql`: any question to the recorded sessions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import output
from tracemill.tracer.errors import TracemillError

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 1000
"""How many rows a table on the terminal has at most; laying out more takes a person's patience."""


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; with --example, the name of one.")] = "",
    format: Annotated[
        Literal["table", "csv", "json", "parquet"], typer.Option("--format", "-f", help="Form of the answer.")
    ] = "table",
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write it to (csv, json, parquet).")
    ] = None,
    tables: Annotated[bool, typer.Option("--tables", help="Show what there is to ask about.")] = False,
    example: Annotated[
        bool, typer.Option("--example", help="List ready questions; with the name of one, answer it.")
    ] = False,
) -> None:
    """Ask the recorded sessions a question in SQL (DuckDB's).

    Read-only: a query can neither write, nor read files, nor reach the network.
    """
    if tables:
        _tables()
        return
    if example and not query:
        _examples()
        return
    if not query:
        raise typer.BadParameter("write a query, or use --tables or --example to see what there is.")
    if to is not None and format == "table":
        raise typer.BadParameter("--output needs --format csv, json or parquet.")
    if to is None and format == "parquet":
        raise typer.BadParameter("--format parquet needs --output FILE.")
    from tracemill.cli.fresh import fresh_home
    from tracemill.warehouse.read import query as ask

    text = _example(query) if example else query
    rows = ask(fresh_home(), text)
    if to is not None:
        _write(rows, format, to)
        output.hint(f"{rows.height} rows in {to}.")
    else:
        _print(rows, format)


def _print(rows: pl.DataFrame, format: str) -> None:
    if format == "json":
        output.emit_json(rows.to_dicts())
    elif format == "csv":
        text = _flat(rows).write_csv()
        # A terminal would act on what a trace holds; a pipe gets it as it is.
        sys.stdout.write(output.clean(text) if sys.stdout.isatty() else text)
    else:
        output.table(rows.columns, rows.head(SHOWN_ROWS).rows())
        if rows.height > SHOWN_ROWS:
            output.hint(f"The first {SHOWN_ROWS} of {rows.height} rows; use LIMIT, or --format csv for all.")


def _write(rows: pl.DataFrame, format: str, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.touch(mode=0o600)
        if format == "parquet":
            rows.write_parquet(temporary)
        elif format == "csv":
            _flat(rows).write_csv(temporary)
        else:
            temporary.write_text(output.json_text(rows.to_dicts()) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TracemillError(f"Cannot write {path}: {error.strerror}; choose another --output.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    """Lists and objects as JSON text, which is all that CSV can hold of them."""
    import polars as pl

    nested = [name for name, kind in rows.schema.items() if kind.is_nested() or kind == pl.Binary]
    return rows.with_columns(
        pl.Series(
            name,
            [None if value is None else json.dumps(value, default=str) for value in rows[name].to_list()],
            dtype=pl.String,
        )
        for name in nested
    )


def _tables() -> None:
    from tracemill.warehouse.describe import relations

    for relation in relations():
        output.say(f"\n{relation.name} ({relation.kind})", style="bold")
        output.say(f"  {relation.comment}")
        for column in relation.columns:
            output.say(f"  {column.name:20} {column.type:10} {column.comment}")


def _examples() -> None:
    from tracemill.warehouse.examples import EXAMPLES

    for name, example in EXAMPLES.items():
        output.say(f"\n{name}: {example.question}", style="bold")
        output.say(example.sql)


def _example(name: str) -> str:
    from tracemill.warehouse.examples import EXAMPLES

    if name not in EXAMPLES:
        raise typer.BadParameter(f"there is no example {name!r}; there are {', '.join(EXAMPLES)}.")
    return EXAMPLES[name].sql
