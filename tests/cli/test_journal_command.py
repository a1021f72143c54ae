"""`tracemill journal` as a user runs it: an empty home, notes, pages, the demo's home."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run
from tracemill.tracer.home import Home
from tracemill.train.defaults import choose
from tracemill.warehouse import store
from tracemill.warehouse.lineage import Training

EMPTY = "Nothing was trained or evaluated here yet; `tracemill improve` makes the first experiment.\n"


def trained(home: Home, name: str) -> None:
    settings = choose(40, {})[0].asdict()
    store.record_training(
        home, Training(name, "tiny", f"/adapters/{name}", [], "rows-1", 0, "f" * 64, settings)
    )


def test_an_empty_home_is_one_sentence(home: Home, tracemill: Run, tmp_path: Path) -> None:
    html, markdown = tmp_path / "journal.html", tmp_path / "journal.md"
    ended = tracemill("journal")
    assert (ended.code, ended.out) == (0, EMPTY)
    pages = ("--html", str(html), "--markdown", str(markdown))
    assert tracemill("journal", *pages).out.split() == [str(markdown), str(html)]
    assert markdown.read_text() == "# Journal\n\n" + EMPTY.replace("`", "")
    page = html.read_text()
    assert EMPTY.replace("`", "").strip() in page and "<table>" not in page and "commands" not in page
    assert tracemill("journal", *pages, "--json").code == 2
    assert json.loads(tracemill("journal", "--json").out) == []
    ended = tracemill("journal", "show", "x")
    assert (
        ended.code == 1 and "error: There is no experiment 'x'; `tracemill journal` lists them." in ended.err
    )


def test_notes_pages_and_one_experiment(home: Home, tracemill: Run, tmp_path: Path) -> None:
    for name in ("tiny-aaaa1111", "tiny-bbbb2222"):
        trained(home, name)
    assert tracemill("journal", "note", "bbbb", " ").code == 2
    for text in ("more rows", "and \x1b[2Jslower"):
        assert tracemill("journal", "note", "bbbb", text).out == "tiny-bbbb2222: noted.\n"
    listed = tracemill("journal")
    assert "tiny-aaaa1111" in listed.out and "more rows; and \\x1b[2Jslower" in listed.out
    assert "\x1b" not in listed.out
    html, markdown = tmp_path / "j.html", tmp_path / "j.md"
    ended = tracemill("journal", "--html", str(html), "--markdown", str(markdown))
    assert ended.out.split() == [str(markdown), str(html)]
    first = html.read_bytes(), markdown.read_bytes()
    tracemill("journal", "--html", str(html), "--markdown", str(markdown))
    assert (html.read_bytes(), markdown.read_bytes()) == first
    shown = tracemill("journal", "show", "tiny-b").out
    assert f"export TRACEMILL_HOME={home.root}\n" in shown
    assert (
        'tracemill train "$TRACEMILL_HOME"/datasets/rows-1 --model tiny' in shown
        and "note: more rows" in shown
    )
    assert json.loads(tracemill("journal", "show", "bbbb", "--json").out)["notes"][0] == "more rows"
    assert "may be any of 2 experiments" in tracemill("journal", "show", "tiny").err
    assert tracemill("journal", "--json", "show", "tiny").code == 2


def test_after_the_demo_its_journal_is_shown(home: Home, tracemill: Run) -> None:
    demo = Home(home.root / "demo")
    trained(demo, "tiny-cccc3333")
    ended = tracemill("journal", "show", "cccc")
    assert (
        f"export TRACEMILL_HOME={demo.root}\n" in ended.out and "this is the journal of the demo" in ended.err
    )
    trained(home, "tiny-aaaa1111")
    assert "cccc" not in tracemill("journal").out
