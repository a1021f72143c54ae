"""Preference training: its loss and gradient against the formula, and a run that learns what is preferred."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train_runs
from preference_sets import pair, with_pairs
from tiny import tiny_model
from tracemill.curate.chat.codec import from_row
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import load
from tracemill.curate.errors import DatasetError
from tracemill.curate.pairs.reading import read_pairs
from tracemill.tracer.home import Home
from tracemill.train.batches import Layout
from tracemill.train.errors import TrainError
from tracemill.train.preference_pairs import pair_sequences
from tracemill.train.settings import Settings

BETA = 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


def pairs(seed: int = 0) -> list[Rendered]:
    """Four pairs: two after one prompt, one whose answers begin alike, one where an answer begins the other."""
    chance = np.random.default_rng(seed)

    def ids(count: int) -> list[int]:
        return chance.integers(3, 300, count).tolist()

    one, other, begun = ids(40), ids(22), ids(5)
    answers = [(one, ids(6), ids(9)), (one, ids(3), ids(2)), (other, begun + ids(4), begun + ids(7))]
    answers.append((other, begun, [*begun, 8]))
    return [
        Rendered(prompt + answer, ((len(prompt), len(prompt) + len(answer)),))
        for prompt, *both in answers
        for answer in both
    ]


def learner_of(folder: Path) -> Any:
    """The tiny model with LoRA on its last layer."""
    import mlx.core as mx
    from mlx_lm.tuner.utils import linear_to_lora_layers

    from tracemill.train.finetune import load_base

    mx.random.seed(3)
    model = load_base(folder)
    model.freeze()
    linear_to_lora_layers(model, 1, {"rank": 4, "scale": 20.0, "dropout": 0.0})
    return model


def flat(arrays: Any) -> dict[str, Any]:
    from mlx.utils import tree_flatten

    found: Any = tree_flatten(arrays)
    return {name: np.array(value) for name, value in found}


def by_hand(model: Any, part: Rendered) -> float:
    """The log-probability of an answer: logits of MLX, one sequence at a time, all else in numpy and 64 bits."""
    import mlx.core as mx

    logits = np.array(model(mx.array([part.tokens[:-1]]))[0].astype(mx.float32)).astype(np.float64)
    top = logits.max(axis=-1, keepdims=True)
    chances = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
    ((start, end),) = part.spans
    return float(sum(chances[at - 1, part.tokens[at]] for at in range(start, end)))


def moved(model: Any, by: float = 0.05) -> None:
    """Train `model` a little, in no direction in particular."""
    import mlx.core as mx
    from mlx.utils import tree_map

    mx.random.seed(9)

    def pushed(one: mx.array) -> mx.array:
        return one + by * mx.random.normal(one.shape)

    model.update(tree_map(pushed, model.trainable_parameters()))


def preferences(model: Any, parts: list[Rendered], most: int | None = None, lanes: int = 1) -> Any:
    import mlx.core as mx

    from tracemill.train.forward import cut
    from tracemill.train.preference import Preferences

    streams = [mx.new_stream(mx.cpu) for _ in range(lanes)]
    return Preferences(model, cut(model, 1), parts, streams, beta=BETA, visits=100, batch_tokens=most)


def expected(model: Any, parts: list[Rendered], reference: Sequence[float], named: Sequence[int]) -> float:
    """Mean loss of the pairs `named`, by the formula."""
    policy = [by_hand(model, part) for part in parts]
    ratios = [new - old for new, old in zip(policy, reference, strict=True)]
    return float(
        np.mean([np.log1p(np.exp(-BETA * (ratios[2 * pair] - ratios[2 * pair + 1]))) for pair in named])
    )


@pytest.mark.parametrize(("most", "lanes"), [(None, 1), (None, 2), (60, 1)])
def test_loss_and_gradient_are_those_of_the_formula(folder: Path, most: int | None, lanes: int) -> None:
    import mlx.core as mx
    import mlx.nn as nn

    parts, named = pairs(), [0, 2, 1, 3, 2]
    model = learner_of(folder)
    reference = [by_hand(model, part) for part in parts]
    learner = preferences(model, parts, most, lanes)
    assert learner.mean_loss() == pytest.approx(np.log(2), abs=1e-5), "nothing is learned yet"
    moved(model)
    wanted = expected(model, parts, reference, named)
    assert abs(wanted - np.log(2)) > 0.01

    loss, grads, count = learner.of([at for pair in named for at in (2 * pair, 2 * pair + 1)], len(named))
    assert count == len(named)
    assert loss.item() == pytest.approx(wanted, rel=1e-4)

    def plain() -> mx.array:
        """The formula once more, over one forward pass for each answer, nothing shared and nothing cut."""
        found: list[mx.array] = []
        for one in named:
            ratios: list[mx.array] = []
            for at in (2 * one, 2 * one + 1):
                ((start, end),) = parts[at].spans
                tokens = mx.array([parts[at].tokens])
                each = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])[0]
                ratios.append(-each[start - 1 : end - 1].sum() - reference[at])
            found.append(mx.logaddexp(mx.array(0.0), -BETA * (ratios[0] - ratios[1])))
        return mx.stack(found).mean()

    ours, theirs = flat(grads), flat(nn.value_and_grad(model, plain)()[1])
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-3, atol=2e-5, err_msg=name)
    assert max(np.abs(value).max() for value in theirs.values()) > 1e-3


def test_a_step_against_the_gradient_of_one_weight(folder: Path) -> None:
    """The gradient is the slope of the loss that `by_hand` finds, which shares no code with it."""
    import mlx.core as mx

    parts = pairs(1)
    model = learner_of(folder)
    reference = [by_hand(model, part) for part in parts]
    learner = preferences(model, parts)
    moved(model)
    _, grads, _ = learner.of(range(8), 4)
    slope = flat(grads)
    name = max(slope, key=lambda name: np.abs(slope[name]).max())
    place = np.unravel_index(np.abs(slope[name]).argmax(), slope[name].shape)
    weight = dict(flat(model.trainable_parameters()))[name].copy()
    found: list[float] = []
    for step in (0.001, -0.001):
        other = weight.copy()
        other[place] += step
        model.load_weights([(name, mx.array(other))], strict=False)
        found.append(expected(model, parts, reference, range(4)))
    assert (found[0] - found[1]) / 0.002 == pytest.approx(float(slope[name][place]), rel=0.02)


def test_what_is_told_of_pairs(folder: Path) -> None:
    parts = pairs(2)
    model = learner_of(folder)
    before = [by_hand(model, part) for part in parts]
    learner = preferences(model, parts)
    moved(model)
    learner.mean_loss()
    ratios = [by_hand(model, part) - old for part, old in zip(parts, before, strict=True)]
    margins = [BETA * (one - other) for one, other in zip(ratios[::2], ratios[1::2], strict=True)]
    assert learner.figures["reward margin"] == pytest.approx(np.mean(margins), abs=1e-4)
    assert learner.figures["preference accuracy"] == np.mean([margin > 0 for margin in margins])


def test_the_order_of_layouts_does_not_matter(folder: Path) -> None:
    parts = pairs(3)
    model = learner_of(folder)
    one, other = preferences(model, parts), preferences(model, parts)
    other.layout = Layout(lanes=1, pays=1, chunk=5, most=30)
    moved(model)
    found = [learner.of(range(8), 4)[0].item() for learner in (one, other)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = train_runs.tiny_and_data(tmp_path_factory.mktemp("pairs"))
    with_pairs(made / "data")
    return made


def test_a_pair_is_two_answers_after_the_prompt_that_is_served(work: Path) -> None:
    chat = Chat.load(work / "tiny")
    rows = read_pairs(load(work / "data"), "train")
    examples = pair_sequences(chat, rows, 2048)
    assert (len(rows), len(examples.parts), examples.dropped, examples.cut) == (8, 16, [], 0)
    for at, part in enumerate(examples.parts):
        row = rows[at // 2][at % 2]
        prompt = chat.prompt(from_row(row["messages"][:2]), row["tools"])
        ((start, end),) = part.spans
        assert part.tokens[:start] == prompt and end == len(part.tokens)
        assert part.tokens[-1] in chat.stop_tokens
        assert chat.text(part.tokens[start:]).split() == row["messages"][2]["content"].split()


@pytest.mark.parametrize("sides", [("chosen",), ("rejected",), ("chosen", "rejected")])
def test_a_weight_on_an_answer_of_a_pair_says_nothing(work: Path, tmp_path: Path, sides: Any) -> None:
    chat = Chat.load(work / "tiny")
    plain = pair(1)
    weighed = {key: [*plain[key][:-1], {**plain[key][-1], "weight": 0}] for key in sides}
    folder = train_runs.data_set(tmp_path / "data")
    (folder / "train_pairs.jsonl").write_text(json.dumps(plain) + "\n" + json.dumps(plain | weighed) + "\n")
    examples = pair_sequences(chat, read_pairs(load(folder), "train"), 2048)
    assert examples.dropped == [] and examples.parts[:2] == examples.parts[2:]


def test_both_answers_keep_one_prompt_where_the_context_is_short(work: Path) -> None:
    chat = Chat.load(work / "tiny")
    system, *turns = train_runs.row(1)["messages"]
    made = {**pair(1), "prompt": [system, *turns * 3, {"role": "user", "content": "Read it again."}]}
    made["rejected"] = [{"role": "assistant", "content": "No. " * 30}]
    folder = train_runs.data_set(work / "long")
    (folder / "train_pairs.jsonl").write_text(json.dumps(made))
    rows = read_pairs(load(folder), "train")
    whole = max(len(part.tokens) for part in pair_sequences(chat, rows, 2048).parts)
    examples = pair_sequences(chat, rows, whole - 1)
    assert (examples.cut, examples.dropped) == (1, [])
    chosen, rejected = examples.parts
    assert chosen.tokens[: chosen.spans[0][0]] == rejected.tokens[: rejected.spans[0][0]]
    assert max(len(chosen.tokens), len(rejected.tokens)) < whole
    (told,) = pair_sequences(chat, rows, 40).dropped
    assert "the context is 40" in told


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rejected": None}, "no preference pair"),
        ({"chosen": [{"role": "user", "content": "Hi."}]}, "not answers of the assistant"),
        (
            {"rejected": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            "the two sides differ before their last turn",
        ),
        ({"prompt": [{"role": "owl", "content": "Hi."}]}, "messages.0.role"),
    ],
)
def test_a_broken_pair_is_named_with_its_line(tmp_path: Path, changed: Any, told: str) -> None:
    folder = train_runs.data_set(tmp_path / "data")
    made = {key: value for key, value in (pair(1) | changed).items() if value is not None}
    (folder / "train_pairs.jsonl").write_text(json.dumps(pair(0)) + "\n" + json.dumps(made) + "\n")
    with pytest.raises(DatasetError, match="line 2") as error:
        read_pairs(load(folder), "train")
    assert told in str(error.value)


class KilledError(BaseException):
    """What ends a run in this very process."""


def tune(home: Home, work: Path, *, end: int | None = None, start: Any = None, **changed: Any) -> Any:
    from tracemill.train.base import resolve
    from tracemill.train.choice import Judged
    from tracemill.train.finetune import Conduct, finetune

    def told(what: str, done: int, total: int) -> None:
        if what == "training" and done == end:
            raise KilledError

    def judge(_model: Any, _chat: Chat) -> Judged:
        return Judged(0.5, 3)

    usual: dict[str, Any] = {
        "steps": 8,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "layers": 2,
        "every": 4,
        "beta": 0.1,
    }
    settings = Settings(**{**usual, **changed})
    base, data = resolve(str(work / "tiny"), home), load(work / "data")
    conduct = Conduct(save_every=2)
    return finetune(home, data, base, settings, judge, "a half", told, conduct, start)


def test_a_run_learns_what_is_preferred_and_goes_on_where_it_was_killed(home: Home, work: Path) -> None:
    whole = tune(Home(home.root / "whole"), work, dropout=0.1)
    card = whole.adapter.card
    assert (card["method"], card["sequences"], len(card["pairs_sha256"])) == ("dpo", 16, 64)
    assert card["losses"][0] == pytest.approx(np.log(2), abs=0.1)
    last = card["checkpoints"][-1]
    assert last["figures"]["preference accuracy"] == 1.0, "of pairs that were not learned from"
    assert last["figures"]["reward margin"] > 0.5
    assert last["valid_loss"] < 0.6
    with pytest.raises(KilledError):
        tune(home, work, dropout=0.1, end=5)
    made = tune(home, work, dropout=0.1)
    assert made.resumed == 4
    one, other = (found.adapter.path / "adapters.safetensors" for found in (whole, made))
    assert one.read_bytes() == other.read_bytes()


def test_an_adapter_to_go_on_from_is_the_reference(home: Home, work: Path) -> None:
    first = tune(home, work, steps=4).adapter
    second = tune(home, work, steps=4, learning_rate=1e-9, start=first).adapter
    assert second.card["losses"] == pytest.approx([np.log(2)] * 4, abs=1e-3)
    assert second.card["start"] == first.path.name
    assert second.card["start_sha256"] == first.card["weights_sha256"]
    imitating = tune(home, work, steps=2, beta=None, start=first).adapter
    assert "method" not in imitating.card
    assert imitating.card["start"] == first.path.name
    with pytest.raises(TrainError, match="other layers or another rank"):
        tune(home, work, rank=2, start=first)


def test_a_data_set_without_pairs_says_how_to_make_some(home: Home, work: Path, tmp_path: Path) -> None:
    train_runs.data_set(tmp_path / "data")
    (tmp_path / "tiny").symlink_to(work / "tiny")
    with pytest.raises(TrainError, match=r"no preference pairs .*add `\[pairs\]` to a recipe"):
        tune(home, tmp_path)


def test_a_step_that_does_not_fit_is_told_in_pairs() -> None:
    from tracemill.train import memory

    shape = memory.Shape(64, 128, 4, 300, layers=2, trainable=0)
    free = memory.needed(shape, 5, 100, 50)
    for together, fits in ((1, 5), (2, 2)):
        with pytest.raises(TrainError, match=f"--batch-size {fits} would fit"):
            memory.check(shape, 8, [100] * 8, 0.1, free, together=together)
