"""What is learned of a data set: every turn of weight 1 once, cut to the context by whole turns, never in vain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import tiny_model
from tracemill.curate.chat.codec import Call, RowMessage, encode
from tracemill.curate.chat.proof import Row, learned_turns, prove
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat, chatml_tools
from tracemill.train.errors import TrainError
from tracemill.train.examples import Examples, sequences

TOOLS: Any = [
    {"name": "read_file", "description": "Read.", "parameters": {"type": "object", "properties": {}}}
]
SYSTEM = "You are a helpful coding agent."


def session(steps: int, questions: int = 1, size: int = 1, id: str = "r") -> Row:
    """A row of `questions` questions, each with `steps` calls and an answer; every turn says which it is."""
    messages: list[RowMessage] = [{"role": "system", "content": SYSTEM}]
    for question in range(questions):
        messages.append({"role": "user", "content": f"Question {question}?"})
        for step in range(steps):
            call = Call("read_file", {"path": f"q{question}s{step}.py"})
            messages.append({"role": "assistant", "content": encode("", [call])})
            messages.append({"role": "tool", "content": f"result q{question}s{step} " + "x = 1\n" * size})
        messages.append({"role": "assistant", "content": f"Answer {question}."})
    return {"id": id, "session_id": id, "category": "", "messages": messages, "tools": TOOLS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def chat(folder: Path) -> Chat:
    return Chat.load(folder)


@pytest.fixture(scope="module")
def forgetful(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Chat:
    """A template that marks earlier answers, and so keeps no prefix of a conversation."""
    adapter = tmp_path_factory.mktemp("forgetful")
    mark = "{{ '(earlier) ' if message.role == 'assistant' and message.content and not loop.last }}"
    changed = chatml_tools().replace("{{ message.content or '' }}", mark + "{{ message.content or '' }}")
    assert changed != chatml_tools()
    (adapter / TEMPLATE_FILE).write_text(changed)
    return Chat.load(folder, adapter)


def learned(chat: Chat, examples: Examples) -> list[str]:
    return [chat.tokenizer.decode(part.tokens[a:b]) for part in examples.parts for a, b in part.spans]


def histories(chat: Chat, examples: Examples) -> list[str]:
    return [chat.tokenizer.decode(part.tokens[: part.spans[0][0]]) for part in examples.parts]


def test_a_short_row_is_learned_as_it_is(chat: Chat) -> None:
    row = session(2)
    examples = sequences(chat, [row], context=10_000)
    assert examples == Examples(prove(chat, row), 0, [])
    assert len(examples.parts[0].spans) == 3


def test_a_template_that_rewrites_history_gives_a_sequence_for_each_turn(forgetful: Chat) -> None:
    examples = sequences(forgetful, [session(1, questions=2)], context=10_000)
    assert [len(part.spans) for part in examples.parts] == [1, 1, 1, 1]
    assert "(earlier) Answer 0." in histories(forgetful, examples)[3]


@settings(max_examples=25)
@given(
    steps=st.integers(0, 4),
    questions=st.integers(1, 3),
    size=st.integers(1, 12),
    share=st.floats(0.2, 1.2),
    weights=st.lists(st.booleans(), min_size=15, max_size=15),
    keeps=st.booleans(),
)
def test_every_turn_is_learned_once_or_dropped_with_a_reason(
    chat: Chat,
    forgetful: Chat,
    steps: int,
    questions: int,
    size: int,
    share: float,
    weights: list[bool],
    keeps: bool,
) -> None:
    used = chat if keeps else forgetful
    row = session(steps, questions, size)
    turns = [message for message in row["messages"] if message["role"] == "assistant"]
    for message, weight in zip(turns, weights, strict=False):
        message["weight"] = int(weight)
    due = [row["messages"][at]["content"] + "<|im_end|>" for at in learned_turns(row["messages"])]
    whole = max((len(part.tokens) for part in prove(used, row)), default=100)
    context = int(share * whole)
    try:
        examples = sequences(used, [row], context)
    except TrainError as error:
        assert "no turn to learn from" in str(error)
        return
    assert all(part.spans and len(part.tokens) <= context for part in examples.parts)
    got = Counter(learned(used, examples))
    assert sum(got.values()) + len(examples.dropped) == len(due)
    assert not got - Counter(due)
    if whole <= context:
        assert examples == Examples(prove(used, row), 0, [])
    for history in histories(used, examples):
        told = history.split("<|im_start|>")
        assert told[1].startswith(f"system\n{SYSTEM}")  # the system prompt and the tools stay
        assert told[2].startswith("user\nQuestion")  # and so does the question that is answered
        for message in told[3:-1]:
            if message.startswith("tool\n"):
                called = message.split()[2]  # "result q0s1"
                assert f"{called}.py" in history.split(message)[0]


def test_a_cut_keeps_the_question_and_as_much_history_as_fits(chat: Chat) -> None:
    row = session(8, size=10)
    context = 600
    examples = sequences(chat, [row], context)
    assert examples.cut >= 1
    assert not examples.dropped
    assert len(learned(chat, examples)) == 9
    assert len(examples.parts) < 9  # several turns share a sequence, though their histories were cut
    last = histories(chat, examples)[-1]
    assert last.count("Question 0?") == 1
    assert "q0s0.py" not in last


def test_a_later_question_begins_the_history_of_its_turns(chat: Chat) -> None:
    row = session(2, questions=3, size=8)
    (*_, last) = histories(chat, sequences(chat, [row], context=500))
    assert "Question 2?" in last
    assert "Question 0?" not in last


def test_what_cannot_fit_is_dropped_with_its_reason(chat: Chat) -> None:
    row = session(0)
    row["messages"][1]["content"] = "Long. " * 300
    examples = sequences(
        chat, [row, session(0, id="short"), session(0, id="mute") | {"messages": row["messages"][:2]}], 300
    )  # type: ignore[list-item]
    assert learned(chat, examples) == ["Answer 0.<|im_end|>"]
    assert [reason.split(":")[0] for reason in examples.dropped] == [
        "Row r",
        "Row mute has no assistant turn to learn.",
    ]
    assert "the context is 300" in examples.dropped[0]


def test_no_turn_that_fits_is_one_sentence(chat: Chat) -> None:
    with pytest.raises(
        TrainError, match=r"no turn to learn from within the context of 10 tokens \(Row r: Turn 2"
    ):
        sequences(chat, [session(1)], context=10)
    with pytest.raises(TrainError, match="it has no row"):
        sequences(chat, [], context=10)
