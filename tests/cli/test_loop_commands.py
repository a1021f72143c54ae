"""`tracemill train`, `improve`: the loop over recorded sessions, with a real model of two layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from command_line import Run
from conversations import GREEK, chat, record
from tiny import tiny_model
from tracemill.evaluate.guard.recall import guard_once, remember_guard
from tracemill.evaluate.results import headers
from tracemill.tracer.home import Home
from tracemill.train.adapter import load_adapter
from tracemill.train.base import resolve
from tracemill.train.promotion import history
from tracemill.warehouse.read import query

WORDS = GREEK[:12]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny")


@pytest.fixture
def recorded(home: Home) -> Home:
    """A home with sessions of every split, all good."""
    for number, word in enumerate(WORDS):
        split = ("train", "train", "valid", "test")[number % 4]
        messages = chat(f"Read the file src/{word}.py", f"src/{word}.py")
        record(home, f"s-{word}", messages, split=split, category="read")
    return home


@pytest.mark.slow
def test_improve_goes_from_sessions_to_a_verdict_and_reuses_all_of_it(
    recorded: Home, folder: Path, tracemill: Run
) -> None:
    first = tracemill(
        "improve", "--model", str(folder), "--steps", "4", "--max-tokens", "8", "--guard", "quick", "--json"
    )
    assert first.code == 1, first.err
    made = json.loads(first.out)
    assert made["rows"] == len(WORDS)
    assert (made["base_exact"], made["adapter_exact"]) == (0.0, 0.0)
    assert made["verdict"] in {"not better", "undecided"}
    assert "these very items of guard/quick" in made["guard_notes"][0] and made["guard_notes"][0] in first.err
    page = Path(made["report"]).read_text("utf-8")
    assert made["verdict"] in page
    assert "http" not in page.replace("http://www.w3.org", "")
    adapter = Path(made["adapter"])
    assert {file.name for file in adapter.iterdir()} == {
        "adapters.safetensors", "adapter_config.json", "chat_template.jinja", "tracemill.json", "curves.svg",
    }  # fmt: skip
    stamp = (adapter / "tracemill.json").stat().st_mtime_ns

    again = tracemill(
        "improve", "--model", str(folder), "--steps", "4", "--max-tokens", "8", "--guard", "quick"
    )
    assert again.code == 1, again.err
    assert "its base, so it is not promoted." in again.err.splitlines()[-1]
    assert history(recorded) == []
    assert "its adapter is reused" in again.out
    assert "(it was there already)" in again.out
    assert (adapter / "tracemill.json").stat().st_mtime_ns == stamp
    other = tracemill(
        "improve",
        "--model",
        str(folder),
        "--steps",
        "4",
        "--max-tokens",
        "8",
        "--seed",
        "1",
        "--guard",
        "quick",
        "--json",
    )
    assert json.loads(other.out)["adapter"] != str(adapter)


@pytest.mark.slow
def test_what_is_better_and_lost_nothing_is_promoted_once(home: Home, folder: Path, tracemill: Run) -> None:
    for number in range(14):
        split = "test" if number < 8 else ("train", "valid")[number % 2]
        record(home, f"s-{number}", chat(f"Read src/n{number}.py", f"src/n{number}.py"), split=split)
    config = home.root / "config.toml"
    config.write_text(f"model = {str(folder)!r}\nsteps = 2\nevery = 2\nguard_loss = 1\nmax_tokens = 8\n")
    words = ("improve", "--config", str(config), "--json")
    first = tracemill(*words)
    made = json.loads(first.out)
    assert (first.code, made["promoted"]) == (1, False)
    assert made["not_promoted_because"]
    adapter = load_adapter(Path(made["adapter"]))
    rewrite(home, adapter.path.name, lambda item: item["expected"])

    assert tracemill(*words, "--no-promote").code == 0
    assert history(home) == []
    second = json.loads(tracemill(*words).out)
    assert (second["verdict"], second["promoted"], second["newly_promoted"]) == ("better", True, True)
    assert "No category of general ability lost more than 10 points (82 items" in second["reason"]
    assert second["guard_notes"] == []
    third = tracemill(*words[:-1])
    assert third.code == 0
    assert f"{adapter.path.name} is promoted already." in third.out
    assert [step.adapter for step in history(home)] == [adapter.path.name]

    # The base had everything right once: what the adapter can do is no match for it.
    tracemill("rollback")
    base = resolve(str(folder), home)
    known = guard_once(home, "standard", base)
    right = [replace(one, text=one.item.right[0] if one.item.right else one.item.solution, failure="")
             for one in known.answers]  # fmt: skip
    remember_guard(home, replace(known, answers=right), base, None)
    fallen = tracemill(*words)
    told = json.loads(fallen.out)
    assert (fallen.code, told["verdict"], told["guard_kept"], told["promoted"]) == (
        1,
        "not better",
        False,
        False,
    )
    assert told["reason"].startswith("General ability fell by more than 10: direct answers −")
    page = Path(told["report"]).read_text("utf-8")
    assert "General ability fell" in page
    words = (str(folder), "--adapter", told["adapter"], "--dataset", told["dataset"], "--max-tokens", "8")
    later = json.loads(tracemill("evaluate", *words, "--json").out)["comparison"]["verdict"]
    assert (later["word"], later["reason"]) == ("not better", told["reason"])
    stored = (
        f"SELECT verdict FROM evaluations WHERE training_id = '{adapter.path.name}' AND suite LIKE '%/test'"
    )
    assert query(home, stored).item() == "not better"
    refusal = refused(tracemill, "promote", adapter.path.name)
    assert "is worse than its base on guard/standard (General ability fell by more than 10" in refusal
    assert len(history(home)) == 2


@pytest.mark.slow
def test_text_about_tool_calls_in_a_folder_is_worse_and_nothing_is_promoted(
    home: Home, folder: Path, tracemill: Run
) -> None:
    data = home.ensure(home.root) / "junk"
    data.mkdir()
    rows = [
        {"messages": [
            {"role": "user", "content": f"Read {word} (request {number})"},
            {"role": "assistant", "content": f'I do.\n\nTool call: {{"name": "read", "arguments": {{"path": "{word}"}}}}'},
        ]}
        for number, word in enumerate(word + end for end in ("", "_two", "_three") for word in WORDS)
    ]  # fmt: skip
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = home.root / "junk.toml"
    recipe.write_text(
        'name = "junk"\n[source]\nkind = "chat"\npath = "junk"\n[steps.learnable]\n[split]\ntest = 0.5\n'
    )
    config = home.root / "config.toml"
    config.write_text(f"model = {str(folder)!r}\nsteps = 2\nevery = 2\nguard_loss = 1\nguard_floor = 0\n")
    words = ("improve", "--recipe", str(recipe), "--config", str(config), "--max-tokens", "4", "--json")
    first = tracemill(*words)
    assert first.code == 1
    assert "asks for a tool call that an agent would execute" in first.err
    adapter = Path(json.loads(first.out)["adapter"]).name
    rewrite(home, None, lambda _: "I would read it.")
    rewrite(home, adapter, lambda item: item["expected"])
    second = tracemill(*words)
    made = json.loads(second.out)
    assert (second.code, made["verdict"], made["promoted"]) == (1, "worse", False)
    assert "points of direct answers" in made["reason"]
    assert f"{adapter} is worse than its base, so it is not promoted." in second.err
    assert history(home) == []


def rewrite(home: Home, adapter: str | None, text: Callable[[dict[str, Any]], str]) -> None:
    """Change the completions of `adapter` (of the base: None) on disk."""
    file = next(file for file, header in headers(home) if header.adapter == adapter)
    head, *lines = file.read_text("utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    written = [json.dumps(item | {"text": text(item)}) for item in items]
    file.write_text("\n".join([head, *written]) + "\n")


@pytest.mark.slow
def test_lineage_leads_from_the_adapter_to_its_sessions(recorded: Home, folder: Path, tracemill: Run) -> None:
    made = json.loads(
        tracemill(
            "improve",
            "--model",
            str(folder),
            "--steps",
            "2",
            "--max-tokens",
            "4",
            "--guard",
            "quick",
            "--json",
        ).out
    )
    found = query(
        recorded,
        "SELECT r.session_id FROM training_runs JOIN dataset_rows r USING (dataset_id) "
        f"WHERE training_id = '{Path(made['adapter']).name}' AND r.split = 'train' ORDER BY ALL",
    )
    assert found["session_id"].to_list() == sorted(f"s-{word}" for i, word in enumerate(WORDS) if i % 4 < 2)
    scored = query(recorded, "SELECT count(*) FROM evaluation_items WHERE session_id = 's-delta'").item()
    assert scored == 4  # a call and an answer, by base and adapter


@pytest.mark.slow
def test_train_says_what_it_did_and_evaluate_takes_its_adapter(
    recorded: Home, folder: Path, tracemill: Run
) -> None:
    data = json.loads(tracemill("export", "--json", "--model", str(folder)).out)["folder"]
    trained = tracemill("train", data, "--model", str(folder), "--steps", "2", "--max-tokens", "4")
    assert trained.code == 0, trained.err
    assert "exact tool calls on valid" in trained.out
    adapter = trained.out.strip().splitlines()[-1]
    scored = tracemill(
        "evaluate", str(folder), "--adapter", adapter, "--dataset", data, "--max-tokens", "4", "--json"
    )
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["comparison"]["verdict"]["word"] in {"not better", "undecided"}


def refused(run: Run, *words: str) -> str:
    """The one line with which a command refuses."""
    ended = run(*words)
    assert ended.code == 1
    assert ended.out == ""
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    return line


def test_no_sessions_is_one_sentence(home: Home, folder: Path, tracemill: Run) -> None:
    assert "no conversation to export" in refused(tracemill, "improve", "--model", str(folder), "--json")
    assert not home.datasets.exists()
    assert not home.adapters.exists()


def test_an_unknown_model_is_one_sentence_with_a_guess(recorded: Home, tracemill: Run) -> None:
    assert "smollm2-135m" in refused(tracemill, "improve", "--model", "smollm-135m", "--json")


def test_a_folder_without_a_tokenizer_is_one_sentence(recorded: Home, folder: Path, tracemill: Run) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in refused(tracemill, "improve", "--model", str(folder), "--json")


def test_rows_beyond_the_context_are_one_sentence(recorded: Home, folder: Path, tracemill: Run) -> None:
    data = json.loads(tracemill("export", "--json", "--model", str(folder)).out)["folder"]
    line = refused(tracemill, "train", data, "--model", str(folder), "--context", "10", "--json")
    assert "no turn to learn from" in line
    assert not list(recorded.adapters.iterdir())


def test_what_improve_does_not_read_of_a_configuration_is_one_sentence(home: Home, tracemill: Run) -> None:
    config = home.ensure(home.root) / "config.toml"
    config.write_text("seeds = [0, 1]\n")
    assert "does not read 'seeds'" in refused(tracemill, "improve", "--config", str(config), "--json")


def test_no_held_out_rows_is_said_before_training(home: Home, folder: Path, tracemill: Run) -> None:
    for word in WORDS[:2]:
        record(home, f"s-{word}", chat(f"Read {word}"), split="train")
    assert "no rows in test.jsonl" in refused(tracemill, "improve", "--model", str(folder), "--json")
    assert not home.adapters.exists()
