"""The card: golden pages of a real export, ills that are planted and found, content that must not act."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pytest

from conversations import assistant, chat, record, user
from tracemill.curate.card import Card, make
from tracemill.curate.card.advice import Finding
from tracemill.curate.card.ills import ILLS
from tracemill.curate.card.reading import choose, draw, opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.export import export
from tracemill.curate.recipe import parse
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = (
    "</pre></div><script>alert(1)</script><img src=x onerror=alert(1)> "
    "| # [link](javascript:x) ![i](http://x/y.png) `code` *b* \x1b[2J\x07 \u202egnp.exe\n# heading\n```\nfence"
)
RECIPE = """
name = "mine"
[steps.outcome]
keep = ["good"]
[steps.calls]
[steps.duplicates]
[steps.branches]
[steps.learnable]
[split]
valid = 0.0
test = 0.0
"""
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def said(*contents: str, **columns: Any) -> dict[str, Any]:
    """A row: user and assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]
    return {"messages": messages, **columns}


def written(folder: Path, splits: Rows) -> Path:
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


class Made(Protocol):
    """Makes the card of rows by split."""

    def __call__(self, splits: Rows, name: str = "mine") -> Card: ...


@pytest.fixture
def card_of(tmp_path: Path, home: Home) -> Made:
    def made(splits: Rows, name: str = "mine") -> Card:
        return make(opened(written(tmp_path / name, splits), home), name)

    return made


def of(card: Card, key: str) -> Finding:
    return next(one for one in card.findings if one.key == key)


def tool_call(path: str = "a.py", name: str = "read_file") -> str:
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": {"path": path}}) + "\n</tool_call>"


def topics(number: int) -> list[str]:
    """Prompts of which no two are alike."""
    words = [
        "walk",
        "river",
        "garden",
        "stone",
        "quick",
        "amber",
        "falcon",
        "ledger",
        "copper",
        "violin",
        "marsh",
    ]
    return [
        f"{words[at % 11]} {words[at * 5 % 9]} {at * 7919} {chr(97 + at % 26) * 5}" for at in range(number)
    ]


def test_the_pages_of_an_export_are_as_reviewed(home: Home, tmp_path: Path) -> None:
    """To review a change: run with TRACEMILL_GOLDEN=write and read the difference."""
    for number in range(4):
        said_so = chat(f"Read number {number}", f"{number}.py")
        record(home, f"good{number}", said_so, category="read", task=f"t{number}")
    record(home, "copy", chat("Read number 3", "3.py"), at=2e9)
    record(home, "bad", chat("Read it badly"), outcome="bad")
    record(home, "failing", chat("Read and fail"), status="error", category="a|b")
    record(home, "talk", [user("Hello!"), assistant("Hello. What shall I do?")], split="valid")
    ingest(home)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    folder = export(home, recipe=recipe, name="golden").folder
    for page in ("card.md", "card.html"):
        golden = GOLDEN / page
        found = (
            (folder / page)
            .read_text("utf-8")
            .replace(f"tracemill {version('tracemill')}", "tracemill VERSION")
        )
        if os.environ.get("TRACEMILL_GOLDEN") == "write":
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(found, "utf-8")
        assert found == golden.read_text("utf-8"), page


def test_a_card_of_the_folder_is_the_card_of_the_export(home: Home) -> None:
    for number in range(3):
        record(home, f"good{number}", chat(f"Read number {number}", f"{number}.py"))
    ingest(home)
    folder = export(home, name="made").folder
    again = make(opened("made", home), "made").pages()
    assert again == {name: (folder / name).read_bytes() for name in again}


def test_rows_that_are_turns_are_judged_by_what_they_learn(home: Home, tmp_path: Path) -> None:
    for prompt in topics(6):
        record(home, prompt.split()[2], chat(prompt, f"{prompt}.py"), at=float(len(prompt)) * 1e7)
    ingest(home)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'{RECIPE}\n[format]\nrows = "turn"\ncalls = "structured"\n')
    export(home, recipe=recipe, name="turns")
    card = make(opened("turns", home), "turns")
    assert card.facts.outcomes == {"good": 12}
    assert [(one.learned, one.calls_before_last, one.rows_with_calls) for one in card.facts.splits] == [
        (12, 0, 6)
    ]
    assert (of(card, "untrained").count, of(card, "prompts").count, of(card, "near").count) == (0, 0, 0)


def test_every_mend_is_a_recipe() -> None:
    for ill in ILLS.values():
        text = ill.recipe if "[steps" in ill.recipe else f"{ill.recipe}\n[steps.duplicates]\n"
        parse(f'name = "mend"\n{text}', ill.title)


def test_planted_ills_are_found_and_counted(card_of: Made) -> None:
    clean = [said(prompt, f"The answer to {prompt} is here.") for prompt in topics(30)]
    calls = [said(f"Open {prompt}", tool_call(f"{prompt}.py"), "<tool_response>x</tool_response>", "It is so.")
             for prompt in topics(30)]  # fmt: skip
    ill = {
        "markers": [said(f"Show me what is new (request {at})", "Nothing.") for at in range(3)],
        "preambles": [said("Look at b", f"Let me check that for you.\n{tool_call('b.py')}")],
        "broken_calls": [said("Look at c", '<tool_call>\n{"name": "read_file", "arguments": {"path": \n</tool_call>')],
        "told_calls": [said("Look at d", "I'll use the read_file tool on d.\n\nIt holds a list of names.")],
        "written_calls": [said("Look at e", '```json\n{"name": "read_file", "arguments": {"path": "e"}}\n```')],
        "empty": [said("Look at f", "")],
        "promises": [said("Look at g", "I'll check the git status.")],
        "truncated": [said("Look at h", "```python\nprint(1)")],
        "python2": [said("Look at i", '```python\nprint "x"\n```')],
        "secrets": [{"messages": [{"role": "system", "content": "The key is AKIAIOSFODNN7EXAMPLQ."}, *said("Look at j", "So it is.")["messages"]]}],
        "copies": [said("Say it twice", "It."), said("Say it twice", "It.")],
        "language": [said("Bitte zeige mir alle Dateien in diesem Ordner und erkläre mir den Inhalt", "Ja, gern: a.py")],
    }  # fmt: skip
    card = card_of({"train": [*clean, *calls, *(row for rows in ill.values() for row in rows)]})
    expected = {"markers": 3, "copies": 1, **{key: len(rows) for key, rows in ill.items() if len(rows) == 1}}
    assert {key: of(card, key).count for key in expected} == expected
    assert of(card, "untrained").count == 30
    assert of(card, "prompts").count == 1
    # What a secret stands in is shown nowhere.
    assert all(b"AKIA" not in page for page in card.pages().values())
    assert of(card, "secrets").examples[0][1].startswith("it holds")


def test_what_no_loss_falls_on_is_no_ill(card_of: Made) -> None:
    clean = [said(prompt, f"The answer to {prompt} is here.") for prompt in topics(30)]
    ill = [
        said("Look at b", f"Let me check that for you.\n{tool_call('b.py')}"),
        said("Look at c", '<tool_call>\n{"name": "read_file", "arguments": {"path": \n</tool_call>'),
        said("Look at d", "I'll use the read_file tool on d.\n\nIt holds a list of names."),
        said("Look at h", "```python\nprint(1)"),
        said("Look at i", '```python\nprint "x"\n```'),
        said("Say it twice", "It."),
        said("Say it twice", "It."),
        said("Show me what is new (request 1)", "Nothing."),
    ]

    def found(weight: int, *more: str) -> set[str]:
        rows = [said(*(message["content"] for message in row["messages"]), *more) for row in ill]
        for row in rows:
            row["messages"][1]["weight"] = weight
        card = card_of({"train": [*clean, *rows]}, f"set-{weight}-{len(more)}")
        return {one.key for one in card.wrong} - {"share", "no_toolset", "one_tool", "systems"}

    learned = {
        "preambles",
        "broken_calls",
        "told_calls",
        "truncated",
        "python2",
        "copies",
        "markers",
        "prompts",
    }
    assert learned <= found(1)
    assert found(0) == set()
    # Where a later turn is learned, prompt and row count, and the faults of the first turn do not.
    assert found(0, "Go on", "So be it, and all of it is fine.") <= {
        "copies",
        "markers",
        "prompts",
        "near",
        "families",
    }


def test_a_clean_data_set_has_nothing_to_mend(card_of: Made) -> None:
    tools = [
        {"name": name, "description": "", "parameters": {"type": "object"}} for name in ("read_file", "stat")
    ]
    calls = [said(f"Open {prompt}", tool_call(f"{prompt}.py", ("read_file", "stat")[at % 2]), tools=tools)
             for at, prompt in enumerate(topics(20))]  # fmt: skip
    talk = [said(prompt, f"The answer to {prompt} is here.", tools=tools) for prompt in topics(40)[20:]]
    card = card_of({"train": [*calls, *talk]})
    assert card.wrong == []
    assert "Nothing that was looked for." in card.pages()["card.md"].decode()


@pytest.mark.parametrize(("calling", "level"), [(0, "look"), (10, "fine"), (19, "bad"), (20, "bad")])
def test_the_share_of_calls_is_judged(card_of: Made, calling: int, level: str) -> None:
    rows = [
        said(prompt, tool_call(prompt) if at < calling else f"It is {prompt}.")
        for at, prompt in enumerate(topics(20))
    ]
    found = of(card_of({"train": rows}), "share")
    assert (found.count, found.of, found.level) == (calling, 20, level)


def test_rows_that_are_turns_of_one_session_are_no_copies(card_of: Made) -> None:
    prompt = topics(1)[0]
    turns = [
        prompt,
        tool_call(),
        "<tool_response>\nx\n</tool_response>",
        f"The answer to {prompt} is here, and more of it.",
    ]
    rows = [said(*turns[:end], id=f"s-{end}", session_id="s") for end in (2, 4)]
    card = card_of({"train": rows})
    assert (of(card, "prompts").count, of(card, "near").count, card.facts.clusters) == (0, 0, [])
    others = card_of(
        {"train": [{**row, "id": f"x{at}", "session_id": f"x{at}"} for at, row in enumerate(rows)]}, "other"
    )
    assert of(others, "prompts").count == 1


def test_leaks_between_splits_are_found_and_others_are_not(card_of: Made) -> None:
    rows = [said(prompt, f"The answer to {prompt} is here.") for prompt in topics(12)]
    card = card_of({"train": rows[:8], "valid": rows[8:]})
    assert of(card, "leaks").level == "fine"
    assert "Nothing stands in two splits" in card.pages()["card.md"].decode()
    leaking = card_of({"train": rows[:8], "test": [rows[0], rows[9]]}, "leaking")
    assert leaking.facts.leaks == {"messages": 1, "session": 0, "task": 0, "prompt": 1, "near": 0}
    assert of(leaking, "leaks").level == "bad"


def test_turns_are_shown_by_what_the_loss_makes_of_them(card_of: Made) -> None:
    row = said("Read a", "Wrong.", "No", "Right.")
    row["messages"][1]["weight"] = 0
    card = card_of({"train": [row]})
    assert [line.loss for line in card.examples[0].shown.lines] == ["masked", "context", "masked", "learned"]
    pages = {name: page.decode() for name, page in card.pages().items()}
    assert "    context | assistant\n            |   Wrong.\n" in pages["card.md"]
    assert re.findall(r'<div class="message (\w+)">', pages["card.html"]) == [
        "masked",
        "context",
        "masked",
        "learned",
    ]


class Outline(HTMLParser):
    """The tags of a page, and whatever in it refers to something or runs."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.acting: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.acting += [
            one for one in attrs if one[0] in ("src", "href", "srcset") or one[0].startswith("on")
        ]


def test_nothing_recorded_acts_in_the_pages(card_of: Made) -> None:
    rows = [said(f"{HOSTILE} {at}", f"{HOSTILE} {tool_call(HOSTILE, HOSTILE)}", category=HOSTILE, outcome=HOSTILE)
            for at in range(12)]  # fmt: skip
    rows += [{"messages": [{"role": "system", "content": HOSTILE}, *rows[0]["messages"]]}]
    card = card_of({"train": rows, "valid": rows[:2]})
    assert card.wrong
    pages = {name: page.decode() for name, page in card.pages().items()}
    for page in pages.values():
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page)
    outline = Outline()
    outline.feed(pages["card.html"])
    assert not outline.tags & {"script", "img", "a", "link", "iframe", "svg"}
    assert outline.acting == []
    # In Markdown every recorded text is escaped or stands indented, where nothing is markup.
    for line in pages["card.md"].splitlines():
        if not line.startswith("    "):
            assert not re.search(r"(?<!\\)[<`\[]", line.replace("`weight` 0", "")), line
            assert not re.search(r"https?://|www\.", line), line
            assert not line.startswith(("# heading", "```"))


def test_what_cannot_be_read_is_counted_and_no_path_is_told(tmp_path: Path, home: Home) -> None:
    folder = written(tmp_path / "mine", {"train": [said("Read a", "A."), {"no": 1}]})
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"messages": [\n')
    card = make(opened(folder, home), "mine")
    assert card.facts.unread == {"no messages": 1, "not JSON": 1}
    assert (of(card, "unread").count, of(card, "unread").of) == (2, 3)
    assert all(str(tmp_path).encode() not in page for page in card.pages().values())


def test_an_empty_data_set_has_a_card(card_of: Made) -> None:
    card = card_of({"train": []})
    assert card.facts.rows == 0
    assert "No row calls a tool." in card.pages()["card.md"].decode()


def test_a_sample_is_said_to_be_one_and_is_the_same_again(tmp_path: Path, home: Home) -> None:
    rows = [said(prompt, f"It is {prompt}.") for prompt in topics(200)]
    sets = opened(written(tmp_path / "mine", {"train": rows[:150], "valid": rows[150:]}), home)
    card = make(sets, "mine", most=40)
    assert (card.facts.rows, card.facts.looked_at) == (200, 40)
    assert [one.rows for one in card.facts.splits] == [150, 50]
    assert "Only 40 of the 200 rows were looked at" in card.pages()["card.md"].decode()
    assert make(sets, "mine", most=40).pages() == card.pages()
    assert "Only" not in make(sets, "mine").pages()["card.md"].decode()


def test_of_a_folder_of_data_sets_each_is_judged_by_itself(tmp_path: Path, home: Home) -> None:
    rows = [said(prompt, f"It is {prompt}.") for prompt in topics(10)]
    written(tmp_path / "all" / "first", {"train": rows})
    written(tmp_path / "all" / "second", {"train": [*rows[:4], rows[0]]})
    card = make(opened(tmp_path / "all", home), "all")
    assert card.facts.sets == ["first", "second"]
    assert of(card, "copies").by == {"first": (0, 10), "second": (1, 5)}
    assert of(card, "shared").by == {"first": (4, 10), "second": (5, 5)}


def test_a_folder_without_data_is_refused(tmp_path: Path, home: Home) -> None:
    with pytest.raises(DatasetError, match=r"holds a \.jsonl file"):
        opened(tmp_path, home)


@pytest.mark.slow
def test_the_known_ills_of_real_data_are_named(shared_data: Path, home: Home) -> None:
    """Counts that a script without any of our code finds too."""
    card = make(opened(shared_data / "punie", home), "punie")
    by = {key: {data: count for data, (count, _) in of(card, key).by.items()} for key in ILLS}
    assert by["markers"]["synthetic-tool-calling"] == 107
    assert by["markers"]["diverse-python-5k"] == 5000
    assert by["prompts"]["phase26-lsp-final"] == 223
    assert by["copies"]["phase27-augmented"] == 124
    assert by["preambles"]["phase27-augmented"] == 404
    assert by["broken_calls"]["hand-authored"] == 4
    assert by["share"]["phase27-cleaned"] == 920
    assert by["untrained"]["phase27-cleaned"] == 404
    train = make(opened(shared_data / "punie" / "phase26-lsp-final" / "train.jsonl", home), "train")
    functions = next(one for one in train.facts.formats if one.format == "function_xml")
    assert (functions.read, functions.read - functions.last) == (691, 459)


def test_an_export_looks_at_a_sample_and_counts_sessions_and_turns_of_all(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [said(prompt, f"It is {prompt}.", "And so?", "So it is.") for prompt in topics(60)]
    folder = written(tmp_path / "mine", {"train": rows})
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'name = "mine"\n[[source]]\nkind = "chat"\npath = "{folder}"\n[steps.learnable]\n')
    monkeypatch.setattr("tracemill.curate.export.EXPORTED", 20)
    made = export(home, recipe=recipe)
    card = made.folder.joinpath("card.md").read_text()
    assert "60 rows, with 120 assistant turns to learn. Made by" in card
    assert "Only 20 of the 60 rows were looked at" in card
    assert "the export compared all rows by session, task and prompt" in card
    facts = make(opened(made.folder, home), made.name, most=20).facts
    assert sum(one.sessions for one in facts.splits) == 60
    assert sum(one.calls for one in facts.splits) == 0


def test_the_sample_is_of_the_smallest_draws_however_long_the_file(tmp_path: Path, home: Home) -> None:
    rows = [said(prompt, f"It is {prompt}.") for prompt in topics(200)]
    sets = opened(written(tmp_path / "mine", {"train": rows[:120], "valid": rows[120:]}), home)
    every, some = choose(sets), choose(sets, most=7)
    lines = [line for _, part in every.parts for _, line in part.lines]
    kept = [line for _, part in some.parts for _, line in part.lines]
    assert lines == [json.dumps(row).encode() + b"\n" for row in rows]
    smallest = sorted(lines, key=draw)[:7]
    assert kept == [line for line in lines if line in smallest]
    assert (some.digest, some.lines) == (every.digest, every.lines)
