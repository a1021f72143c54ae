"""What a run will take, from a few of its real steps, and the advice that follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train_runs
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import load
from tracemill.train import memory
from tracemill.train.errors import TrainError
from tracemill.train.estimate import TIMED, advise, duration, estimate
from tracemill.train.examples import sequences
from tracemill.train.finetune import load_base
from tracemill.train.settings import Settings
from tracemill.train.trainee import weights

GB = 10**9
FEW = Settings(steps=6, batch_size=2, layers=1, every=3, guard_loss=0.1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_runs.tiny_and_data(tmp_path_factory.mktemp("estimate"))


@pytest.fixture(scope="module")
def parts(work: Path) -> list[Rendered]:
    return sequences(Chat.load(work / "tiny"), load(work / "data").rows("train"), 2048).parts


@pytest.mark.parametrize(
    ("steps", "per_step", "free", "advice", "told"),
    [
        (130, 4.1, 6 * GB, "go", "130 steps of 4.1 s and 7 times scoring for 52 s come to 15 minutes."),
        (130, 60.0, None, "usable", "130 steps of 60 s and 7 times scoring for 52 s come to 2.3 hours: start it"),
        (9000, 9.0, 6 * GB, "smaller", "come to 22.6 hours, and a night has 12.0 hours: pick a model of half the size"),
        (90000, 9.0, 6 * GB, "smaller", "come to 9.4 days, and a night has 12.0 hours: pick a model of 1/19 of the size"),
        (130, 4.1, GB, "smaller", "A step takes 2.0 GB of memory and 1.0 GB were free: give --batch-tokens"),
    ],
)  # fmt: skip
def test_the_advice_says_the_figures_that_led_to_it(
    steps: int, per_step: float, free: int | None, advice: str, told: str
) -> None:
    found = advise(steps, per_step, 7, 52.0, steps * per_step + 7 * 52.0, 2 * GB, free)
    assert found[0] == advice
    assert told in found[1]


def test_durations_are_said_as_people_do() -> None:
    said = [duration(seconds) for seconds in (0.0123, 4.06, 41.0, 99.0, 100.0, 5000.0, 7200.0, 4e5)]
    assert said == ["0.012 s", "4.1 s", "41 s", "99 s", "2 minutes", "83 minutes", "2.0 hours", "4.6 days"]


def test_an_estimate_is_of_real_steps_and_adds_up(work: Path, parts: list[Rendered]) -> None:
    model: Any = load_base(work / "tiny")
    found = estimate(model, parts, FEW, lambda: 2.0, valid=parts[:2])
    assert any(np.abs(np.array(one)).max() > 0 for name, one in weights(model).items() if "lora_b" in name)
    assert len(found.timed) == TIMED
    assert all(one.sequences == 2 and one.tokens > 50 and one.seconds > 0 for one in found.timed)
    assert (found.steps, found.checkpoints) == (6, 3), "the base, and after three steps and six"
    assert found.checkpoint_seconds >= 2.0
    assert found.total_seconds == pytest.approx(
        found.prepare_seconds + 6 * found.seconds_per_step + 3 * found.checkpoint_seconds
    )
    assert found.prepare_seconds > 0, "the layer below does not learn"
    tokens = [one.tokens for one in found.timed]
    assert min(tokens) <= found.seconds_per_step * found.tokens_per_second <= 1.001 * max(tokens)
    assert found.peak_bytes > 10**6
    assert found.advice == "go"


def test_where_no_sequence_comes_twice_what_does_not_learn_is_part_of_each_step(
    work: Path, parts: list[Rendered]
) -> None:
    once = estimate(load_base(work / "tiny"), parts, replace(FEW, steps=2, every=2), lambda: 0.0)
    assert once.prepare_seconds == 0
    assert once.seconds_per_step * once.tokens_per_second > min(one.tokens for one in once.timed)


def test_a_step_that_does_not_fit_is_one_sentence(
    work: Path, parts: list[Rendered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(TrainError, match="take a smaller base model or fewer --layers"):
        estimate(load_base(work / "tiny"), parts, FEW, lambda: 0.0)
