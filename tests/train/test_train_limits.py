"""What learns, what stops a run, what it draws and logs: on a real, tiny model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

import train_runs
from conversations import assistant, record, user
from tiny import tiny_model
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat
from tracemill.curate.dataset import load
from tracemill.curate.export import export
from tracemill.tracer.home import Home
from tracemill.train.base import resolve
from tracemill.train.choice import Checkpoint, Judged
from tracemill.train.curves import curves
from tracemill.train.errors import TrainError
from tracemill.train.finetune import Conduct, finetune, load_base
from tracemill.train.loop import fit
from tracemill.train.settings import Settings
from tracemill.warehouse.ingest import ingest

FEW = Settings(steps=6, batch_size=2, learning_rate=2e-3, layers=2, every=3)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_runs.tiny_and_data(tmp_path_factory.mktemp("limits"))


@pytest.fixture(scope="module")
def parts(work: Path) -> list[Rendered]:
    from tracemill.train.examples import sequences

    return sequences(Chat.load(work / "tiny"), load(work / "data").rows("train"), 2048).parts


def half() -> Judged:
    return Judged(0.5, 4)


@pytest.mark.parametrize(
    "settings",
    [
        replace(FEW, method="lora", modules=("q_proj", "mlp.up_proj")),
        replace(FEW, method="dora", dropout=0.1),
        replace(FEW, method="full", layers=1, learning_rate=1e-3),
        replace(FEW, method="lora", layers=None, schedule="constant", warmup=0.0, weight_decay=0.0),
    ],
    ids=["modules", "dora", "full", "all layers"],
)
def test_what_learned_is_what_mlx_lm_loads(home: Home, work: Path, settings: Settings) -> None:
    """Every method gives an adapter whose model, loaded by mlx-lm, is the one that was judged."""
    import mlx.core as mx

    from tracemill.evaluate.generate import load_model

    seen: list[Any] = []
    ids = mx.array([[1, 40, 50, 60, 70]])

    def judge(model: Any, chat: Chat) -> Judged:
        seen.append(np.array(model(ids)))
        return Judged(0.5, 4)

    base = resolve(str(work / "tiny"), home)
    made = finetune(home, load(work / "data"), base, settings, judge, "a half").adapter
    assert made.card["losses"][-1] < made.card["losses"][0]
    model = load_model(base.path, made.path)
    np.testing.assert_allclose(np.array(model(ids)), seen[-1], rtol=1e-5, atol=1e-6)
    assert np.abs(np.array(load_base(base.path)(ids)) - seen[-1]).max() > 1e-3
    names = set(mx.load(str(made.path / "adapters.safetensors")))
    if settings.modules:
        assert {name.rsplit(".", 2)[1] for name in names} == {"q_proj", "up_proj"}
    if settings.method == "full":
        assert {name.split(".")[2] for name in names} == {"1"}, "the layer above, and no embedding"
    if settings.method == "dora":
        assert any(name.endswith(".m") for name in names)
    assert made.card["settings"]["layers"] == settings.layers or settings.layers is None


def test_an_unknown_module_is_one_sentence_with_a_guess(work: Path, parts: list[Rendered]) -> None:
    with pytest.raises(
        TrainError, match=r"no module 'q_pro' \(did you mean 'q_proj'\?\); their modules are mlp.down_proj"
    ):
        fit(load_base(work / "tiny"), parts, replace(FEW, modules=("q_pro",)), half)


def test_quantized_weights_cannot_learn(work: Path, parts: list[Rendered]) -> None:
    from mlx import nn

    model = load_base(work / "tiny")
    nn.quantize(model, group_size=32, bits=8)
    with pytest.raises(TrainError, match="are quantized and cannot learn; leave out --full"):
        fit(model, parts, replace(FEW, method="full"), half)
    assert fit(model, parts, FEW, half).losses[-1] < 7, "LoRA on them learns"


def test_a_rate_that_diverges_stops_with_one_sentence(work: Path, parts: list[Rendered]) -> None:
    model = load_base(work / "tiny")
    careful = replace(FEW, steps=40, every=40, batch_size=7, learning_rate=1e-2, method="full")
    assert fit(model, parts, careful, half).losses[-1] < 2
    wild = replace(careful, batch_size=2, learning_rate=3.0)
    with pytest.raises(TrainError, match=r"too high, try --learning-rate 0.6. Nothing was saved."):
        fit(model, parts, wild, half)


def test_patience_ends_a_run_and_the_best_is_kept(work: Path, parts: list[Rendered]) -> None:
    scores = iter([0.2, 0.6, 0.4, 0.5, 0.9])
    settings = replace(FEW, steps=10, every=2, patience=2)
    outcome = fit(load_base(work / "tiny"), parts, settings, lambda: Judged(next(scores), 10))
    assert [one.step for one in outcome.found] == [2, 4, 6, 8]
    assert outcome.chosen.step == 4
    assert outcome.stopped == "The last 2 checkpoints were no better than the one at step 4."
    assert len(outcome.losses) == 8


def test_the_guard_chooses_and_ends_a_run(work: Path, parts: list[Rendered]) -> None:
    guards = iter([1.0, 0.98, 0.9, 0.5])
    scores = iter([0.0, 0.3, 0.8, 1.0])
    settings = replace(FEW, steps=20, every=2, guard_loss=0.05)
    outcome = fit(
        load_base(work / "tiny"), parts, settings, lambda: Judged(next(scores), 10, {"text": next(guards)})
    )
    assert [one.step for one in outcome.found] == [2, 4, 6], "step 6 fell through the floor"
    assert (outcome.chosen.step, outcome.guarded) == (2, True)
    assert outcome.base == Judged(0.0, 10, {"text": 1.0})

    guards = iter([1.0, 0.9, 0.8, 0.75])
    full = replace(settings, steps=6, method="full")
    mild = fit(load_base(work / "tiny"), parts, full, lambda: Judged(1.0, 10, {"text": next(guards)}))
    assert (mild.chosen.step, mild.guarded) == (2, False), "all lost too much: the one that lost least"

    guards = iter([1.0, 0.1, 0.1, 0.1, 0.1])
    with pytest.raises(TrainError, match=r"No checkpoint kept .* At step 2 90% .* Nothing was saved"):
        fit(load_base(work / "tiny"), parts, settings, lambda: Judged(1.0, 10, {"text": next(guards)}))


def test_where_no_checkpoint_keeps_the_guard_less_of_the_best_is_kept(
    work: Path, parts: list[Rendered]
) -> None:
    settings = replace(FEW, steps=6, every=2, guard_loss=0.05, guard_floor=0.5)
    told = iter([(0.0, 1.0), (0.5, 0.9), (0.9, 0.8), (0.7, 0.7), (0.8, 0.9), (0.8, 0.96)])

    def judge() -> Judged:
        score, text = next(told)
        return Judged(score, 10, {"text": text})

    model = load_base(work / "tiny")
    made = fit(model, parts, settings, judge)
    assert (made.chosen.step, made.strength, made.guarded) == (4, 0.5, True)
    assert (made.chosen.judged.score, len(made.found)) == (0.8, 3)
    scores = iter([0.5, 0.9, 0.7])
    whole = fit(
        load_base(work / "tiny"), parts, replace(settings, guard_loss=None), lambda: Judged(next(scores), 10)
    )
    assert (whole.chosen.step, whole.strength) == (4, 1.0)
    for name, array in whole.weights.items():
        share = 0.5 if name.endswith("lora_b") else 1.0
        assert mx.array_equal(made.weights[name], share * array)
    held = dict(tree_flatten(model.trainable_parameters()))
    assert all(mx.array_equal(held[name], array) for name, array in made.weights.items())


def test_what_no_share_keeps_is_told(work: Path, parts: list[Rendered]) -> None:
    settings = replace(FEW, steps=2, every=2, guard_loss=0.05, guard_floor=0.5)
    guards = iter([1.0, 0.8, 0.8, 0.8, 0.8])
    made = fit(load_base(work / "tiny"), parts, settings, lambda: Judged(1.0, 10, {"text": next(guards)}))
    assert (made.strength, made.guarded) == (0.25, False)


def test_nothing_below_the_floor_is_best(work: Path, parts: list[Rendered]) -> None:
    told = iter([(0.0, 1.0), (0.5, 0.7), (0.8, 0.4)])

    def judge() -> Judged:
        score, text = next(told)
        return Judged(score, 10, {"text": text})

    settings = replace(FEW, steps=4, every=2, guard_loss=1.0, guard_floor=0.5)
    made = fit(load_base(work / "tiny"), parts, settings, judge)
    assert (made.chosen.step, made.strength, made.guarded) == (2, 1.0, True)


def test_the_lowest_loss_is_not_what_is_kept(work: Path, parts: list[Rendered]) -> None:
    """On a real run: the loss falls to the end, on both splits, and the model that called best is kept."""
    scores = iter([0.4, 0.9, 0.1])
    outcome = fit(
        load_base(work / "tiny"), parts, replace(FEW, steps=30, every=10), lambda: Judged(next(scores), 10),
        valid=parts[:3],
    )  # fmt: skip
    by_loss = min(outcome.found, key=lambda one: one.valid_loss or 0)
    assert (by_loss.step, outcome.chosen.step) == (30, 20)
    assert (by_loss.train_loss or 0) < (outcome.chosen.train_loss or 0)


def test_the_loss_on_valid_is_the_mean_over_its_targets(work: Path, parts: list[Rendered]) -> None:
    import mlx.core as mx
    from mlx import nn

    model, found = load_base(work / "tiny"), []
    outcome = fit(model, parts, replace(FEW, steps=2, every=2), half, valid=parts[:3])
    total = count = 0.0
    for part in parts[:3]:
        losses = nn.losses.cross_entropy(model(mx.array([part.tokens]))[0, :-1], mx.array(part.tokens[1:]))
        found = [losses[at - 1].item() for start, end in part.spans for at in range(start, end)]
        total, count = total + sum(found), count + len(found)
    assert outcome.found[-1].valid_loss == pytest.approx(total / count, rel=1e-4)


def test_no_memory_for_the_batch_says_what_would_fit(
    work: Path, parts: list[Rendered], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracemill.train import memory
    from tracemill.train.batches import Layout
    from tracemill.train.forward import lane_streams
    from tracemill.train.gradients import largest

    model = load_base(work / "tiny")
    shape = memory.shape(model, 2, 10_000)
    assert shape is not None
    count, computed = largest(parts, 5, None, Layout(len(lane_streams())))
    need = memory.needed(shape, count, max(len(part.tokens) for part in parts), 200, computed)
    monkeypatch.setattr(memory, "available", lambda: need // 2)
    with pytest.raises(
        TrainError, match=r"A step of 5 sequences .* GB are free; --batch-size [12] would fit\."
    ):
        fit(model, parts, replace(FEW, batch_size=5), half)
    monkeypatch.setattr(memory, "available", lambda: need // 12)
    with pytest.raises(TrainError, match=r"--batch-size 1 with --context \d+ would fit"):
        fit(model, parts, replace(FEW, batch_size=5), half)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(TrainError, match="take a smaller base model or fewer --layers"):
        fit(model, parts, replace(FEW, batch_size=5), half)


def test_the_estimate_of_memory_is_of_the_right_size(work: Path, parts: list[Rendered]) -> None:
    """Within a factor of 4 of what MLX took at most: what is refused is far too large."""
    import mlx.core as mx

    from tracemill.train import memory
    from tracemill.train.trainee import weights

    model = load_base(work / "tiny")
    settings = replace(FEW, batch_size=5, steps=2, every=2)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    fit(model, parts, settings, half)
    took = mx.get_peak_memory() - before
    shape = memory.shape(model, 2, sum(array.nbytes for array in weights(model).values()))
    assert shape is not None
    targets = sum(end - start for part in parts[:5] for start, end in part.spans)
    about = memory.needed(shape, 5, max(len(part.tokens) for part in parts), targets)
    assert about / 4 < took < about * 4


def test_an_allocation_that_fails_is_one_sentence() -> None:
    from tracemill.train import memory

    with (
        pytest.raises(TrainError, match=r"no memory for a step of 8 sequences .* try --batch-size 4"),
        memory.told(8, 900),
    ):
        raise RuntimeError("[metal::malloc] Attempting to allocate 99 bytes, maximum allowed is 9.")
    with pytest.raises(RuntimeError, match="shapes"), memory.told(8, 900):
        raise RuntimeError("[matmul] shapes do not fit")
    available = memory.available()
    assert available is None or available > 10**6


def test_the_picture_shows_loss_calls_guard_and_what_was_kept() -> None:
    base = Judged(0.1, 10, {"text in english": 0.2, "nothing to lose": 0.0})
    found = [
        Checkpoint(step, Judged(step / 20, 10, {"text in english": 0.19}), 1.0, 1.1) for step in (5, 10, 15)
    ]
    svg = curves([2.0, 1.0, 0.5] * 5, base, found, 10, 0.05)
    for words in ("step 10 kept", "exact tool calls", "text in english", "share of the base's", "valid"):
        assert words in svg, words
    assert "nothing to lose" not in svg
    assert svg == curves([2.0, 1.0, 0.5] * 5, base, found, 10, 0.05)
    plain = curves([2.0, 1.0], None, [Checkpoint(2, Judged(None), 1.5)], 2, None)
    assert "exact tool calls" not in plain and "step 2 kept" in plain


def test_a_data_set_that_was_rendered_already_is_refused(home: Home, work: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    text = "<|start_header_id|>user<|end_header_id|>\\n\\nHi<|eot_id|>"
    line = f'{{"messages": [{{"role": "user", "content": "{text}"}}, {{"role": "assistant", "content": "Yes."}}]}}\n'
    (rows / "train.jsonl").write_text(line)
    base = resolve(str(work / "tiny"), home)
    with pytest.raises(
        TrainError, match=r"rendered for a chat template already: row train:1 holds '<\|start_header_id\|>'"
    ):
        finetune(home, load(rows), base, FEW, lambda model, chat: half(), "a half")
    assert not home.adapters.exists()


def test_a_data_set_of_another_template_is_proved_again_and_said_so(
    home: Home, work: Path, tmp_path: Path
) -> None:
    for number in range(4):
        record(home, f"s{number}", [user(f"Say {number}."), assistant("Yes.")])
    ingest(home)
    exported = export(home, chat=Chat.load(work / "tiny"))
    other = tiny_model(tmp_path / "other")
    template = other / TEMPLATE_FILE
    template.write_text("{# another #}" + template.read_text("utf-8"), "utf-8")
    few = replace(FEW, steps=2, every=2)
    notes = [
        finetune(home, exported, resolve(str(base), home), few, lambda model, chat: half(), "a half").notes
        for base in (work / "tiny", other)
    ]
    told = "was exported for the template of tiny; every row was proved again for that of"
    assert notes[0] == () and told in notes[1][0]


def test_a_log_that_is_not_installed_names_what_to_install(
    home: Home, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    base = resolve(str(work / "tiny"), home)
    with pytest.raises(TrainError, match=r"run `pip install 'tracemill\[wandb\]'`, or leave out --log"):
        finetune(
            home,
            load(work / "data"),
            base,
            FEW,
            lambda model, chat: half(),
            "a half",
            None,
            Conduct(log="wandb"),
        )
    assert not list(home.adapters.glob("[!.]*"))


def test_tensorboard_gets_every_step_and_checkpoint(home: Home, work: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 - the format that is read below

    base = resolve(str(work / "tiny"), home)
    made = finetune(
        home,
        load(work / "data"),
        base,
        FEW,
        lambda model, chat: half(),
        "a half",
        None,
        Conduct(log="tensorboard"),
    )
    (file,) = (home.root / "logs" / made.adapter.path.name).iterdir()
    data, at, told = file.read_bytes(), 0, []
    while at < len(data):  # length, its checksum, the event, its checksum
        size = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + size])
        told += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + size
    losses = [value for tag, _, value in told if tag == "loss/train"]
    assert losses == pytest.approx(made.adapter.card["losses"], rel=1e-5)
    assert [(step, value) for tag, step, value in told if tag == "exact_tool_calls"] == [(3, 0.5), (6, 0.5)]
