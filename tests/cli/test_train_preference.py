"""`tracemill train --method dpo`: what is said of pairs, and of knobs that do not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import train_runs
from command_line import Run
from preference_sets import with_pairs
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query

FEW = ("--steps", "2", "--guard-loss", "1", "--guard-floor", "0")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = train_runs.tiny_and_data(tmp_path_factory.mktemp("dpo"))
    with_pairs(made / "data")
    return made


def words(work: Path, *more: str) -> list[str]:
    return ["train", str(work / "data"), "--max-tokens", "4", *FEW, *more]


def test_pairs_are_learned_and_an_adapter_is_gone_on_from(home: Home, work: Path, tracemill: Run) -> None:
    dpo = words(work, "--model", str(work / "tiny"), "--method", "dpo")
    ended = tracemill(*dpo)
    assert ended.code == 0, ended.err
    assert "chosen: learning rate 5e-06: low" in ended.err
    assert "chosen preferred on valid" in ended.out
    assert "reward margin" in ended.out
    assert "8 pairs, " in ended.out
    assert "loss 0.69 to 0." in ended.out
    adapter = Path(ended.out.strip().splitlines()[-1])
    assert "chosen preferred" in (adapter / "curves.svg").read_text("utf-8")
    card = json.loads((adapter / "tracemill.json").read_text("utf-8"))
    assert (card["method"], card["settings"]["beta"]) == ("dpo", 0.1)
    assert tracemill(*dpo, "--json").code == 0
    went_on = tracemill(*words(work, "--adapter", adapter.name, "--json"))
    assert json.loads(went_on.out)["start_sha256"] == card["weights_sha256"]
    (recipe, *_) = query(home, "SELECT recipe FROM training_runs WHERE recipe->>'beta' IS NOT NULL")["recipe"]
    assert json.loads(recipe)["beta"] == 0.1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--beta", "0.2"], "'beta' means something with the method 'dpo' only"),
        (["--adapter", "none", "--rank", "4"], "'rank' is that of the adapter to go on from; drop one."),
        (["--adapter", "none"], "There is no adapter 'none'"),
        (["--method", "dpo", "--estimate"], "--estimate tells of --method sft only"),
        (["--method", "dpo", "--beta", "0"], "the key 'beta': Input should be greater than 0"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    home: Home, work: Path, given: list[str], told: str, tracemill: Run
) -> None:
    ended = tracemill(*words(work, *given))
    assert (ended.code, ended.out) == (1, "")
    assert told in ended.err
    assert not list(home.adapters.glob("*"))
