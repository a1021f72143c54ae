"""Live sessions of two agents, from the files others wrote to a data set that can be trained on."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest

from airline import airline
from command_line import Run
from tiny import tiny_model
from tracemill.curate import leaks
from tracemill.curate.chat.proof import prove
from tracemill.curate.chat.structured import openai_tools
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset, load
from tracemill.curate.manifest import rows_of
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home

pytestmark = pytest.mark.slow
RECIPES = ("default", "careful")


def exported(tracemill: Run, recipe: str, *options: str) -> Dataset:
    ended = tracemill("export", "--recipe", recipe, "--json", *options)
    assert ended.code == 0, ended.err
    dataset = load(Path(json.loads(ended.out)["folder"]))
    assert dataset.manifest is not None
    counts = dataset.manifest.steps
    assert all(count.rows_in == count.kept + count.dropped for count in counts)
    assert [count.rows_in for count in counts[1:]] == [count.kept for count in counts[:-1]]
    return dataset


def outcomes(dataset: Dataset) -> list[str]:
    assert dataset.manifest is not None
    rows = rows_of(dataset.folder, dataset.manifest)
    assert set(rows["outcome"]) == {"good"}
    sides: dict[str, set[str]] = defaultdict(set)
    for task, split in rows.select("task", "split").iter_rows():
        sides[task].add(split)
    assert all(len(splits) == 1 for splits in sides.values()), "no task stands in two splits"
    assert {split for splits in sides.values() for split in splits} == set(SPLITS)
    found = leaks.check(dataset.folder)
    assert not any(found.of(kind) for kind in ("messages", "session", "task", "prompt"))
    return sorted(rows["task"])


def test_the_84_good_airline_sessions_become_a_proved_data_set(
    home: Home, tracemill: Run, shared_data: Path, tmp_path: Path
) -> None:
    sessions = airline(shared_data)
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(openai_tools(sessions[0]["tools"])))
    file = shared_data / "tau-bench" / "gpt-4o-airline.json.gz"
    fields = ("--messages-field", "traj", "--outcome-field", "reward", "--task-field", "task_id")
    assert tracemill("import", "openai-chat", str(file), *fields, "--tools", str(tools)).code == 0
    good = sorted(str(session["task_id"]) for session in sessions if session["reward"] == 1.0)
    assert len(good) == 84
    base = tiny_model(tmp_path / "tiny")
    for recipe in RECIPES:
        dataset = exported(tracemill, recipe, "--model", str(base))
        assert outcomes(dataset) == good
        assert dataset.manifest is not None and dataset.manifest.proof is not None
        assert dataset.manifest.proof.rows == 84


def test_the_185_resolved_sessions_of_mini_swe_agent_become_a_data_set(
    home: Home, tracemill: Run, shared_data: Path, tmp_path: Path
) -> None:
    file = shared_data / "mini-swe-agent" / "sessions.jsonl.gz"
    assert tracemill("import", "mini-swe-agent", str(file)).code == 0
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        sessions = [json.loads(line) for line in lines]
    resolved = sum(session["resolved"] for session in sessions)
    assert resolved == 185
    chat = Chat.load(tiny_model(tmp_path / "tiny"))
    for recipe in RECIPES:
        dataset = exported(tracemill, recipe)
        assert len(outcomes(dataset)) == resolved
        rows = sorted(dataset.rows("train"), key=lambda row: len(json.dumps(row)))
        for row in rows[:3]:
            assert any(sequence.spans for sequence in prove(chat, row))
