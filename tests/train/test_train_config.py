"""What a user asks of a run: a file and options, checked; the rest is chosen by the number of rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.train.config import Asked, check, fields, merged, read
from tracemill.train.defaults import choose
from tracemill.train.errors import TrainError
from tracemill.train.settings import SCHEDULES, Settings


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text)
    return file


def test_a_file_gives_settings_and_options_win(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        'epochs = 3\nlearning_rate = 1e-4\nlayers = "all"\nmodules = ["q_proj"]\nalpha = 32.0\nrank = 4',
    )
    given = merged(file, {"learning_rate": 2e-5, "steps": None})
    settings, _ = choose(50, fields(given))
    assert (settings.learning_rate, settings.epochs, settings.layers) == (2e-5, 3, None)
    assert (settings.scale, settings.modules) == (8.0, ("q_proj",)), "scale is alpha / rank"
    assert settings.lora() == {"rank": 4, "scale": 8.0, "dropout": 0.0, "keys": ["q_proj"]}
    other, _ = choose(50, fields(merged(file, {"steps": 20})))
    assert (other.steps, other.epochs) == (20, None), (
        "an option also wins over what contradicts it in the file"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("learning_rat = 1e-4", r"nothing reads the key 'learning_rat' \(did you mean 'learning_rate'\?\); the keys"),
        ("steps = 10\nepochs = 2", "'steps' and 'epochs' contradict each other; give one of them"),
        ("scale = 10.0\nalpha = 16.0", "'scale' and 'alpha' contradict"),
        ("seed = 1\nseeds = [1, 2]", "'seed' and 'seeds' contradict"),
        ("dora = true\nfull = true", "'dora' and 'full' contradict"),
        ("full = true\nrank = 4", "'rank' means nothing with 'full'"),
        ("steps = 0", "the key 'steps': Input should be greater than or equal to 1"),
        ('steps = "ten"', "the key 'steps': Input should be a valid integer"),
        ('schedule = "step"', "the key 'schedule': Input should be 'constant', 'linear' or 'cosine'"),
        ("dropout = 1.0", "the key 'dropout': Input should be less than 1"),
        ("steps = ", "not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(TrainError, match=told) as error:
        read(write(tmp_path, text))
    assert str(error.value).startswith(f"In {tmp_path / 'mine.toml'}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"Cannot read .*give the path of a TOML file"):
        read(tmp_path / "none.toml")


def test_options_that_contradict_each_other_are_one_sentence() -> None:
    with pytest.raises(TrainError, match="In the options: 'steps' and 'epochs' contradict each other"):
        merged(None, {"steps": 3, "epochs": 2.0})


def test_every_key_of_a_file_is_an_option_and_the_other_way_round() -> None:
    import inspect

    from tracemill.cli.train import train

    beside = {"dataset", "config", "fresh", "estimate", "as_json"}
    assert set(inspect.signature(train).parameters) - beside == set(Asked.model_fields)


@given(st.integers(1, 20_000))
def test_small_data_is_learned_slowly_and_every_row_at_least_twice(rows: int) -> None:
    settings, told = choose(rows, {})
    steps = settings.steps_for(rows)
    assert steps * settings.batch_size >= 2 * rows or steps >= 2
    assert settings.learning_rate <= 2e-4
    assert settings.guard_loss is not None and settings.patience is not None
    assert 1 <= (settings.every or 0) <= steps
    assert len(told) == 4
    more, _ = choose(rows + 1, {})
    assert more.learning_rate >= settings.learning_rate


def test_what_the_user_says_is_not_chosen() -> None:
    settings, told = choose(
        10, {"steps": 7, "batch_size": 2, "learning_rate": 0.1, "every": 3, "guard_loss": 1.0}
    )
    assert told == []
    assert settings == Settings(
        steps=7, batch_size=2, learning_rate=0.1, every=3, guard_loss=1.0, guard_floor=0.5, patience=3
    )
    assert check({}, "nowhere") == {}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_rise_to_their_peak_and_end_where_they_should(schedule: str) -> None:
    import mlx.core as mx

    from tracemill.train.schedule import rate

    settings = Settings(steps=50, learning_rate=1e-3, schedule=schedule, warmup=0.2)  # type: ignore[arg-type]
    made = rate(settings)
    rates = [float(made(mx.array(step))) for step in range(50)]
    assert rates[:11] == pytest.approx([1e-3 * (0.1 + 0.09 * step) for step in range(11)], rel=1e-4)
    assert max(rates) == pytest.approx(1e-3)
    last = float(made(mx.array(50)))
    assert last == pytest.approx(1e-3 if schedule == "constant" else 1e-4, rel=1e-3)
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(rates[10:]))
    cold = rate(Settings(steps=50, learning_rate=1e-3, schedule=schedule, warmup=0.0))  # type: ignore[arg-type]
    assert float(cold(mx.array(0))) == pytest.approx(1e-3)
