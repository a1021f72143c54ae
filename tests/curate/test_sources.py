"""Sources other than the warehouse, several at once, and everything that can be wrong with a line."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversations import READ, assistant, call, chat, record, user
from tracemill.curate import chat_lines
from tracemill.curate import sources as sources_module
from tracemill.curate.dataset import Dataset
from tracemill.curate.errors import ExportError, RecipeError
from tracemill.curate.export import export
from tracemill.curate.sources import SourceOptions
from tracemill.curate.splits import SPLITS
from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.spool import Spool
from tracemill.warehouse import batches as batches_module
from tracemill.warehouse.batches import batches
from tracemill.warehouse.errors import QueryError
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import conversations

TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


def talk(number: int, **more: Any) -> dict[str, Any]:
    return {"messages": [user(f"prompt {number}"), assistant(f"Answer {number}.")], **more}


def write(file: Path, *rows: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(
        b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)
    )
    return file


def recipe(tmp_path: Path, *sources: str, steps: str = "[steps.learnable]", split: str = "") -> Path:
    file = tmp_path / "mine.toml"
    tables = "\n".join(f"[[source]]\n{source}" for source in sources)
    file.write_text(f'name = "mine"\n{tables}\n{steps}\n[split]\n{split}\n')
    return file


def rows(dataset: Dataset) -> dict[str, Any]:
    return {row["id"]: row for split in SPLITS for row in dataset.rows(split)}


def read_faults(dataset: Dataset) -> list[tuple[str, str, str]]:
    assert dataset.manifest is not None
    return [
        (one.conversation_id, one.reason, one.evidence)
        for one in dataset.manifest.dropped
        if one.step == "read"
    ]


def called(call: Any) -> bytes:
    """A row whose assistant makes one call of that form, or has that instead of a list of calls."""
    calls = [call] if isinstance(call, dict) else call
    return (
        json.dumps({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}).encode() + b"\n"
    )


FAULTS: dict[str, tuple[bytes, str, str]] = {
    "broken": (b'{"messages": [\n', "not JSON", "not JSON (Expecting value"),
    "list": (b"[1]\n", "not an object", "a JSON list, not an object"),
    "other format": (b'{"prompt": "a", "completion": "b"}\n', "no messages", "it has no list of `messages`"),
    "no messages": (b'{"messages": []}\n', "no messages", "it has no list of `messages`"),
    "no role": (b'{"messages": [{"content": "a"}]}\n', "no messages", "message 0 is no object with a role"),
    "role": (b'{"messages": [{"role": "robot", "content": ""}]}\n', "unknown role", "message 0 has the role 'robot'"),
    "number": (b'{"messages": [{"role": "user", "content": 3}]}\n', "no text", "the content of message 0 is a int"),
    "latin": ('{"messages": [{"role": "user", "content": "é"}]}\n'.encode("latin-1"), "wrong encoding", "not UTF-8 (invalid continuation byte at byte 43)"),
    "utf-16": ('{"messages": []}'.encode("utf-16-le") + b"\n", "wrong encoding", "not UTF-8 but probably UTF-16"),
    "surrogate": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}\n', "wrong encoding", "half of a surrogate pair"),
    "twice": (b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}\n', "duplicate key", "the key 'content' stands twice in one object"),
    "nan": (b'{"messages": [], "x": NaN}\n', "not JSON", "NaN is not JSON"),
    "deep": (b"[" * 100_000 + b"\n", "not JSON", "not JSON"),
    "tools": (json.dumps(TALK | {"tools": [{}]}).encode() + b"\n", "broken tools", "a tool has no name"),
    "no list of tools": (json.dumps(TALK | {"tools": 5}).encode() + b"\n", "broken tools", "`tools` is a int"),
    "surrogate in tools": (json.dumps(TALK | {"tools": [{"name": "\ud800"}]}).encode() + b"\n", "wrong encoding", "half of a surrogate pair"),
    "surrogate in id": (json.dumps(TALK | {"id": "\ud800", "session_id": "s"}).encode() + b"\n", "wrong encoding", "half of a surrogate pair"),
    "surrogate in task": (json.dumps(TALK | {"task": "\ud800"}).encode() + b"\n", "wrong encoding", "half of a surrogate pair"),
    "infinite": (b'{"messages": [], "x": 1e400}\n', "not JSON", "1e400 is more than a number can be"),
    "infinite argument": (called({"function": {"name": "f", "arguments": '{"x": 1e400}'}}), "not JSON", "cannot be written as JSON"),
    "calls": (called(5), "broken calls", "a tool call of message 0 names no function"),
    "call": (called({"name": "f", "arguments": {}}), "broken calls", "a tool call of message 0 names no function"),
    "half a weight": (b'{"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}\n', "bad weight", "message 0 has the weight 0.5, not 0 or 1"),
    "no weight": (b'{"messages": [{"role": "assistant", "content": "a", "weight": null}]}\n', "bad weight", "message 0 has the weight None, not 0 or 1"),
    "true weight": (b'{"messages": [{"role": "assistant", "content": "a", "weight": true}]}\n', "bad weight", "message 0 has the weight True, not 0 or 1"),
    "call without a name": (called({"id": "a", "name": 7, "arguments": {}}), "broken calls", "names no function"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_broken_line_is_dropped_with_its_place_and_never_stops_the_rest(
    kind: str, home: Home, tmp_path: Path
) -> None:
    line, reason, evidence = FAULTS[kind]
    file = write(tmp_path / "mine.jsonl", talk(1), line, talk(2))
    dataset = export(home, recipe=recipe(tmp_path, f'kind = "chat"\npath = "{file}"'))
    assert set(rows(dataset)) == {"mine:1", "mine:3"}
    ((name, said, where),) = read_faults(dataset)
    assert (name, said) == ("mine:2", reason)
    assert where.startswith(f"{file}, line 2: ")
    assert evidence in where
    manifest = dataset.manifest
    assert manifest is not None
    assert (manifest.steps[0].step, manifest.steps[0].rows_in, manifest.steps[0].kept) == ("read", 3, 2)
    assert not any((home.root / "cache").iterdir())


def test_what_is_read_is_kept_or_dropped_also_where_an_id_is_used_twice(home: Home, tmp_path: Path) -> None:
    named = {"id": "a", "session_id": "s"}
    last = {"messages": [user("q"), {**assistant("A."), "weight": 0}, user("more"), assistant("B.")]}
    write(tmp_path / "mine.jsonl", last | named, talk(2, **named), talk(3))
    manifest = export(home, recipe=recipe(tmp_path, 'kind = "chat"\npath = "mine.jsonl"')).manifest
    assert manifest is not None
    read = manifest.steps[0]
    assert (read.step, read.rows_in, read.kept, read.dropped) == ("read", 3, 2, 1)
    assert [(one.conversation_id, one.step, one.positions) for one in manifest.unlearned] == [
        ("a", "source", [1])
    ]


def test_a_line_above_the_limit_is_not_even_read(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_lines, "ROW_LIMIT", 1000)
    file = write(
        tmp_path / "mine.jsonl", talk(1), talk(2, note="x" * 5000), talk(3), talk(4, note="x" * 2000)
    )
    dataset = export(home, recipe=recipe(tmp_path, f'kind = "chat"\npath = "{file}"'))
    assert set(rows(dataset)) == {"mine:1", "mine:3"}
    assert [(name, reason) for name, reason, _ in read_faults(dataset)] == [
        ("mine:2", "too large"),
        ("mine:4", "too large"),
    ]
    assert "bytes, and 1000 are the most" in read_faults(dataset)[0][2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(data=st.lists(st.binary(max_size=80) | st.sampled_from([json.dumps(TALK).encode()]), max_size=6))
def test_any_bytes_are_rows_or_faults(data: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("any") / "any.jsonl"
    file.write_bytes(b"\n".join(data))
    lines = sum(bool(line.strip()) for line in file.read_bytes().split(b"\n"))
    found = [one for chunk in chat_lines.read_chat([file], "any", 2) for one in chat_lines.read_lines(chunk)]
    assert len(found) == lines


def test_rows_keep_their_text_and_what_is_known_of_them(home: Home, tmp_path: Path) -> None:
    odd = "Look:\n\n<tool_call><function=ls>\n</function></tool_call>  "
    given: list[dict[str, Any]] = [
        {"messages": [user("a é"), assistant(odd)], "category": "read", "tools": [READ]},
        {"messages": [user("b"), {"role": "assistant", "content": "No.", "weight": 0}, user("c"), assistant("Yes.")]},
        talk(3, id="own", session_id="s"),
        talk(4, id="7"),
    ]  # fmt: skip
    file = write(tmp_path / "set" / "train.jsonl", *given)
    found = rows(export(home, recipe=recipe(tmp_path, f'kind = "chat"\npath = "{file.parent}"')))
    assert found["set/train:1"]["messages"] == given[0]["messages"]
    assert (found["set/train:1"]["category"], found["set/train:1"]["tools"]) == ("read", [READ])
    assert found["set/train:2"]["messages"] == given[1]["messages"]
    assert found["own"]["session_id"] == "s"
    assert found["set/train:4"]["session_id"] == "set/train:4"


def test_structured_calls_are_written_as_text(home: Home, tmp_path: Path) -> None:
    function = {"name": "read_file", "arguments": '{"path": "a.py"}'}
    openai = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        user("a"),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
    ]  # fmt: skip
    neutral = [user("b"), assistant("", call({"path": "a.py"}))]
    file = write(tmp_path / "mine.jsonl", {"messages": openai}, {"messages": neutral})
    found = rows(export(home, recipe=recipe(tmp_path, f'kind = "chat"\npath = "{file}"')))
    text = '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
    assert [message["role"] for message in found["mine:1"]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert found["mine:1"]["messages"][2]["content"] == found["mine:2"]["messages"][1]["content"] == text


def test_what_was_held_out_stays_held_out(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for split, number in (("train", 0), ("valid", 100), ("test", 200)):
        write(folder / f"{split}.jsonl", *(talk(number + i) for i in range(10)))
    dataset = export(
        home, recipe=recipe(tmp_path, 'kind = "chat"\npath = "set"', split="valid = 0\ntest = 0")
    )
    assert {split: {row["id"].split(":")[0] for row in dataset.rows(split)} for split in SPLITS} == {
        split: {f"set/{split}"} for split in SPLITS
    }


def test_an_exported_data_set_is_a_source_and_an_id_is_read_once(home: Home, tmp_path: Path) -> None:
    for number in range(3):
        record(home, f"s{number}", chat(f"p{number}"))
    ingest(home)
    first = export(home)
    both = recipe(tmp_path, 'kind = "warehouse"', f'kind = "chat"\npath = "{first.folder}"\nname = "old"')
    again = export(home, recipe=both)
    assert rows(again) == rows(first)
    assert [reason for _, reason, _ in read_faults(again)] == ["id used twice"] * 3
    only = export(home, recipe=recipe(tmp_path, f'kind = "chat"\npath = "{first.folder}"'))
    assert rows(only) == rows(first)


def test_parquet_holds_messages_as_text_or_as_structs(home: Home, tmp_path: Path) -> None:
    text = pl.DataFrame({"messages": [json.dumps(talk(i)["messages"]) for i in range(3)] + ["{", None]})
    text.write_parquet(tmp_path / "text.parquet")
    structs = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(3)],
            "session_id": ["s0", "s1", "s2"],
            "started": [datetime(2026, 1, 1 + i) for i in range(3)],
            "messages": [[user(f"q{i}"), assistant("A.")] for i in range(3)],
        }
    )
    structs.write_parquet(tmp_path / "structs.parquet")
    dataset = export(
        home,
        recipe=recipe(
            tmp_path,
            'kind = "parquet"\npath = "text.parquet"',
            'kind = "parquet"\npath = "structs.parquet"\nsince = 2026-01-02\nuntil = 2026-01-03T00:00:00Z',
        ),
    )
    assert set(rows(dataset)) == {"text:1", "text:2", "text:3", "r1"}
    assert rows(dataset)["r1"]["messages"] == [user("q1"), assistant("A.")]
    assert [(name, reason) for name, reason, _ in read_faults(dataset)] == [
        ("text:4", "not JSON"),
        ("text:5", "no messages"),
    ]
    pl.DataFrame({"mesages": ["[]"]}).write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(RecipeError, match=r"no column 'messages' \(did you mean 'mesages'\?\)"):
        export(home, recipe=recipe(tmp_path, 'kind = "parquet"\npath = "bad.parquet"'))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecipeError, match="cannot be read as Parquet"):
        export(home, recipe=recipe(tmp_path, 'kind = "parquet"\npath = "bad.parquet"'))


def test_weights_sample_and_repeat_in_training_only(home: Home, tmp_path: Path) -> None:
    write(tmp_path / "some.jsonl", *(talk(i) for i in range(200)))
    write(tmp_path / "more.jsonl", *(talk(1000 + i) for i in range(40)))
    sources = (
        'kind = "chat"\npath = "some.jsonl"\nweight = 0.5',
        'kind = "chat"\npath = "more.jsonl"\nweight = 2.5',
    )
    dataset = export(home, recipe=recipe(tmp_path, *sources))
    manifest = dataset.manifest
    assert manifest is not None
    some, more = manifest.sources
    assert 70 < some.rows < 130
    assert manifest.steps[0].reasons == {"not sampled": 200 - some.rows}
    train = [row["id"] for row in dataset.rows("train")]
    again = [name for name in train if "#" in name]
    heavy = [name for name in train if name.startswith("more:") and "#" not in name]
    assert len(again) == more.repeats == manifest.splits["train"].rows - len(set(train) - set(again))
    assert {name.partition("#")[0] for name in again} == set(heavy)
    assert len(heavy) < len(again) < 2 * len(heavy)
    assert train[-len(again) :] == again
    for split in ("valid", "test"):
        assert not any("#" in row["id"] for row in dataset.rows(split))
    assert export(home, recipe=recipe(tmp_path, *sources)).reused
    assert some.rows != export(home, recipe=recipe(tmp_path, *sources), seed=1).manifest.sources[0].rows  # type: ignore[union-attr]


def test_agent_project_branch_and_time_narrow_both_kinds_of_source(home: Home, tmp_path: Path) -> None:
    record(home, "early", chat("a"), at=1e9)
    record(home, "late", chat("b"), at=1.2e9)
    ingest(home)
    for line, kept in (
        ("until = 2005-01-01", ["early"]),
        ("since = 2005-01-01T00:00:00+02:00", ["late"]),
        ('agent = "coder"\nproject = "/p"\nwhere = "session_id <> \'late\' -- why"', ["early"]),
    ):
        dataset = export(home, recipe=recipe(tmp_path, line))
        assert sorted(row["session_id"] for row in rows(dataset).values()) == kept
    with pytest.raises(
        ExportError, match=r"meets .*branch = 'main'\); without its `branch` 2 would be read\."
    ):
        export(home, recipe=recipe(tmp_path, 'branch = "main"'))
    write(tmp_path / "set.jsonl", talk(1, agent="x", branch="main"), talk(2, agent="y", project="it's"))
    for line, kept in (
        ('branch = "main"', ["set:1"]),
        ('project = "it\'s"\nwhere = "agent = \'y\'"', ["set:2"]),
    ):
        dataset = export(home, recipe=recipe(tmp_path, f'kind = "chat"\npath = "set.jsonl"\n{line}'))
        assert list(rows(dataset)) == kept


def test_the_sessions_of_a_larger_model_are_chosen_by_its_name(home: Home, tmp_path: Path) -> None:
    for session, models in (("large", ["big-2"] * 2), ("small", ["tiny"] * 2), ("both", ["big-2", "tiny"])):
        record(home, session, chat(session), models=models)
    record(home, "passed-on", chat("p"), models=["router", "router"], answered="big-2-2026")
    record(home, "odd", chat("o"), models=["a[b]?"] * 2)
    spool = Spool(home)
    # It failed at another model first, and one whose answer never came is the last.
    for name, failed in (("first", True), ("last", False)):
        more: dict[str, Any] = {"run_id": "large-run", "step": 9, "previous": None, "kept": 0, "added": []}
        spool.write(events.request("large", name, model="tiny", toolset_id=None, ts=1e9, **more))
        if failed:
            spool.write(events.response("large", name, message_id=None, error="no", ts=1e9))
    spool.close()
    ingest(home)
    for model, kept in (
        ("big-2", ["large"]),
        ("big-*", ["large", "passed-on"]),
        ("router", ["passed-on"]),
        ("big-2-2026", ["passed-on"]),
        ("a[b]?", ["odd"]),
        ("big?2", []),
        ("*", ["both", "large", "odd", "passed-on", "small"]),
    ):
        found = conversations(home, SourceOptions(model=model).condition()).collect()
        assert sorted({*found["session_id"]}) == kept, model
    with pytest.raises(ExportError, match=r"without its `model` \d would be read"):
        export(home, recipe=recipe(tmp_path, 'model = "big"'))


NAMES = st.text("a?[]^-!\\'*b", min_size=1, max_size=6)


@given(NAMES, NAMES)
def test_only_a_star_stands_for_anything_in_the_name_of_a_model(model: str, other: str) -> None:
    condition = SourceOptions(model=model).condition()
    assert condition is not None
    glob = condition[condition.index("GLOB ") + 5 : condition.rindex(", false) OR")]
    parts = [re.escape(part) for part in model.split("*")]
    for name in (model, other):
        told = duckdb.execute(f"SELECT $1 GLOB {glob}", [name]).fetchall()
        assert told == [(re.fullmatch(".*".join(parts), name) is not None,)]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('kind = "chat"\npath = "a.jsonl"\nwhere = "agnt = 1"', r"'a' names the column 'agnt', .*did you mean 'agent'\?\); the columns are"),
        ('where = "agnt = 1"', r"'warehouse' names the column 'agnt', .*did you mean 'agent'\?"),
        ('kind = "chat"\npath = "a.jsonl"\nwhere = "agent ="', r"The `where` of the source 'a' cannot be asked: Parser Error"),
        ('kind = "chat"\npath = "a.jsonl"\nwhere = "EXISTS (FROM read_text(\'/etc/hostname\'))"', "cannot be asked: Permission Error"),
        ('kind = "chat"\npath = "none.jsonl"', r"There is no .*none\.jsonl; mend the path of the source 'none'\."),
        ('kind = "chat"\npath = "empty"', r"The folder .*empty holds no \.jsonl file"),
        ('kind = "chat"', r"\[\[source\]\] 1: a source of kind 'chat' needs the path of a file or folder\."),
        ('path = "a.jsonl"', "the warehouse takes no path"),
        ('kind = "chat"\npath = "a.jsonl"\nmodel = "m"', "says which model answered; drop `model`"),
        ('kind = "chat"\npath = "a.jsonl"\nwieght = 2', r"nothing reads the key 'wieght' \(did you mean 'weight'\?\)"),
        ('kind = "chat"\npath = "a.jsonl"\n[[source]]\nkind = "chat"\npath = "a.jsonl"', "two sources are called 'a'"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_is_one_sentence(source: str, said: str, home: Home, tmp_path: Path) -> None:
    record(home, "s", chat("a"))
    ingest(home)
    write(tmp_path / "a.jsonl", talk(1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match=said):
        export(home, recipe=recipe(tmp_path, source))


def test_too_little_memory_is_not_told_as_a_mistake_in_where(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        record(home, f"s{number}", chat(f"p{number}"))
    ingest(home)
    monkeypatch.setattr(batches_module, "_MEMORY", "30MB")
    monkeypatch.setattr(sources_module, "batches", partial(batches, size=1))
    large = 'where = "(SELECT len(list(range)) FROM range(20000000)) > 0"'
    with pytest.raises(QueryError, match=r"There is not enough memory for .*end other programs"):
        export(home, recipe=recipe(tmp_path, large))


@pytest.mark.slow
def test_a_large_warehouse_is_read_in_batches(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        record(home, f"s{number}", [*chat(f"p{number}"), user("more"), assistant("Done.")])
    ingest(home)
    whole = export(home)
    monkeypatch.setattr(sources_module, "batches", partial(batches, size=5))
    told: list[tuple[str, int, int]] = []
    again = export(home, progress=lambda *step: told.append(step))
    assert again.reused
    assert again.folder == whole.folder
    assert len([step for step in told if step[0] == "reading warehouse"]) > 4


def test_nothing_but_broken_lines_says_so(home: Home, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", b"{\n", b"{\n")
    with pytest.raises(
        ExportError,
        match=r"the step read dropped 2 \(not JSON 2; the first: .*a\.jsonl, line 1: .*write one JSON object a line",
    ):
        export(home, recipe=recipe(tmp_path, 'kind = "chat"\npath = "a.jsonl"'))
    write(tmp_path / "a.jsonl")
    with pytest.raises(ExportError, match=r"There is no conversation to export in a\.jsonl"):
        export(home, recipe=recipe(tmp_path, 'kind = "chat"\npath = "a.jsonl"'))


@given(st.sampled_from(["agent", "project", "branch"]), st.text(max_size=8))
def test_no_value_leaves_its_place_in_the_condition(key: str, value: str) -> None:
    options = SourceOptions.model_validate({"kind": "chat", "path": "a", key: value})
    condition = options.condition()
    assert condition is not None
    assert condition.replace("''", "").count("'") % 2 == 0
