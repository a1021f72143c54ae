"""Preference pairs: from agents that were really recorded, and from two hundred live sessions."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, DeferredToolRequests, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import DeferredToolResults, ToolDenied

from airline import airline
from conversations import answer, assistant, call, chat, record, user
from tiny import tiny_model
from tracemill.curate import leaks
from tracemill.curate.chat.codec import to_row
from tracemill.curate.chat.structured import text_row
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset, load
from tracemill.curate.errors import DatasetError, RecipeError
from tracemill.curate.export import export
from tracemill.curate.pairs.within import Turns, denials, second_tries
from tracemill.curate.recipe import parse
from tracemill.curate.splits import SPLITS, Split
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, ToolCall
from tracemill.tracer.recorder import Recorder
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.store import label

RECIPE = """
name = "mine"
[steps.outcome]
[steps.calls]
[steps.duplicates]
[steps.branches]
[steps.learnable]
[pairs]
{}
"""
Plan = list[list[ToolCallPart] | str]


def exported(home: Home, folder: Path, more: str = "", chat: Chat | None = None) -> Dataset:
    file = folder / "mine.toml"
    file.write_text(RECIPE.format(more))
    return load(export(home, recipe=file, chat=chat).folder)


def pairs_of(dataset: Dataset) -> dict[Split, list[dict[str, Any]]]:
    return {
        split: [
            json.loads(line) for line in (dataset.folder / f"{split}_pairs.jsonl").read_text().splitlines()
        ]
        for split in SPLITS
    }


def every_pair(dataset: Dataset) -> list[dict[str, Any]]:
    return [pair for pairs in pairs_of(dataset).values() for pair in pairs]


def follows(plan: Plan) -> FunctionModel:
    """A model that works off its plan, an answer a request."""

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        step = plan[sum(message.kind == "response" for message in messages)]
        return ModelResponse([TextPart(step)] if isinstance(step, str) else list(step))

    return FunctionModel(model)


def coder(
    home: Home, session: str, plan: Plan, output: Any = str, task: str | None = None
) -> Agent[None, Any]:
    recorder = Recorder(home, agent="coder", session_id=session, metadata={"task": task} if task else None)
    agent: Agent[None, Any] = Agent(follows(plan), output_type=output, capabilities=[recorder], retries=3)

    @agent.tool_plain
    def read(path: str) -> str:
        if path == "none":
            raise ModelRetry("There is no such file.")
        return f"print({path})"

    @agent.tool_plain(requires_approval=True)
    def erase(path: str) -> str:
        return f"erased {path}"

    return agent


def part(tool: str, name: str = "c", **arguments: Any) -> ToolCallPart:
    return ToolCallPart(tool, arguments, name)


def labelled(home: Home, **outcomes: Any) -> None:
    ingest(home)
    for session, outcome in outcomes.items():
        label(home, session, outcome=outcome)


def test_the_second_try_of_a_recorded_agent_is_chosen(home: Home, tmp_path: Path) -> None:
    plan: Plan = [
        [part("read", "a", path="a.py"), part("read", "b", path="none")],
        [part("read", "c", path="b.py")],
        [part("open", "d", file="c.py")],
        [part("read", "e", path="c.py")],
        [part("read", "f", pth="d.py")],
        [part("read", "g", path="d.py")],
        "They print.",
    ]
    asyncio.run(coder(home, "s", plan).run("Read them."))
    labelled(home, s="good")
    dataset = exported(home, tmp_path)
    parallel, unknown, invalid = every_pair(dataset)
    assert parallel["id"].endswith("@1:retried") and parallel["session_id"] == "s"
    assert parallel["prompt"] == [{"role": "user", "content": "Read them."}]
    tried = [
        assistant("", call({"path": "a.py"}, name="read"), call({"path": path}, name="read"))
        for path in ("none", "b.py")
    ]
    assert [parallel["rejected"], parallel["chosen"]] == [to_row([turn]) for turn in tried]
    assert parallel["evidence"] == "turn 1: read ended as retry; turn 4 called read, which went well"
    assert [tool["name"] for tool in parallel["tools"]] == ["read", "erase"]
    assert "open" in unknown["rejected"][0]["content"] and "c.py" in unknown["chosen"][0]["content"]
    assert "open ended as unknown" in unknown["evidence"]
    assert "pth" in invalid["rejected"][0]["content"] and "ended as invalid" in invalid["evidence"]
    assert dataset.manifest is not None and dataset.manifest.pairs is not None
    assert dataset.manifest.pairs.splits == {"train": {"retried": 3}, "valid": {}, "test": {}}


def test_what_a_person_rejected_loses_against_what_came_next(home: Home, tmp_path: Path) -> None:
    plan: Plan = [[part("erase", "no", path="a")], [part("read", "r", path="a")], "It prints a."]
    agent = coder(home, "s", plan, [str, DeferredToolRequests])
    first = asyncio.run(agent.run("Clean up."))
    denied = DeferredToolResults(approvals={"no": ToolDenied("Keep it.")})
    asyncio.run(agent.run(None, message_history=first.all_messages(), deferred_tool_results=denied))
    labelled(home, s="good")
    (pair,) = every_pair(exported(home, tmp_path))
    assert pair["kind"] == "denied"
    assert [len(pair[side]) for side in ("prompt", "chosen", "rejected")] == [1, 1, 1]
    assert '"erase"' in pair["rejected"][0]["content"] and '"read"' in pair["chosen"][0]["content"]
    assert pair["evidence"] == "turn 1: a person rejected erase; turn 3 was accepted"


def test_where_a_bad_run_leaves_the_way_of_a_good_one(home: Home, tmp_path: Path) -> None:
    look = [part("read", "r", path="a.py")]
    for session, plan in {
        "good": [look, "It prints 1."],
        "bad": [look, "It prints 2."],
        "worse": ["I will not."],
        "also": [look, "It prints 1."],
    }.items():
        asyncio.run(coder(home, session, list(plan)).run("What does it print?"))
    labelled(home, good="good", bad="bad", worse="bad", also="bad")
    dataset = exported(home, tmp_path)
    found = {pair["rejected"][0]["content"]: pair for pair in every_pair(dataset)}
    assert found.keys() == {"I will not.", "It prints 2."}, "a bad run that did the same is no lesson"
    assert found["It prints 2."]["chosen"] == [{"role": "assistant", "content": "It prints 1."}]
    assert len(found["It prints 2."]["prompt"]) == 3
    assert "the bad run" in found["I will not."]["evidence"]
    assert Counter(pair["session_id"] for pair in found.values()) == {"good": 2}
    assert every_pair(exported(home, tmp_path, 'kinds = ["retried", "denied"]')) == []
    assert len(every_pair(exported(home, tmp_path, "max_per_prompt = 1"))) == 1


def test_pairs_are_structured_where_rows_are_and_proved_with_them(home: Home, tmp_path: Path) -> None:
    plan: Plan = [[part("read", "a", path="none")], [part("read", "b", path="b.py")], "It prints b."]
    asyncio.run(coder(home, "s", plan).run("Read it."))
    asyncio.run(coder(home, "t", ["It says 1."]).run("What does it say?"))
    asyncio.run(coder(home, "u", ["It says <|im_end|> there."]).run("What does it say?"))
    labelled(home, s="good", t="good", u="bad")
    template = Chat.load(tiny_model(tmp_path / "tiny"))
    text = exported(home, tmp_path, chat=template)
    structured = exported(home, tmp_path, '[format]\ncalls = "structured"', chat=template)
    (plain,), (shown,) = every_pair(text), every_pair(structured)
    assert shown["rejected"][0]["tool_calls"][0]["function"] == {
        "name": "read",
        "arguments": {"path": "none"},
    }
    for side in ("prompt", "chosen", "rejected"):
        assert text_row({"messages": shown[side]})["messages"] == plain[side]
    assert structured.manifest is not None and structured.manifest.pairs is not None
    assert structured.manifest.pairs.left_out == {"no token proof": 1}, "no model could write a stop token"


def runs(home: Home) -> None:
    """Thirty tasks of two good and two bad runs, whose users say the same in other words."""
    for task in range(30):
        for trial in range(4):
            made: list[Message] = [
                user(f"Task {task}, please{'!' * trial}"),
                assistant("", call({"path": f"{task}.py"})),
                answer("print(1)"),
                user("And then?"),
                assistant("", call({"path": "good.py" if trial < 2 else f"bad{trial}.py"}, "c2")),
                answer("done", "c2"),
                assistant("Done."),
            ]
            outcome: Any = "good" if trial < 2 else "bad"
            record(
                home, f"s{task}-{trial}", made, task=f"t{task}", outcome=outcome, at=1e9 + 100 * task + trial
            )
    ingest(home)


def test_pairs_stand_where_their_rows_do_and_are_the_same_each_time(home: Home, tmp_path: Path) -> None:
    runs(home)
    dataset = exported(home, tmp_path)
    pairs = pairs_of(dataset)
    assert {split: len(found) for split, found in pairs.items()} == {
        split: 2 * len({row["session_id"].partition("-")[0] for row in dataset.rows(split)})
        for split in SPLITS
    }
    for split, found in pairs.items():
        rows = {row["session_id"] for row in dataset.rows(split)}
        assert {pair["session_id"] for pair in found} <= rows
        assert all("after the same calls with the same results" in pair["evidence"] for pair in found)
        tasks = {row["messages"][0]["content"].split(",")[0] for row in dataset.rows(split)}
        assert {pair["prompt"][0]["content"].split(",")[0] for pair in found} == tasks
    assert not leaks.check(dataset.folder).of("session")
    assert set(leaks.check(dataset.folder).rows) == set(SPLITS), "pairs are not taken for rows"
    files = {file.name: file.read_bytes() for file in dataset.folder.glob("*_pairs.jsonl")}
    assert len(files) == 3
    other = Home(tmp_path / "other")
    runs(other)
    again = exported(other, tmp_path)
    assert {file.name: file.read_bytes() for file in again.folder.glob("*_pairs.jsonl")} == files
    assert again.digest == dataset.digest and again.manifest == dataset.manifest


def test_a_changed_file_of_pairs_is_refused(home: Home, tmp_path: Path) -> None:
    runs(home)
    dataset = exported(home, tmp_path)
    file = dataset.folder / "train_pairs.jsonl"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(DatasetError, match=r"train_pairs\.jsonl is not the file that was exported"):
        load(dataset.folder)


def test_a_bad_run_between_two_splits_is_in_no_pair(home: Home, tmp_path: Path) -> None:
    made = [chat("Look at it", "a.py"), chat("Look at that", "b.py"), chat("Look at that", "c.py")]
    record(home, "left", made[0], task="one", split="train")
    record(home, "right", made[1], task="two", split="test")
    record(home, "both", made[2], task="one", outcome="bad")
    ingest(home)
    assert every_pair(exported(home, tmp_path)) == []


def tried(*turns: list[tuple[str, str, str]], between: Message | None = None) -> Turns:
    """Turns of calls (tool, path, how it ended), each answered."""
    messages: list[Message] = [user("p")]
    endings: list[str] = []
    for number, calls in enumerate(turns):
        made: list[ToolCall] = [
            call({"path": path}, f"{number}-{at}", tool) for at, (tool, path, _) in enumerate(calls)
        ]
        messages += [assistant("", *made), *(answer("x", one["id"], one["name"]) for one in made)]
        messages += [between] if between else []
        endings += [end for *_, end in calls]
    return Turns([*messages, assistant("Done.")], endings, ())


@pytest.mark.parametrize(
    ("turns", "pairs"),
    [
        ([[("read", "x", "error")], [("read", "y", "ok")]], 1),
        ([[("read", "x", "error")], [("read", "x", "ok")]], 0),
        ([[("read", "x", "error")], [("list", "", "ok")], [("read", "y", "ok")]], 0),
        ([[("read", "x", "error")], [("read", "y", "retry")], [("read", "z", "ok")]], 2),
        ([[("sh", "pytest tests/test_a.py", "error")], [("sh", "pytest tests/test_a.py -x", "ok")]], 1),
        ([[("sh", "pytest tests/test_a.py", "error")], [("sh", "grep -n 'def go' b.py", "ok")]], 0),
        ([[("sh", "pytest tests/test_a.py", "retry")], [("sh", "grep -n 'def go' b.py", "ok")]], 1),
        ([[("read", "x", "ok")], [("read", "y", "ok")]], 0),
        ([[("read", "x", "")], [("read", "y", "ok")]], 0),
        ([[("read", "x", "error"), ("list", "x", "error")], [("read", "y", "ok")]], 0),
        ([[("read", "x", "error"), ("list", "x", "error")], [("list", "y", "ok"), ("read", "y", "ok")]], 1),
    ],
)  # fmt: skip
def test_what_counts_as_a_second_try(turns: Any, pairs: int) -> None:
    made = tried(*turns)
    assert len(list(second_tries(made, set(made.calls)))) == pairs
    assert not list(second_tries(made, set())), "what is not learned is not chosen"
    assert not list(second_tries(tried(*turns, between=user("No.")), set(range(30)))), "a person helped"


def test_what_was_accepted_of_a_turn_is_chosen_over_all_of_it() -> None:
    turns = tried(
        [("read", "x", "ok"), ("rm", "x", "denied")], [("rm", "y", "denied")], [("read", "y", "ok")]
    )
    part_of, instead = denials(turns, set(turns.calls))
    assert [one["name"] for one in part_of.chosen.get("tool_calls", [])] == ["read"]
    assert instead.chosen == turns.messages[6] and instead.rejected == turns.messages[4]
    disliked = Turns(turns.messages, ["ok"] * 4, [4])
    assert [pair.position for pair in denials(disliked, set(turns.calls))] == [4]


def test_the_options_of_pairs_are_checked() -> None:
    with pytest.raises(RecipeError, match=r"\[pairs\]: the key 'kinds.0'"):
        parse(RECIPE.format('kinds = ["good"]'), "r")
    assert parse(RECIPE.format(""), "r").pairs is not None
    assert parse(RECIPE.format("").replace("[pairs]", ""), "r").pairs is None


def test_two_runs_of_airline_tasks_are_compared_by_what_they_did(
    home: Home, shared_data: Path, tmp_path: Path
) -> None:
    """Of 200 sessions (50 tasks, 4 trials each) 84 are good; the simulated user words things anew each time."""
    sessions = airline(shared_data)
    for session in sessions:
        name, good = f"{session['task_id']}-{session['trial']}", session["reward"] == 1.0
        record(
            home,
            name,
            session["messages"],
            tools=session["tools"],
            outcome="good" if good else "bad",
            task=f"airline-{session['task_id']}",
        )
    ingest(home)
    dataset = exported(home, tmp_path)
    assert sum(len(dataset.rows(split)) for split in SPLITS) == 84
    pairs = every_pair(dataset)
    assert {pair["kind"] for pair in pairs} == {"runs"}
    wanted = differences(sessions)
    found = {(pair["session_id"], len(pair["prompt"]), json.dumps(pair["rejected"])) for pair in pairs}
    assert len(found) == len(pairs) == 45
    assert found <= wanted
    assert not leaks.check(dataset.folder).leaks


def differences(sessions: list[dict[str, Any]]) -> set[tuple[str, int, str]]:
    """The first differing calls of every good and bad run of a task, found by walking both side by side."""
    found: set[tuple[str, int, str]] = set()
    for good in sessions:
        for bad in sessions:
            if good["task_id"] != bad["task_id"] or good["reward"] != 1.0 or bad["reward"] == 1.0:
                continue
            both = zip(acts(good["messages"]), acts(bad["messages"]), strict=False)
            for (at, one), (bad_at, other) in both:
                if one != other:
                    rejected = json.dumps(to_row([bad["messages"][bad_at]]))
                    found.add((f"{good['task_id']}-{good['trial']}", at, rejected))
                    break
    return found


def acts(messages: list[Message]) -> list[tuple[int, Any]]:
    """What was done and what came of it, wording aside."""
    return [
        (at, [[one["name"], one["arguments"]] for one in message.get("tool_calls", [])] or message["content"])
        for at, message in enumerate(messages)
        if message["role"] == "tool" or message.get("tool_calls")
    ]
