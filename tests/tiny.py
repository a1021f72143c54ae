"""A real model small enough for a test: a two-layer Llama with random weights and a byte-level BPE tokenizer.

It speaks ChatML with our own tool template, loads through mlx-lm like any base model and writes nonsense at
once. Building it takes well under a second; the same seed gives the same weights, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tracemill.curate.chat.template import TEMPLATE_FILE, chatml_tools

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
STOP = SPECIAL.index("<|im_end|>")
CALL = [
    "I look.\n<tool",
    '_call>\n{"name": "read',
    '_file", "arguments": ',
    '{"path": "a.py"}}\n',
    "</tool_call>",
]
"""What a scripted model writes, piece by piece: a sentence and a call."""
SENTENCES = [
    "You are a helpful coding agent. Use the tools.",
    "Read the file src/app.py and tell me what the function main does.",
    'Answer with <tool_call>\n{"name": "read_file", "arguments": {"path": "README.md"}}\n</tool_call>',
    '{"name": "run_command", "description": "Run it", "parameters": {"type": "object", "properties": {}}}',
    "def main():\n    print('hello')\n\n\nif __name__ == '__main__':\n    main()\n",
]


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """Make the MLX folder `folder` (config, weights, tokenizer, chat template) and return it."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models.llama import Model, ModelArgs

    folder.mkdir(parents=True)
    vocabulary = _write_tokenizer(folder)
    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "eos_token_id": STOP,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    mx.random.seed(seed)
    weights = dict(tree_flatten(Model(ModelArgs.from_dict(config)).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def scripted_model(folder: Path, answer: Sequence[str]) -> Path:
    """A Llama that answers every conversation with the pieces of `answer`, each a token, no two alike.

    Its weights make each token the sign for the next: attention and MLP add nothing, and the output layer
    maps the one-hot embedding of a token to its successor. The first piece follows the line break that ends
    the generation prompt, the stop token follows the last.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models.llama import Model, ModelArgs
    from tokenizers import AddedToken, Tokenizer

    tiny_model(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in answer])
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    config = json.loads((folder / "config.json").read_text())
    width = -(-size // 8) * 8  # a whole number of heads
    config |= {"vocab_size": size, "hidden_size": width, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    chain = [tokenizer.encode("\n").ids[-1], *(tokenizer.token_to_id(piece) for piece in answer), STOP]
    weights = {
        name: mx.ones(value.shape) if "norm" in name else mx.zeros(value.shape)
        for name, value in dict(tree_flatten(Model(ModelArgs.from_dict(config)).parameters())).items()
    }
    weights["model.embed_tokens.weight"] = mx.eye(size, width)
    weights["lm_head.weight"][mx.array(chain[1:]), mx.array(chain[:-1])] = 1.0
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def _write_tokenizer(folder: Path) -> int:
    """Train a tokenizer on SENTENCES, write it with the chat template; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    (folder / TEMPLATE_FILE).write_text(chatml_tools(), "utf-8")
    return tokenizer.get_vocab_size()
