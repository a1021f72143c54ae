"""A model against itself on real outcomes: hardly ever better or worse; what is planted is found."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tracemill.evaluate.comparison import compare

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import aa


@pytest.mark.slow
def test_200_comparisons_of_twins_and_of_what_is_planted(shared_data: Path) -> None:
    assert (shared_data / "tau-bench").is_dir()
    trials = aa.airline()

    def words(draw: aa.Draw) -> Counter[str]:
        rng = np.random.default_rng(11)
        pairs = (draw(rng) for _ in range(200))
        return Counter(compare(aa.results(one), aa.results(two)).verdict.word for one, two in pairs)

    for each in (1, 2):
        found = words(lambda rng, each=each: aa.twins(trials, rng, each))
        assert found["better"] + found["worse"] <= 10
    assert words(lambda rng: aa.planted(trials, rng, 1))["better"] >= 145
    assert words(lambda rng: aa.planted(trials, rng, -1))["worse"] >= 145


def test_a_planted_loss_of_the_guard_always_blocks_promotion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aa, "TIMES", 25)
    shares = {
        what: [share.strip() for share in aa.guard_row("quick", what, change).split("|")[3:-1]]
        for what, change in aa.CHANGES.items()
    }
    assert shares["the same twice"] == ["100.0%", "0.0%", "100.0%", "100.0%"]
    assert shares["planted loss in one category"] == ["0.0%", "100.0%", "0.0%", "0.0%"]
