"""Rows in every form: text and structured calls, a row a conversation and a row a turn, trained as the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import READ, answer, assistant, call, record, user
from tiny import tiny_model
from tracemill.curate.chat.codec import to_row
from tracemill.curate.chat.proof import Row, learned_turns, prove
from tracemill.curate.chat.structured import openai_messages, openai_tools, text_row
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat, chatml_tools
from tracemill.curate.dataset import Dataset, load
from tracemill.curate.errors import DatasetError, ExportError, RecipeError
from tracemill.curate.export import export
from tracemill.curate.format import FormatOptions, written
from tracemill.curate.recipe import parse
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message
from tracemill.train.examples import sequences
from tracemill.warehouse.ingest import ingest

RECIPE = """
name = "mine"
[steps.outcome]
[steps.calls]
[steps.learnable]
[format]
{}
"""
TEXT, STRUCTURED = 'calls = "text"', 'calls = "structured"'

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: "<" not in text
)
arguments = st.dictionaries(
    words, words | st.integers() | st.none() | st.lists(words, max_size=2), max_size=3
)
steps = st.lists(st.lists(arguments, min_size=1, max_size=3), max_size=3)


def talk(steps: list[list[dict[str, Any]]], text: str, backwards: bool) -> list[Message]:
    messages = [user("Look at it, please.")]
    for number, calls in enumerate(steps):
        ids = [f"{number}-{at}" for at in range(len(calls))]
        messages.append(assistant(text, *(call(given, name) for given, name in zip(calls, ids, strict=True))))
        messages += [answer(f"result {name}", name) for name in (reversed(ids) if backwards else ids)]
    return [*messages, assistant("Done.")]


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    return Chat.load(tiny_model(tmp_path_factory.mktemp("base") / "tiny"))


@pytest.fixture
def recorded(home: Home) -> Home:
    for number in range(12):
        made = talk(
            [[{"path": f"{number}.py"}, {"path": "b"}], [{"path": "é <|im_end|>"}]],
            " I look. ",
            number % 2 == 0,
        )
        made[0] = user(f"Look at number {number}.")
        record(home, f"s{number}", made, task=f"t{number}")
    ingest(home)
    return home


def exported(home: Home, tmp_path: Path, form: str, chat: Chat | None = None) -> Dataset:
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE.format(form))
    return load(export(home, recipe=file, chat=chat).folder)


def learned(chat: Chat, rows: list[Row]) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What the loss sees, each learned turn with the tokens before it."""
    return {
        (tuple(part.tokens[:start]), tuple(part.tokens[start:end]))
        for part in sequences(chat, rows, 100_000).parts
        for start, end in part.spans
    }


@given(steps, words, st.booleans(), st.booleans())
def test_a_structured_row_is_read_back_as_the_text_row(
    steps: list[list[dict[str, Any]]], text: str, backwards: bool, as_text: bool
) -> None:
    messages = talk(steps, text, backwards)
    row = {"messages": openai_messages(messages, as_text), "tools": openai_tools([READ])}
    again = text_row(json.loads(json.dumps(row)))
    assert again == {"messages": to_row(messages), "tools": [READ]}
    assert text_row(again) == again, "a text row is left as it is"


@given(steps, words, st.booleans())
def test_text_and_structured_rows_render_the_same_tokens(
    chat: Chat, steps: list[list[dict[str, Any]]], text: str, backwards: bool
) -> None:
    messages = talk(steps, text, backwards)
    row: Row = {"id": "r", "session_id": "s", "category": "", "messages": to_row(messages), "tools": [READ]}
    for by_turn in (False, True):
        plain, structured = (
            [text_row(json.loads(json.dumps(shown))) for _, shown in written(row, messages, options, by_turn)]
            for options in (FormatOptions(), FormatOptions(calls="structured"))
        )
        assert plain == structured
        assert [len(learned_turns(one["messages"])) for one in plain] == (
            [1] * (len(steps) + 1) if by_turn else [len(steps) + 1]
        )
    whole = {tuple(part.tokens[:end]) for part in prove(chat, row) for _, end in part.spans}
    turns = {
        tuple(part.tokens)
        for one, _ in written(row, messages, FormatOptions(), True)
        for part in prove(chat, one)
    }
    assert whole == turns


def test_a_structured_export_is_what_trl_and_openai_read(recorded: Home, tmp_path: Path) -> None:
    dataset = exported(recorded, tmp_path, STRUCTURED)
    row = json.loads((dataset.folder / "train.jsonl").read_text().splitlines()[0])
    assert row["tools"] == [{"type": "function", "function": READ}]
    asked, first, second = row["messages"][1:4]
    assert asked["content"] == " I look. "
    assert [one["type"] for one in asked["tool_calls"]] == ["function", "function"]
    assert asked["tool_calls"][1]["function"] == {"name": "read_file", "arguments": {"path": "b"}}
    by_id = {one["id"]: one["function"]["name"] for one in asked["tool_calls"]}
    assert {first["tool_call_id"], second["tool_call_id"]} == by_id.keys()
    assert first["content"] == f"result {first['tool_call_id']}", "results keep the ids of their calls"
    text = exported(recorded, tmp_path, f'{STRUCTURED}\narguments = "text"')
    given = json.loads((text.folder / "train.jsonl").read_text().splitlines()[0])["messages"][1]
    assert given["tool_calls"][1]["function"]["arguments"] == '{"path": "b"}'


def test_every_form_is_loaded_proved_and_trained_as_the_same(
    recorded: Home, tmp_path: Path, chat: Chat
) -> None:
    forms = [f"{calls}\nrows = {rows!r}" for calls in (TEXT, STRUCTURED) for rows in ("conversation", "turn")]
    made = [exported(recorded, tmp_path, form, chat) for form in forms]
    assert made[0].rows("train") == made[2].rows("train") and made[1].rows("train") == made[3].rows("train")
    assert learned(chat, made[0].rows("train")) == learned(chat, made[1].rows("train"))
    for dataset in made[1::2]:
        assert dataset.manifest is not None
        counts = dataset.manifest.splits
        assert sum(count.rows for count in counts.values()) == 36
        assert sum(count.learned for count in counts.values()) == 36
        assert sum(count.sessions for count in counts.values()) == 12
        assert len(dataset.manifest.rows) == 12, "where each conversation comes from, once"
        assert all(sum(dict(count.tools).values()) == count.rows for count in counts.values() if count.rows)
        names = [row["id"] for split in SPLITS for row in dataset.rows(split)]
        assert sorted(names)[:3] == ["s0-6@1", "s0-6@4", "s0-6@6"]
        assert len(set(names)) == 36


def test_auto_writes_a_row_a_turn_where_the_template_does_not_keep_its_history(
    recorded: Home, tmp_path: Path, chat: Chat
) -> None:
    auto = f'{TEXT}\nrows = "auto"'
    whole = exported(recorded, tmp_path, auto, chat)
    assert sum(len(whole.rows(split)) for split in SPLITS) == 12, "this template keeps it"
    folder = tiny_model(tmp_path / "forgetful")
    counted = "{{ messages | selectattr('role', 'equalto', 'tool') | list | length }}"
    (folder / TEMPLATE_FILE).write_text(counted + chatml_tools())
    turns = exported(recorded, tmp_path, auto, Chat.load(folder))
    assert turns.manifest is not None
    assert sum(len(turns.rows(split)) for split in SPLITS) == 36
    with pytest.raises(ExportError, match=r'rows = "auto", which asks the chat template .* --model'):
        exported(recorded, tmp_path, auto)


def test_what_has_no_structured_form_is_dropped_with_its_reason(home: Home, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    texts = [f"Number {at}." for at in range(5)] + ["<tool_call>\n{broken\n</tool_call>"]
    lines = [{"messages": [user(f"Ask {at}"), assistant(text)]} for at, text in enumerate(texts)]
    (rows / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\n[source]\nkind = "chat"\npath = "rows"\n[steps.duplicates]\n[format]\ncalls = "structured"'
    )
    manifest = export(home, recipe=recipe).manifest
    assert manifest is not None
    (dropped,) = manifest.dropped
    assert (dropped.step, dropped.reason) == ("form", "no structured form")
    assert "malformed tool call" in dropped.evidence


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ("x", "tool_calls is not a list"),
        ([{"name": "read"}], "a tool call has no function with a name and arguments that are JSON"),
        ([{"function": {"name": "read", "arguments": "{"}}], "a tool call has no function"),
        ([{"function": {"name": "read", "arguments": "[]"}}], "a call of 'read' has arguments that are not a JSON object"),
    ],
)  # fmt: skip
def test_a_broken_structured_call_is_named_with_its_line(tmp_path: Path, calls: Any, said: str) -> None:
    row = {"messages": [user("p"), {"role": "assistant", "content": None, "tool_calls": calls}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DatasetError, match=r"train\.jsonl, line 1") as error:
        load(tmp_path)
    assert said in str(error.value)


def test_a_format_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(RecipeError, match='arguments = "text" goes with calls = "structured" only'):
        parse(RECIPE.format('arguments = "text"'), "r")
