"""`tracemill train`, `improve`: the loop over recorded sessions, with a real model of two layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run
from conversations import chat, record
from tiny import tiny_model
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
]


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


def test_improve_goes_from_sessions_to_a_verdict_and_reuses_all_of_it(
    recorded: Home, folder: Path, tracemill: Run
) -> None:
    first = tracemill("improve", "--model", str(folder), "--steps", "4", "--max-tokens", "8", "--json")
    assert first.code == 0, first.err
    made = json.loads(first.out)
    assert made["rows"] == len(WORDS)
    assert (made["base_exact"], made["adapter_exact"]) == (0.0, 0.0)
    assert made["verdict"] in {"not better", "undecided"}
    page = Path(made["report"]).read_text("utf-8")
    assert made["verdict"] in page
    assert "http" not in page.replace("http://www.w3.org", "")
    adapter = Path(made["adapter"])
    assert {file.name for file in adapter.iterdir()} == {
        "adapters.safetensors", "adapter_config.json", "chat_template.jinja", "tracemill.json", "curves.svg",
    }  # fmt: skip
    stamp = (adapter / "tracemill.json").stat().st_mtime_ns

    again = tracemill("improve", "--model", str(folder), "--steps", "4", "--max-tokens", "8")
    assert again.code == 0, again.err
    assert "its adapter is reused" in again.out
    assert "(it was there already)" in again.out
    assert (adapter / "tracemill.json").stat().st_mtime_ns == stamp
    other = tracemill(
        "improve", "--model", str(folder), "--steps", "4", "--max-tokens", "8", "--seed", "1", "--json"
    )
    assert json.loads(other.out)["adapter"] != str(adapter)


def test_lineage_leads_from_the_adapter_to_its_sessions(recorded: Home, folder: Path, tracemill: Run) -> None:
    made = json.loads(
        tracemill("improve", "--model", str(folder), "--steps", "2", "--max-tokens", "4", "--json").out
    )
    found = query(
        recorded,
        "SELECT r.session_id FROM training_runs JOIN dataset_rows r USING (dataset_id) "
        f"WHERE training_id = '{Path(made['adapter']).name}' AND r.split = 'train' ORDER BY ALL",
    )
    assert found["session_id"].to_list() == sorted(f"s-{word}" for i, word in enumerate(WORDS) if i % 4 < 2)
    scored = query(recorded, "SELECT count(*) FROM evaluation_items WHERE session_id = 's-delta'").item()
    assert scored == 4  # a call and an answer, by base and adapter


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


def test_no_held_out_rows_is_said_before_training(home: Home, folder: Path, tracemill: Run) -> None:
    for word in WORDS[:2]:
        record(home, f"s-{word}", chat(f"Read {word}"), split="train")
    assert "no rows in test.jsonl" in refused(tracemill, "improve", "--model", str(folder), "--json")
    assert not home.adapters.exists()
