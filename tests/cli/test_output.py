"""What reaches the terminal: nothing in a trace may act on it, and nothing of it is lost."""

from __future__ import annotations

import io
import json
import unicodedata
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tracemill.cli import output

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07 [bold red]x[/] [link=file:///x]y[/link] \u202egnp.exe \x9b31m \x7f\r:smile:"
)
HARMLESS = (
    r"\x1b[2J\x1b]0;title\x07 [bold red]x[/] [link=file:///x]y[/link] \u202egnp.exe \x9b31m \x7f\r:smile:"
)


@given(st.text())
def test_no_character_that_acts_on_a_terminal_is_left(text: str) -> None:
    clean = output.clean(text)
    assert not [c for c in clean if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not set(clean) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    clean.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert output.clean(text) == text


def test_every_way_out_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(HOSTILE)
    output.hint(HOSTILE)
    output.error(HOSTILE + "\nsecond line")
    output.table([HOSTILE], [[HOSTILE], [[HOSTILE]], [{"a": HOSTILE}]])
    with output.progress() as progress:
        progress(HOSTILE, 1, 1)
    streams = capsys.readouterr()
    for stream in (streams.out, streams.err):
        assert HARMLESS in stream
        assert not set(stream) & set("\x1b\x07\x9b\u202e\x7f\r")
    assert f"error: {HARMLESS} second line\n" in streams.err


def test_a_terminal_gets_our_own_colours_and_not_those_of_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(
        output,
        "_console",
        lambda *, stderr=False: Console(file=shown, force_terminal=True, color_system="standard", width=200),
    )
    output.say(HOSTILE, style="red")
    output.table(["a"], [[HOSTILE]])
    with output.progress() as progress:
        progress(HOSTILE, 1, 2)
    assert "\x1b[31m" in shown.getvalue()
    assert "\x1b[2J" not in shown.getvalue()
    assert "\x9b" not in shown.getvalue()


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_json_is_clean_and_still_says_the_same(value: object) -> None:
    text = output.json_text(value)
    assert json.loads(text) == value
    assert output.clean(text) == text
    text.encode()


def test_json_knows_times_and_numbers() -> None:
    value = {"at": datetime(2026, 1, 2, 3, 4, 5), "sum": Decimal(7), "mean": Decimal("1.5")}
    assert json.loads(output.json_text(value)) == {"at": "2026-01-02T03:04:05", "sum": 7, "mean": 1.5}


@pytest.mark.parametrize(
    ("value", "line"),
    [(None, ""), (True, "True"), (3, "3"), (0.12345678, "0.1235"), (12345.678, "12345.7"), ("a\nb", "a b"),
     (datetime(2026, 1, 2, 3, 4, 5, 678), "2026-01-02 03:04:05"), (["a", 1], '["a", 1]')],
)  # fmt: skip
def test_a_value_is_one_line(value: object, line: str) -> None:
    assert output.one_line(value) == line


def test_progress_in_a_log_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress() as progress:
        for done in range(1001):
            progress("rows", done, 1000)
        progress("thinking", 5, 0)
        progress("thinking", 6, 0)
    streams = capsys.readouterr()
    assert streams.out == ""
    lines = streams.err.splitlines()
    assert lines == [
        *(f"rows: {tenth}00 of 1000" if tenth else "rows: 0 of 1000" for tenth in range(11)),
        "thinking",
    ]


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["long", "n"], [["x" * 500, 1], ["y", 22]])
    rows = capsys.readouterr().out.splitlines()
    assert any("x" * 500 + "    1" in row for row in rows)
