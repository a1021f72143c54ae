"""A Llama model in a GGUF file, as an MLX folder.

In: a GGUF file of llama.cpp with the architecture `llama` and a `smollm` tokenizer (byte-level BPE that
splits digits), weights in any type MLX reads. Out: a folder that mlx-lm loads: config.json, model.safetensors
in float32, tokenizer.json, tokenizer_config.json and chat_template.jinja. Weights are dequantized because
training and generation are both faster in float32 on a CPU, and because an adapter fused into 4-bit weights
is largely rounded away. Format: the GGUF specification of ggml (docs/gguf.md).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tracemill.curate.chat.template import TEMPLATE_FILE
from tracemill.train.errors import BaseModelError

if TYPE_CHECKING:
    import mlx.core as mx
    from tokenizers import Tokenizer

GROUP = 32  # weights that share a scale and a bias in every quantized type of GGUF that MLX reads
CONTROL = 3  # the token type of a special token
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def convert(gguf: Path, folder: Path, template: str) -> None:
    """Write the model of the file `gguf` into the existing `folder`, with the chat template `template`.

    BaseModelError where the file is not GGUF or holds another architecture or tokenizer.
    """
    import mlx.core as mx

    try:
        arrays, metadata = cast(
            "tuple[dict[str, mx.array], dict[str, Any]]",
            mx.load(str(gguf), format="gguf", return_metadata=True),
        )
    except (RuntimeError, ValueError) as error:
        raise BaseModelError(f"{gguf} cannot be read as GGUF: {error}; download it again.") from error
    kind = metadata.get("general.architecture"), metadata.get("tokenizer.ggml.pre")
    if kind != ("llama", "smollm"):
        raise BaseModelError(
            f"{gguf} holds {kind[0]}/{kind[1]}; only llama models with the smollm tokenizer are read."
        )
    config = model_config(metadata, tied="output.weight" not in arrays)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    mx.save_safetensors(str(folder / "model.safetensors"), rename(arrays, heads), metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    tokenizer(metadata).save(str(folder / "tokenizer.json"))
    settings = json.dumps(tokenizer_settings(metadata), indent=2)
    (folder / "tokenizer_config.json").write_text(settings + "\n", "utf-8")
    (folder / TEMPLATE_FILE).write_text(template, "utf-8")


def model_config(metadata: dict[str, Any], tied: bool) -> dict[str, Any]:
    """The config.json of a Hugging Face Llama, from the GGUF keys `llama.*`."""

    def whole(key: str) -> int:
        return int(metadata[key].item())

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": whole("llama.embedding_length"),
        "intermediate_size": whole("llama.feed_forward_length"),
        "num_hidden_layers": whole("llama.block_count"),
        "num_attention_heads": whole("llama.attention.head_count"),
        "num_key_value_heads": whole("llama.attention.head_count_kv"),
        "max_position_embeddings": whole("llama.context_length"),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "rms_norm_eps": float(f"{metadata['llama.attention.layer_norm_rms_epsilon'].item():.6g}"),
        "rope_theta": float(metadata["llama.rope.freq_base"].item()),
        "tie_word_embeddings": tied,
        "bos_token_id": whole("tokenizer.ggml.bos_token_id"),
        "eos_token_id": whole("tokenizer.ggml.eos_token_id"),
        "torch_dtype": "float32",
    }


def rename(arrays: dict[str, mx.array], heads: dict[str, int]) -> dict[str, mx.array]:
    """Float32 weights under Hugging Face's names for a Llama; `heads` counts those of q_proj and k_proj."""
    import mlx.core as mx

    weights: dict[str, mx.array] = {}
    for name, array in arrays.items():
        stem, _, part = name.rpartition(".")
        if part != "weight":
            continue
        scales, biases = arrays.get(f"{stem}.scales"), arrays.get(f"{stem}.biases")
        if scales is not None and biases is not None:
            bits = array.shape[-1] * 32 // (scales.shape[-1] * GROUP)
            wide = scales.astype(mx.float32), biases.astype(mx.float32)
            array = mx.dequantize(array, *wide, group_size=GROUP, bits=bits)  # noqa: PLW2901
        renamed = target_name(stem)
        count = heads.get(renamed.rpartition(".")[2])
        plain = array.astype(mx.float32)
        weights[f"{renamed}.weight"] = plain if count is None else _unpermute(plain, count)
    return weights


def target_name(stem: str) -> str:
    """The Hugging Face name of a GGUF tensor, without `.weight`; BaseModelError for an unknown one."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    known = NAMES.get(block[2]) if block else OUTER_NAMES.get(stem)
    if known is None:
        raise BaseModelError(f"The GGUF file has a tensor {stem!r} that a plain Llama does not have.")
    return f"model.layers.{block[1]}.{known}" if block else known


def _unpermute(weight: mx.array, heads: int) -> mx.array:
    """Undo llama.cpp's reordering of the rows of q and k (LlamaModel.permute in convert_hf_to_gguf.py)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """SmolLM's tokenizer from the vocabulary and merges in the metadata; every digit is its own token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = cast(list[str], metadata["tokenizer.ggml.tokens"])
    merges = [tuple(merge.split(" ", 1)) for merge in cast(list[str], metadata["tokenizer.ggml.merges"])]
    made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=cast(Any, merges)))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    types = cast(list[int], metadata["tokenizer.ggml.token_type"].tolist())
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return made


def tokenizer_settings(metadata: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer_config.json that belongs to `tokenizer`."""

    def token(role: str) -> str:
        return metadata["tokenizer.ggml.tokens"][metadata[f"tokenizer.ggml.{role}_token_id"].item()]

    return {
        # The class that takes tokenizer.json as it is; a model's own class would build its own splitting.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "model_max_length": int(metadata["llama.context_length"].item()),
        "clean_up_tokenization_spaces": False,
    }
