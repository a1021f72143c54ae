"""What `dataset validate` finds: each kind of defect with its file, its line and what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from chat_sets import call_text, pair, structured, talk, write
from tiny import tiny_model
from tracemill.curate.chat.template import Chat
from tracemill.curate.chat_lines import ROW_LIMIT
from tracemill.curate.datasets.checks import MENDS
from tracemill.curate.datasets.merging import merge
from tracemill.curate.datasets.opened import find
from tracemill.curate.datasets.validating import Checked, validate
from tracemill.tracer.home import Home

GOOD = talk("Hello", "Hi.")
OFFERED = structured("x")["tools"]


def checked(folder: Path, home: Home, **options: Any) -> Checked:
    return validate(find(folder, home, pairs=True), **options)


def messages(*said: tuple[str, str], **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said], **keys}


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        (b'{"messages": [', "not JSON", "not JSON"),
        (b"[1]", "not an object", "a JSON list"),
        (json.dumps(GOOD).encode("utf-16"), "wrong encoding", "UTF-"),
        (
            '{"messages": [{"role": "user", "content": "caf\xe9"}]}'.encode("latin-1"),
            "wrong encoding",
            "UTF-8",
        ),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "wrong encoding", "surrogate"),
        (b'{"a": 1, "a": 2, "messages": []}', "duplicate key", "'a' stands twice"),
        ({"text": "no"}, "no messages", "no list of `messages`"),
        (messages(("user", "a"), ("robot", "b")), "unknown role", "message 1 has the role 'robot'"),
        (messages(("user", "a"), ("assistant", 5)), "no text", "message 1 is a int"),  # type: ignore[arg-type]
        ({**GOOD, "tools": [{"description": "?"}]}, "broken tools", ""),
        (messages(("user", "a")), "nothing to learn", "no assistant turn"),
        (messages(("user", "a"), ("assistant", " ")), "empty turn", "message 1"),
        (talk("a", "<tool_call>\n{'name': 1}\n</tool_call>"), "unreadable call", "message 1"),
        (structured("a", "{oops"), "unreadable call", "'read_file' are no JSON object"),
        (talk("a", call_text("write", path="a"), tools=OFFERED), "tool not offered", "offered are read_file"),
        (
            talk("a", call_text(path=5), tools=OFFERED),
            "arguments do not fit",
            "path: 5 is not of type 'string'",
        ),
        (structured("a", '{"file": "a"}'), "arguments do not fit", "'path' is a required property"),
        (messages(("user", "a"), ("tool", "b"), ("assistant", "c")), "result without call", "message 1"),
        (
            {"messages": [*GOOD["messages"], {"role": "assistant", "content": "b", "weight": 0.5}]},
            "bad weight",
            "0.5",
        ),
        (pair("a", "Yes.", "Yes."), "pair without difference", ""),
        (pair("a") | {"rejected": [{"role": "robot", "content": ""}]}, "unknown role", "in what is rejected"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_each_defect_is_told_with_its_place(
    tmp_path: Path, home: Home, line: object, kind: str, told: str
) -> None:
    other = pair("b") if isinstance(line, dict) and "chosen" in line else GOOD
    folder = write(tmp_path / "set", {"train": [other], "valid": [other, b"", line]})
    found = checked(folder, home)
    assert dict(found.counts) == {kind: 1}
    (defect,) = found.defects
    assert (defect.file, defect.line, defect.mend) == ("valid.jsonl", 3, MENDS[kind])
    assert told in defect.told
    assert str(tmp_path) not in defect.told


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        structured("a"),
        structured("a") | {"tools": []},
        talk("a", call_text(path="a"), tools=OFFERED),
        talk("a", "<tool_call><function=run><parameter=x>1</parameter></function></tool_call>"),
        messages(
            ("system", "s"),
            ("user", "u"),
            ("assistant", call_text(path="a")),
            ("tool", "r"),
            ("assistant", "b"),
        ),
        {"messages": [*GOOD["messages"], {"role": "assistant", "content": "", "weight": 0}]},
        pair("a"),
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ],
    ids=str,
)
def test_nothing_is_wrong_with_a_good_row(tmp_path: Path, home: Home, row: dict[str, Any]) -> None:
    assert not checked(write(tmp_path / "set", {"train": [row]}), home).counts


def test_a_row_of_a_hundred_megabytes_is_told_and_passed_over(tmp_path: Path, home: Home) -> None:
    folder = write(tmp_path / "set", {"train": [GOOD]})
    with (folder / "train.jsonl").open("ab") as file:
        file.write(b'{"messages": [{"role": "user", "content": "')
        for _ in range(100):
            file.write(b"a" * 2**20)
        file.write(b'"}]}\n' + json.dumps(messages(("user", "a"))).encode())
    found = checked(folder, home)
    assert dict(found.counts) == {"too large": 1, "nothing to learn": 1}
    assert [defect.line for defect in found.defects] == [2, 3]
    assert f"{ROW_LIMIT} are the most" in found.defects[0].told


def test_an_id_that_stands_twice_names_the_other_place(tmp_path: Path, home: Home) -> None:
    rows = [talk(f"{number}", id=name) for number, name in enumerate(("a", "b", "a"))]
    folder = write(
        tmp_path / "set", {"train": rows, "test": [talk("x", id=5), talk("y", id="b"), talk("z", id=5)]}
    )
    found = checked(folder, home)
    assert [(one.file, one.line, one.told) for one in found.defects] == [
        ("test.jsonl", 2, "the id 'b' stands already in train.jsonl, line 2"),
        ("test.jsonl", 3, "the id '5' stands already in test.jsonl, line 1"),
        ("train.jsonl", 3, "the id 'a' stands already in train.jsonl, line 1"),
    ]


def test_mixed_formats_of_one_file_are_told_once(tmp_path: Path, home: Home) -> None:
    xml = "<tool_call><function=run><parameter=x>1</parameter></function></tool_call>"
    train: Sequence[Any] = [talk("a", xml), talk("b", xml), talk("c", call_text(path="a")), GOOD]
    folder = write(
        tmp_path / "set", {"train": train, "valid": [GOOD, pair("d"), GOOD], "test": [structured("e")]}
    )
    assert [(one.file, one.line, one.told) for one in checked(folder, home).defects] == [
        (
            "train.jsonl",
            3,
            "1 rows write calls as tool_call, 2 write calls as function_xml; this is the first",
        ),
        ("valid.jsonl", 2, "1 rows are preference pairs, 2 are conversations; this is the first"),
    ]


def test_few_of_many_are_kept_and_all_are_counted(tmp_path: Path, home: Home) -> None:
    folder = write(tmp_path / "set", {"train": [messages(("user", str(number))) for number in range(50)]})
    found = checked(folder, home, listed=3)
    assert (found.counts["nothing to learn"], len(found.defects)) == (50, 3)


def test_files_as_a_whole(tmp_path: Path, home: Home) -> None:
    assert checked(write(tmp_path / "a", {"data": [GOOD]}), home).counts == {"no train.jsonl": 1}
    assert checked(write(tmp_path / "b", {"train": [], "test": [GOOD]}), home).counts == {"no rows": 1}
    sets = [find(write(tmp_path / name, {"train": [talk(name)]}), home) for name in ("c", "d")]
    merged = merge(sets, tmp_path / "merged", home).written.folder
    assert not checked(merged, home).counts
    with (merged / "train.jsonl").open("a") as file:
        file.write(json.dumps(GOOD) + "\n")
    assert checked(merged, home).counts == {"changed file": 1}


def test_tokens_are_proved_with_a_model(tmp_path: Path, home: Home) -> None:
    chat = Chat.load(tiny_model(tmp_path / "tiny"))
    xml = "<tool_call><function=run><parameter=x>1</parameter></function></tool_call>"
    rows = [GOOD, talk("a", call_text(path="a"), tools=OFFERED), structured("b"), talk("c", xml)]
    folder = write(tmp_path / "set", {"train": rows})
    found = checked(folder, home, chat=chat)
    assert [(one.kind, one.line) for one in found.defects if one.kind == "no token proof"] == [
        ("no token proof", 4)
    ]


def test_the_sets_of_others_are_checked(shared_data: Path, home: Home) -> None:
    def told(name: str) -> dict[str, int]:
        return dict(checked(shared_data / "punie" / name, home).counts)

    assert told("phase27-cleaned") == {}
    assert told("hand-authored") == {"unreadable call": 4}
    assert told("phase26-lsp-final") == {"unreadable call": 62, "mixed formats": 1}
