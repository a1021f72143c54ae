"""`tracemill dataset show` as a user runs it."""

from __future__ import annotations

import itertools
import json
import string
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from conversations import READ, assistant, call, chat, record, user
from tiny import tiny_model
from tracemill.tracer.home import Home

ESCAPE = "\x1b]0;owned\x07"


@pytest.fixture
def exported(home: Home, tracemill: Run) -> Path:
    """A data set of three sessions, one of them with a failed call, another with escapes in its text."""
    record(home, "fine", chat("Read it"), task="t1")
    record(home, "failing", chat(f"Read {ESCAPE} it"), status="error")
    ended = tracemill("export", "--name", "mine", "--json")
    assert ended.code == 0, ended.err
    return Path(json.loads(ended.out)["folder"])


def place_of(folder: Path, row_id: str) -> str:
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            if json.loads(line)["id"] == row_id:
                return f"{file.stem}:{number}"
    raise AssertionError(row_id)


def test_a_row_is_read_by_id_and_by_place_with_what_is_learned(exported: Path, tracemill: Run) -> None:
    ended = tracemill("dataset", "show", "failing-3", "mine")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "row failing-3"
    assert "  learned    1 of 2 assistant turns" in lines
    assert "  tools      read_file" in lines
    assert "[1 assistant, out of the loss by the step calls]" in lines
    assert "[3 assistant, learned]" in lines
    assert "\x1b" not in ended.out and "\\x1b]0;owned\\x07" in ended.out
    assert tracemill("dataset", "show", place_of(exported, "failing-3"), str(exported)).out == ended.out
    assert tracemill("dataset", "show", "failing-3").out == ended.out, "the newest export is meant"


def test_as_json(exported: Path, tracemill: Run) -> None:
    found = json.loads(tracemill("dataset", "show", "failing-3", "mine", "--json").out)
    assert (found["learned"], found["put_out"]) == ([3], {"1": "calls"})
    assert found["origin"]["run_id"] == "failing-run"
    assert found["row"]["messages"][0]["content"] == f"Read {ESCAPE} it"
    assert f"{found['split']}:{found['line']}" == place_of(exported, "failing-3")


def test_the_tokens_are_those_that_are_trained(exported: Path, tracemill: Run, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    found = json.loads(tracemill("dataset", "show", "fine-3", "--model", str(model), "--json").out)
    learned = [piece["text"] for sequence in found["sequences"] for piece in sequence if piece["learned"]]
    assert len(learned) == 2
    assert "It prints 1." in learned[1] and '"path": "a.py"' in learned[0]
    ended = tracemill("dataset", "show", "fine-3", "--model", str(model))
    assert ended.out.count("tokens, learned]") == 2
    assert ended.out.count("tokens, not learned]") >= 2


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "structured": (
        {"messages": [user("a"), assistant("", call({"path": "x"}))], "tools": [READ]},
        "[1 assistant, learned]",
    ),
    "pair": (
        {"prompt": [user("a")], "chosen": [assistant("Yes.")], "rejected": [assistant("No.")]},
        "[assistant, rejected]",
    ),
}


def test_a_secret_is_masked_unless_the_row_is_asked_for_raw(
    home: Home, tmp_path: Path, tracemill: Run
) -> None:
    key = "ghp_" + string.ascii_lowercase + string.digits
    rows: list[dict[str, Any]] = [
        {"id": key, "messages": [user(f"Is {key} mine?"), assistant(f"{key}, yes.")], "note": f"of {key}"},
        {"messages": [user("Mail a@b.org"), assistant("Yes.")]},
        {"prompt": [user("a")], "chosen": [assistant("Yes.")], "rejected": [assistant(f"Use {key}.")]},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    clean = "[REDACTED:github-token:1]"
    ended = tracemill("dataset", "show", "train:1", str(tmp_path), "--json")
    assert json.loads(ended.out)["row"] == {
        "id": key,
        "messages": [user(f"Is {clean} mine?"), assistant(f"{clean}, yes.")],
        "note": f"of {clean}",
    }
    assert "a secret (github-token), masked here; --raw shows" in ended.err and key not in ended.err
    for row in ("train:1", "train:3"):
        masked = tracemill("dataset", "show", row, str(tmp_path))
        assert clean in masked.out and key not in masked.out.partition("\n")[2]
        raw = tracemill("dataset", "show", row, str(tmp_path), "--raw")
        assert key in raw.out.partition("\n")[2] and clean not in raw.out
        assert "so mind where you paste it" in raw.err
    assert (
        json.loads(tracemill("dataset", "show", "train:1", str(tmp_path), "--raw", "--json").out)["row"]
        == rows[0]
    )
    ended = tracemill("dataset", "show", "train:2", str(tmp_path))
    assert ended.err == "" and "a@b.org" in ended.out


def test_a_secret_of_one_text_is_masked_in_all_that_is_shown(
    home: Home, tmp_path: Path, tracemill: Run
) -> None:
    """A password that only a later message names, and a key that stands in a tool's description alone."""
    password, key = "Vb8" + "xQ2mK7w", "ghp_" + string.ascii_lowercase + string.digits
    tool = {**READ, "description": f"Read with {key} or {password}."}
    named = [user(f"try {password}"), assistant(f"DB_PASSWORD={password} is it.")]
    rows: list[dict[str, Any]] = [
        {"messages": named, "tools": [tool], "origin": f"by {password}"},
        {"messages": [user("a"), assistant("b")], "tools": [{**READ, "description": f"With {key}."}]},
        {"prompt": f"try {password}", "chosen": "Yes.", "rejected": f"DB_PASSWORD={password} is it."},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = str(tiny_model(tmp_path / "tiny"))
    for row, more in itertools.product(
        ("train:1", "train:2", "train:3"), ((), ("--json",), ("--json", "--model", model))
    ):
        ended = tracemill("dataset", "show", row, str(tmp_path), *more)
        assert ended.code == 0 and "masked here" in ended.err, (row, more)
        assert not any(secret in ended.out + ended.err for secret in (password, key)), (row, more)


@pytest.mark.parametrize("kind", ROWS)
def test_other_forms_of_rows(kind: str, home: Home, tmp_path: Path, tracemill: Run) -> None:
    row, said = ROWS[kind]
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    ended = tracemill("dataset", "show", "train:1", str(tmp_path))
    assert ended.code == 0, ended.err
    assert said in ended.out


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("fin-3", "has the id 'fin-3' (did you mean 'fine-3'?); give the id of a row"),
        ("train:99", "lines, so there is no line 99."),
        (
            "twice",
            "Several rows have the id 'twice': train.jsonl, line 4 and train.jsonl, line 5; give split",
        ),
        ("train:6", "line 6: not JSON (Expecting property name"),
        ("train:7", "line 7: it has no list of `messages` (no messages); mend or delete the line."),
        ("endless", "line 8: not JSON (1e400 is more than a number can be); `tracemill dataset"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    which: str, said: str, home: Home, tmp_path: Path, tracemill: Run
) -> None:
    good = [{"id": f"fine-{n}", "messages": [user("a"), assistant("b")]} for n in range(1, 4)]
    twice = [{"id": "twice", "messages": [user("a"), assistant("b")]}] * 2
    lines = [json.dumps(row) for row in [*good, *twice]] + ["{", "{}"]
    lines.append('{"id": "endless", "score": 1e400, "messages": [{"role": "user", "content": "a"}]}')
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    ended = tracemill("dataset", "show", which, str(tmp_path))
    assert ended.code == 1
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_no_data_set_at_all(home: Home, tracemill: Run) -> None:
    ended = tracemill("dataset", "show", "train:1")
    assert (ended.code, ended.out) == (1, "")
    assert "There is no data set in" in ended.err and "`tracemill export`" in ended.err


def test_the_preference_pairs_of_an_export_are_shown_and_followed(
    home: Home, tmp_path: Path, tracemill: Run
) -> None:
    record(home, "good", chat("Fix it"), task="t")
    record(home, "bad", [user("Fix it"), assistant("I cannot.")], task="t", outcome="bad")
    (tmp_path / "p.toml").write_text(
        'name = "p"\n[steps.calls]\n[steps.learnable]\n[pairs]\nkinds = ["runs"]\n[split]\nvalid = 0\ntest = 0\n'
    )
    ended = tracemill("export", "--recipe", str(tmp_path / "p.toml"), "--name", "p")
    assert ended.code == 0, ended.err
    ended = tracemill("dataset", "show", "train_pairs:1", "p")
    assert ended.code == 0, ended.err
    assert "assistant, chosen]" in ended.out and "[assistant, rejected]" in ended.out
    name = ended.out.splitlines()[0].removeprefix("row ")
    assert tracemill("dataset", "show", name, "p").out == ended.out
    assert "conversation good-3: in the split train" in tracemill("dataset", "why", name, "p").out
