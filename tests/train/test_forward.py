"""No short cut changes loss or gradient: every way to compute a step against the plain one, as mlx-lm does it."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import tiny_model
from tracemill.curate.chat.render import Rendered
from tracemill.train.batches import Layout, make_batch
from tracemill.train.finetune import load_base

VOCABULARY = 300
LAYOUTS = [
    Layout(lanes=lanes, pays=pays, chunk=chunk, most=most)
    for lanes, pays, chunk, most in [(1, 1, None, 4096), (1, 4, 7, 4096), (2, 1, 5, 40), (3, 8, None, 30)]
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


def forest(seed: int = 0) -> list[Rendered]:
    """Rows of two agents with prompts of their own; one has a session in sequences that grow, turn by turn."""
    chance = np.random.default_rng(seed)

    def ids(count: int) -> list[int]:
        return chance.integers(3, VOCABULARY, count).tolist()

    one, other, turn = ids(40), ids(25), ids(12)
    parts = [Rendered(begin + ids(size), ((len(begin) + 3, len(begin) + 6), (len(begin) + size - 4, len(begin) + size)))
             for begin, size in [(one, 12), (one, 30), (other, 11), (other, 18), (one, 12)]]  # fmt: skip
    grown = list(one)
    for _ in range(3):
        grown = grown + turn + ids(5)
        parts.append(Rendered(list(grown), ((len(grown) - 4, len(grown)),)))
        grown = grown[:-1] + ids(6)
    return [*parts, parts[1], Rendered([5, 6, 7], ((1, 3),))]


def perturbed(folder: Path, layers: int, quantized: int | None = None) -> Any:
    """A model with LoRA whose second factors are not zero, as they are at first: that hides gradients."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx_lm.tuner.utils import linear_to_lora_layers

    mx.random.seed(3)
    model = load_base(folder)
    if quantized:
        nn.quantize(model, group_size=32, bits=quantized)
    model.freeze()
    linear_to_lora_layers(model, layers, {"rank": 4, "scale": 20.0, "dropout": 0.0})
    b = {"self_attn": {"q_proj": {"lora_b": mx.random.normal((4, 32)) * 0.05}}}
    model.update({"model": {"layers": [{}] * (2 - layers) + [b] * layers}})
    return model


def number(value: Any) -> float:
    return value.item()


def flat(grads: Any) -> dict[str, Any]:
    from mlx.utils import tree_flatten

    found: Any = tree_flatten(grads)
    return {name: np.array(value) for name, value in found}


def plain(model: Any, parts: list[Rendered]) -> tuple[float, dict[str, Any]]:
    """All sequences padded to one length, one forward pass, logits everywhere, a mask; nothing of ours."""
    import mlx.core as mx
    import mlx.nn as nn

    width = max(len(part.tokens) for part in parts)
    tokens = mx.array([part.tokens + [0] * (width - len(part.tokens)) for part in parts])
    mask = np.zeros((len(parts), width - 1), np.float32)
    for row, part in enumerate(parts):
        for start, end in part.spans:
            mask[row, start - 1 : end - 1] = 1

    def loss() -> mx.array:
        each = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        return (each * mx.array(mask)).sum() / mask.sum().item()

    value, grads = nn.value_and_grad(model, loss)()
    return number(value), flat(grads)


def ours(
    model: Any, parts: list[Rendered], layers: int, layout: Layout, keep: bool = True, whole: bool = False
) -> tuple[float, dict[str, Any]]:
    """The same by way of `make_batch`, `Frozen` and `batch_loss`; `whole` does not cut the model."""
    import mlx.core as mx
    import mlx.nn as nn

    from tracemill.train.forward import Cut, batch_loss, cut
    from tracemill.train.frozen import Frozen

    streams = [mx.new_stream(mx.cpu) for _ in range(layout.lanes)]
    parted = Cut(None, model, lambda logits: logits, 0, 2, True) if whole else cut(model, layers)
    assert whole == (parted.lower is None)
    frozen = Frozen(parted.lower, parted.lower_layers, parts, layout, streams, keep) if parted.lower else None
    batch = make_batch(parts, range(len(parts)), layout)
    value, grads = nn.value_and_grad(
        model, partial(batch_loss, parted, frozen, streams=streams, divisor=batch.targets)
    )(batch)
    return number(value), flat(grads)


def same(found: tuple[float, dict[str, Any]], expected: tuple[float, dict[str, Any]]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, value in found[1].items():
        np.testing.assert_allclose(value, expected[1][name], rtol=2e-3, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_forest_of_prefixes_gives_the_plain_gradient(folder: Path, layers: int, layout: Layout) -> None:
    parts = forest()
    model = perturbed(folder, layers)
    expected = plain(model, parts)
    assert any(np.abs(value).max() > 1e-4 for name, value in expected[1].items() if "lora_a" in name)
    for keep, whole in itertools.product([True, False], [True, False]):
        same(ours(model, parts, layers, layout, keep, whole), expected)


def test_states_too_many_to_keep_are_computed_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, model = forest(), perturbed(folder, 1)
    kept = ours(model, parts, 1, LAYOUTS[1])
    monkeypatch.setattr("tracemill.train.frozen.MOST_STATES", 0)
    same(ours(model, parts, 1, LAYOUTS[1]), kept)


def test_states_are_kept_once_however_many_sequences_share_them(folder: Path) -> None:
    import mlx.core as mx

    from tracemill.train.forward import cut
    from tracemill.train.frozen import Frozen

    parts, parted = forest(), cut(perturbed(folder, 1), 1)
    assert parted.lower
    frozen = Frozen(parted.lower, parted.lower_layers, parts, Layout(pays=1), [mx.new_stream(mx.cpu)])
    kept: dict[int, mx.array] = frozen._own  # pyright: ignore[reportPrivateUsage]
    different = {tuple(part.tokens[:end]) for part in parts for end in range(1, len(part.tokens))}
    assert sum(len(states) for states in kept.values()) == len(different)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), rows=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_any_batch_of_kept_states_gives_the_plain_gradient(folder: Path, seed: int, rows: list[int]) -> None:
    """Batches are laid out otherwise than the whole data set was when its states were computed."""
    import mlx.core as mx

    from tracemill.train.forward import cut
    from tracemill.train.gradients import Gradients

    parts, model = forest(seed), perturbed(folder, 1)
    streams = [mx.new_stream(mx.cpu) for _ in range(2)]
    loss, grads, targets = Gradients(model, cut(model, 1), parts, streams, visits=100).of(rows, 1.0)
    chosen = [parts[row] for row in rows]
    expected = plain(model, chosen)
    assert targets == sum(end - start for part in chosen for start, end in part.spans)
    same((number(loss) / targets, {name: value / targets for name, value in flat(grads).items()}), expected)


@pytest.mark.parametrize("most", [1, 60, 150, None])
def test_micro_batches_add_up_to_the_gradient_of_the_batch(folder: Path, most: int | None) -> None:
    import mlx.core as mx

    from tracemill.train.forward import cut
    from tracemill.train.gradients import Gradients

    parts, model = forest(), perturbed(folder, 2)
    streams = [mx.new_stream(mx.cpu)]
    count = sum(end - start for part in parts for start, end in part.spans)
    found = Gradients(model, cut(model, 2), parts, streams, visits=0, batch_tokens=most)
    loss, grads, targets = found.of(range(len(parts)), count)
    assert targets == count
    expected = plain(model, parts)
    same((number(loss), flat(grads)), expected)
    assert found.mean_loss(3) == pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_quantized_base_learns_with_the_same_short_cuts(folder: Path, bits: int, layers: int) -> None:
    """QLoRA: LoRA on quantized linear layers, over quantized embeddings that are the output layer too."""
    import mlx.nn as nn

    parts, model = forest(), perturbed(folder, layers, quantized=bits)
    assert isinstance(model.model.embed_tokens, nn.QuantizedEmbedding)
    assert isinstance(model.model.layers[1].self_attn.q_proj.linear, nn.QuantizedLinear)
    expected = plain(model, parts)
    assert any(np.abs(value).max() > 1e-4 for name, value in expected[1].items() if "lora_a" in name)
    same(ours(model, parts, layers, LAYOUTS[2]), expected)


def deep(layers: int) -> Any:
    """A Llama of `layers` layers, all of which learn."""
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs
    from mlx_lm.tuner.utils import linear_to_lora_layers

    mx.random.seed(3)
    model = Model(ModelArgs("llama", 32, layers, 64, 4, 1e-5, VOCABULARY))
    model.freeze()
    linear_to_lora_layers(model, layers, {"rank": 4, "scale": 20.0, "dropout": 0.0})
    b = {"self_attn": {"q_proj": {"lora_b": mx.random.normal((4, 32)) * 0.05}}}
    model.update({"model": {"layers": [b] * layers}})
    mx.eval(model.parameters())
    return model


def test_checkpointed_layers_give_the_same_gradient_in_less_memory() -> None:
    import mlx.core as mx

    from tracemill.train.forward import cut
    from tracemill.train.gradients import Gradients

    chance = np.random.default_rng(1)
    begin = chance.integers(3, VOCABULARY, 100).tolist()
    parts = [
        Rendered(begin + chance.integers(3, VOCABULARY, size).tolist(), ((size, size + 20),))
        for size in (200, 210, 220, 230)
    ]
    model = deep(6)
    found: list[tuple[float, dict[str, Any]]] = []
    peaks: list[int] = []
    for checkpointed in (False, True):
        streams = [mx.new_stream(mx.cpu) for _ in range(2)]
        gradients = Gradients(model, cut(model, 6, checkpointed), parts, streams, visits=0)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        loss, grads, _ = gradients.of(range(4), 80)
        mx.eval(loss, grads)
        peaks.append(mx.get_peak_memory() - before)
        found.append((number(loss), flat(grads)))
    assert any(np.abs(value).max() > 1e-4 for name, value in found[0][1].items() if "lora_a" in name)
    same(found[1], found[0])
    assert peaks[1] < 0.7 * peaks[0], peaks


def test_an_architecture_that_cannot_be_cut_says_that_it_cannot_be_checkpointed() -> None:
    from mlx_lm.models.gpt2 import Model, ModelArgs

    from tracemill.train.errors import TrainError
    from tracemill.train.forward import cut

    model = Model(ModelArgs("gpt2", 64, 32, 4, 2, 64, 1e-5, VOCABULARY))
    assert cut(model, 1).lower is None
    with pytest.raises(TrainError, match="train without it"):
        cut(model, 1, checkpointed=True)
