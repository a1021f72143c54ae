"""A training run that is killed goes on where it was, and gives what it would have given."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import train_runs
from tiny import tiny_model
from tracemill.curate.dataset import load
from tracemill.tracer.home import Home
from tracemill.train.base import resolve
from tracemill.train.errors import Interrupted, TrainError
from tracemill.train.settings import Settings

FEW = Settings(steps=8, batch_size=2, layers=2, every=4)


def files(adapter: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(adapter).iterdir()}


def same_result(work: Path, whole: dict[str, Any], name: str, kills: list[int]) -> None:
    """Kill a run after each of `kills` steps; what it comes to at last is that of `whole`, byte for byte."""
    home = work / name
    for kill in kills:
        assert train_runs.run(home, work / "data", work / "tiny", kill).returncode == -signal.SIGKILL
        assert [path.name[0] for path in (home / "adapters").iterdir()] == ["."], "no adapter yet"
    ended = train_runs.run(home, work / "data", work / "tiny")
    made = json.loads(ended.stdout)
    last = max(kills)
    # A state is saved every third step and at the checkpoints of steps 5 and 10; not yet the one of the kill.
    assert made["resumed"] == max((step for step in (3, 5, 6, 9, 10, 12) if step < last), default=None)
    assert made["losses"] == whole["losses"]
    ours, theirs = files(made["adapter"]), files(whole["adapter"])
    for file in ("adapters.safetensors", "curves.svg", "adapter_config.json"):
        assert ours[file] == theirs[file], (file, kills)
    assert not list((home / "adapters").glob(".*")), "states are cleaned up"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_runs.tiny_and_data(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def whole(work: Path) -> dict[str, Any]:
    """The run that nothing interrupts."""
    ended = train_runs.run(work / "whole", work / "data", work / "tiny")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_run_killed_twice_gives_the_same_bytes(work: Path, whole: dict[str, Any]) -> None:
    first = random.randint(4, 8)
    same_result(work, whole, "twice", [first, random.randint(first + 1, train_runs.STEPS)])


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(10))
def test_a_run_killed_anywhere_gives_the_same_bytes(work: Path, whole: dict[str, Any], attempt: int) -> None:
    same_result(work, whole, f"home-{attempt}", [random.randint(1, train_runs.STEPS)])


class Killed(BaseException):
    """What ends a run in this very process."""


def tune(home: Home, work: Path, settings: Settings = FEW, *, end: int | None = None, **words: Any) -> Any:
    from tracemill.train.choice import Judged
    from tracemill.train.finetune import Conduct, finetune

    def told(what: str, done: int, total: int) -> None:
        if what == "training" and done == end:
            raise Killed

    base = resolve(str(words.pop("base", work / "tiny")), home)
    judge = words.pop("judge", lambda model, chat: Judged(0.5, 3))
    conduct = Conduct(save_every=words.pop("save_every", 2), fresh=words.pop("fresh", False))
    return finetune(home, load(work / "data"), base, settings, judge, "a half", told, conduct)


def states(home: Home) -> list[Path]:
    return sorted(home.adapters.glob(".*.run/step-*"))


def test_a_state_cut_in_half_is_noticed_and_the_one_before_is_used(home: Home, work: Path) -> None:
    whole = tune(Home(home.root / "whole"), work)
    with pytest.raises(Killed):
        tune(home, work, end=7)
    assert [path.name for path in states(home)] == ["step-000004", "step-000006"], "the last two stay"
    for path in states(home)[-1].iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    cut = states(home)[-1] / "weights.safetensors"
    os.truncate(cut, cut.stat().st_size // 2)
    made = tune(home, work)
    assert made.resumed == 4
    (note,) = made.notes
    assert note.endswith("step-000006 is damaged (weights.safetensors is not what was saved).")
    assert (
        files(made.adapter.path)["adapters.safetensors"] == files(whole.adapter.path)["adapters.safetensors"]
    )


def test_states_that_are_all_damaged_mean_to_start_anew(home: Home, work: Path) -> None:
    with pytest.raises(Killed):
        tune(home, work, end=5)
    for path in states(home):
        (path / "state.json").write_text('{"sha256": "0"}')
    made = tune(home, work)
    assert made.resumed is None
    assert len(made.notes) == 2


def test_fresh_starts_anew_and_replaces_what_was_made(home: Home, work: Path) -> None:
    with pytest.raises(Killed):
        tune(home, work, end=5)
    made = tune(home, work, fresh=True)
    assert (made.resumed, made.reused) == (None, False)
    assert tune(home, work).reused
    again = tune(home, work, fresh=True)
    assert not again.reused
    assert (
        files(again.adapter.path)["adapters.safetensors"] == files(made.adapter.path)["adapters.safetensors"]
    )


def test_the_base_is_judged_once_for_runs_that_begin_alike(home: Home, work: Path) -> None:
    from tracemill.train.choice import Judged

    asked: list[Judged] = []

    def judge(model: Any, chat: Any) -> Judged:
        asked.append(Judged(len(asked) / 10, 3, {"text": 0.5}))
        return asked[-1]

    guarded = replace(FEW, guard_loss=0.1, every=8)
    first = tune(home, work, guarded, judge=judge)
    assert len(asked) == 2, "before the first step and after the last"
    other = tune(home, work, replace(guarded, seed=1), judge=judge)
    assert len(asked) == 3
    assert other.adapter.card["before"] == first.adapter.card["before"]
    tune(home, work, replace(guarded, seed=1), judge=judge, fresh=True)
    assert len(asked) == 5, "anew is anew"


def test_ctrl_c_saves_and_says_how_to_go_on(home: Home, work: Path) -> None:
    from tracemill.train.choice import Judged

    whole = tune(Home(home.root / "whole"), work)

    def judge(model: Any, chat: Any) -> Judged:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal ends it")

    with pytest.raises(
        Interrupted, match=r"Stopped after step 4 of 8, which is saved: the same command goes on"
    ):
        tune(home, work, judge=judge)
    assert states(home)[-1].name == "step-000004"
    made = tune(home, work)
    assert made.resumed == 4
    assert (
        files(made.adapter.path)["adapters.safetensors"] == files(whole.adapter.path)["adapters.safetensors"]
    )


def test_ctrl_c_in_a_step_finishes_the_step(home: Home, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tracemill.train import memory

    real, steps = memory.told, iter(range(1, 9))

    def told(batch: int, longest: int) -> Any:
        if next(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return real(batch, longest)

    monkeypatch.setattr(memory, "told", told)
    with pytest.raises(Interrupted, match="after step 3 of 8"):
        tune(home, work, save_every=0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert [path.name for path in states(home)] == ["step-000003"]


def test_a_state_of_another_base_is_refused(home: Home, work: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(Killed):
        tune(home, work, end=5)
    (there,) = home.adapters.glob(".*.run")
    with pytest.raises(Killed):
        tune(home, work, base=other, end=1)
    (new,) = set(home.adapters.glob(".*.run")) - {there}
    states(home)[0].rename(new / "step-000004")
    with pytest.raises(
        TrainError, match=r"belongs to another run \(another base, data set or settings\); give --fresh"
    ):
        tune(home, work, base=other)


def test_one_run_is_made_by_one_process(home: Home, work: Path) -> None:
    from filelock import FileLock

    with pytest.raises(Killed):
        tune(home, work, end=3)
    (folder,) = home.adapters.glob(".*.run")
    with (
        FileLock(folder / "lock"),
        pytest.raises(TrainError, match="Another process is making this very run"),
    ):
        tune(home, work)


def test_a_rate_that_breaks_the_weights_saves_nothing(home: Home, work: Path) -> None:
    with pytest.raises(TrainError, match=r"at step 2; try a lower --learning-rate. Nothing was saved."):
        tune(home, work, replace(FEW, learning_rate=float("inf"), warmup=0.0), save_every=0)
    assert not states(home)
    # The loss of a step is that of the weights before it: what its update broke is seen before they are saved.
    with pytest.raises(
        TrainError, match=r"not finite after step 1; try a lower --learning-rate. Nothing was saved."
    ):
        tune(home, work, replace(FEW, learning_rate=float("inf"), warmup=0.0), save_every=1)
    assert not states(home)
    assert not [path for path in home.adapters.iterdir() if not path.name.startswith(".")]
