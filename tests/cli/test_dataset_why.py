"""`tracemill dataset why` as a user runs it: every way a conversation can go, and every id it can be asked by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from conversations import assistant, chat, record, user
from tracemill.curate.export import export
from tracemill.curate.sources import REPLAY
from tracemill.tracer.home import Home
from tracemill.warehouse import lineage
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.store import record_training

LONG = "Tell me how the parser of the second project reads its configuration file when it starts up, please"
RECIPE = """
name = "mine"
[source]
agent = "coder"
where = "session_id <> 'hidden'"
[rewrites.preambles]
[steps.outcome]
[steps.calls]
[steps.duplicates]
[steps.near_duplicates]
[steps.learnable]
"""


def made_in(home: Home, folder: Path) -> Home:
    """Sessions that went every way, and the data set `mine` made of them by the recipe `mine.toml` there."""
    said = [*chat("Read it"), user("Again"), *chat("And that")[1:]]
    said[1] = {**said[1], "content": "Let me check that."}
    record(home, "fine", said, task="t", at=1e9)
    record(home, "copy", said, at=1.1e9)
    record(home, "long", [user(LONG), assistant("It reads it with a loader, line by line, as is written.")])
    record(
        home,
        "near",
        [
            user(LONG.replace("second", "seventh")),
            assistant("It reads it with a loader, line by line, as is written."),
        ],
        at=1.2e9,
    )
    record(home, "failing", chat("Read and fail"), status="error")
    record(home, "pinned", chat("Held out"), split="test")
    record(home, "mate", chat("Held out too", "b.py"), task="t")
    record(home, "bad", chat("Read it badly"), outcome="bad")
    record(home, "hidden", chat("Not to be seen"))
    ingest(home)
    (folder / "mine.toml").write_text(RECIPE)
    export(home, recipe=folder / "mine.toml", name="mine")
    return home


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("why")
    return made_in(Home(folder / "home"), folder)


@pytest.fixture
def mined(shared: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The home that many tests here ask; one that changes what is in it makes its `own`."""
    monkeypatch.setenv("TRACEMILL_HOME", str(shared.root))
    return shared


@pytest.fixture
def own(home: Home, tmp_path: Path) -> Home:
    return made_in(home, tmp_path)


def asked(tracemill: Run, name: str, *words: str) -> Any:
    ended = tracemill("dataset", "why", name, "mine", "--json", *words)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_a_row_is_followed_from_its_events_to_its_line(mined: Home, tracemill: Run) -> None:
    answer = asked(tracemill, "fine-7")
    (way,) = answer["ways"]
    assert (answer["kind"], way["verdict"], way["session_id"]) == ("conversation", "in", "fine")
    assert way["source"]["run_id"] == "fine-run"
    (placed,) = way["placed"]
    file = mined.datasets / "mine" / Path(placed["file"]).name
    assert json.loads(file.read_text().splitlines()[placed["line"] - 1])["id"] == "fine-7"
    assert [one["request_id"] for one in way["requests"]] == ["fine-1", "fine-3", "fine-5", "fine-7"]
    for one in way["requests"]:
        with (mined.spool / one["file"]).open("rb") as spool:
            spool.seek(one["byte_offset"])
            event = json.loads(spool.readline())
        assert (event["kind"], event["request_id"]) == ("request", one["request_id"])
        assert event["id"] == one["event_id"]
    assert [step["step"] for step in way["steps"]] == [
        "outcome", "calls", "duplicates", "near_duplicates", "learnable", "form"
    ]  # fmt: skip
    assert all(step["does"] for step in way["steps"])
    assert [(edit["rewrite"], edit["before"]) for edit in way["edits"]] == [
        ("preambles", "Let me check that.")
    ]
    assert [copy["session_id"] for copy in way["stands_for"]] == ["copy"]
    assert [(made["kind"], made["id"]) for made in way["made"]] == [("data set", "mine")]


def test_every_id_of_it_leads_to_it(mined: Home, tracemill: Run) -> None:
    way = asked(tracemill, "fine-7")["ways"]
    for name in ("fine", "fine-run", "fine-3", "fine-1-c1"):
        assert asked(tracemill, name)["ways"] == way, name
    (placed,) = way[0]["placed"]
    assert asked(tracemill, f"{placed['split']}:{placed['line']}")["ways"] == way
    assert asked(tracemill, "fin")["ways"] == way, "the beginning of an id will do"


@pytest.mark.parametrize(
    ("name", "step", "reason", "evidence"),
    [
        ("bad", "outcome", "bad outcome", "the session is labelled bad"),
        ("copy", "duplicates", "exact duplicate", "the same messages and tools as conversation fine-7"),
        ("near", "near_duplicates", "near copy", "conversation long-1, which is kept of 2 near copies"),
    ],
)
def test_what_was_dropped_tells_the_step_and_the_evidence(
    name: str, step: str, reason: str, evidence: str, mined: Home, tracemill: Run
) -> None:
    (way,) = asked(tracemill, name)["ways"]
    assert (way["verdict"], way["dropped"]["step"], way["dropped"]["reason"]) == ("dropped", step, reason)
    assert evidence in way["dropped"]["evidence"]
    assert way["steps"][-1]["step"] == step
    ended = tracemill("dataset", "why", name, "mine")
    assert f"Dropped by the step {step}, {reason}: " in ended.out
    if name != "bad":
        assert ", kept there instead of it, is in the split " in ended.out


def test_turns_out_of_the_loss_and_splits_say_why(mined: Home, tracemill: Run) -> None:
    ended = tracemill("dataset", "why", "failing", "mine")
    assert " -> messages 1 out of the loss" in ended.out
    (way,) = asked(tracemill, "pinned")["ways"]
    assert (way["source"]["split"], way["decided"]) == ("test", "its session asked for that split")
    (way,) = asked(tracemill, "mate")["ways"]
    fine = asked(tracemill, "fine")["ways"][0]
    assert way["source"]["split"] == fine["source"]["split"]
    told = [one["decided"] for one in (way, fine)]
    assert all("a seeded hash drew it for its group (seed 0)" in one for one in told)
    assert sum("was decisive, of the same task" in one for one in told) == 1


def test_what_no_step_saw_says_which_condition_left_it_out(own: Home, tracemill: Run) -> None:
    (way,) = asked(tracemill, "hidden")["ways"]
    assert way["verdict"] == "not read"
    assert way["unread"] == "the source warehouse reads only conversations where session_id <> 'hidden'"
    record(own, "later", chat("Recorded later"))
    assert "export again to take it in" in asked(tracemill, "later")["ways"][0]["unread"]
    record(own, "bare", chat("No tools"), tools=())
    ended = tracemill("dataset", "why", "bare", "mine")
    assert "No step saw it: " in ended.out


def test_an_adapter_that_saw_it_is_named(own: Home, tracemill: Run) -> None:
    training = lineage.Training("adapter-1", "tiny", str(own.adapters / "adapter-1"), [], dataset_id="mine")
    record_training(own, training)
    row = next(
        json.loads(line)["id"] for line in (own.datasets / "mine" / "train.jsonl").read_text().splitlines()
    )
    (way,) = asked(tracemill, row)["ways"]
    assert [(made["kind"], made["id"]) for made in way["made"]] == [
        ("data set", "mine"),
        ("adapter", "adapter-1"),
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fien-7", "nor the warehouse knows 'fien-7' (did you mean 'fine-7'?); give the id of a row"),
        ("f", "Several ids begin with 'f' (failing, failing-"),
        ("zzzzzzzz", "nor the warehouse knows 'zzzzzzzz'; give the id"),
        ("train:4000", "so there is no line 4000."),
    ],
)
def test_an_id_that_nobody_knows(name: str, said: str, mined: Home, tracemill: Run) -> None:
    ended = tracemill("dataset", "why", name, "mine")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_lists_beside_the_manifest_are_scanned(
    own: Home, tmp_path: Path, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = asked(tracemill, "fine")
    monkeypatch.setattr("tracemill.curate.manifest.LISTED", 0)
    export(own, recipe=tmp_path / "mine.toml", name="mine")
    assert (own.datasets / "mine" / "dropped.parquet").exists()
    assert asked(tracemill, "fine") == whole
    assert asked(tracemill, "bad")["ways"][0]["dropped"]["step"] == "outcome"


def test_rows_to_be_replayed_pass_the_steps_by(home: Home, tmp_path: Path, tracemill: Run) -> None:
    for number in range(10):
        record(home, f"s{number}", chat(f"Prompt {number}"))
    ingest(home)
    general = [{"messages": [user(f"General {n}"), assistant("Yes.")]} for n in range(5)]
    (tmp_path / "general.jsonl").write_text("".join(json.dumps(one) + "\n" for one in general))
    (tmp_path / "r.toml").write_text(
        RECIPE.replace("mine", "r") + '[replay]\npath = "general.jsonl"\nfraction = 0.3\n'
    )
    dataset = export(home, recipe=tmp_path / "r.toml", name="mine")
    assert dataset.manifest is not None
    row = next(one for one in dataset.manifest.rows if one.origin == REPLAY)
    (way,) = asked(tracemill, row.conversation_id)["ways"]
    assert [step["step"] for step in way["steps"]] == ["replay", "form"]


def test_a_data_set_made_by_hand_tells_what_there_is(home: Home, tmp_path: Path, tracemill: Run) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": [user("a"), assistant("b")]}) + "\n")
    ended = tracemill("dataset", "why", "train:1", str(tmp_path))
    assert ended.code == 0, ended.err
    assert "line 1 (train)" in ended.out and "The data set has no manifest" in ended.out


def test_a_data_set_made_of_others_tells_which(own: Home, tmp_path: Path, tracemill: Run) -> None:
    merged = str(tmp_path / "merged")
    (tmp_path / "hand").mkdir()
    hand = [{"messages": [user(f"By hand {n}"), assistant("b")]} for n in (1, 1, 2)]
    (tmp_path / "hand" / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in hand))
    ended = tracemill("dataset", "merge", "mine", str(tmp_path / "hand"), "--to", merged)
    assert ended.code == 0, ended.err
    ended = tracemill("dataset", "why", "pinned-3", merged)
    assert ended.code == 0, ended.err
    assert "taken from  mine: test.jsonl, line " in ended.out
    assert "`tracemill dataset why pinned-3 mine` tells how it came there." in ended.out
    left = json.loads(tracemill("dataset", "why", "train:2", merged, "--json").out)
    assert left["left"] is not None or left["taken"] is not None


def test_requests_of_one_moment_are_told_apart(
    home: Home, shared_data: Path, tracemill: Run, tmp_path: Path
) -> None:
    """Imported sessions have no times of their own: all requests of one have the same."""
    file = str(shared_data / "tau-bench" / "gpt-4o-airline.json.gz")
    fields = ("--messages-field", "traj", "--outcome-field", "reward", "--task-field", "task_id")
    assert tracemill("import", "openai-chat", file, *fields).code == 0
    (tmp_path / "r.toml").write_text('name = "r"\n[steps.outcome]\n[steps.calls]\n')
    dataset = export(home, recipe=tmp_path / "r.toml", name="mine")
    assert dataset.manifest is not None
    (way,) = asked(tracemill, dataset.manifest.rows[0].conversation_id)["ways"]
    assert len(way["requests"]) > 2
    assert len({(one["file"], one["byte_offset"]) for one in way["requests"]}) == len(way["requests"])
