"""`tracemill dataset leaks` as a user runs it: planted leaks, proof where there is none, suites, other sets."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from conversations import assistant, chat, record, user
from planted_copies import edited_messages, real_rows, words_of
from tracemill.curate.export import export
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest

LONG = "Please tell me how the parser of the second project reads its configuration file when it starts"
PLANTED = 100


def row(name: str, prompt: str, said: str = "So.", **more: Any) -> dict[str, Any]:
    return {"id": name, "session_id": name, "messages": [user(prompt), assistant(said)], **more}


def write(folder: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


@pytest.fixture
def leaky(tmp_path: Path, home: Home) -> Path:
    train = [
        row("a", LONG),
        row("b", "Do it", task="t", project="/p"),
        row("c", "Say it"),
        row("d", "Ask", "Yes."),
    ]
    test = [
        row("e", LONG.replace("second", "third")),
        row("f", "Other", task="t", project="/p"),
        row("c2", "Say it"),
        row("g", "ask ", "No."),
        {**row("h", "Once more"), "session_id": "a"},
    ]
    return write(tmp_path / "leaky", {"train": train, "test": test})


def test_the_tasks_of_rows_a_turn_and_of_repeated_rows_are_known(
    home: Home, tmp_path: Path, tracemill: Run
) -> None:
    said = [user("Do it"), assistant("First."), user("More"), assistant("Then.")]
    rows = [
        {"id": f"r{i}", "session_id": f"s{i}", "task": f"t{i}", "messages": [user(f"{i} ?"), *said[1:]]}
        for i in range(9)
    ]
    write(tmp_path / "own", {"train": rows})
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\n[source]\nkind = "chat"\npath = "own"\nweight = 2.0\n[steps.learnable]\n[format]\nrows = "turn"\n'
    )
    folder = export(home, recipe=tmp_path / "mine.toml").folder
    for split in ("train", "test"):
        lines = (folder / f"{split}.jsonl").read_text().splitlines()
        assert len(lines) > 1
    ended = tracemill("dataset", "leaks", str(folder), "--json")
    (told,) = json.loads(ended.out)["compared"]
    rows_in = sum(told["rows"].values())
    assert told["known"]["task"] == told["known"]["messages"] == rows_in
    # A row of the training set put among those held out: its task is found by what the manifest says of it.
    held = json.loads(lines[0])
    first = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    held = {
        **held,
        "id": first["id"].replace("@1", "@9"),
        "messages": [user("Something else"), assistant("Else.")],
    }
    (folder / "test.jsonl").write_text("\n".join([*lines, json.dumps(held)]) + "\n")
    assert "the same task" in tracemill("dataset", "leaks", str(folder)).out
    why = tracemill("dataset", "why", first["id"], str(folder)).out
    assert why.count("stands in   train.jsonl, line ") == 4


def test_every_kind_is_told_with_both_rows(leaky: Path, tracemill: Run) -> None:
    ended = tracemill("dataset", "leaks", str(leaky))
    assert ended.code == 1
    for said in ("a near copy, ", "the same session 'a'", "the same task 't'", "the same prompt 'ask'", "the same messages"):  # fmt: skip
        assert said in ended.out
    assert "train: train.jsonl, line 1 (a)" in ended.out and "test: test.jsonl, line 1 (e)" in ended.out
    assert "6 leaks." in ended.out
    assert "counted as a leak with --repository only" in ended.err
    assert "7 leaks." in tracemill("dataset", "leaks", str(leaky), "--repository", "--show", "0").out


def test_as_json(leaky: Path, tracemill: Run) -> None:
    ended = tracemill("dataset", "leaks", str(leaky), "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    (one,) = found["compared"]
    assert one["counts"] == {"messages": 1, "session": 1, "task": 1, "prompt": 2, "near": 1, "repository": 1}
    assert one["rows"] == {"train": 4, "test": 5}
    assert one["known"]["task"] == 2
    near = next(leak for leak in one["leaks"] if leak["kind"] == "near")
    assert {(place["split"], place["line"]) for place in near["places"]} == {("test", 1), ("train", 1)}
    assert near["similarity"] >= 0.82
    strict = json.loads(tracemill("dataset", "leaks", str(leaky), "--json", "--threshold", "0.99").out)
    assert strict["compared"][0]["counts"]["near"] == 0


def test_an_export_is_proved_with_what_was_compared(home: Home, tracemill: Run) -> None:
    for number in range(30):
        record(home, f"s{number}", chat(f"Prompt number {number} about it"), task=f"t{number // 2}")
    ingest(home)
    dataset = export(home, name="mine")
    ended = tracemill("dataset", "leaks", "mine", "--json")
    assert ended.code == 0, ended.err
    (one,) = json.loads(ended.out)["compared"]
    assert one["known"] == {
        "messages": 30,
        "session": 30,
        "task": 30,
        "prompt": 30,
        "near": 30,
        "repository": 30,
    }
    assert sum(one["rows"].values()) == 30
    assert "Nothing leaks." in tracemill("dataset", "leaks").out
    lines = (dataset.folder / "test.jsonl").read_text().splitlines()
    with (dataset.folder / "train.jsonl").open("a") as train:
        train.write(lines[0] + "\n")
    assert tracemill("dataset", "leaks", "mine").code == 1


def test_against_another_data_set_and_a_suite(leaky: Path, tmp_path: Path, tracemill: Run) -> None:
    fine = write(tmp_path / "fine", {"train": [row("x", LONG), row("y", "Nothing else")]})
    ended = tracemill("dataset", "leaks", str(fine), "--against", str(leaky), "--json")
    assert ended.code == 1
    own, other = json.loads(ended.out)["compared"]
    assert (own["counts"]["messages"], other["what"]) == (0, "leaky")
    assert {(leak["kind"], *sorted(place["id"] for place in leak["places"])) for leak in other["leaks"]} == {
        ("messages", "a", "x"), ("prompt", "a", "x"), ("near", "e", "x")
    }  # fmt: skip
    (tmp_path / "suite.txt").write_text(f"What is it?\n{LONG.replace('second', 'fourth')}\n")
    (tmp_path / "suite.jsonl").write_text(json.dumps({"question": "nothing  ELSE"}) + "\n")
    ended = tracemill(
        "dataset", "leaks", str(fine), "--against", str(tmp_path / "suite.txt"), "--against", str(tmp_path / "suite.jsonl")
    )  # fmt: skip
    assert ended.code == 1
    assert "suite.txt: line 2" in ended.out and "suite.jsonl: line 1" in ended.out
    assert "There is only one split" in ended.out
    (tmp_path / "suite.txt").write_text("What is it?\n")
    ended = tracemill("dataset", "leaks", str(fine), "--against", str(tmp_path / "suite.txt"))
    assert (ended.code, "1 prompts asked" in ended.out) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--against", "none"), "There is no data set 'none'"),
        (("--against", "leaky"), "is the data set itself"),
        (("--threshold", "2"), ""),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    words: tuple[str, ...], said: str, leaky: Path, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(leaky.parent)
    ended = tracemill("dataset", "leaks", str(leaky), *words)
    assert ended.code == (1 if said else 2)
    assert said in ended.err


def test_rows_of_another_shape_are_told(home: Home, tmp_path: Path, tracemill: Run) -> None:
    write(tmp_path / "odd", {"train": [{"text": "a"}]})
    ended = tracemill("dataset", "leaks", str(tmp_path / "odd"))
    assert ended.code == 1
    assert "none of its 1 lines can be read; `tracemill dataset validate` says why" in ended.err


def test_planted_leaks_are_found_among_real_rows(
    home: Home, shared_data: Path, tmp_path: Path, tracemill: Run
) -> None:
    rng = random.Random(7)
    rows = [dict(one) for one in real_rows(shared_data)]
    pool = words_of(rows)
    long = list({str(one["messages"]): one for one in rows if len(str(one["messages"])) > 600}.values())
    planted: dict[str, list[dict[str, Any]]] = {"messages": [], "near": [], "session": [], "task": []}
    tasked = [one for one in long if one["task"]]
    for number, (one, known) in enumerate(
        zip(rng.sample(long, PLANTED), rng.choices(tasked, k=PLANTED), strict=True)
    ):
        other = [user(" ".join(rng.choices(pool, k=30))), assistant(" ".join(rng.choices(pool, k=30)))]
        for kind, said, more in (
            ("messages", one["messages"], {}),
            ("near", edited_messages(one["messages"], 0.05, rng, pool), {}),
            ("session", [*other, user("a")], {"session_id": one["session_id"]}),
            ("task", [*other, user("b")], {"task": known["task"]}),
        ):
            name = f"{kind}-{number}"
            planted[kind].append({"id": name, "session_id": name, "messages": said, **more})
    folder = write(
        tmp_path / "set", {"train": rows, "test": [one for kind in planted.values() for one in kind]}
    )
    ended = tracemill("dataset", "leaks", str(folder), "--json")
    assert ended.code == 1
    (found,) = json.loads(ended.out)["compared"]
    named = {place["id"] for leak in found["leaks"] for place in leak["places"]}
    for kind in ("messages", "near"):
        assert len(named & {one["id"] for one in planted[kind]}) >= 0.99 * PLANTED, kind
    for kind, key in (("session", "session_id"), ("task", "task")):
        values = {leak["value"] for leak in found["leaks"] if leak["kind"] == kind}
        assert len([one for one in planted[kind] if one[key] in values]) >= 0.99 * PLANTED, kind
