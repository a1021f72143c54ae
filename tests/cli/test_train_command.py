"""`tracemill train`: knobs, seeds, a file of them, interruptions, and what is said of each wrong one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import train_runs
from command_line import Run
from tiny import tiny_model
from tracemill.curate.chat.template import TEMPLATE_FILE
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_runs.tiny_and_data(tmp_path_factory.mktemp("train"))


UNGUARDED = ("--guard-loss", "1", "--guard-floor", "0")
"""Nothing follows from the guard, so it is not asked."""


def words(work: Path, *more: str) -> list[str]:
    return ["train", str(work / "data"), "--model", str(work / "tiny"), "--max-tokens", "4", *more]


def refused(run: Run, *given: str) -> str:
    """The one line with which a command refuses, before it says or writes anything else."""
    ended = run(*given)
    assert (ended.code, ended.out) == (1, "")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    return line


def test_what_is_not_said_is_chosen_and_told(home: Home, work: Path, tracemill: Run) -> None:
    ended = tracemill(*words(work, "--epochs", "1"))
    assert ended.code == 0, ended.err
    assert "chosen: batch size 4: 7 rows are few." in ended.err
    assert "chosen: learning rate 5e-05: low, the fewer rows the lower." in ended.err
    assert "general ability" in ended.out and "loss on valid" in ended.out
    assert "3 tool calls to choose by: the 95% interval is +-" in ended.err
    assert "No checkpoint called tools better than the base itself." in ended.err
    *_, picture, adapter = ended.out.strip().splitlines()
    assert picture == f"curves   {adapter}/curves.svg"
    assert Path(adapter, "curves.svg").read_text("utf-8").startswith("<?xml")
    assert not list(home.adapters.glob(".*"))


@pytest.mark.slow
def test_a_run_is_in_the_warehouse_with_its_curve(home: Home, work: Path, tracemill: Run) -> None:
    ended = tracemill(*words(work, "--steps", "4", "--every", "2", "--json"))
    made = json.loads(ended.out)
    found = query(
        home, "SELECT step, train_loss, valid_loss, score, chosen, details FROM checkpoints ORDER BY step"
    )
    assert found["step"].to_list() == [2, 4]
    assert found["chosen"].to_list() == [False, True]
    assert found["valid_loss"].to_list() == [one["valid_loss"] for one in made["checkpoints"]]
    assert found["train_loss"].to_list() == pytest.approx(
        [sum(made["losses"][at : at + 2]) / 2 for at in (0, 2)], rel=1e-4
    )
    guard = json.loads(found["details"][0])["guard"]
    assert set(guard) == {"answers", "text in english", "text in python"}
    (details,) = query(home, "SELECT details FROM training_runs")["details"]
    assert json.loads(details)["before"]["guard"].keys() == guard.keys()


def test_several_seeds_are_runs_with_a_mean_and_an_interval(home: Home, work: Path, tracemill: Run) -> None:
    few = words(work, "--steps", "2", *UNGUARDED, "--seeds", "0,1,2")
    made = json.loads(tracemill(*few, "--json").out)
    assert [run["settings"]["seed"] for run in made["runs"]] == [0, 1, 2]
    assert len({run["adapter"] for run in made["runs"]}) == 3
    assert made["score"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    again = tracemill(*few)
    assert "mean 0.0% over 3 seeds, 95% interval 0.0% to 0.0%" in again.out
    assert all(run["adapter"] in again.out for run in made["runs"])


def test_an_estimate_tells_what_a_run_takes_and_writes_nothing(
    home: Home, work: Path, tracemill: Run
) -> None:
    few = words(work, "--steps", "4", "--every", "4", "--seeds", "0,1", "--estimate")
    made = json.loads(tracemill(*few, "--json").out)
    assert (made["steps"], made["checkpoints"], made["runs"], made["advice"]) == (4, 2, 2, "go")
    assert made["total_seconds"] >= 2 * made["checkpoint_seconds"] > 0
    shown = tracemill(*few)
    assert shown.code == 0, shown.err
    for told in ("tokens a second", "peak memory", "in all, 2 times", "go: 4 steps of "):
        assert told in shown.out
    assert not home.adapters.exists()
    assert not home.warehouse.exists()


def test_a_file_names_the_knobs(home: Home, work: Path, tmp_path: Path, tracemill: Run) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        f'model = "{work / "tiny"}"\nsteps = 3\nrank = 2\nalpha = 4.0\nmodules = ["v_proj"]\nmax_tokens = 4\n'
        "guard_loss = 1.0\nguard_floor = 0.0\n"
    )
    made = json.loads(
        tracemill("train", str(work / "data"), "--config", str(file), "--rank", "4", "--json").out
    )
    settings = made["settings"]
    assert (settings["steps"], settings["rank"], settings["scale"]) == (3, 4, 1.0)
    assert settings["modules"] == ["self_attn.v_proj"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["--steps", "2", "--epochs", "1"],
            "In the options: 'steps' and 'epochs' contradict each other; give one",
        ),
        (["--layers", "most"], "--layers is a number of layers or the word all, not 'most'."),
        (["--seeds", "0,0"], "--seeds is a list of different whole numbers such as 0,1,2, not '0,0'."),
        (["--full", "--rank", "4"], "'rank' means nothing with 'full'"),
        (["--dropout", "1"], "the key 'dropout': Input should be less than 1."),
        (["--modules", "q_pro", "--steps", "2"], "no module 'q_pro' (did you mean 'q_proj'?)"),
        (["--config", "none.toml"], "Cannot read none.toml"),
    ],
)
def test_a_wrong_knob_is_one_sentence(
    home: Home, work: Path, given: list[str], told: str, tracemill: Run
) -> None:
    assert told in refused(tracemill, *words(work, *given))
    assert not list(home.adapters.glob("[!.]*"))


def test_an_unknown_key_is_one_sentence(home: Home, work: Path, tmp_path: Path, tracemill: Run) -> None:
    (tmp_path / "mine.toml").write_text("learning_rates = 1e-4\n")
    line = refused(tracemill, *words(work, "--config", str(tmp_path / "mine.toml")))
    assert "nothing reads the key 'learning_rates' (did you mean 'learning_rate'?)" in line


def test_a_template_that_distorts_its_rows_is_one_sentence(
    home: Home, work: Path, tmp_path: Path, tracemill: Run
) -> None:
    base = tiny_model(tmp_path / "odd")
    template = base / TEMPLATE_FILE
    text = template.read_text("utf-8")
    template.write_text(text.replace("message.content or ''", "(message.content or '') | upper"), "utf-8")
    assert template.read_text("utf-8") != text
    line = refused(tracemill, "train", str(work / "data"), "--model", str(base), "--steps", "2")
    assert "template" in line
    assert not list(home.adapters.glob("[!.]*"))


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(
    home: Home, work: Path, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real signal to a real process; then the same command, in this one."""
    few = words(work, "--steps", "100", "--every", "50", *UNGUARDED, "--rank", "2", "--layers", "1")
    code = "from tracemill.cli.main import main; main()"
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", code, *few],
        env={**os.environ, "TRACEMILL_HOME": str(home.root)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if line.startswith("training: 10 "):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130, lines
    assert not [line for line in lines if "reference BLAS" in line], "MLX is imported after its BLAS"
    (told,) = [line for line in lines if line.startswith("Stopped after step ")]
    assert "which is saved: the same command goes on from there, --fresh starts anew." in told
    assert lines[-1] == "error: interrupted.\n"
    assert not list(home.adapters.glob("[!.]*"))
    step = told.split()[3]
    ended = tracemill(*few)
    assert ended.code == 0, ended.err
    assert f"Went on from step {step}, where this run was interrupted." in ended.out
    assert not list(home.adapters.glob(".*"))
