"""Everything that can be wrong with chat JSONL and a recipe, through `tracemill export`: one clear sentence."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from command_line import Ended, Run
from conversations import assistant, chat, record, user
from tracemill.tracer.home import Home


def talk(number: int, **more: Any) -> str:
    said = [user(f"prompt {number} is about things"), assistant(f"Answer {number}.")]
    return json.dumps({"messages": said, **more})


GOOD = [talk(number) for number in range(6)]


def lines(*rows: str) -> bytes:
    return "".join(row + "\n" for row in rows).encode()


@pytest.fixture
def export(home: Home, tmp_path: Path, tracemill: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Export the file `in.jsonl` of the given bytes under a recipe with the given steps and source lines."""
    monkeypatch.chdir(tmp_path)

    def run(data: bytes, steps: str = "[steps.duplicates]\n[steps.learnable]", source: str = "") -> Ended:
        (tmp_path / "in.jsonl").write_bytes(data)
        (tmp_path / "r.toml").write_text(
            f'name = "r"\n[source]\nkind = "chat"\npath = "in.jsonl"\n{source}\n{steps}\n[split]\nvalid = 0\ntest = 0\n'
        )
        return tracemill("export", "--recipe", "r.toml", "--name", "made", "--json")

    return run


def refused(ended: Ended, home: Home) -> str:
    """The one sentence, where nothing was written."""
    assert (ended.code, ended.out) == (1, "")
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert not (home.datasets / "made").exists()
    assert not any((home.root / "cache").iterdir())
    return errors[0]


FEW: dict[str, tuple[bytes, dict[str, int]]] = {
    "a broken line in the middle": (lines(*GOOD[:3], '{"messages": [', *GOOD[3:]), {"not JSON": 1}),
    "mixed formats": (
        lines(GOOD[0], '{"prompt": "a", "completion": "b"}', '{"conversations": []}', "[1]", "hello", *GOOD[1:]),
        {"no messages": 2, "not JSON": 1, "not an object": 1},
    ),
    "rows without messages": (lines('{"id": 1}', '{"messages": []}', '{"messages": 3}', *GOOD), {"no messages": 3}),
    "an unknown role": (lines('{"messages": [{"role": "robot", "content": "a"}]}', *GOOD), {"unknown role": 1}),
    "a key twice": (lines('{"messages": [], "messages": []}', *GOOD), {"duplicate key": 1}),
    "another encoding in one line": (
        lines(*GOOD) + talk(9).replace("things", "thíngs").encode("latin-1") + b"\n",
        {"wrong encoding": 1},
    ),
    "100 MB in one row": (
        lines(*GOOD[:3], json.dumps({"messages": [user("x" * 100_000_000), assistant("y")]}), *GOOD[3:]),
        {"too large": 1},
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + lines(*GOOD), {}),
    "lines of Windows": (lines(*GOOD).replace(b"\n", b"\r\n"), {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FEW)
def test_what_is_wrong_with_few_lines_keeps_none_of_the_others_out(kind: str, export: Run) -> None:
    data, reasons = FEW[kind]
    ended = export(data)
    assert ended.code == 0, ended.err
    made = json.loads(ended.out)
    assert made["splits"]["train"]["rows"] == 6
    read = next((step for step in made["steps"] if step["step"] == "read"), {"reasons": {}})
    assert read["reasons"] == reasons


WHOLE: dict[str, tuple[bytes, str]] = {
    "UTF-16": ("\n".join(GOOD).encode("utf-16"), "line 1: not UTF-8 but UTF-16); save the file as UTF-8 text."),
    "UTF-16 without a mark": ("\n".join(GOOD).encode("utf-16-le"), "line 1: not UTF-8 but probably UTF-16); save the file"),
    "Latin-1": (lines(*GOOD).replace(b"things", b"th\xedngs"), "line 1: not UTF-8 (invalid continuation byte at byte "),
    "gzip": (gzip.compress(lines(*GOOD)), "line 1: not UTF-8 but compressed by gzip)"),
    "one JSON list": (json.dumps([1]).encode(), "line 1: a JSON list, not an object); write one JSON object a line."),
    "over several lines": (json.dumps(json.loads(GOOD[0]), indent=1).encode(), "write one JSON object a line."),
    "broken": (b"{\n{\n", "dropped 2 (not JSON 2; the first: in.jsonl, line 1: not JSON (Expecting property name"),
    "another shape": (b'{"text": "a"}\n', "`tracemill dataset import` reads rows of another shape."),
    "empty": (b"\n\n", "There is no conversation to export in in.jsonl"),
    "only questions": (b'{"messages": [{"role": "user", "content": "a"}]}\n', "the step learnable dropped 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_wrong_with_a_whole_file_is_one_sentence(kind: str, export: Run, home: Home) -> None:
    data, said = WHOLE[kind]
    assert said in refused(export(data), home)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("[steps.outcome]", "without [steps.outcome] 6 would be left."),
        ('[steps.outcome]\nkeep = ["good"]\n[steps.duplicates]', "the step outcome dropped 6 (no outcome 6"),
        ("[steps.length]\nmin_messages = 3\nmax_messages = 9", "with `min_messages = 1` in [steps.length] 6 would be left."),
        ("[steps.learnable]\n[steps.length]\nmax_characters = 1", "without [steps.length] 6 would be left."),
    ],
)  # fmt: skip
def test_an_empty_result_names_the_step_and_the_nearest_setting(
    steps: str, said: str, export: Run, home: Home
) -> None:
    assert said in refused(export(lines(*GOOD), steps), home)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("where = \"lenght > 3\"", "names the column 'lenght', which does not exist"),
        ("where = \"agnt = 'a'\"", "(did you mean 'agent'?); the columns are "),
        ("where = \"messages LIKE 'x'\"", "names the column 'messages', which does not exist"),
        ('where = "agent >"', "cannot be asked: Parser Error: syntax error at or near \")\"; mend it."),
        ('where = "foo(agent)"', "Scalar Function with name foo does not exist"),
        ('where = "CAST(session_id AS INT) = 1"', "cannot be asked: Conversion Error: Could not convert string 'in:1'"),
        (
            "where = \"agent = 'nobody'\"",
            "None of the 6 conversations of the source 'in' meets agent = 'nobody'; without its `where` 6 would be read.",
        ),
        ('agent = "coder"\nproject = "/p"', "meets (agent = 'coder' ) AND (project = '/p' ); without all of these 6 would"),
        ("since = 2030-01-01", "without its `since` 6 would be read."),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_asked_or_that_nothing_meets(
    source: str, said: str, export: Run, home: Home
) -> None:
    sentence = refused(export(lines(*GOOD), source=source), home)
    assert said in sentence
    assert "LINE 1" not in sentence


def test_a_condition_that_nothing_recorded_meets_names_what_would_do(home: Home, tracemill: Run) -> None:
    record(home, "s", chat("a"))
    ended = tracemill("export", "--where", "agent = 'nobody'", "--name", "made")
    sentence = refused(ended, home)
    assert "None of the 1 conversations of the source 'warehouse' meets " in sentence
    assert sentence.endswith("without its `where` 1 would be read.")
