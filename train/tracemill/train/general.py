"""How well a model still predicts plain text: the cheapest sign that training makes it forget.

In: a loaded model and its `Chat`. Out: for each text of `general.toml` the inverse of its perplexity, between
0 and 1: higher is better. Importing this module imports no MLX.
"""

from __future__ import annotations

import math
import tomllib
from importlib.resources import files
from typing import Any

from tracemill.curate.chat.template import Chat


def texts() -> dict[str, str]:
    """The texts by name."""
    return tomllib.loads((files("tracemill.train") / "general.toml").read_text("utf-8"))


def predictability(model: Any, chat: Chat) -> dict[str, float]:
    """1 / perplexity of each text (Jelinek et al. 1977, J. Acoust. Soc. Am. 62:S63), by `text in NAME`."""
    return {f"text in {name}": math.exp(-_loss(model, chat, text.strip())) for name, text in texts().items()}


def _loss(model: Any, chat: Chat, text: str) -> float:
    """Mean cross-entropy in nats of every token of `text` after the first."""
    import mlx.core as mx
    from mlx import nn

    ids = mx.array(chat.tokenizer.encode(text, add_special_tokens=False))
    logits = model(ids[None, :-1])[0].astype(mx.float32)
    return float(nn.losses.cross_entropy(logits, ids[1:], reduction="mean"))
