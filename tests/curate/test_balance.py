"""Caps, floors and shares, the order of rows, and general conversations among one's own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversations import READ, answer, assistant, call, chat, conversation, frame, record, user
from tracemill.curate.balance import BalanceOptions
from tracemill.curate.dataset import Dataset
from tracemill.curate.errors import ExportError, RecipeError
from tracemill.curate.export import export
from tracemill.curate.pipeline import Curated, curate
from tracemill.curate.recipe import parse
from tracemill.curate.splits import SPLITS
from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message
from tracemill.tracer.spool import Spool
from tracemill.warehouse.ingest import ingest


def talk(*tools: str) -> list[Message]:
    made: list[Message] = [user("p")]
    for number, tool in enumerate(tools):
        made += [assistant("", call({"path": "a"}, f"c{number}", tool)), answer("x", f"c{number}", tool)]
    return [*made, assistant("Yes.")]


def balanced(rows: list[dict[str, Any]], **options: Any) -> Curated:
    return curate(frame(*rows), {"balance": BalanceOptions(**options)})


def rows_of(*kinds: tuple[int, tuple[str, ...]], **columns: Any) -> list[dict[str, Any]]:
    talks = [tools for number, tools in kinds for _ in range(number)]
    return [conversation(i, talk(*tools), **columns) for i, tools in enumerate(talks)]


def called(curated: Curated) -> Counter[str]:
    return Counter(tool for tools in curated.rows["called_tools"] for tool in tools)


def test_a_cap_bounds_a_tool_and_a_floor_keeps_a_rare_one_from_going_with_it() -> None:
    rows = rows_of((20, ("read",)), (3, ("read", "rare")), (2, ("write",)))
    curated = balanced(rows, max_per_tool=5)
    assert called(curated)["read"] == 5 and called(curated)["write"] == 2
    reason, evidence = curated.dropped.select("reason", "evidence").row(0)
    assert (reason, evidence) == ("enough of this tool", "5 others of the tool 'read' were drawn before it")
    kept = called(balanced(rows, max_per_tool=5, min_per_tool=3))
    assert kept["rare"] == 3 and kept["read"] in (5, 6)
    tight = called(balanced(rows, max_per_tool=1, min_per_tool=3))
    assert tight["rare"] == 3, "the floor wins"


def test_caps_hold_for_kinds_of_task_and_projects() -> None:
    rows = rows_of((6, ()), category="fix", project="/p")
    assert balanced(rows, max_per_category=2).rows.height == 2
    assert balanced(rows, max_per_project=3).rows.height == 3
    unknown = rows_of((6, ()))
    assert balanced(unknown, max_per_category=2, max_per_project=2).rows.height == 6


def test_the_share_of_tool_calls_is_brought_down_to_its_cap() -> None:
    rows = rows_of((97, ("read",)), (10, ()))
    curated = balanced(rows, max_calls=0.8)
    assert curated.rows["call_count"].gt(0).sum() == 40
    evidence = "97 conversations with tool calls to 10 without, and a share of 0.8 is allowed"
    assert set(curated.dropped["evidence"]) == {evidence}
    assert balanced(rows, max_direct=0.05).rows["call_count"].eq(0).sum() == 6
    assert balanced(rows_of((9, ("read",))), max_calls=0.5).dropped.is_empty(), "nothing to balance against"


def test_hard_negatives_have_a_floor_of_their_own() -> None:
    hard = [conversation(i, talk()) for i in range(8)]
    plain = [conversation(i, talk(), tools=()) for i in range(8, 16)]
    rows = [*hard, *plain, conversation(16, talk("read")), conversation(17, talk("read"))]
    left = balanced(rows, max_direct=0.5, min_hard_negatives=5).rows
    assert left.filter(left["call_count"] == 0, left["tool_count"] > 0).height == 5
    assert left.height == 7


def asked(number: int, prompt: str, *tools: str, offered: bool = True) -> dict[str, Any]:
    messages = [user(prompt), *talk(*tools)[1:]]
    return conversation(number, messages, tools=(READ,) if offered else ())


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("What does read_file do?", "the prompt names the tool read_file"),
        ("Reading files is slow, isn't it?", "the prompt names the tool read_file"),
        ("Show recent commits (8), please", "the prompt is like one that led to a call: show recent commits ( ⟨number⟩ )"),
        ("Who are you?", None),
    ],
)  # fmt: skip
def test_a_hard_negative_is_a_conversation_in_which_a_tool_was_tempting(prompt: str, why: str | None) -> None:
    rows = [
        asked(0, prompt),
        asked(1, prompt, offered=False),
        asked(2, "Show recent commits (4)", "read_file"),
    ]
    found = dict(balanced(rows).rows.select("conversation_id", "hard_negative").iter_rows())
    assert found == {"c0": why, "c1": None, "c2": None}


def test_hard_negatives_have_a_cap_of_their_own() -> None:
    rows = [
        *(asked(i, f"What does read_file do ({i})?") for i in range(8)),
        *(asked(i, f"Who is {'x' * i}?") for i in range(8, 12)),
    ]
    curated = balanced(rows, max_hard_negatives=3)
    assert curated.rows["hard_negative"].is_not_null().sum() == 3 and curated.rows.height == 7
    reason, evidence = curated.dropped.select("reason", "evidence").row(0)
    assert (reason, evidence) == (
        "enough hard negatives",
        "3 others are hard negatives and were drawn before it",
    )
    with pytest.raises(RecipeError, match="max_hard_negatives must not be below min_hard_negatives"):
        parse('name = "r"\n[steps.balance]\nmax_hard_negatives = 1\nmin_hard_negatives = 2', "r")


def test_an_export_counts_its_hard_negatives(home: Home, tmp_path: Path) -> None:
    for number in range(6):
        record(home, f"call{number}", chat(f"Read the file {number}.py", f"{number}.py"))
        record(
            home,
            f"hard{number}",
            [user(f"What is a file that I read number {number} of?"), assistant(f"It is {number}.")],
        )
    ingest(home)
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "mine"\n[steps.outcome]\n[steps.balance]\nmax_hard_negatives = 4\n')
    manifest = export(home, recipe=recipe).manifest
    assert manifest is not None
    assert sum(count.hard_negatives or 0 for count in manifest.splits.values()) == 4
    plain = export(home).manifest
    assert plain is not None and plain.splits["train"].hard_negatives is None


def test_the_seed_decides_who_goes() -> None:
    rows = rows_of((40, ("read",)))
    first, same, other = (
        set(balanced(rows, max_per_tool=9, seed=seed).rows["conversation_id"]) for seed in (0, 0, 1)
    )
    assert first == same != other


some = st.none() | st.integers(1, 4)
share = st.none() | st.sampled_from([0.3, 0.5, 0.7])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(
    kinds=st.lists(st.tuples(st.integers(1, 4), st.sampled_from([(), ("a",), ("b",), ("a", "b")])), max_size=5),
    caps=st.tuples(some, some, st.integers(0, 3), st.integers(0, 2), share, share),
    shuffle=st.randoms(use_true_random=False),
)  # fmt: skip
def test_balance_is_blind_to_order_loses_nothing_and_settles(kinds: Any, caps: Any, shuffle: Any) -> None:
    tool, category, floor, hard, calls, direct = caps
    if calls and direct and calls + direct < 1:
        direct = None
    options: dict[str, Any] = {
        "max_per_tool": tool, "max_per_category": category, "min_per_tool": floor,
        "min_hard_negatives": hard, "max_calls": calls, "max_direct": direct, "max_hard_negatives": None if category is None else hard + 1,
    }  # fmt: skip
    rows = rows_of(*kinds, category="fix")
    once = balanced(rows, **options)
    kept = set(once.rows["conversation_id"])
    assert sorted([*kept, *once.dropped["conversation_id"]]) == sorted(row["conversation_id"] for row in rows)
    shuffled = [*rows]
    shuffle.shuffle(shuffled)
    assert set(balanced(shuffled, **options).rows["conversation_id"]) == kept
    again = balanced([row for row in rows if row["conversation_id"] in kept], **options)
    assert again.dropped.is_empty()


def test_shares_that_cannot_both_hold_are_refused() -> None:
    with pytest.raises(RecipeError, match="must make a whole"):
        parse('name = "r"\n[steps.balance]\nmax_calls = 0.3\nmax_direct = 0.3\n', "r")


# order, replay, and what people thought, from the warehouse to the rows


def recipe(folder: Path, more: str, steps: str = "[steps.outcome]\n[steps.learnable]") -> Path:
    file = folder / "mine.toml"
    file.write_text(f'name = "mine"\n{steps}\n[split]\nvalid = 0\ntest = 0\n{more}\n')
    return file


def prompts(dataset: Dataset) -> list[str]:
    return [row["messages"][0]["content"] for row in dataset.rows("train")]


@pytest.fixture
def recorded(home: Home) -> Home:
    record(home, "long", chat("A prompt that is rather long"), at=1e9)
    record(home, "calls", [*chat("B"), *chat("C")], at=2e9)
    record(home, "short", [user("D"), assistant("Yes.")], at=3e9)
    ingest(home)
    return home


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("as recorded", ["A prompt that is rather long", "B", "D"]),
        ("short to long", ["D", "A prompt that is rather long", "B"]),
        ("few calls to many", ["D", "A prompt that is rather long", "B"]),
    ],
)
def test_rows_come_in_the_order_asked_for(recorded: Home, tmp_path: Path, by: str, first: list[str]) -> None:
    assert prompts(export(recorded, recipe=recipe(tmp_path, f'[order]\nby = "{by}"'))) == first


def general(folder: Path) -> Path:
    file = folder / "general" / "train.jsonl"
    file.parent.mkdir()
    texts = [f"general {number}" for number in range(40)] + ["D"]
    rows = [{"messages": [user(text), assistant(f"On {text}.")]} for text in texts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "general" / "test.jsonl").write_text(json.dumps(rows[0]).replace("general 0", "exam") + "\n")
    return file.parent


def test_general_conversations_are_replayed_as_a_marked_share(recorded: Home, tmp_path: Path) -> None:
    general(tmp_path)
    plan = recipe(tmp_path, '[replay]\npath = "general"\nfraction = 0.4')
    dataset = export(recorded, recipe=plan)
    rows = dataset.rows("train")
    replayed = [row for row in rows if row["category"] == "replay"]
    assert len(rows) == 5 and len(replayed) == 2
    assert all(row["messages"][0]["content"].startswith("general") for row in replayed)
    manifest = dataset.manifest
    assert manifest is not None
    count = next(step for step in manifest.steps if step.step == "replay")
    assert count.reasons == {"held out": 1, "not sampled": 38, "own prompt": 1}
    assert (count.rows_in, count.kept) == (45, 5)
    assert [(one.name, one.rows) for one in manifest.sources] == [("warehouse", 3), ("(replay)", 2)]
    assert export(recorded, recipe=plan).reused


def test_nothing_is_replayed_without_sessions_of_ones_own(home: Home, tmp_path: Path) -> None:
    general(tmp_path)
    record(home, "bad", chat("A"), outcome="bad")
    ingest(home)
    with pytest.raises(ExportError, match="None of 1 conversations is left"):
        export(home, recipe=recipe(tmp_path, '[replay]\npath = "general"'))


def test_what_people_thought_comes_from_the_warehouse(recorded: Home, tmp_path: Path) -> None:
    spool = Spool(recorded)
    spool.write(events.feedback("short", target="session", target_id="short", score=-1.0))
    spool.write(events.feedback("calls", target="tool_call", target_id="calls-1-c1", score=-1.0))
    spool.close()
    ingest(recorded)
    dataset = export(recorded, recipe=recipe(tmp_path, "", "[steps.feedback]"))
    assert prompts(dataset) == ["A prompt that is rather long", "B"]
    row = next(row for row in dataset.rows("train") if row["session_id"] == "calls")
    assert [message.get("weight", 1) for message in row["messages"] if message["role"] == "assistant"] == [
        0,
        1,
        1,
        1,
    ]


def test_a_turn_that_was_cut_off_comes_from_the_warehouse(recorded: Home, tmp_path: Path) -> None:
    spool = Spool(recorded)
    asked = spool.message(user("Tell me more of it"))
    said = spool.message(assistant("It is a long story and"))
    request = {"run_id": "cut-run", "step": 0, "model": "m", "previous": None, "kept": 0, "added": [asked]}
    spool.write(events.session("cut", agent="coder", project="/p", source="test"))
    spool.write(events.request("cut", "cut-1", toolset_id=spool.toolset([READ]), **request))
    spool.write(events.response("cut", "cut-1", message_id=said, finish_reason="length"))
    spool.close()
    ingest(recorded)
    dataset = export(recorded, recipe=recipe(tmp_path, "", "[steps.answers]"))
    assert dataset.manifest is not None
    assert [(one.session_id, one.evidence) for one in dataset.manifest.dropped] == [
        ("cut", "turn 1: the model stopped for want of tokens")
    ]


def test_the_careful_recipe_makes_a_set_of_good_sessions(recorded: Home) -> None:
    record(recorded, "done", [user("Please do all of it now"), assistant("Done.")])
    record(recorded, "marked", chat("Please read the file of numbers (request 7)"))
    ingest(recorded)
    dataset = export(recorded, recipe="careful")
    every = [row for split in SPLITS for row in dataset.rows(split)]
    assert {row["session_id"] for row in every} == {"long", "calls", "short", "marked"}
    assert "Please read the file of numbers" in {row["messages"][0]["content"] for row in every}
    assert dataset.manifest is not None
    assert [(one.session_id, one.step, one.reason) for one in dataset.manifest.dropped] == [
        ("done", "answers", "vacuous answer")
    ]
    assert READ["name"] in {tool["name"] for row in every for tool in row["tools"]}
