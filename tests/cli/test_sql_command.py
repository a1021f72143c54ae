"""`tracemill sql` as a user runs it: forms of the answer, files, refusals."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import polars as pl
import pytest

from command_line import Run
from session_events import session, spool
from tracemill.tracer.home import Home
from tracemill.warehouse.describe import relations
from tracemill.warehouse.examples import EXAMPLES

ALL_KINDS = (
    "SELECT 1 AS whole, 1.5::DOUBLE AS part, 'a,\"b\"\n' AS text, NULL AS nothing, [1, 2] AS list, {'k': 'v'} AS object, "
    "TIMESTAMP '2026-01-02 03:04:05' AS at, sum(2) AS total, '{\"a\": 1}'::JSON AS json"
)


@pytest.fixture
def recorded(home: Home) -> Home:
    spool(home, session("s1", status="error"), session("s2", outcome="bad"))
    return home


def test_a_table(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("sql", "SELECT tool, calls, errors FROM tool_stats")
    assert [line.split() for line in ended.out.splitlines()][1::2] == [
        ["tool", "calls", "errors"],
        ["search", "4", "2"],
    ]


def test_json(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("sql", ALL_KINDS, "--format", "json")
    assert json.loads(ended.out) == [
        {
            "whole": 1,
            "part": 1.5,
            "text": 'a,"b"\n',
            "nothing": None,
            "list": [1, 2],
            "object": {"k": "v"},
            "at": "2026-01-02T03:04:05",
            "total": 2,
            "json": '{"a": 1}',
        }
    ]


def test_csv(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("sql", ALL_KINDS, "-f", "csv")
    assert list(csv.reader(io.StringIO(ended.out))) == [
        ["whole", "part", "text", "nothing", "list", "object", "at", "total", "json"],
        ["1", "1.5", 'a,"b"\n', "", "[1, 2]", '{"k": "v"}', "2026-01-02T03:04:05.000000", "2", '{"a": 1}'],
    ]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_file(recorded: Home, tracemill: Run, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"answer.{form}"
    path.write_text("what was there before")
    ended = tracemill("sql", ALL_KINDS, "--format", form, "--output", str(path))
    assert (ended.code, ended.out, ended.err.splitlines()[-1]) == (0, "", f"1 rows in {path}.")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = {"csv": pl.read_csv, "json": pl.read_json, "parquet": pl.read_parquet}[form]
    assert read(path)["total"].to_list() == [2]
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_file_that_cannot_be_written_is_one_line(recorded: Home, tracemill: Run, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "answer.csv"
    ended = tracemill("sql", "SELECT 1", "-f", "csv", "-o", str(path))
    assert ended.code == 1
    assert (
        ended.err.splitlines()[-1]
        == f"error: Cannot write {path}: No such file or directory; choose another --output."
    )


def test_a_query_that_fails_leaves_the_file_alone(recorded: Home, tracemill: Run, tmp_path: Path) -> None:
    path = tmp_path / "answer.csv"
    path.write_text("before")
    assert tracemill("sql", "SELECT nothing", "-f", "csv", "-o", str(path)).code == 1
    assert path.read_text() == "before"


def test_a_long_answer_is_cut_on_the_terminal_and_whole_elsewhere(recorded: Home, tracemill: Run) -> None:
    ended = tracemill("sql", "SELECT range AS n FROM range(2500)")
    assert "The first 1000 of 2500 rows" in ended.err
    assert len([line for line in ended.out.splitlines() if line.strip().isdigit()]) == 1000
    assert len(tracemill("sql", "SELECT range AS n FROM range(2500)", "-f", "csv").out.splitlines()) == 2501


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM read_csv('x')", "Cannot access file"),
        ("INSERT INTO sessions SELECT * FROM sessions", "a statement of the kind INSERT"),
        ("ATTACH 'x.duckdb'", "a statement of the kind ATTACH"),
        ("COPY sessions TO 'x.csv'", "a statement of the kind COPY"),
        ("PRAGMA database_list", "a statement of the kind PRAGMA"),
        ("SET threads = 1", "a statement of the kind SET"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT * FROM glob('*')", "Cannot access file"),
        ("SELECT * FROM read_text('x')", "Cannot access file"),
        ("FROM 'file.csv'", "Cannot access file"),
        ("SELECT getenv('HOME')", "getenv does not exist"),
        ("SELECT * FROM sesions", 'Did you mean "sessions"?'),
    ],
)
def test_what_is_refused_is_refused_in_one_line(
    recorded: Home, tracemill: Run, sql: str, reason: str
) -> None:
    tracemill("ingest")
    ended = tracemill("sql", sql)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert reason in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ["SELECT 1", "-o", "x"],
        ["SELECT 1", "-f", "parquet"],
        ["--example", "nonsense"],
        ["SELECT 1", "-f", "xml"],
    ],
)
def test_options_that_do_not_go_together_are_told(recorded: Home, tracemill: Run, words: list[str]) -> None:
    ended = tracemill("sql", *words)
    assert (ended.code, ended.out) == (2, "")


def test_tables_shows_every_table_and_what_it_means(tracemill: Run) -> None:
    shown = tracemill("sql", "--tables").out
    for relation in relations():
        assert f"{relation.name} ({relation.kind})\n  {relation.comment}\n" in shown


def test_examples_are_listed_and_answered(recorded: Home, tracemill: Run) -> None:
    listed = tracemill("sql", "--example").out
    for name, example in EXAMPLES.items():
        assert f"{name}: {example.question}\n{example.sql}\n" in listed
        assert tracemill("sql", "--example", name).code == 0
    assert "search" in tracemill("sql", "--example", "failing-tools").out
