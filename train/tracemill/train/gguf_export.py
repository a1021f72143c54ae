"""A Llama model as a GGUF file for llama.cpp, and back again to be scored.

In: a plain mlx-lm model, its config and tokenizer. Out: a file in half precision that holds the vocabulary,
the merges and the chat template too. mlx-lm names and permutes the weights; its own writer gives every
tokenizer out as SentencePiece without scores, with which llama.cpp splits text otherwise, so what describes
the tokenizer is written here, and only for tokenizers that llama.cpp knows by name. Whatever else cannot be
written as it is, is refused. Format: the GGUF specification of ggml (docs/gguf.md). Importing this module
imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.gguf import GGMLFileType, TokenType, permute_weights, translate_weight_names

from tracemill.train import gguf

SIZES = {
    "llama.context_length": "max_position_embeddings",
    "llama.embedding_length": "hidden_size",
    "llama.block_count": "num_hidden_layers",
    "llama.feed_forward_length": "intermediate_size",
    "llama.attention.head_count": "num_attention_heads",
    "llama.attention.head_count_kv": "num_key_value_heads",
    "llama.vocab_size": "vocab_size",
}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITTING: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_BYTES],
    "smollm": [{"type": "Digits", "individual_digits": True}, _BYTES],
    "llama-bpe": [
        {"type": "Split", "pattern": {"Regex": _LLAMA_3}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
    ],
}
"""How llama.cpp splits text before its merges, by its names (llama-vocab.cpp), as tokenizer.json says it."""


def unsupported(folder: Path) -> str | None:
    """Why the model in `folder` cannot be a GGUF file that means the same; None where it can."""
    config = cast("dict[str, Any]", json.loads((folder / "config.json").read_text("utf-8")))
    kind = config.get("model_type")
    if kind not in ("llama", "mistral"):
        return f"mlx-lm writes the weights of llama and mistral models, not of {kind}"
    if config.get("rope_scaling") or config.get("rope_parameters"):
        return "its positions are scaled (rope_scaling), which mlx-lm leaves out"
    if config.get("sliding_window") or config.get("attention_bias") or config.get("mlp_bias"):
        return "its attention has biases or a sliding window, which mlx-lm leaves out"
    if config.get("head_dim") not in (None, config["hidden_size"] // config["num_attention_heads"]):
        return "its heads are of a size of their own, which mlx-lm leaves out"
    if _splitting(folder) is None:
        return "its tokenizer is none that llama.cpp is known to split alike (GPT-2, SmolLM or Llama 3)"
    return None


def write(model: nn.Module, config: dict[str, Any], folder: Path, template: str, file: Path) -> None:
    """Write the plain `model` with the tokenizer of `folder` and the chat template `template` to `file`."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    weights: dict[str, mx.array] = {}
    for name, array in cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters())):
        count = heads.get(name.split(".")[-2])
        placed = array if count is None else permute_weights(array, count, count)
        kind = mx.float32 if "norm" in name else mx.float16
        weights[translate_weight_names(name)] = mx.contiguous(placed.astype(mx.float32).astype(kind))
    mx.save_gguf(str(file), weights, _metadata(config, folder, template))


def read_back(file: Path, like: Path, folder: Path) -> None:
    """Make the MLX folder `folder` of a GGUF file: its weights and sizes, with the texts of `like`.

    So a file that was written is scored by what stands in it.
    """
    arrays, metadata = cast(
        "tuple[dict[str, mx.array], dict[str, Any]]", mx.load(str(file), format="gguf", return_metadata=True)
    )
    config = gguf.model_config(metadata, tied="output.weight" not in arrays)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    folder.mkdir(mode=0o700)
    mx.save_safetensors(
        str(folder / "model.safetensors"), gguf.rename(arrays, heads), metadata={"format": "mlx"}
    )
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    for text in like.iterdir():
        if text.suffix in (".json", ".jinja", ".txt", ".model") and text.name not in (
            "config.json", "model.safetensors.index.json", "tracemill.json",
        ):  # fmt: skip
            shutil.copyfile(text, folder / text.name)


def _metadata(config: dict[str, Any], folder: Path, template: str) -> dict[str, Any]:
    read = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokens, types = _vocabulary(read, int(config["vocab_size"]))
    merges = [one if isinstance(one, str) else " ".join(one) for one in read["model"]["merges"]]
    ids = {token: number for number, token in enumerate(tokens)}
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    return {
        "general.architecture": "llama",
        "general.name": folder.name,
        "general.file_type": _whole(GGMLFileType.GGML_TYPE_F16.value),
        **{key: _whole(config[name]) for key, name in SIZES.items()},
        "llama.rope.dimension_count": _whole(config["hidden_size"] // config["num_attention_heads"]),
        "llama.rope.freq_base": mx.array(float(config.get("rope_theta") or 10000.0), dtype=mx.float32),
        "llama.attention.layer_norm_rms_epsilon": mx.array(config["rms_norm_eps"], dtype=mx.float32),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": cast("str", _splitting(folder)),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": mx.array(types, dtype=mx.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": mx.array(False),
        "tokenizer.chat_template": template,
        **_specials(settings, ids),
    }


def _vocabulary(read: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Token and type for each row of the embedding; rows that no token has are unused ones."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [TokenType.UNUSED.value] * size
    for token, number in read["model"]["vocab"].items():
        tokens[number], types[number] = token, TokenType.NORMAL.value
    for added in read["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind.value
    return tokens, types


def _specials(settings: dict[str, Any], ids: dict[str, int]) -> dict[str, mx.array]:
    """The tokens with a part to play; where there is no beginning, that is the end: readers expect both."""
    named = {
        role: one if isinstance(one, str) else one.get("content")
        for role in ("bos", "eos", "unk", "pad")
        if (one := settings.get(f"{role}_token"))
    }
    named.setdefault("bos", named.get("eos"))
    keys = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    return {
        f"tokenizer.ggml.{keys[role]}_token_id": _whole(ids[token])
        for role, token in named.items()
        if token in ids
    }


def _splitting(folder: Path) -> str | None:
    """llama.cpp's name for how the tokenizer in `folder` splits text; None where it has none."""
    file = folder / "tokenizer.json"
    if not file.exists() or not (folder / "tokenizer_config.json").exists():
        return None
    read = cast("dict[str, Any]", json.loads(file.read_text("utf-8")))
    before = read.get("pre_tokenizer") or {}
    steps = cast("list[dict[str, Any]]", before.get("pretokenizers") or [before])
    if read["model"].get("type") != "BPE" or read.get("normalizer"):
        return None
    kept = [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps]
    return next((name for name, wanted in SPLITTING.items() if kept == wanted), None)


def _whole(value: int) -> mx.array:
    return mx.array(value, dtype=mx.uint32)
