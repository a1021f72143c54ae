"""`tracemill fuse` as a user runs it: a real adapter, its exported data set, a model card without inventions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapters import lora_adapter, record_verdict
from command_line import Run
from conversations import chat, record
from tiny import tiny_model
from tracemill.curate.dataset import load
from tracemill.tracer.home import Home
from tracemill.train.base import folder_digest
from tracemill.warehouse.read import query

COMPARED: Any = {
    "calls": {
        "name": "all tool calls", "n": 40, "sessions": 30,
        "base": {"estimate": 0.1, "low": 0.03, "high": 0.25},
        "adapter": {"estimate": 0.85, "low": 0.7, "high": 0.93},
        "difference": {"estimate": 0.75, "low": 0.58, "high": 0.86},
    },
    "verdict": {"word": "better", "reason": "The adapter gains <b>much</b>."},
}  # fmt: skip


@pytest.fixture
def base(home: Home) -> Path:
    return tiny_model(home.models / "tiny")


@pytest.fixture
def trained(home: Home, base: Path, tracemill: Run) -> Home:
    """A home with an exported data set and `run-1`, an adapter that learned from it and was found better."""
    for number in range(8):
        messages = chat(f"Read the file src/{number}.py", f"src/{number}.py")
        record(home, f"s-{number}", messages, split=("train", "test")[number % 2], category="read")
    data = Path(json.loads(tracemill("export", "--json", "--model", str(base)).out)["folder"])
    lora_adapter(home.adapters / "run-1", base, dataset=data.name, dataset_sha256=load(data).digest)
    record_verdict(home, "run-1", "better", f"{data.name}/test", COMPARED)
    return home


def refusal(run: Run, *words: str) -> str:
    ended = run("fuse", *words)
    assert (ended.code, ended.out) == (1, "")
    return next(line for line in ended.err.splitlines() if line.startswith("error: "))


def test_a_fused_model_is_scored_again_and_says_what_it_is(
    trained: Home, base: Path, tracemill: Run, tmp_path: Path
) -> None:
    out = tmp_path / "my-model"
    words = ("fuse", "run-1", "--to", str(out), "--gguf", "--max-tokens", "6")
    ended = tracemill(*words)
    assert ended.code == 0, ended.err
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert any(line.startswith("fused ") and " 8 of 8 " in line for line in lines), ended.out
    assert any(line.startswith("GGUF, 16 bits ") for line in lines)
    assert lines[-1] == str(out)
    page = (out / "README.md").read_text("utf-8")
    (data,) = trained.datasets.iterdir()
    manifest = json.loads((data / "manifest.json").read_text())
    for fact in (
        folder_digest(base), load(data).digest, manifest["recipe_sha256"], "| train | 4 | 4 | 8 | 0 |",
        "read\\_file 4", "all tool calls | 40 | 30 | 10.0% (3.0 to 25.0) | 85.0% (70.0 to 93.0)",
        "+75.0 (+58.0 to +86.0)", "Verdict: **better**. The adapter gains \\<b\\>much\\</b\\>.",
        "tracemill serve --base my-model", "llama-server --model model-f16.gguf", "8 of 8", "neither is known",
    ):  # fmt: skip
        assert fact in page, (fact, page)
    assert str(tmp_path) not in page.replace(
        str(base), ""
    )  # a card that is published names no folder of ours
    assert "undefined" not in page.lower()
    # What the folder generates was remembered, so a second run reads it and changes nothing.
    scored = query(trained, "SELECT count(*) FROM evaluations WHERE verdict IS NULL").item()
    again = json.loads(tracemill(*words, "--json").out)
    assert again["reused"] and [one["name"] for one in again["forms"]] == ["fused", "GGUF, 16 bits"]
    assert again["forms"][0]["same"] == again["forms"][0]["completions"] == 8
    assert again["forms"][0]["changes"][0]["n"] == 4
    assert (out / "README.md").read_text("utf-8") == page
    assert query(trained, "SELECT count(*) FROM evaluations WHERE verdict IS NULL").item() == scored
    served = tracemill("evaluate", str(out), "--dataset", str(data), "--max-tokens", "6", "--json")
    assert json.loads(served.out)["suite"] == f"{data.name}/test"


def test_a_quantized_model_tells_what_it_lost(trained: Home, tracemill: Run, tmp_path: Path) -> None:
    out = tmp_path / "small"
    told = json.loads(
        tracemill("fuse", "run-1", "--to", str(out), "--quantize", "4", "--max-tokens", "6", "--json").out
    )
    assert (told["bits"], [one["name"] for one in told["forms"]]) == (4, ["4 bits"])
    assert told["forms"][0]["fidelity"]["of_change"] > 0.01
    page = (out / "README.md").read_text("utf-8")
    assert "quantized to 4 bits after that" in page
    assert "- It is quantized: the table above says what that costs." in page


def test_what_is_not_known_is_said(home: Home, base: Path, tracemill: Run, tmp_path: Path) -> None:
    lora_adapter(home.adapters / "run-1", base)
    assert tracemill("promote", "run-1", "--force").code == 0
    ended = tracemill("fuse", "--to", str(tmp_path / "out"), "--max-tokens", "6")
    assert ended.code == 0, ended.err
    assert "The data set rows-1 is not in" in ended.err
    assert "8 of 8" in ended.out
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "its recipe, its sources and its size are not known." in page
    assert "No evaluation of the adapter is known." in page
    assert "greedy, on made-up prompts" in page
    shutil.rmtree(tmp_path / "out")
    assert tracemill("fuse", "run-1", "--to", str(tmp_path / "out"), "--no-score").code == 0
    assert "Not measured: this form was not scored." in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_another_data_set_scores_it(home: Home, base: Path, tracemill: Run, tmp_path: Path) -> None:
    lora_adapter(home.adapters / "run-1", base)
    rows = tmp_path / "rows"
    rows.mkdir()
    answer = '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
    messages = [{"role": "user", "content": "Read a.py"}, {"role": "assistant", "content": answer}]
    for split in ("train", "test"):
        (rows / f"{split}.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    told = json.loads(
        tracemill(
            "fuse",
            "run-1",
            "--to",
            str(tmp_path / "out"),
            "--score",
            str(rows),
            "--max-tokens",
            "6",
            "--json",
        ).out
    )
    assert told["scored_on"] == "rows/test"
    (rows / "test.jsonl").write_text("")
    assert "has no rows in test.jsonl" in refusal(
        tracemill, "run-1", "--to", str(tmp_path / "two"), "--score", str(rows)
    )
    assert not (tmp_path / "two").exists()


def test_what_cannot_be_fused_is_one_sentence(home: Home, base: Path, tracemill: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert "No adapter is promoted" in refusal(tracemill, "--to", out)
    assert "There is no adapter 'run-9'" in refusal(tracemill, "run-9", "--to", out)
    made = lora_adapter(home.adapters / "run-1", base)
    other = tiny_model(tmp_path / "other", seed=4)
    assert "trained on another base" in refusal(tracemill, "run-1", "--to", out, "--base", str(other))
    assert "is there already" in refusal(tracemill, "run-1", "--to", str(made.path))
    assert made.path.is_dir()
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"sliding_window": 64}))
    adapter = lora_adapter(home.adapters / "run-2", base).path.name
    assert "cannot be written as GGUF" in refusal(tracemill, adapter, "--to", out, "--gguf")
    assert not Path(out).exists()
    assert tracemill("fuse", "run-1", "--to", out, "--score", out, "--no-score").code == 2
    assert tracemill("fuse", "run-1", "--to", out, "--quantize", "3").code == 2
    assert tracemill("fuse", "run-1").code == 2
