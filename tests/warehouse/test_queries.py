"""Questions to the snapshot: what is answered, and what is refused, whoever asks."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from session_events import session, spool
from tracemill.tracer.home import Home
from tracemill.warehouse.errors import QueryError
from tracemill.warehouse.examples import EXAMPLES
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import conversations, query


@pytest.fixture
def filled(home: Home) -> Home:
    spool(home, session("s1", status="error"), session("s2", outcome="bad", task="t", at=1_800_000_000.0))
    ingest(home)
    return home


REFUSED = [
    ("INSERT INTO sessions SELECT * FROM sessions", "INSERT"),
    ("DELETE FROM sessions", "DELETE"),
    ("UPDATE sessions SET agent = 'x'", "UPDATE"),
    ("DROP TABLE sessions", "DROP"),
    ("CREATE TABLE x (a INTEGER)", "CREATE"),
    ("CREATE TEMP TABLE x AS SELECT 1", "CREATE"),
    ("ATTACH 'x.duckdb'", "ATTACH"),
    ("COPY sessions TO 'x.csv'", "COPY"),
    ("COPY (SELECT 1) TO 'x.csv'", "COPY"),
    ("EXPORT DATABASE 'x'", "EXPORT"),
    ("PRAGMA database_list", "PRAGMA"),
    ("SET threads = 1", "SET"),
    ("SET enable_external_access = true", "SET"),
    ("RESET lock_configuration", "SET"),
    ("INSTALL httpfs", "LOAD"),
    ("LOAD 'x.so'", "LOAD"),
    ("EXPLAIN ANALYZE DELETE FROM sessions", "EXPLAIN"),
    ("CALL enable_logging()", "CALL"),
    ("PREPARE x AS SELECT 1", "PREPARE"),
    ("SELECT 1; SELECT 2", "2 statements"),
    ("SELECT 1; DROP TABLE sessions", "2 statements"),
    ("", "0 statements"),
    ("-- nothing", "0 statements"),
    ("SELECT * FROM read_csv('{file}')", "Cannot access file"),
    ("SELECT * FROM read_text('{file}')", "Cannot access file"),
    ("SELECT * FROM read_blob('{file}')", "Cannot access file"),
    ("SELECT * FROM read_json('{file}')", "Cannot access file"),
    ("SELECT * FROM read_parquet('{file}')", "Cannot access file"),
    ("SELECT * FROM sniff_csv('{file}')", "Cannot access file"),
    ("SELECT * FROM '{file}'", "Cannot access file"),
    ("FROM '{file}'", "Cannot access file"),
    ("SELECT * FROM glob('{folder}/*')", "Cannot access file"),
    ("SELECT (SELECT content FROM read_text('{file}'))", "Cannot access file"),
    ("SELECT * FROM query('FROM read_text(''{file}'')')", "Cannot access file"),
    ("SELECT * FROM read_csv('https://example.com/x.csv')", "Cannot access file"),
    ("SELECT * FROM duckdb_secrets()", "file system operations are disabled"),
    ("SELECT getenv('HOME')", "getenv does not exist"),
    ("FROM home", "home does not exist"),  # a variable of ours by that name
    ("SELECT * FROM sesions", 'Did you mean "sessions"?'),
    ("SELEC 1", "syntax error"),
    ("SELECT CAST('a' AS INTEGER)", "Could not convert"),
]


@pytest.mark.parametrize(("sql", "reason"), REFUSED)
def test_what_is_no_plain_question_is_refused_in_one_line(
    filled: Home, tmp_path: Path, sql: str, reason: str
) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(QueryError) as refused:
        query(filled, sql.replace("{file}", str(file)).replace("{folder}", str(tmp_path)))
    text = str(refused.value)
    assert reason in text
    assert "\n" not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "secret.csv"]


ANSWERED = [
    ("SELECT 1 AS a, 2 AS a", {"a": [1], "a_1": [2]}),
    ("SELECT sum(n) AS n FROM (VALUES (1), (2)) AS t(n)", {"n": [3]}),
    ("SELECT INTERVAL 90 MINUTE AS i, [INTERVAL 1 DAY] AS l", {"i": ["01:30:00"], "l": ["[1 day]"]}),
    ('SELECT \'x\' AS "a""b"', {'a"b': ["x"]}),
    ("SELECT NULL AS n, 1.5 AS d, [1, 2] AS l", {"n": [None], "d": [1.5], "l": [[1, 2]]}),
    ("WITH a AS (SELECT 1 AS x) FROM a -- a comment\n;", {"x": [1]}),
    ("SELECT session_id FROM sessions WHERE false", {"session_id": []}),
    ("SELECT column_name FROM (DESCRIBE sessions) LIMIT 1", {"column_name": ["session_id"]}),
    ("SELECT started FROM sessions WHERE started < now() AND session_id = 's0'", {"started": []}),
    ("SELECT name FROM (SHOW TABLES) WHERE name LIKE 'tool_c%'", {"name": ["tool_calls"]}),
]


@pytest.mark.parametrize(("sql", "answer"), ANSWERED)
def test_a_question_is_answered(filled: Home, sql: str, answer: dict[str, list[object]]) -> None:
    found = query(filled, sql)
    assert {
        name: [float(v) if name == "d" else v for v in values]
        for name, values in found.to_dict(as_series=False).items()
    } == answer


def test_times_are_utc_and_types_are_kept_without_rows(filled: Home) -> None:
    schema = query(filled, "SELECT started, now() AS now, metadata FROM sessions WHERE false").schema
    assert schema == {"started": pl.Datetime("us"), "now": pl.Datetime("us", "UTC"), "metadata": pl.String}


def test_a_condition_of_a_recipe_is_refused_like_any_query(filled: Home) -> None:
    with pytest.raises(QueryError, match="nonsense"):
        conversations(filled, "nonsense = 1")
    with pytest.raises(QueryError, match="Cannot access file"):
        conversations(filled, "EXISTS (FROM read_text('/etc/hostname'))")
    with pytest.raises(QueryError, match="syntax error"):
        conversations(filled, "true)); DROP TABLE sessions; SELECT ((1")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_ready_questions_have_answers(filled: Home, name: str) -> None:
    found = query(filled, EXAMPLES[name].sql)
    assert EXAMPLES[name].question.endswith("?")
    if name != "session-in-adapters":  # nothing is trained here; test_lineage answers it
        assert found.height > 0


def test_what_the_ready_questions_answer(filled: Home) -> None:
    assert query(filled, EXAMPLES["slowest-tools"].sql).rows() == [("search", 4, 2.0, 2.0)]
    assert query(filled, EXAMPLES["failing-tools"].sql).rows() == [("search", 4, 2, 0, 0, 0, 50.0)]
    assert query(filled, EXAMPLES["bad-sessions"].sql)["session_id"].to_list() == ["s2"]
    assert query(filled, EXAMPLES["tokens"].sql).rows() == [("m", 2, 6, 60, 12)]
    assert query(filled, EXAMPLES["outcomes"].sql).rows() == [("coder", "pydantic-ai", 2, 1, 1, 2.0)]
    assert query(filled, EXAMPLES["failed-calls"].sql)["status"].to_list() == ["error", "error"]
    assert query(filled, EXAMPLES["longest-conversations"].sql)["messages"].to_list() == [7, 7]
