"""Fused models: the same logits as the adapter, the same tokens, and what each form loses, on real weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.utils import load_config, load_model, quantize_model, save_config, save_model
from transformers import AutoConfig, AutoTokenizer

from adapters import lora_adapter
from tiny import STOP, tiny_model
from tracemill.curate.chat.template import Chat
from tracemill.tracer.home import Home
from tracemill.train import gguf
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel, folder_digest, resolve
from tracemill.train.errors import FuseError, TrainError
from tracemill.train.fidelity import Fidelity, fidelity
from tracemill.train.fuse import GGUF_FILE, adapted, fuse, load_fused
from tracemill.train.gguf_export import read_back, unsupported

TEXT = [[1, 7, 30, 99, 250, 12, 4, 77, 130, 5], [1, 5, 200, 31]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def base(home: Home) -> BaseModel:
    return resolve(str(tiny_model(home.models / "tiny")), home)


@pytest.fixture
def adapter(home: Home, base: BaseModel) -> Adapter:
    return lora_adapter(home.adapters / "run-1", base.path)


def quantized(base: BaseModel, folder: Path, bits: int) -> BaseModel:
    """The base as a quantized MLX folder, as model hubs hold them."""
    shutil.copytree(base.path, folder)
    model, config = load_model(folder)[0], load_config(folder)
    small, settings = quantize_model(model, config, 32, bits)
    save_model(folder, small)
    save_config(settings, folder / "config.json")
    return BaseModel(str(folder), folder, folder_digest(folder))


def of(folder: Path, adapter: Adapter, base: BaseModel) -> Fidelity:
    return fidelity(load_model(folder)[0], adapted(adapter, base), load_model(base.path)[0], TEXT)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_fused_model_is_its_adapter(home: Home, base: BaseModel, tmp_path: Path, method: str) -> None:
    adapter = lora_adapter(home.adapters / "run-2", base.path, method=method)
    made = fuse(adapter, base, tmp_path / "out")
    found = of(made.path, adapter, base)
    assert found.tokens == 14
    assert found.largest < 1e-4
    assert found.of_change < 1e-3
    assert found.same_choice == 1.0
    assert made.card["parameters"] == sum(
        one.size for one in mx.load(str(base.path / "model.safetensors")).values()
    )
    assert (made.card["dtype"], made.card["bits"]) == ("float32", None)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in made.path.iterdir()} == {0o600}


def test_a_quantized_base_is_dequantized_first(home: Home, base: BaseModel, tmp_path: Path) -> None:
    small = quantized(base, tmp_path / "tiny-4bit", 4)
    adapter = lora_adapter(home.adapters / "run-2", small.path, strength=0.02)
    losses = {
        bits: of(fuse(adapter, small, tmp_path / f"out-{bits}", bits=bits).path, adapter, small).of_change
        for bits in (None, 8, 4)
    }
    assert losses[None] < 1e-3
    # What fusing into four bits would cost: a large part of what the adapter learned.
    assert losses[None] < losses[8] < losses[4]
    assert losses[4] > 0.1
    config = json.loads((tmp_path / "out-None" / "config.json").read_text())
    assert "quantization" not in config and "quantization_config" not in config
    config = json.loads((tmp_path / "out-8" / "config.json").read_text())
    assert (config["quantization"]["bits"], config["quantization"]["group_size"]) == (8, 32)
    sizes = [(tmp_path / f"out-{bits}" / "model.safetensors").stat().st_size for bits in (None, 8, 4)]
    assert sizes == sorted(sizes, reverse=True)


def test_any_program_gets_the_tokens_of_training(base: BaseModel, adapter: Adapter, tmp_path: Path) -> None:
    settings = json.loads((base.path / "tokenizer_config.json").read_text())
    (base.path / "tokenizer_config.json").write_text(
        json.dumps(settings | {"chat_template": "{{ 'other' }}"})
    )
    base = BaseModel(base.name, base.path, folder_digest(base.path))
    made = fuse(adapter, base, tmp_path / "out")
    talk: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Read a.py é"}]
    trained = Chat.load(base.path, adapter.path)
    assert Chat.load(made.path).prompt(talk, []) == trained.prompt(talk, [])
    assert Chat.load(made.path).digest == adapter.card["template_sha256"]
    assert Chat.load(made.path).stop_tokens == trained.stop_tokens
    other = AutoTokenizer.from_pretrained(made.path)
    assert other.apply_chat_template(talk, add_generation_prompt=True, return_dict=False) == trained.prompt(
        talk, []
    )
    assert (made.path / "tokenizer.json").read_bytes() == (base.path / "tokenizer.json").read_bytes()
    assert json.loads((made.path / "generation_config.json").read_text())["eos_token_id"] == [STOP]
    assert AutoConfig.from_pretrained(made.path).hidden_size == 32
    assert set(mx.load(str(made.path / "model.safetensors"))) == set(
        mx.load(str(base.path / "model.safetensors"))
    )


def test_the_same_again_is_taken_and_anything_else_is_left_alone(
    base: BaseModel, adapter: Adapter, home: Home, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fuse(adapter, base, out)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    again = fuse(adapter, base, out)
    assert again.reused and (out / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(FuseError, match=r"holds another model \(run-1, not quantized\)"):
        fuse(adapter, base, out, bits=8)
    with pytest.raises(FuseError, match="holds another model"):
        fuse(lora_adapter(home.adapters / "run-2", base.path, seed=2), base, out)
    for there in (home.adapters / "run-1", tmp_path):
        before = sorted(there.rglob("*"))
        with pytest.raises(FuseError, match="is there already; name a folder that is not"):
            fuse(adapter, base, there)
        assert sorted(there.rglob("*")) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(FuseError, match="is a file"):
        fuse(adapter, base, tmp_path / "file")
    with pytest.raises(FuseError, match="holds no fused model"):
        load_fused(home.adapters / "run-1")


def test_nothing_is_left_of_what_cannot_be_done(
    base: BaseModel, adapter: Adapter, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.iterdir())
    other = BaseModel("other", tiny_model(home.models / "other"), "")
    config = json.loads((other.path / "config.json").read_text()) | {"num_hidden_layers": 1}
    (other.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FuseError, match="does not fit"):
        fuse(adapter, other, tmp_path / "out")
    broken = lora_adapter(home.adapters / "nan", base.path, strength=float("nan"))
    with pytest.raises(FuseError, match=r"is not finite at model\.layers"):
        fuse(broken, base, tmp_path / "out")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tracemill.train.fuse.save_model", full)
    with pytest.raises(TrainError, match="No space left on device; free some space"):
        fuse(adapter, base, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_gguf_file_holds_the_model_its_words_and_its_template(
    base: BaseModel, adapter: Adapter, tmp_path: Path
) -> None:
    made = fuse(adapter, base, tmp_path / "out", bits=8, with_gguf=True)
    assert made.gguf == made.path / GGUF_FILE
    arrays, told = mx.load(str(made.gguf), format="gguf", return_metadata=True)  # pyright: ignore
    assert told["tokenizer.chat_template"] == Chat.load(base.path, adapter.path).template
    read = json.loads((base.path / "tokenizer.json").read_text())
    vocabulary = dict(read["model"]["vocab"])
    assert {token: told["tokenizer.ggml.tokens"].index(token) for token in vocabulary} == vocabulary
    assert told["tokenizer.ggml.merges"] == [" ".join(pair) for pair in read["model"]["merges"]]
    assert (told["tokenizer.ggml.model"], told["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert told["tokenizer.ggml.token_type"].tolist()[:4] == [3, 3, 3, 1]
    assert told["tokenizer.ggml.eos_token_id"].item() == STOP
    assert len(told["tokenizer.ggml.tokens"]) == arrays["token_embd.weight"].shape[0]
    # Read by the reader that base models come through, it is the adapter in half precision.
    read_back(made.gguf, made.path, tmp_path / "back")
    found = of(tmp_path / "back", adapter, base)
    assert 0 < found.largest < 0.02
    assert found.of_change < 0.02
    heads = {"q_proj": 4, "k_proj": 2}
    name = "model.layers.1.self_attn.q_proj.weight"
    same = mx.allclose(gguf.rename(arrays, heads)[name], _fused(adapter, base, tmp_path)[name], atol=1e-3)
    assert same.item()


def _fused(adapter: Adapter, base: BaseModel, tmp_path: Path) -> dict[str, mx.array]:
    return mx.load(str(fuse(adapter, base, tmp_path / "plain").path / "model.safetensors"))  # pyright: ignore


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("config.json", {"model_type": "qwen2"}, "llama and mistral models, not of qwen2"),
        ("config.json", {"rope_scaling": {"rope_type": "llama3"}}, "positions are scaled"),
        ("config.json", {"head_dim": 16}, "heads are of a size of their own"),
        ("config.json", {"attention_bias": True}, "biases"),
        (
            "tokenizer.json",
            {"pre_tokenizer": {"type": "Metaspace"}},
            "none that llama.cpp is known to split alike",
        ),
        ("tokenizer.json", {"normalizer": {"type": "NFC"}}, "none that llama.cpp is known to split alike"),
    ],
)
def test_what_gguf_would_distort_is_refused(
    base: BaseModel, adapter: Adapter, tmp_path: Path, file: str, change: dict[str, Any], why: str
) -> None:
    assert unsupported(base.path) is None
    text = json.loads((base.path / file).read_text())
    (base.path / file).write_text(json.dumps(text | change))
    assert why in (unsupported(base.path) or "")
    with pytest.raises(FuseError, match=r"cannot be written as GGUF: .*; leave out --gguf"):
        fuse(adapter, base, tmp_path / "out", with_gguf=True)
    assert not (tmp_path / "out").exists()


def test_fidelity_tells_all_of_it_lost_from_none(base: BaseModel, adapter: Adapter) -> None:
    plain, learned = load_model(base.path)[0], adapted(adapter, base)
    assert fidelity(plain, learned, plain, TEXT).of_change == 1.0
    assert fidelity(learned, learned, plain, TEXT) == Fidelity(14, 0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="no token"):
        fidelity(plain, plain, plain, [])
