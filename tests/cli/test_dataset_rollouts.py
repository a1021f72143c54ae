"""Rejection sampling: what a model does right by itself becomes a data set, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from session_events import session, spool
from tiny import CALL, scripted_model
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import load
from tracemill.curate.datasets.opened import find
from tracemill.curate.datasets.why import why
from tracemill.evaluate.items import items
from tracemill.evaluate.rollout_rows import keep
from tracemill.evaluate.rollouts import Attempt, as_json, tasks, verified
from tracemill.evaluate.scoring import score
from tracemill.tracer.home import Home
from tracemill.train.examples import sequences

TOOL = {
    "name": "read_file",
    "description": "Read.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
}
READ_A = encode("", [Call("read_file", {"path": "a.py"})])
WORDS = ("--max-tokens", "24", "--temperature", "1", "--attempts", "6")


def row(name: str, *answers: str) -> dict[str, Any]:
    turns = [
        {"role": role, "content": content}
        for answer in answers
        for role, content in (("user", f"Read {name}."), ("assistant", answer))
    ]
    return {
        "id": name,
        "session_id": f"session-{name}",
        "category": "read",
        "messages": turns,
        "tools": [TOOL],
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads a.py whatever it is asked, most of the time; rows that do so, and others."""
    folder = tmp_path_factory.mktemp("rollouts")
    scripted_model(folder / "tiny", CALL)
    (folder / "data").mkdir()
    splits = {
        "train": [
            row("right", READ_A),
            row("wrong", encode("", [Call("read_file", {"path": "b.py"})])),
            row("later", "Which file?", READ_A),
            row("words", "It is noon."),
        ],
        "valid": [row("valid", READ_A)],
        "test": [row("test", READ_A)],
    }
    for split, rows in splits.items():
        # Spaces that our own writer does not put, so that a copy can be told from a row written anew.
        lines = "".join(json.dumps(one, separators=(" , ", " : ")) + "\n" for one in rows)
        (folder / "data" / f"{split}.jsonl").write_text(lines)
    return folder


def words(work: Path, to: Path, *more: str) -> list[str]:
    given = ["dataset", "rollouts", str(work / "data"), "--to", str(to), "--model", str(work / "tiny")]
    return [*given, *WORDS, *more]


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_what_passes_is_a_data_set_to_train_on(
    home: Home, work: Path, tmp_path: Path, tracemill: Run
) -> None:
    to = tmp_path / "passed"
    ended = tracemill(*words(work, to, "--temperature", "2.2", "--json"))
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["attempts"] == 18, "three turns call a tool"
    assert told["tasks"] == {"attempted": 3, "gained": 2}
    assert 2 < told["passed"] < 12, "neither all nor none"
    assert told["kept"] == 2
    assert sum(told["left_out"].values()) == told["passed"] - 2
    assert told["left_out"]["the same as another attempt"] > 0
    by_k = {one["k"]: one["share"] for one in told["pass_at_k"]}
    assert list(by_k) == [1, 2, 4, 6]
    assert by_k[1] == pytest.approx(told["passed"] / 18)
    assert by_k[6] == pytest.approx(2 / 3)

    made = load(to)
    right, later = made.rows("train")
    assert right["id"].startswith("right@1~") and later["id"].startswith("later@3~")
    assert (right["session_id"], right["category"]) == ("session-right", "read")
    assert later["messages"][1] == {"role": "assistant", "content": "Which file?", "weight": 0}
    assert later["messages"][-1]["content"] == f"I look.\n{READ_A}", (
        "what the model wrote, not what was recorded"
    )
    chat = Chat.load(work / "tiny")
    learned = sequences(chat, made.rows("train"), 512).parts
    assert [len(part.spans) for part in learned] == [1, 1]
    for split in ("valid", "test"):
        assert (to / f"{split}.jsonl").read_bytes() == (work / "data" / f"{split}.jsonl").read_bytes()

    about = json.loads((to / "made.json").read_text("utf-8"))
    assert about["operation"] == "rollouts"
    assert about["options"]["attempts"] == 6
    assert len(about["options"]["base_sha256"]) == 64
    assert about["sources"][0]["rows"] == 6
    assert {one["id"]: one["reason"] for one in about["dropped"]} == {
        "wrong": "no attempt passed",
        "words": "no task",
    }
    assert "0 of 6: " in about["dropped"][0]["evidence"]
    way = why(home, find(to, home), right["id"])
    assert way.taken is not None and (way.operation, way.taken["id"]) == ("rollouts", "right")


def test_attempts_are_made_once(home: Home, work: Path, tmp_path: Path, tracemill: Run) -> None:
    first = tracemill(*words(work, tmp_path / "one"))
    assert first.code == 0, first.err
    (kept,) = (home.root / "cache" / "evaluations").iterdir()
    lines = kept.read_bytes().split(b"\n")
    kept.write_bytes(b"\n".join(lines[: len(lines) // 2]))
    assert tracemill(*words(work, tmp_path / "two")).code == 0
    for file in ("train.jsonl", "made.json"):
        one, two = (tmp_path / name / file for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), "an attempt has a seed of its own, so it comes out again"
    assert "(it was there already)" in tracemill(*words(work, tmp_path / "two")).out


def test_a_session_that_is_forgotten_names_what_was_made_of_it(
    home: Home, work: Path, tmp_path: Path, tracemill: Run
) -> None:
    spool(home, session("session-right"))
    assert tracemill("ingest").code == 0
    assert tracemill(*words(work, tmp_path / "passed", "-k", "2")).code == 0
    ended = tracemill("forget", "session-right", "--dry-run")
    assert str(tmp_path / "passed") in ended.out, ended.err


def test_a_command_may_judge(home: Home, work: Path, tmp_path: Path, tracemill: Run) -> None:
    judged = tracemill(*words(work, tmp_path / "out", "-k", "2", "--verify", "grep -q Read.wrong", "--json"))
    told = json.loads(judged.out)
    assert told["attempts"] == 10, "turns in words are attempted too"
    assert told["passed"] == 2
    assert {one["id"].partition("@")[0] for one in rows_of(tmp_path / "out" / "train.jsonl")} == {"wrong"}


def test_what_cannot_be_done_is_one_sentence(home: Home, work: Path, tmp_path: Path, tracemill: Run) -> None:
    cases = [
        (["--verify", "no-such-program"], "Cannot run 'no-such-program'"),
        (["--verify", "'"], "is no command line"),
        (["--verify", "false"], "None of the 10 attempts can be learned from (exit code 1 10)"),
        (["--adapter", "none"], "There is no adapter 'none'"),
    ]
    for given, sentence in cases:
        ended = tracemill(*words(work, tmp_path / "out", "-k", "2", *given))
        assert (ended.code, ended.out) == (1, ""), given
        assert sentence in ended.err
    ended = tracemill(*words(work, work / "data"))
    assert "nothing is written over it" in ended.err
    assert not (tmp_path / "out").exists()


def attempts_of(work: Path, *texts: str) -> list[Attempt]:
    from tracemill.evaluate.holdout import ItemResult

    (task,) = items(load(work / "data").rows("train")[:1])
    results = [ItemResult(task, text, score(task, text)) for text in texts]
    return [Attempt(task, at, one, one.score.failure) for at, one in enumerate(results, start=1)]


def test_which_attempts_are_kept(work: Path) -> None:
    rows, chat = load(work / "data").rows("train"), Chat.load(work / "tiny")
    spaced = READ_A.replace('": ', '" : ')
    made = attempts_of(work, "No.", READ_A, spaced, f"Now. {READ_A}", f"Then. {READ_A}", "x" * 90 + READ_A)
    assert [one.passed for one in made] == [False, True, True, True, True, True]
    kept = keep(rows, made, chat, most=2, max_tokens=40)
    assert [one["id"] for one in kept.rows["right"]] == ["right@1~2", "right@1~4"]
    assert kept.left_out == {
        "the same as another attempt": 1,
        "more than enough of its task": 1,
        "cut off": 1,
    }
    assert (kept.tasks, kept.number) == (1, 2)


def test_a_command_gets_the_task_and_the_attempt(work: Path) -> None:
    (one,) = attempts_of(work, f"Now. {READ_A}")
    told = as_json(one)
    assert told["tool_calls"] == [{"name": "read_file", "arguments": {"path": "a.py"}}]
    assert (told["content"], told["task"], told["attempt"], told["failure"]) == ("Now.", "right#1", 1, "")
    (slow,) = verified([one], "sleep 5", patience=0.05)
    assert slow.failure == "not done after 0.05 seconds" and not slow.result.score.right
    (broken,) = verified([one], "sh -c 'cat >/dev/null; echo no such file >&2; exit 3'")
    assert broken.failure == "exit code 3: no such file"


def test_tasks_are_the_turns_that_call(work: Path) -> None:
    rows = load(work / "data").rows("train")
    assert [task.id for task in tasks(rows)] == ["right#1", "wrong#1", "later#3"]
    assert len(tasks(rows, every=True)) == 5
