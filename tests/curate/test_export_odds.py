"""Exports that are odd in one way each: what is replayed, the order of files, every option, disks, sizes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversations import GREEK, READ, assistant, call, chat, record, user
from tracemill.curate import gather as gather_module
from tracemill.curate.dataset import Dataset
from tracemill.curate.errors import ExportError
from tracemill.curate.export import export
from tracemill.curate.manifest import dropped_of, rows_of
from tracemill.curate.recipe import find
from tracemill.curate.splits import SPLITS
from tracemill.curate.steps import STEPS
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest

LONG = (
    "Please tell me how the parser of the second project reads its configuration file when it starts and ends"
)


def talk(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [user(prompt), assistant(f"So be it: {prompt}")], **more}


def write(file: Path, *rows: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def recipe(folder: Path, text: str) -> Path:
    file = folder / "odd.toml"
    file.write_text(f'name = "odd"\n{text}')
    return file


def reasons(dataset: Dataset) -> dict[str, str]:
    assert dataset.manifest is not None
    dropped = dropped_of(dataset.folder, dataset.manifest)
    return dict(dropped.select("conversation_id", "reason").iter_rows())


def files(dataset: Dataset) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(dataset.folder.iterdir())}


def test_nothing_is_replayed_that_may_be_held_out_here(home: Home, tmp_path: Path) -> None:
    own = [
        talk(f"{LONG} {n}", task=f"t{n}", session_id=f"s{n}", split="test" if n % 2 else "train")
        for n in range(6)
    ]
    write(tmp_path / "own.jsonl", *own)
    general = [
        talk(f"{LONG} 1"),
        talk("General one", task="t1"),
        talk("General two", session_id="s3"),
        talk(f"{LONG} 5".replace("Please", "Do")),
        *(talk(f"General question number {n}") for n in range(5)),
    ]
    write(tmp_path / "general.jsonl", *general)
    plan = recipe(
        tmp_path,
        '[source]\nkind = "chat"\npath = "own.jsonl"\n[replay]\npath = "general.jsonl"\nfraction = 0.4\n[steps.learnable]\n',
    )
    dataset = export(home, recipe=plan)
    assert {name: reason for name, reason in reasons(dataset).items() if reason != "not sampled"} == {
        "(replay)/general:1": "own prompt",
        "(replay)/general:2": "own task",
        "(replay)/general:3": "own session",
        "(replay)/general:4": "near copy",
    }
    assert {split: len(dataset.rows(split)) for split in SPLITS} == {"train": 7, "valid": 0, "test": 3}
    assert not [row for row in dataset.rows("test") if row["category"] == "replay"]


def test_files_are_read_in_one_order_however_they_are_listed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write(tmp_path / "set" / f"part-{number}.jsonl", *(talk(f"prompt {number} {n}") for n in range(2)))
        write(tmp_path / "old" / f"old-{number}.jsonl", talk(f"old {number}"))
        write(tmp_path / "general" / f"general-{number}.jsonl", talk(f"general {number}"))
    plan = recipe(
        tmp_path,
        '[source]\nkind = "chat"\npath = "set"\n[replay]\npath = "general"\nfraction = 0.2\n'
        f'[steps.duplicates]\n[steps.against]\ndatasets = ["{tmp_path / "old"}"]\n',
    )
    first = files(export(home, recipe=plan, name="first"))
    listed, globbed = Path.iterdir, Path.glob
    rng = random.Random(5)

    def shuffled(found: Iterator[Path]) -> Iterator[Path]:
        every = list(found)
        return iter(rng.sample(every, len(every)))

    monkeypatch.setattr(Path, "iterdir", lambda self: shuffled(listed(self)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(Path, "glob", lambda self, pattern: shuffled(globbed(self, pattern)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    second = export(home, recipe=plan, name="second")
    monkeypatch.undo()
    assert {name: first[name] for name in ("train.jsonl", "valid.jsonl", "test.jsonl")} == {
        split: content for split, content in files(second).items() if split.endswith(".jsonl")
    }
    assert (second.folder / "manifest.json").read_bytes().replace(b'"second"', b'"first"') == first[
        "manifest.json"
    ]


EVERY_STEP = """
[steps.outcome]
keep = ["good"]
[steps.calls]
failed_calls = "context"
[steps.feedback]
min_score = -0.5
rated = false
[steps.schema]
turns = "context"
[steps.answers]
turns = "context"
[steps.copied]
turns = "context"
[steps.python2]
turns = "drop"
[steps.language]
keep = ["en"]
sure = 0.99
detector = "langdetect"
[steps.markers]
weak_from = 3
[steps.secrets]
personal = true
[steps.length]
min_messages = 2
max_messages = 100
max_characters = 100000
[steps.duplicates]
[steps.near_duplicates]
threshold = 0.9
keep = "all"
[steps.families]
max_per_family = 30
seed = 1
[steps.against]
datasets = ["{old}"]
threshold = 0.9
[steps.decontaminate]
suites = ["{suite}"]
threshold = 0.9
[steps.branches]
[steps.balance]
max_per_tool = 50
max_per_category = 50
max_per_project = 50
min_per_tool = 1
min_per_category = 1
min_per_project = 1
max_calls = 0.9
max_direct = 0.9
min_hard_negatives = 0
max_hard_negatives = 9
seed = 2
[steps.learnable]
"""


def test_every_step_and_every_option_at_once(home: Home, tmp_path: Path) -> None:
    for number, word in enumerate(GREEK):
        said = [
            user(f"Please open the file about {word} and explain it"),
            assistant("", call({"path": f"{word}.py"})),
        ]
        record(home, f"s{number}", [*said, *chat(f"more {word}")[2:]], task=word)
    ingest(home)
    write(
        tmp_path / "set" / "a.jsonl",
        *(talk(f"What does the word {word} mean in Greek?", outcome="good") for word in GREEK),
    )
    write(tmp_path / "general.jsonl", *(talk(f"A general question about {word}, please") for word in GREEK))
    old = write(tmp_path / "old" / "old.jsonl", talk("What does the word alpha mean in Greek?"))
    suite = tmp_path / "suite.txt"
    suite.write_text("What does the word beta mean in Greek?\n")
    assert EVERY_STEP.count("[steps.") == len(STEPS), "a new step belongs in this recipe"
    text = (
        '[[source]]\nkind = "warehouse"\nname = "mine"\nwhere = "agent IS NOT NULL"\nsince = 2000-01-01\nuntil = 2100-01-01\nweight = 2.0\n'
        '[[source]]\nkind = "chat"\npath = "set"\nweight = 0.9\n'
        + "[rewrites.wire]\n[rewrites.markers]\nweak = true\n[rewrites.preambles]\nall = true\n"
        + EVERY_STEP.format(old=old.parent, suite=suite)
        + "[split]\nvalid = 0.2\ntest = 0.2\nseed = 3\nrepository = false\nstratify = true\n"
        + '[order]\nby = "few calls to many"\n[format]\ncalls = "structured"\narguments = "text"\nrows = "turn"\n'
        + '[pairs]\nkinds = ["retried", "denied", "runs"]\nmax_per_prompt = 2\nseed = 4\n'
        + '[replay]\npath = "general.jsonl"\nfraction = 0.2\nseed = 5\n'
    )
    plan = recipe(tmp_path, text)
    read = find(plan)
    assert list(read.steps) == list(STEPS)
    left = {
        f"{name}.{key}"
        for name, one in read.steps.items()
        for key in type(one).model_fields
        if key not in one.model_fields_set
    }
    assert left == {"length.max_tokens", "length.tokenizer"}, "a new option belongs in this recipe"
    dataset = export(home, recipe=plan)
    manifest = dataset.manifest
    assert manifest is not None
    rows = rows_of(dataset.folder, manifest)
    kept, dropped = set(rows["conversation_id"]), set(reasons(dataset))
    assert len(kept | dropped) == 3 * len(GREEK)
    assert not kept & dropped
    assert {reasons(dataset)[name] for name in ("set/a:1", "set/a:2")} <= {
        "learned before",
        "in a test suite",
        "not sampled",
    }
    assert all(len(dataset.rows(split)) for split in SPLITS)
    assert export(home, recipe=plan).reused


def test_no_room_left_is_one_sentence_and_leaves_nothing(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full to write to")
    write(tmp_path / "a.jsonl", *(talk(f"prompt {n}") for n in range(20)))
    plan = recipe(tmp_path, '[source]\nkind = "chat"\npath = "a.jsonl"\n[steps.learnable]\n')
    with monkeypatch.context() as patch, pytest.raises(ExportError) as said:
        patch.setattr(gather_module, "part_file", lambda *_: full)  # pyright: ignore[reportUnknownLambdaType]
        export(home, recipe=plan)
    assert str(said.value) == (
        f"Cannot write to {home.root / 'cache'}: No space left on device; conversations lie there while they are "
        "curated, so free some space or set TRACEMILL_HOME to a larger disk."
    )
    assert not any((home.root / "cache").iterdir())
    assert not home.datasets.exists()
    assert export(home, recipe=plan).rows("train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folders_that_may_only_be_read(home: Home, tmp_path: Path) -> None:
    source = write(tmp_path / "set" / "a.jsonl", *(talk(f"prompt {n}") for n in range(5))).parent
    plan = recipe(tmp_path, '[source]\nkind = "chat"\npath = "set"\n[steps.learnable]\n')
    source.chmod(0o500)
    home.ensure(home.datasets).chmod(0o500)
    try:
        with pytest.raises(
            ExportError, match=r"Cannot write .*: Permission denied; mend that or choose another --name"
        ):
            export(home, recipe=plan)
        home.datasets.chmod(0o700)
        assert export(home, recipe=plan).rows("train")
    finally:
        source.chmod(0o700)
        home.datasets.chmod(0o700)


def test_a_row_of_many_megabytes_is_a_row(home: Home, tmp_path: Path) -> None:
    large = {"messages": [user("Read it"), assistant("", call({"path": "a"})), {"role": "tool", "content": "line of a log\n" * 400_000, "tool_call_id": "c1"}, assistant("Done with it.")], "tools": [READ]}  # fmt: skip
    write(tmp_path / "a.jsonl", talk("small"), large, talk("other"))
    plan = recipe(
        tmp_path, '[source]\nkind = "chat"\npath = "a.jsonl"\n[steps.near_duplicates]\n[steps.learnable]\n'
    )
    dataset = export(home, recipe=plan)
    sizes = [len(row["messages"][-2]["content"]) for row in dataset.rows("train")]
    assert max(sizes) == 14 * 400_000
