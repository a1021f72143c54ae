"""The training loop on a real, tiny model: exact gradients, learning, the best checkpoint, and refusals."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny import tiny_model
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.train.errors import TrainError
from tracemill.train.examples import make_batch, order, sequences
from tracemill.train.finetune import load_base
from tracemill.train.loop import Settings, add_lora, checkpoint_steps, fit

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


def gradients(
    folder: Path, parts: list[Rendered], share: bool, known_head: bool
) -> tuple[float, dict[str, Any]]:
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten

    from tracemill.train.forward import batch_loss

    model = load_base(folder)
    add_lora(model, Settings(rank=4, layers=2))
    # The second LoRA factor starts at zero, which would hide the gradient of the first.
    model.update({"model": {"layers": [{"self_attn": {"q_proj": {"lora_b": mx.ones((4, 32)) * 0.05}}}] * 2}})
    loss_and_grad: Any = nn.value_and_grad(model, lambda batch: batch_loss(model, batch, known_head))
    loss, grads = loss_and_grad(make_batch(parts, share))
    flat: Any = tree_flatten(grads)
    return loss.item(), {name: np.array(value) for name, value in flat}


def plain_loss(folder: Path, parts: list[Rendered]) -> float:
    """The same loss the simplest way: each sequence alone, all logits, no padding, no cache."""
    import mlx.core as mx

    model = load_base(folder)
    total, count = 0.0, 0
    for part in parts:
        logits = np.array(model(mx.array([part.tokens]))[0].astype(mx.float32), np.float64)
        logp = (
            logits
            - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
            - logits.max(-1, keepdims=True)
        )
        for start, end in part.spans:
            for position in range(start, end):
                total -= logp[position - 1, part.tokens[position]]
                count += 1
    return total / count


def test_shared_prefix_and_sparse_logits_change_neither_loss_nor_gradient(
    folder: Path, parts: list[Rendered]
) -> None:
    assert len(make_batch(parts).prefix) > 20
    plain, plain_grads = gradients(folder, parts, share=False, known_head=False)
    assert any(np.abs(value).max() > 1e-4 for name, value in plain_grads.items() if "lora_a" in name)
    for share, known_head in itertools.product([True, False], [True, False]):
        loss, grads = gradients(folder, parts, share, known_head)
        assert loss == pytest.approx(plain, rel=1e-5)
        assert grads.keys() == plain_grads.keys()
        for name, value in grads.items():
            np.testing.assert_allclose(value, plain_grads[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_the_loss_is_the_mean_over_every_assistant_token_and_no_other(
    folder: Path, parts: list[Rendered]
) -> None:
    import mlx.core as mx

    from tracemill.train.forward import batch_loss, has_known_head, shares_prefixes

    model = load_base(folder)
    assert shares_prefixes(model)
    assert has_known_head(model)
    batch = make_batch(parts)
    assert float(batch_loss(model, batch, True)) == pytest.approx(plain_loss(folder, parts), rel=1e-4)
    assert len(batch.targets) == sum(end - start for part in parts for start, end in part.spans)
    mx.clear_cache()


def test_a_model_learns_its_rows_and_keeps_its_best_checkpoint(folder: Path, parts: list[Rendered]) -> None:
    scores = iter([0.25, 0.75, 0.5])
    snapshots: list[Any] = []
    model = load_base(folder)

    def judge() -> float:
        snapshots.append(np.array(model.model.layers[0].self_attn.q_proj.lora_b))
        return next(scores)

    settings = Settings(steps=40, batch_size=4, learning_rate=2e-2, rank=8, layers=2, checkpoints=3)
    outcome = fit(model, parts, settings, judge)
    assert len(outcome.losses) == 40
    assert outcome.losses[-1] < 0.8 * outcome.losses[0]
    assert [step for step, _ in outcome.scores] == checkpoint_steps(settings) == [27, 34, 40]
    # The second of the three was best, though the loss went on falling: its weights are in the model again.
    assert (outcome.best_step, outcome.best_score) == (34, 0.75)
    kept = np.array(model.model.layers[0].self_attn.q_proj.lora_b)
    np.testing.assert_array_equal(kept, snapshots[1])
    assert np.abs(snapshots[2] - snapshots[1]).max() > 0


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    folder: Path, parts: list[Rendered]
) -> None:
    def losses(seed: int) -> list[float]:
        settings = Settings(steps=4, batch_size=2, layers=2, checkpoints=1, seed=seed)
        return fit(load_base(folder), parts, settings, lambda: 0.0).losses

    assert losses(1) == losses(1) != losses(2)


def test_a_loss_that_is_no_number_stops_the_run(folder: Path, parts: list[Rendered]) -> None:
    settings = Settings(steps=10, learning_rate=float("inf"), layers=2)
    with pytest.raises(TrainError, match="at step 2; try a lower"):
        fit(load_base(folder), parts, settings, lambda: 0.0)


def test_rows_longer_than_the_context_are_counted_and_none_left_is_one_sentence(folder: Path) -> None:
    chat = Chat.load(folder)
    rows = [row(number) for number in range(5)]
    lengths = sorted(len(part.tokens) for r in rows for part in prove(chat, r))
    kept, left_out = sequences(chat, rows, max_tokens=lengths[2])
    assert (len(kept), left_out) == (3, 2)
    with pytest.raises(TrainError, match="no row to learn from: 5 sequences"):
        sequences(chat, rows, max_tokens=10)


@given(count=st.integers(1, 30), batch=st.integers(1, 12), seed=st.integers(0, 5))
def test_every_epoch_sees_every_row_once(count: int, batch: int, seed: int) -> None:
    batches = itertools.islice(order(count, batch, seed), 60)
    seen = [index for indices in batches for index in indices]
    for start in range(0, len(seen) - count + 1, count):
        assert sorted(seen[start : start + count]) == list(range(count))


def test_a_batch_shares_only_what_comes_before_the_first_target() -> None:
    same = [Rendered([1, 2, 3, 4], ((2, 4),)), Rendered([1, 2, 3, 9], ((2, 4),))]
    batch = make_batch(same)
    assert batch.prefix.tolist() == [1]
    assert batch.suffix.tolist() == [[2, 3, 4], [2, 3, 9]]
    assert batch.where.tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]
    assert batch.targets.tolist() == [3, 4, 3, 9]
