"""The training loop on a real, tiny model: exact gradients, learning, the best checkpoint, and refusals."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import partial
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
from tracemill.train.choice import Judged
from tracemill.train.errors import TrainError
from tracemill.train.examples import common_prefix, make_batch, order
from tracemill.train.finetune import load_base
from tracemill.train.loop import fit
from tracemill.train.settings import Settings
from tracemill.train.trainee import prepare

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
    folder: Path, parts: list[Rendered], layers: int, lanes: int, shared: int, whole: bool = False
) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of one step; `whole` runs the model as it is, for an architecture that cannot be cut."""
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten

    from tracemill.train.forward import Cut, Frozen, batch_loss, cut

    streams = [mx.new_stream(mx.cpu) for _ in range(lanes)]
    model = perturbed(folder, layers)
    parted = Cut(None, model, lambda logits: logits, 0, 2, True) if whole else cut(model, layers)
    frozen = Frozen(parted, parts, shared, streams) if parted.lower else None
    batch = make_batch(parts, range(len(parts)), shared, lanes)
    loss_and_grad: Any = nn.value_and_grad(
        model, partial(batch_loss, parted, frozen, streams=streams, divisor=batch.targets)
    )
    loss, grads = loss_and_grad(batch)
    flat: Any = tree_flatten(grads)
    return loss.item(), {name: np.array(value) for name, value in flat}


def perturbed(folder: Path, layers: int) -> Any:
    """A model with LoRA whose second factors are not zero, as they are at first: that hides gradients."""
    import mlx.core as mx

    model = load_base(folder)
    prepare(model, Settings(rank=4, layers=layers))
    model.update({"model": {"layers": [{}, {"self_attn": {"q_proj": {"lora_b": mx.ones((4, 32)) * 0.05}}}]}})
    return model


def plain_loss(folder: Path, parts: list[Rendered]) -> float:
    """The same loss the simplest way: each sequence alone, all logits, no padding, no cache."""
    import mlx.core as mx

    model = perturbed(folder, 2)
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


@pytest.mark.parametrize("layers", [1, 2])
def test_no_short_cut_changes_loss_or_gradient(folder: Path, parts: list[Rendered], layers: int) -> None:
    shared = common_prefix(parts)
    assert shared > 20
    plain, plain_grads = gradients(folder, parts, layers, lanes=1, shared=0, whole=True)
    assert plain_grads
    assert any(np.abs(value).max() > 1e-4 for name, value in plain_grads.items() if "lora_a" in name)
    for prefix, lanes, whole in itertools.product([0, shared], [1, 2, 3], [True, False]):
        loss, grads = gradients(folder, parts, layers, lanes, prefix, whole)
        assert loss == pytest.approx(plain, rel=1e-5)
        assert grads.keys() == plain_grads.keys()
        for name, value in grads.items():
            np.testing.assert_allclose(value, plain_grads[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_the_loss_is_the_mean_over_every_assistant_token_and_no_other(
    folder: Path, parts: list[Rendered]
) -> None:
    loss, _ = gradients(folder, parts, layers=2, lanes=2, shared=common_prefix(parts), whole=False)
    assert loss == pytest.approx(plain_loss(folder, parts), rel=1e-3)


def test_states_too_many_to_keep_are_computed_anew(
    folder: Path, parts: list[Rendered], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = gradients(folder, parts, layers=1, lanes=2, shared=20)
    monkeypatch.setattr("tracemill.train.forward.MOST_STATES", 0)
    anew = gradients(folder, parts, layers=1, lanes=2, shared=20)
    assert anew[0] == pytest.approx(kept[0], rel=1e-6)


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


@given(count=st.integers(1, 30), batch=st.integers(1, 12), seed=st.integers(0, 5))
def test_no_row_is_seen_twice_more_often_than_another(count: int, batch: int, seed: int) -> None:
    lengths = [index * 7 % 5 for index in range(count)]
    batches = list(itertools.islice(order(lengths, batch, seed), 60))
    assert {len(indices) for indices in batches} == {min(batch, count)}
    seen = Counter(index for indices in batches for index in indices)
    assert max(seen[index] for index in range(count)) - min(seen[index] for index in range(count)) <= 1


def test_a_batch_shares_only_what_comes_before_the_first_target() -> None:
    same = [Rendered([1, 2, 3, 4], ((2, 4),)), Rendered([1, 2, 3, 9], ((2, 4),))]
    batch = make_batch(same, [0, 1], common_prefix(same))
    assert batch.prefix.tolist() == [1]
    (lane,) = batch.lanes
    assert lane.suffix.tolist() == [[2, 3, 4], [2, 3, 9]]
    assert lane.where.tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]
    assert lane.targets.tolist() == [3, 4, 3, 9]
