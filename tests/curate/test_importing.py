"""Public data sets, laid out as the hub has them: every shape, every layout, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracemill.curate.dataset import load
from tracemill.curate.datasets.hub import Wanted
from tracemill.curate.datasets.importing import Imported, import_dataset
from tracemill.curate.datasets.layout import layout, split_of
from tracemill.curate.datasets.shapes import SHAPES, ShapeError, conversation, recognised
from tracemill.curate.errors import DatasetError, ExportError
from tracemill.tracer.home import Home

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
TOOL = {
    "name": "ls",
    "description": "",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
}
CALL = '<tool_call>\n{"name": "ls", "arguments": {"path": "a"}}\n</tool_call>'
OPENAI = {"type": "function", "function": {"name": "ls", "arguments": '{"path": "a"}'}}


def calling(calls: Any) -> list[dict[str, Any]]:
    return [USER, {"role": "assistant", "content": None, "tool_calls": calls}]


# What stands in a file, the shape it is read as, and the text of its assistant.
RECORDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "messages": ({"messages": [USER, ANSWER]}, "messages", "Hello."),
    "messages as text": ({"messages": json.dumps([USER, ANSWER])}, "messages", "Hello."),
    "sharegpt": ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}, "conversations", "Hello."),
    "sharegpt with roles": ({"conversations": [USER, ANSWER]}, "conversations", "Hello."),
    "sharegpt call": ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": '{"name": "ls", "arguments": {"path": "a"}}'}, {"from": "observation", "value": "x"}], "tools": json.dumps([TOOL])}, "conversations", CALL),
    "completion": ({"prompt": "Hi", "completion": "Hello."}, "prompt and completion", "Hello."),
    "completion as messages": ({"prompt": [USER], "completion": [ANSWER]}, "prompt and completion", "Hello."),
    "response": ({"prompt": "Hi", "response": "Hello."}, "prompt and response", "Hello."),
    "instruction": ({"instruction": "Hi", "input": "", "output": "Hello."}, "instruction and output", "Hello."),
    "question": ({"question": "Hi", "answer": "Hello."}, "question and answer", "Hello."),
    "string arguments": ({"messages": calling([OPENAI]), "tools": [TOOL]}, "messages", CALL),
    "calls as text": ({"messages": calling(json.dumps([OPENAI])), "tools": json.dumps([{"type": "function", "function": TOOL}])}, "messages", CALL),
    "flat calls": ({"messages": calling([{"name": "ls", "arguments": {"path": "a"}}]), "tools": [json.dumps(TOOL)]}, "messages", CALL),
    "tool parameters as text": ({"messages": calling([OPENAI]), "tools": [{**TOOL, "parameters": json.dumps(TOOL["parameters"])}]}, "messages", CALL),
    "calls in the text": ({"messages": [USER, {"role": "assistant", "content": "<tool_call><function=ls><parameter=path>a</parameter></function></tool_call>"}], "tools": [TOOL]}, "messages", CALL),
}  # fmt: skip


def write(folder: Path, name: str, *records: Any) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pl.DataFrame(list(records)).write_parquet(file)
    elif name.endswith(".json"):
        file.write_text(json.dumps(records))
    else:
        file.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return folder


def imported(source: Path, home: Home, **options: Any) -> Imported:
    return import_dataset(str(source), source.parent / "made", home, **options)


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".json"])
def test_every_shape_becomes_rows_that_can_be_trained(
    kind: str, ending: str, home: Home, tmp_path: Path
) -> None:
    record, shape, said = RECORDS[kind]
    made = imported(write(tmp_path / "set", f"train{ending}", record, record), home)
    assert [(one.shape, one.rows) for one in made.files] == [(shape, 2)]
    first = load(made.folder).rows("train")[0]
    assert first["id"] == f"train{ending}:1"
    assert [message["role"] for message in first["messages"][:2]] == ["user", "assistant"]
    assert (first["messages"][0]["content"], first["messages"][1]["content"]) == ("Hi", said)
    assert [tool["name"] for tool in first["tools"]] == (["ls"] if "tools" in record else [])


def test_a_system_prompt_an_input_and_a_weight_are_kept(home: Home, tmp_path: Path) -> None:
    records = [
        {"system": "Be brief.", "instruction": "Sort", "input": "b a", "output": "a b"},
        {"messages": [USER, {**ANSWER, "weight": 0}, USER, ANSWER], "category": "talk", "session_id": "s"},
    ]
    rows = load(imported(write(tmp_path / "set", "data.jsonl", *records), home).folder).rows("train")
    assert [message["content"] for message in rows[0]["messages"]] == ["Be brief.", "Sort\n\nb a", "a b"]
    assert [message.get("weight", 1) for message in rows[1]["messages"]] == [1, 0, 1, 1]
    assert (rows[1]["category"], rows[1]["session_id"]) == ("talk", "s")


def test_calls_stay_as_found_if_asked(home: Home, tmp_path: Path) -> None:
    record, _, _ = RECORDS["calls in the text"]
    made = imported(write(tmp_path / "set", "train.jsonl", record), home, as_found=True)
    assert load(made.folder).rows("train")[0]["messages"][1]["content"] == record["messages"][1]["content"]
    assert made.files[0].normalised == 0


BROKEN: dict[str, tuple[Any, str]] = {
    "json": ("{", "not JSON"),
    "list": ([1], "not an object"),
    "shape": ({"text": "a"}, "unknown shape"),
    "role": ({"messages": [{"role": "robot", "content": "a"}]}, "unknown role"),
    "speaker": ({"conversations": [{"from": "robot", "value": "a"}]}, "unknown role"),
    "value": ({"conversations": [{"from": "human", "value": 3}]}, "no text"),
    "none": ({"messages": []}, "no messages"),
    "answer": ({"prompt": "a", "completion": 3}, "no text"),
    "call": ({"messages": calling([{"id": "x"}])}, "broken call"),
    "arguments": ({"messages": calling([{"name": "ls", "arguments": "{"}])}, "no text form"),
    "tools": ({"messages": [USER, ANSWER], "tools": "{"}, "not JSON"),
    "tool": ({"messages": [USER, ANSWER], "tools": [3]}, "broken tools"),
    "surrogate": ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "wrong encoding"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_is_counted_with_its_place(kind: str, home: Home, tmp_path: Path) -> None:
    broken, reason = BROKEN[kind]
    good = {"messages": [USER, ANSWER]}
    made = imported(write(tmp_path / "set", "train.jsonl", good, broken, good), home)
    (file,) = made.files
    assert (file.rows, dict(file.reasons)) == (2, {reason: 1})
    assert "2" in file.told[0]
    assert [row["id"] for row in load(made.folder).rows("train")] == ["train.jsonl:1", "train.jsonl:3"]
    told = json.loads((made.folder / "origin.json").read_text())
    assert told["read"][0]["unread"] == {reason: 1}


def test_splits_come_from_the_card_or_from_names(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/validation.jsonl", "test/a.jsonl", ".hidden/x.jsonl"):  # fmt: skip
        write(folder, name, {"messages": [USER, ANSWER]})
    made = imported(folder, home)
    data = load(made.folder)
    assert [len(data.rows(split)) for split in ("train", "valid", "test")] == [2, 1, 1]
    (folder / "README.md").write_text(
        "---\nlicense: apache-2.0\nconfigs:\n- config_name: small\n  data_files:\n"
        "  - split: train_sft\n    path: data/train-00000-*\n  - split: test_sft\n    path: [test/*.jsonl]\n"
        "- config_name: other\n  default: true\n  data_files: data/validation.jsonl\n---\n# A set\n"
    )
    made = import_dataset(str(folder), tmp_path / "small", home, Wanted(config="small"))
    assert {one.split: one.file for one in made.files} == {
        "train_sft": "data/train-00000-of-00002.parquet",
        "test_sft": "test/a.jsonl",
    }
    assert made.fetched.licence == "apache-2.0"
    made = import_dataset(str(folder), tmp_path / "other", home)
    assert (made.fetched.layout.config, [one.split for one in made.files]) == ("other", ["valid"])
    assert load(made.folder).rows("train") == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(splits=["tran"]), r"There is no split 'tran' \(did you mean 'train'\?\); it holds train"),
        (Wanted(config="x"), "Its card names no configuration, so there is no 'x'"),
        (Wanted(revision="main"), "is a folder here, which has no revisions"),
    ],
)
def test_a_part_that_is_not_there(wanted: Wanted, said: str, home: Home, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        imported(write(tmp_path / "set", "train.jsonl", {"messages": [USER, ANSWER]}), home, wanted=wanted)


def test_several_configurations_are_a_choice() -> None:
    card = {"configs": [{"config_name": name, "data_files": f"{name}.jsonl"} for name in ("a", "b")]}
    with pytest.raises(
        DatasetError, match=r"It has several configurations \(a, b\); choose one with --config"
    ):
        layout(["a.jsonl", "b.jsonl"], card, None, ())
    with pytest.raises(
        DatasetError, match=r"no configuration 'aa' \(did you mean 'a'\?\)|no configuration 'aa'"
    ):
        layout(["a.jsonl", "b.jsonl"], card, "aa", ())
    assert layout(["a.jsonl", "b.jsonl"], card, "b", ()).files == {"train": ["b.jsonl"]}


def test_nothing_to_read_is_one_sentence_and_writes_nothing(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(DatasetError, match=r"It holds no file that ends in \.parquet, \.jsonl"):
        imported(folder, home)
    write(folder, "train.jsonl", {"text": "a"}, {"text": "b"})
    with pytest.raises(
        DatasetError, match=r"None of the 2 rows of set could be read \(unknown shape 2; the first: "
    ):
        imported(folder, home)
    (folder / "train.jsonl").write_text("")
    with pytest.raises(DatasetError, match=r"set holds no row in train\.jsonl\."):
        imported(folder, home)
    (folder / "train.jsonl").unlink()
    (folder / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"train\.parquet cannot be read"):
        imported(folder, home)
    with pytest.raises(DatasetError, match=r"There is no folder nowhere; give one, or the id"):
        import_dataset("nowhere", tmp_path / "made", home)
    with pytest.raises(DatasetError, match=r"train\.parquet is a file; give the folder that holds it"):
        import_dataset(str(folder / "train.parquet"), tmp_path / "made", home)
    assert not (tmp_path / "made").exists()


def test_importing_again_changes_nothing_and_other_rows_are_not_overwritten(
    home: Home, tmp_path: Path
) -> None:
    folder = write(tmp_path / "set", "train.jsonl", {"messages": [USER, ANSWER]})
    first = imported(folder, home)
    before = {file.name: file.read_bytes() for file in first.folder.iterdir()}
    again = imported(folder, home)
    assert again.reused
    assert {file.name: file.read_bytes() for file in again.folder.iterdir()} == before
    assert {file.stat().st_mode & 0o777 for file in again.folder.iterdir()} == {0o600}
    write(folder, "train.jsonl", {"prompt": "a", "completion": "b"})
    with pytest.raises(ExportError, match=r"holds another train\.jsonl; choose a different --to"):
        imported(folder, home)
    with pytest.raises(DatasetError, match=r"is where .* is read from; choose another --to"):
        import_dataset(str(folder), folder, home)


def test_a_card_that_cannot_be_read_is_told(home: Home, tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "train.jsonl", {"messages": [USER, ANSWER]})
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    made = imported(folder, home)
    assert made.fetched.note is not None and "cannot be read" in made.fetched.note


_texts = st.text(max_size=10)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "name", "arguments", "function", "tool_calls"]) | _texts, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
_keys = sorted({key for needed, _ in SHAPES.values() for key in needed} | {"tools", "system", "input"})


@given(st.dictionaries(st.sampled_from(_keys), _values, max_size=5))
def test_any_record_has_messages_or_a_reason(record: dict[str, Any]) -> None:
    for shape in recognised(record):
        try:
            made = conversation(record, shape)
        except ShapeError as error:
            assert error.reason and str(error)
        else:
            assert all(isinstance(message, dict) for message in made["messages"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(records=st.lists(st.dictionaries(st.sampled_from(_keys), _values, max_size=5), min_size=1, max_size=5))
def test_every_row_is_imported_or_counted(
    records: list[dict[str, Any]], home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("any")
    folder = write(place / "any", "train.jsonl", {"messages": [USER, ANSWER]}, *records)
    (made,) = import_dataset(str(folder), place / "made", home).files
    assert made.rows + made.reasons.total() == 1 + len(records)


def test_the_names_of_splits() -> None:
    named = {
        "train_sft": "train",
        "validation": "valid",
        "data/dev.jsonl": "valid",
        "test-00": "test",
        "x": "train",
    }
    assert {name: split_of(name) for name in named} == named
