"""The training loop on a real, tiny model: exact gradients, learning, the best checkpoint, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny import tiny_model
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.train.choice import Judged
from tracemill.train.errors import TrainError
from tracemill.train.finetune import load_base
from tracemill.train.loop import fit
from tracemill.train.settings import Settings

TOOLS: Any = [
    {"name": "read_file", "description": "Read.", "parameters": {"type": "object", "properties": {}}}
]


def row(number: int) -> Row:
    path = f"src/{'abcdefgh'[number]}.py"
    return {
        "id": f"r{number}",
        "session_id": f"s{number}",
        "category": "read",
        "tools": TOOLS,
        "messages": [
            {"role": "system", "content": "You are a helpful coding agent. Use the tools."},
            {"role": "user", "content": f"Read the file {path}" + " and tell me" * number},
            {"role": "assistant", "content": encode("", [Call("read_file", {"path": path})])},
            {"role": "tool", "content": "x = 1\n" * number},
            {"role": "assistant", "content": "Done."},
        ],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def parts(folder: Path) -> list[Rendered]:
    chat = Chat.load(folder)
    return [part for number in range(5) for part in prove(chat, row(number))]


def test_a_model_learns_its_rows_and_keeps_its_best_checkpoint(folder: Path, parts: list[Rendered]) -> None:
    scores = iter([0.25, 0.75, 0.5])
    snapshots: list[Any] = []
    model = load_base(folder)

    def judge() -> Judged:
        snapshots.append(np.array(model.model.layers[0].self_attn.q_proj.lora_b))
        return Judged(next(scores), 4)

    settings = Settings(steps=40, batch_size=4, learning_rate=2e-2, rank=8, layers=2, checkpoints=3)
    outcome = fit(model, parts, settings, judge)
    assert len(outcome.losses) == 40
    assert outcome.losses[-1] < 0.8 * outcome.losses[0]
    assert [one.step for one in outcome.found] == settings.checkpoint_steps() == [27, 34, 40]
    # The second of the three was best, though the loss went on falling: its weights are in the model again.
    assert (outcome.chosen.step, outcome.chosen.judged.score) == (34, 0.75)
    kept = np.array(model.model.layers[0].self_attn.q_proj.lora_b)
    np.testing.assert_array_equal(kept, snapshots[1])
    assert np.abs(snapshots[2] - snapshots[1]).max() > 0


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    folder: Path, parts: list[Rendered]
) -> None:
    def losses(seed: int) -> list[float]:
        settings = Settings(steps=4, batch_size=2, layers=2, checkpoints=1, seed=seed)
        return fit(load_base(folder), parts, settings, lambda: Judged(0.0, 4)).losses

    assert losses(1) == losses(1) != losses(2)


def test_a_loss_that_is_no_number_stops_the_run(folder: Path, parts: list[Rendered]) -> None:
    settings = Settings(steps=10, learning_rate=float("inf"), layers=2)
    with pytest.raises(TrainError, match="at step 2; try a lower"):
        fit(load_base(folder), parts, settings, lambda: Judged(0.0, 4))


def test_less_memory_at_once_gives_the_same_run(folder: Path, parts: list[Rendered]) -> None:
    def losses(**knobs: Any) -> list[float]:
        settings = Settings(steps=4, batch_size=4, learning_rate=1e-3, layers=2, checkpoints=1, **knobs)
        return fit(load_base(folder), parts, settings, lambda: Judged(0.0, 4), valid=parts[:2]).losses

    usual = losses()
    for knobs in ({"batch_tokens": 150}, {"grad_checkpoint": True}):
        assert losses(**knobs) == pytest.approx(usual, rel=1e-4)
