"""The page and its JSON: self-contained, deterministic, escaped, the verdict first, flips before the rest."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.proof import Row
from tracemill.curate.manifest import StepCount
from tracemill.evaluate.comparison import compare
from tracemill.evaluate.confusion import confusions
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.guard.items import guard_items
from tracemill.evaluate.guard.run import GuardResult, GuardResults
from tracemill.evaluate.guard.text import TextResult
from tracemill.evaluate.guard.verdict import GuardComparison, compare_guard
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.items import items
from tracemill.evaluate.live_results import ExecutedCall, LiveResult, compare_live
from tracemill.evaluate.plots import Curve
from tracemill.evaluate.report import Report, render_html, write_report
from tracemill.evaluate.report_items import cut, difference, sections
from tracemill.evaluate.scoring import score

READ = encode("", [Call("read_file", {"path": "a.py"})])
HOSTILE = "<script>alert(1)</script> $x_{1}$ \x00 \ud800 \"'&"


def result(number: int, category: str, text: str) -> ItemResult:
    row: Row = {
        "id": f"r{number}",
        "session_id": f"s{number}",
        "category": category,
        "messages": [
            {"role": "user", "content": f"Question {number} {HOSTILE}"},
            {"role": "assistant", "content": "First I look.\n" + READ, "weight": 0},
            {"role": "tool", "content": HOSTILE},
            {"role": "assistant", "content": READ},
        ],
        "tools": [],
    }
    item = items([row])[0]
    return ItemResult(item, text, score(item, text))


def live(right: bool) -> LiveResult:
    calls = [ExecutedCall("read_file", {"path": "ä.py"}, HOSTILE, right)]
    failure = "" if right else "The time ran out."
    return LiveResult("t1", "read", "Read it.", right, failure, calls, HOSTILE, checked=3, agreed=2)


def guard() -> GuardComparison:
    """A guard of which the adapter lost five items and gained one."""
    asked = guard_items("quick")
    texts = [TextResult(f"{kind}-{n}", kind, f"{kind}{n}", 50, 2.0) for kind in ("a", "b") for n in range(2)]
    right = [GuardResult(item, f"Yes {HOSTILE}", "") for item in asked]
    before = [replace(right[0], failure="wrong-answer"), *right[1:]]
    after = [right[0], *(replace(one, failure="no-answer", text="") for one in right[1:6]), *right[6:]]
    notes = [f"Code was left out {HOSTILE}"]
    return compare_guard(
        GuardResults("quick", before, texts, notes), GuardResults("quick", after, texts, notes)
    )


@pytest.fixture
def report() -> Report:
    base = [result(0, "read", READ), *(result(i, HOSTILE, f"Words {HOSTILE}") for i in range(1, 9))]
    adapter = [
        result(0, "read", "lost"),
        *(result(i, HOSTILE, READ) for i in range(1, 8)),
        result(8, HOSTILE, "no"),
    ]
    return Report(
        title=f"Demo {HOSTILE}",
        facts=[("Base", "tiny"), ("Seed", "0")],
        comparison=compare(base, adapter),
        base=base,
        adapter=adapter,
        curve=Curve([2.0, 1.0, 0.5], [(2, 0.25), (3, 0.75)], best_step=3),
        live=compare_live([live(False)], [live(True)]),
        retention=[StepCount(step="outcome", rows_in=9, kept=8, dropped=1, context=2, reasons={"bad": 1})],
    ).guarded(guard())


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def test_the_page_is_well_formed_needs_nothing_else_and_runs_nothing(report: Report) -> None:
    page = Page(render_html(report))
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a"}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    html = render_html(report)
    assert set(re.findall(r"https?://[^\"' ]*", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html


def test_no_two_elements_share_an_id_and_every_reference_is_kept(report: Report) -> None:
    page = Page(render_html(report))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    html = render_html(report)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= set(ids)


def test_what_a_trace_says_is_shown_as_text(report: Report) -> None:
    page = Page(render_html(report))
    assert "<script>alert(1)</script>" in page.text
    assert "$x_{1}$" in page.text


def test_the_verdict_comes_first_and_flips_before_the_rest(report: Report) -> None:
    text = Page(render_html(report)).text
    order = [
        report.comparison.verdict.reason,
        "What was compared",
        "How they did",
        "In numbers",
        "What changed",
        "Which tool came where which was due",
        "Training",
        "The guard asks for answers without tools",
        "Live: the agent",
        "What the data set was made from",
        "Every item",
        "Gained: wrong before, right with the adapter",
        "Lost: right before, wrong with the adapter",
        "Wrong with both",
    ]
    assert sorted(order, key=text.index) == order
    assert "Right with both" not in text
    assert "7 / 1 of 9" in text and "p = 0.07" in text
    assert "2 of 3 requests" in text and "The time ran out." in text
    assert all(f"item r{i}#3, session s{i}" in text for i in range(9))


def test_the_guard_is_shown_with_what_was_lost_and_stands_in_the_verdict(report: Report) -> None:
    text = Page(render_html(report)).text
    assert report.comparison.verdict.word == "not better"
    assert "General ability fell by more than 10: direct answers −16.7 points (may be chance)" in text
    assert text.index("Lost 5") < text.index("Gained 1")
    assert "too much, may be chance" in text
    assert f"Code was left out {HOSTILE}" in text and "these very items of guard/quick" in text


def test_a_wrong_call_is_shown_beside_the_right_one_word_by_word() -> None:
    wrong = encode("", [Call("read_file", {"path": "b.py"})])
    (section,) = sections([result(0, "read", wrong)], [result(0, "read", wrong)])
    entry = section.groups[0][1][0]
    assert [part for part in entry.base_parts if part[0] != "same"] == [("missing", "a"), ("extra", "b")]
    assert "".join(text for kind, text in entry.base_parts if kind != "missing") == wrong
    assert entry.before == [] and [speaker for speaker, _ in entry.since] == ["assistant", "read_file"]
    assert difference(READ, "Nothing alike at all, in many words.") == [
        ("same", "Nothing alike at all, in many words.")
    ]
    assert cut("x" * 2001) == "x" * 2000 + "\n(1 more characters)"


def test_which_tool_came_where_which_was_due() -> None:
    two = encode("", [Call("read_file", {"path": "a.py"}), Call("search", {"text": "x"})])
    texts = ["Words.", READ, two, encode("", [Call("search", {"text": "x"})]), "<tool_call>\n{"]
    (one,) = confusions([[result(i, "read", text) for i, text in enumerate(texts)]])
    assert one.rows == ["read_file", "(none due)"]
    assert one.columns == ["read_file", "search", "(no call)", "(cannot be read)"]
    assert one.counts == [[2, 1, 1, 1], [0, 1, 0, 0]]
    assert one.share(0, 0) == 0.4


def test_colours_follow_the_page(report: Report) -> None:
    html = render_html(report)
    svg = html[html.index("<svg") : html.rindex("</svg>")]
    assert "var(--ink)" in svg and "var(--base)" in svg and "var(--adapter)" in svg
    assert not re.findall(r"(?:fill|stroke): ?#", svg)


def test_a_report_without_extras_has_no_empty_sections(report: Report) -> None:
    text = Page(render_html(Report("t", [], report.comparison, report.base, report.adapter))).text
    for heading in ("Training", "Live", "What the data set was made from", "The guard asks"):
        assert heading not in text


def test_equal_reports_are_equal_bytes(report: Report, tmp_path: Path) -> None:
    one, other = write_report(tmp_path / "a.html", report), write_report(tmp_path / "new" / "b.html", report)
    assert one.read_bytes() == other.read_bytes()
    assert one.with_suffix(".json").read_bytes() == other.with_suffix(".json").read_bytes()


def test_files_are_private_whole_and_hold_the_numbers(report: Report, tmp_path: Path) -> None:
    path = write_report(tmp_path / "report.html", report)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    found = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert found["comparison"]["verdict"]["word"] == "not better"
    assert found["guard"]["verdict"]["kept"] is False
    assert len(found["guard"]["items"]) == 48
    assert found["comparison"]["calls"]["test"] == {"n": 9, "gained": 7, "lost": 1, "p": 0.0703125}
    assert found["guard"]["notes"][0] == f"Code was left out {HOSTILE}".replace("\ud800", "?")
    assert "these very items of guard/quick" in found["guard"]["notes"][1]
    asked = "guard/quick, 48 items and 4 texts"
    assert found["facts"] == {"Base": "tiny", "Seed": "0", "General ability": asked}
    assert [item["id"] for item in found["items"]] == [f"r{i}#3" for i in range(9)]
    first = found["items"][0]
    assert (first["expected"], first["base"]["exact"], first["adapter"]["failure"]) == (READ, True, "no-call")
    assert found["curve"]["best_step"] == 3 and found["live"]["group"]["n"] == 1
    assert found["retention"][0]["dropped"] == 1


def test_a_folder_that_cannot_be_written_is_named(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=r"Cannot write .*report\.html"):
        write_report(tmp_path / "file" / "report.html", report)


def test_live_results_of_other_tasks_are_refused() -> None:
    with pytest.raises(EvaluationError, match="different live tasks"):
        compare_live([live(True)], [])
