"""The steps of a recipe, each on its own and all of them on anything."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given

from conversations import READ, answer, assistant, call, chat, conversation, frame, frames, user
from tracemill.curate.pipeline import Curated, curate
from tracemill.curate.recipe import find
from tracemill.curate.steps import STEPS, CallOptions, Options, OutcomeOptions
from tracemill.tracer.messages import Message


def run(rows: pl.LazyFrame, step: str, options: Options | None = None) -> Curated:
    return curate(rows, {step: options or STEPS[step].options()})


def reasons(curated: Curated) -> list[tuple[str, str, str]]:
    return curated.dropped.select("conversation_id", "reason", "evidence").rows()


def context(curated: Curated) -> dict[str, list[int]]:
    return dict(curated.rows.select("conversation_id", "context").rows())


def test_outcome_keeps_what_was_verified_as_good() -> None:
    rows = frame(*(conversation(i, chat("p"), outcome=o) for i, o in enumerate(["good", "bad", None])))
    curated = run(rows, "outcome")
    assert curated.rows["conversation_id"].to_list() == ["c0"]
    assert reasons(curated) == [
        ("c1", "bad outcome", "the session is labelled bad"),
        ("c2", "no outcome", "nothing says how the session went"),
    ]
    assert run(rows, "outcome", OutcomeOptions(keep=["good", "bad"])).rows.height == 2


FAILURES: dict[str, tuple[list[Message], list[tuple[int, str, str]], str]] = {
    "not offered": ([user("p"), assistant("", call({}, name="rm"))], [], "turn 1: rm was not offered"),
    "argument missing": ([user("p"), assistant("", call({"file": "a"}))], [], "turn 1: read_file lacks path"),
    "raised": ([user("p"), assistant("", call({"path": "a"}))], [(1, "c1", "error")], "turn 1: read_file ended as error"),
    "denied": ([user("p"), assistant("", call({"path": "a"}))], [(1, "c1", "denied")], "turn 1: read_file ended as denied"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failed_call_is_context_or_drops_the_conversation(kind: str) -> None:
    failing, statuses, evidence = FAILURES[kind]
    rows = frame(conversation(1, [*failing, answer("no"), assistant("Sorry.")], statuses=statuses))
    assert context(run(rows, "calls")) == {"c1": [1]}
    dropped = run(rows, "calls", CallOptions(failed_calls="drop"))
    assert reasons(dropped) == [("c1", "failed call", evidence)]


def test_good_and_deferred_calls_are_learned() -> None:
    rows = frame(
        *(conversation(i, chat("p"), statuses=[(1, "c1", end)]) for i, end in enumerate(["ok", "deferred"]))
    )
    assert context(run(rows, "calls")) == {"c0": [], "c1": []}


def test_a_call_id_used_twice_is_judged_by_its_position() -> None:
    twice = [*chat("p"), user("again"), assistant("", call({"path": "b"})), answer("no")]
    rows = frame(conversation(1, twice, statuses=[(1, "c1", "ok"), (5, "c1", "error")]))
    assert context(run(rows, "calls")) == {"c1": [5]}


def test_what_has_no_text_form_is_dropped_whatever_the_option() -> None:
    broken = conversation(1, [user("p"), assistant("", call('{"path": '))])
    tagged = conversation(2, [user("p"), assistant("I write <tool_call> now.")])
    curated = run(frame(broken, tagged), "calls")
    assert [reason for _, reason, _ in reasons(curated)] == ["no text form", "no text form"]
    assert "not a JSON object" in reasons(curated)[0][2]


@pytest.mark.parametrize("tools", ["[]", None])
def test_calls_without_a_recorded_toolset_are_dropped(tools: str | None) -> None:
    curated = run(frame(conversation(1, chat("p")) | {"tools": tools}), "calls")
    assert reasons(curated) == [("c1", "no toolset", "1 calls, and the tools offered were not recorded")]
    without_calls = conversation(1, [user("p"), assistant("Hello.")]) | {"tools": tools}
    assert run(frame(without_calls), "calls").rows.height == 1


def test_duplicates_differ_in_ids_and_white_space_only() -> None:
    same = [
        user("p"),
        assistant("", call({"path": "a.py"}, "c9")),
        answer(" print(1)\n", "c9"),
        assistant("It  prints 1."),
    ]
    other = chat("p", path="b.py")
    rows = frame(*(conversation(i, messages) for i, messages in enumerate([chat("p"), same, other])))
    curated = run(rows, "duplicates")
    assert curated.rows["conversation_id"].to_list() == ["c0", "c2"]
    assert reasons(curated) == [("c1", "exact duplicate", "the same messages and tools as conversation c0")]
    other_tools = frame(
        conversation(0, chat("p")), conversation(1, chat("p"), tools=[READ, READ | {"name": "rm"}])
    )
    assert run(other_tools, "duplicates").rows.height == 2


def test_what_only_one_of_two_duplicates_teaches_is_not_lost() -> None:
    def weighed(first: int, last: int) -> list[Message]:
        turns = [user("p"), assistant("One."), user("more"), assistant("Two.")]
        return [{**turns[0]}, {**turns[1], "weight": first}, turns[2], {**turns[3], "weight": last}]  # type: ignore[typeddict-unknown-key]

    rows = frame(*(conversation(i, weighed(*one)) for i, one in enumerate([(0, 1), (1, 0), (1, 0), (0, 0)])))
    for step in ("duplicates", "near_duplicates"):
        curated = run(rows, step)
        assert context(curated) == {"c0": [1], "c1": [3]}
        kept = {name: evidence.split("conversation ")[1][:2] for name, _, evidence in reasons(curated)}
        assert kept == {"c2": "c1", "c3": "c0"}
    assert context(
        run(frame(conversation(0, weighed(1, 1)), conversation(1, weighed(0, 1))), "duplicates")
    ) == {"c0": []}


def test_of_duplicates_the_held_out_one_stays() -> None:
    rows = frame(*(conversation(i, chat("p"), split=pin) for i, pin in enumerate([None, "train", "test"])))
    assert run(rows, "duplicates").rows["conversation_id"].to_list() == ["c2"]


def test_a_turn_in_several_branches_is_learned_in_the_first() -> None:
    base = chat("p")
    left, right = [*base, user("l"), assistant("Left.")], [*base, user("r"), assistant("Right.")]
    rows = frame(conversation(1, left, session="s"), conversation(2, right, session="s"))
    assert context(run(rows, "branches")) == {"c1": [], "c2": [1, 3]}
    assert run(rows, "branches").counts[0].context == 2
    elsewhere = frame(conversation(1, left), conversation(2, right))
    assert context(run(elsewhere, "branches")) == {"c1": [], "c2": []}


def test_a_turn_is_found_again_after_its_history_was_trimmed() -> None:
    system: Message = {"role": "system", "content": "It is noon."}
    later: Message = {"role": "system", "content": "It is one."}
    whole = [system, *chat("p"), user("q"), assistant("Two.")]
    trimmed = [later, user("q"), assistant("Two."), user("r"), assistant("Three.")]
    rows = frame(conversation(1, whole, session="s"), conversation(2, trimmed, session="s"))
    assert context(run(rows, "branches")) == {"c1": [], "c2": [2]}


def test_a_turn_out_of_the_loss_in_one_branch_is_learned_in_another() -> None:
    base = chat("p")
    rows = frame(
        conversation(1, [*base, user("l")], session="s", statuses=[(1, "c1", "error")]),
        conversation(2, [*base, user("r")], session="s", statuses=[(1, "c1", "ok")]),
    )
    steps = {"calls": CallOptions(), "branches": Options()}
    assert context(curate(rows, steps)) == {"c1": [1], "c2": [3]}


def test_nothing_to_learn_drops_a_conversation() -> None:
    empty = conversation(1, [user("p"), assistant(" \n")])
    silent = conversation(2, [user("p")])
    mixed = conversation(3, [user("p"), assistant(""), user("q"), assistant("Yes.")])
    curated = run(frame(empty, silent, mixed), "learnable")
    assert [reason for _, reason, _ in reasons(curated)] == ["nothing to learn"] * 2
    assert context(curated) == {"c3": [1]}


@given(frames())
def test_every_conversation_is_kept_or_dropped_once(rows: pl.LazyFrame) -> None:
    recipe = find("default")
    curated = curate(rows, recipe.steps)
    ids = [*curated.rows["conversation_id"], *curated.dropped["conversation_id"]]
    assert sorted(ids) == sorted(rows.collect()["conversation_id"])
    height = len(ids)
    for count in curated.counts:
        assert count.rows_in == height == count.kept + count.dropped
        assert sum(count.reasons.values()) == count.dropped
        height = count.kept
    assert curated.dropped.null_count().sum_horizontal().sum() == 0


@given(frames())
def test_a_turn_of_a_session_is_learned_once(rows: pl.LazyFrame) -> None:
    curated = run(rows, "branches")
    learned: dict[tuple[str, str], str] = {}
    columns = curated.rows.select("conversation_id", "session_id", "messages", "context")
    for conversation_id, session, text, out in columns.iter_rows():
        messages: list[Message] = json.loads(text)
        for position, message in enumerate(messages):
            if message["role"] == "assistant" and position not in out and position > 0:
                before = messages[position - 1]
                if before["role"] == "user" and (
                    position == 1 or messages[position - 2]["role"] == "assistant"
                ):
                    key = (session, json.dumps([before, message]))
                    assert learned.setdefault(key, conversation_id) == conversation_id
