"""A sweep's file, the order of its points, what the best of many is worth, and what Optuna draws."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tracemill.train.errors import TrainError
from tracemill.train.sweep import Point, Ran, Range, optimism, ranked, read_sweep
from tracemill.train.sweep_plot import picture
from tracemill.train.sweep_search import search


def write(folder: Path, text: str) -> Path:
    file = folder / "sweep.toml"
    file.write_text(text)
    return file


def point(rank: int, *scores: float, guarded: bool = True, failed: str | None = None) -> Point:
    runs = [Ran(seed, f"a{rank}-{seed}", score, guarded, 0.97, False) for seed, score in enumerate(scores)]
    return Point({"rank": rank}, runs, failed)


def test_a_grid_is_every_combination_once(tmp_path: Path) -> None:
    text = 'epochs = 3\nseeds = [0, 2]\n[grid]\nrank = [4, 8, 4]\nschedule = ["cosine", "linear"]\n'
    found = read_sweep(write(tmp_path, text))
    assert (found.shared, found.seeds, found.count) == ({"epochs": 3.0}, [0, 2], 4)
    assert found.points == [
        {"rank": 4, "schedule": "cosine"}, {"rank": 4, "schedule": "linear"},
        {"rank": 8, "schedule": "cosine"}, {"rank": 8, "schedule": "linear"},
    ]  # fmt: skip
    assert read_sweep(write(tmp_path, "[grid]\nrank = [4]\n")).seeds == [0]


def test_a_search_has_ranges_choices_and_trials(tmp_path: Path) -> None:
    text = 'trials = 5\n[search]\nrank = {low = 4, high = 32}\nschedule = ["cosine", "linear"]\n'
    found = read_sweep(write(tmp_path, text))
    assert found.space == {"rank": Range(low=4, high=32), "schedule": ["cosine", "linear"]}
    assert (found.points, found.count) == ([], 5)


def test_what_was_drawn_together_is_checked_too(tmp_path: Path) -> None:
    # At the ends of one knob at a time these two never meet.
    found = read_sweep(write(tmp_path, "[search]\ndora = [false, true]\nfull = [false, true]\n"))
    assert found.given({"dora": True, "full": False})["dora"]
    with pytest.raises(TrainError, match=r"^In what was drawn: 'dora' and 'full' contradict each other"):
        found.given({"dora": True, "full": True})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps = 3\n", r"varies the knobs of one table, \[grid\] .* or \[search\] .*; give one of them"),
        ("[grid]\nrank = [4]\n[search]\nrank = [4]\n", "give one of them"),
        ("[grid]\nrnk = [4]\n", r"there is no knob 'rnk' \(did you mean 'rank'\?\); there are "),
        ("[grid]\nseed = [4]\n", "'seed' is the same for all runs of a sweep; set it above the table"),
        ("[grid]\nrank = 4\n", r"'rank' is a list of values to try, such as \[1, 2\], not 4"),
        ("[grid]\nrank = []\n", r"'rank' is a list of values to try"),
        ("[grid]\nrank = [0]\n", "the key 'rank': Input should be greater than or equal to 1"),
        ("rank = 8\n[grid]\nrank = [4]\n", "'rank' is varied and stands beside the table too; drop one"),
        ("steps = 8\n[grid]\nepochs = [2.0]\n", "'steps' and 'epochs' contradict each other"),
        ("trials = 0\n[search]\nrank = [4]\n", "trials is a whole number from 1 on, not 0"),
        ("[search]\nrank = {low = 8, high = 4}\n", "the range of 'rank' needs low below high"),
        ("[grid]\nlearning_rate = [2020-01-01]\n", "'learning_rate' has a value that no setting can have"),
        ("[grid]\nlearning_rate = [1e-4, inf]\n", "'learning_rate' has a value that no setting can have"),
        ("[grid]\nmodules = [[07:32:00]]\n", "'modules' has a value that no setting can have"),
        ("[search]\nlearning_rate = [2020-01-01]\n", "'learning_rate' has a value that no setting can have"),
        (
            "[search]\nrank = {low = 1, high = 8, step = 0.5}\n",
            "so its step is whole too, not 0.5; where frac",
        ),
        ("[search]\nrank = {low = 1, high = 8, step = 9}\n", "the step of 'rank' leads from low past high"),
        ("[search]\nscale = {low = 1.0, high = inf}\n", "the range of 'scale' needs finite numbers, below"),
        ("[search]\nscale = {low = nan, high = 2.0}\n", "the range of 'scale' needs finite numbers, below"),
        (
            f"[search]\nrank = {{low = 1, high = {10**400}}}\n",
            "the range of 'rank' needs finite numbers, below",
        ),
        ("[search]\nrank = {low = 8, hi = 4}\n", "'rank' is a list of choices, or a range such as"),
        ("[search]\ndropout = {low = 0.0, high = 1.5}\n", "the key 'dropout': Input should be less than 1"),
        ("grid = 3\n", "it is no table"),
        ("[grid\n", "not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(TrainError, match=told) as error:
        read_sweep(write(tmp_path, text))
    assert str(tmp_path / "sweep.toml") in str(error.value)
    assert "\n" not in str(error.value)


def test_the_best_point_kept_its_general_ability_and_failures_come_last() -> None:
    points = [
        point(1, failed="seed 0: The loss became nan."),
        point(2, 0.9, 0.9, guarded=False),
        point(3, 0.5, 0.7),
        point(4, 0.6, 0.6),
        point(5, 0.1, 0.2),
        point(3, 0.5, 0.7),
    ]
    order = ranked(points)
    assert [one.knobs["rank"] for one in order] == [3, 4, 5, 2, 1]
    assert order[0].mean == pytest.approx(0.6)
    # t(1, 0.975) = 12.706, standard error 0.1: wider than all there is.
    assert order[0].interval == (0.0, 1.0)
    assert order[0].best_run.score == 0.7
    assert order[-1].worth is None and order[-1].asdict()["mean"] is None


def test_how_much_the_best_of_equals_flatters() -> None:
    chance, score, items, runs = random.Random(0), 0.6, 50, 12
    best = [
        max(sum(chance.random() < score for _ in range(items)) / items for _ in range(runs))
        for _ in range(600)
    ]
    assert optimism(score, items, runs) == pytest.approx(fmean(best) - score, abs=0.01)
    assert optimism(score, items, 1) == 0.0
    assert optimism(1.0, items, runs) == 0.0


def test_the_picture_shows_every_point_and_which_lost_general_ability() -> None:
    order = ranked([point(2, 0.9, 0.8, guarded=False), point(3, 0.5, 0.7), point(4, failed="seed 0: no")])
    svg = picture(order, 0.1)
    for words in ("rank 3", "rank 2 (general ability lost)", "exact tool calls on valid", "base"):
        assert words in svg, words
    assert "rank 4" not in svg
    assert svg == picture(order, 0.1)


def test_a_search_without_optuna_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TrainError, match=r"run `pip install 'tracemill\[optuna\]'`, or write .* a \[grid\]"):
        search({"rank": [4, 8]}, 2, lambda _: 0.0)


def test_optuna_draws_within_the_ranges_and_the_same_again() -> None:
    pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
    space: dict[str, Range | list[Any]] = {
        "learning_rate": Range(low=1e-5, high=1e-3, log=True),
        "rank": Range(low=4, high=16, step=4),
        "schedule": ["cosine", "linear"],
    }

    def drawn() -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []

        def worth(one: dict[str, Any]) -> float | None:
            seen.append(one)
            return None if len(seen) == 3 else 1 - abs(one["rank"] - 8) / 16

        search(space, 14, worth)
        return seen

    found = drawn()
    assert found == drawn(), "a sweep that goes on asks for the same points"
    assert all(1e-5 <= one["learning_rate"] <= 1e-3 and one["rank"] in {4, 8, 12, 16} for one in found)
    assert {type(one["rank"]) for one in found} == {int}
    assert {one["schedule"] for one in found} == {"cosine", "linear"}
    assert fmean(one["rank"] == 8 for one in found[10:]) > 0, "what did well is drawn again"
