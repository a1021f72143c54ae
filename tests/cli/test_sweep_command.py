"""`tracemill sweep` on a real, tiny model: every run once, a table and a picture, a warning, and refusals."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

import train_runs
from command_line import Run
from tracemill.tracer.home import Home
from tracemill.train import memory


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_runs.tiny_and_data(tmp_path_factory.mktemp("sweep"))


def plan(work: Path, folder: Path, table: str, *more: str) -> Path:
    file = folder / "sweep.toml"
    lines = [
        f'model = "{work / "tiny"}"', "max_tokens = 4", "steps = 2", "batch_size = 2", "layers = 1",
        "guard_loss = 1.0", "guard_floor = 0.0", *more, table,
    ]  # fmt: skip
    file.write_text("\n".join(lines) + "\n")
    return file


def test_a_grid_is_run_once_and_ranked_on_the_validation_split(
    home: Home, work: Path, tmp_path: Path, tracemill: Run
) -> None:
    data = train_runs.data_set(tmp_path / "data")
    # A test split that no model could be asked: a sweep does not look at it.
    long = train_runs.row(40)
    long["messages"][1]["content"] *= 1000
    (data / "test.jsonl").write_text(json.dumps(long) + "\n")
    file = plan(work, tmp_path, "[grid]\nlearning_rate = [1e38, 1e-3]", "seeds = [0, 1]")
    first = tracemill("sweep", str(data), str(file), "--json")
    assert first.code == 0, first.err
    assert "2 points, 2 seeds each: up to 4 runs." in first.err
    made = json.loads(first.out)
    assert [one["knobs"]["learning_rate"] for one in made["points"]] == [1e-3, 1e38]
    assert [len(one["runs"]) for one in made["points"]] == [2, 0]
    assert "seed 0: The loss became nan at step 2" in made["points"][1]["failed"]
    assert (made["points"][0]["mean"], made["points"][0]["low"]) == (0.0, 0.0)
    assert made["selection_items"] == 3
    adapters = sorted(run["adapter"] for one in made["points"] for run in one["runs"])
    assert adapters == sorted(str(path) for path in home.adapters.glob("[!.]*"))
    assert made["best"]["adapter"] in adapters
    assert f"--adapter {made['best']['adapter']} --dataset {data} --split test" in made["note"]

    again = tracemill("sweep", str(data), str(file))
    assert again.code == 0, again.err
    assert "The best of 2 runs was chosen by the very 3 tool calls that its score is a share of" in again.out
    assert "Its 95% interval is +-28 points or more" in again.out
    assert "failed" in again.out and "learning_rate 1e+38: seed 0: " in again.err
    folder = Path(made["folder"])
    kept = json.loads((folder / "sweep.json").read_text("utf-8"))
    assert all(run["reused"] for one in kept["points"] for run in one["runs"])
    assert (folder / "sweep.svg").read_text("utf-8").startswith("<?xml")
    assert stat.S_IMODE((folder / "sweep.json").stat().st_mode) == 0o600
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_sweep_that_was_stopped_goes_on_where_it_was(
    home: Home, work: Path, tmp_path: Path, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = memory.told, list[int]()

    def told(batch: int, longest: int) -> Any:
        taken.append(batch)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(batch, longest)

    monkeypatch.setattr(memory, "told", told)
    words = ["sweep", str(work / "data"), str(plan(work, tmp_path, "[grid]\nrank = [1, 2]")), "--json"]
    stopped = tracemill(*words)
    assert (stopped.code, stopped.out, len(taken)) == (130, "", 3)
    assert "Stopped after step 1 of 2, which is saved" in stopped.err
    made = json.loads(tracemill(*words).out)
    assert len(taken) == 4, "of two runs of two steps each step was taken once"
    assert [run["reused"] for one in made["points"] for run in one["runs"]] == [True, False]


def refused(run: Run, *words: str) -> str:
    ended = run("sweep", *words)
    assert (ended.code, ended.out) == (1, "")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    return line


def test_the_help_names_the_tables_of_the_file(tracemill: Run) -> None:
    shown = " ".join(tracemill("sweep", "--help").out.replace("│", " ").split())
    assert "below [grid] lists of values such as `rank = [4, 8]`, or below [search] ranges" in shown


def test_what_cannot_be_swept_is_one_sentence(home: Home, work: Path, tmp_path: Path, tracemill: Run) -> None:
    data = str(work / "data")
    assert "there is no knob 'rang'" in refused(
        tracemill, data, str(plan(work, tmp_path, "[grid]\nrang = [1]"))
    )
    every = plan(work, tmp_path, "[grid]\nlearning_rate = [1e38]")
    assert "No point of the sweep gave an adapter. The first: seed 0: The" in refused(
        tracemill, data, str(every)
    )
    assert not list(home.adapters.glob("[!.]*"))
    quiet = train_runs.data_set(tmp_path / "quiet", valid=0)
    fine = str(plan(work, tmp_path, "[grid]\nrank = [1]"))
    assert "valid.jsonl asks for no tool call, so there is nothing to choose by" in refused(
        tracemill, str(quiet), fine
    )
    assert not (home.root / "sweeps").exists()
