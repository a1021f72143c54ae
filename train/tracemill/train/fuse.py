"""An adapter and its base as one model, in a folder that needs neither of them.

In: an `Adapter` and its base. Out: a Hugging Face folder with safetensors weights, the tokenizer of the base
byte for byte, and the chat template of the adapter, which ends turns for any server. The base is dequantized
first: what is fused into 4-bit weights is mostly rounded away. Only then, where it is asked for, the whole is
quantized again. The folder appears whole, by a rename, or not at all. Importing this module imports MLX:
activate the BLAS first.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import (
    dequantize_model,
    load_adapters,
    load_config,
    load_model,
    quantize_model,
    save_config,
    save_model,
)

from tracemill.curate.chat.template import TEMPLATE_FILE, Chat
from tracemill.train import gguf_export
from tracemill.train.adapter import CARD, Adapter, write_folder
from tracemill.train.base import BaseModel, Progress
from tracemill.train.errors import FuseError

GROUPS = (64, 32)
"""Weights that share a scale: the largest of these that divides the rows of every layer."""
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "merges.txt", "vocab.txt", "vocab.json", "LICENSE*",
)  # fmt: skip
GGUF_FILE = "model-f16.gguf"


@dataclass(frozen=True)
class Fused:
    """A folder with an adapter and its base as one model; `card` is the content of its tracemill.json."""

    path: Path
    card: dict[str, Any]
    reused: bool = False

    @property
    def gguf(self) -> Path | None:
        """The GGUF file in it, where one was asked for."""
        file = self.path / GGUF_FILE
        return file if file.exists() else None


def fuse(
    adapter: Adapter,
    base: BaseModel,
    to: Path,
    *,
    bits: int | None = None,
    with_gguf: bool = False,
    progress: Progress | None = None,
) -> Fused:
    """Write `adapter` on `base` as one model into the folder `to`, quantized to `bits` where they are given.

    A folder that holds this very model is taken as it is. FuseError where `to` holds anything else, where the
    adapter does not fit, or where the model cannot be written as GGUF.
    """
    made = _card(adapter, base, bits, with_gguf)
    if to.exists():
        return _there_already(to, made)
    if with_gguf and (why := gguf_export.unsupported(base.path)):
        raise FuseError(f"{base.name} cannot be written as GGUF: {why}; leave out --gguf.")
    tell = progress or _silent
    tell("fuse", 0, 3)
    model = _one_model(adapter, base)
    config = _plain_config(base.path)
    tell("fuse", 1, 3)

    def fill(folder: Path) -> None:
        if with_gguf:
            gguf_export.write(model, config, base.path, _template(adapter, base), folder / GGUF_FILE)
        full = made | {"parameters": sum(one.size for _, one in _weights(model)), "dtype": _dtype(model)}
        tell("fuse", 2, 3)
        quantized, final = (model, config) if bits is None else _quantized(model, config, bits)
        save_model(folder, quantized)
        save_config(dict(final), folder / "config.json")
        _write_texts(folder, adapter, base)
        (folder / CARD).write_text(json.dumps(full, indent=2) + "\n", "utf-8")

    write_folder(to, fill)
    tell("fuse", 3, 3)
    return load_fused(to)


def _silent(_what: str, _done: int, _total: int) -> None:
    """The progress callback of a caller that gave none."""


def load_fused(folder: Path) -> Fused:
    """The record of a folder that `fuse` made; FuseError where it is none."""
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        if card["form"] != "fused":
            raise ValueError("it is an adapter")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FuseError(f"{folder} holds no fused model ({error}); `tracemill fuse` makes one.") from error
    return Fused(folder, card)


def adapted(adapter: Adapter, base: BaseModel) -> nn.Module:
    """`base` with the layers of `adapter` on it, as it is evaluated; FuseError where it does not fit."""
    try:
        model = load_adapters(load_model(base.path)[0], str(adapter.path))
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FuseError(f"{adapter.path} does not fit {base.path}: {reason}; train again.") from error
    model.eval()
    return model


def _one_model(adapter: Adapter, base: BaseModel) -> nn.Module:
    model = adapted(adapter, base)
    fused = [(name, one.fuse(dequantize=True)) for name, one in model.named_modules() if hasattr(one, "fuse")]
    model.update_modules(tree_unflatten(fused))
    model = dequantize_model(model)
    mx.eval(model.parameters())
    for name, array in _weights(model):
        if mx.issubdtype(array.dtype, mx.floating) and not mx.isfinite(array).all().item():
            raise FuseError(f"{adapter.path} fused into its base is not finite at {name}; train again.")
    return model


def _quantized(model: nn.Module, config: dict[str, Any], bits: int) -> tuple[nn.Module, dict[str, Any]]:
    """mlx-lm's own quantization, of every layer it can take."""
    rows = [one.weight.shape[-1] for _, one in model.named_modules() if hasattr(one, "to_quantized")]
    group = next((one for one in GROUPS if all(row % one == 0 for row in rows)), GROUPS[-1])
    if all(row % group for row in rows):
        raise FuseError(
            f"No layer of this model can be quantized in groups of {group}; leave out --quantize."
        )
    with contextlib.redirect_stdout(sys.stderr):  # it prints, and standard output is for results
        return cast("tuple[nn.Module, dict[str, Any]]", quantize_model(model, config, group, bits))


def _plain_config(base: Path) -> dict[str, Any]:
    """The configuration of the base without a word about quantization."""
    config = cast("dict[str, Any]", load_config(base))
    return {key: value for key, value in config.items() if key not in ("quantization", "quantization_config")}


def _write_texts(folder: Path, adapter: Adapter, base: BaseModel) -> None:
    """The tokenizer of the base, the template of the adapter, and the tokens that end its turns."""
    for pattern in TOKENIZER_FILES:
        for file in base.path.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    _change(folder / "tokenizer_config.json", lambda had: had.pop("chat_template", None))
    (folder / TEMPLATE_FILE).write_text(_template(adapter, base), "utf-8")
    stops = sorted(Chat.load(base.path, adapter.path).stop_tokens)
    generation = folder / "generation_config.json"
    if (base.path / generation.name).exists():
        shutil.copyfile(base.path / generation.name, generation)
    else:
        generation.write_text("{}", "utf-8")
    _change(generation, lambda had: had.update(eos_token_id=stops))


def _change(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON object in `file`, where there is one."""
    if file.exists():
        had = cast("dict[str, Any]", json.loads(file.read_text("utf-8")))
        before = json.dumps(had)
        change(had)
        if json.dumps(had) != before:
            file.write_text(json.dumps(had, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _template(adapter: Adapter, base: BaseModel) -> str:
    return Chat.load(base.path, adapter.path).template


def _weights(model: nn.Module) -> list[tuple[str, mx.array]]:
    return cast("list[tuple[str, mx.array]]", tree_flatten(model.parameters()))


def _dtype(model: nn.Module) -> str:
    """The type of most weights, such as `float32`."""
    return str(max((one for _, one in _weights(model)), key=lambda one: one.size).dtype).removeprefix(
        "mlx.core."
    )


def _card(adapter: Adapter, base: BaseModel, bits: int | None, with_gguf: bool) -> dict[str, Any]:
    """What decides the folder, for its tracemill.json."""
    return {
        "form": "fused",
        "adapter": adapter.path.name,
        "adapter_sha256": adapter.card["weights_sha256"],
        "base": public(base),
        "base_sha256": base.digest,
        "dataset": adapter.card.get("dataset"),
        "bits": bits,
        "gguf": with_gguf,
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
        "tracemill": version("tracemill"),
    }


def hub_id(base: BaseModel) -> str | None:
    """The id by which others find the base; None where it is a folder, or made here."""
    downloaded = base.path.name == base.name.replace("/", "--")
    return base.name if downloaded and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", base.name) else None


def public(base: BaseModel) -> str:
    """The name of the base for those who get the model: its id, or the last part of a path."""
    return hub_id(base) or Path(base.name).name


def _there_already(to: Path, made: dict[str, Any]) -> Fused:
    """The folder `to` where it holds the model that is asked for; FuseError where it holds anything else."""
    if not to.is_dir():
        raise FuseError(f"{to} is a file; name a folder that is not there yet.")
    try:
        found = load_fused(to)
    except FuseError as error:
        raise FuseError(f"{to} is there already; name a folder that is not, or delete it.") from error
    if {key: found.card.get(key) for key in made} != made:
        raise FuseError(
            f"{to} holds another model ({found.card.get('adapter')}, "
            f"{_bits(found.card.get('bits'))}); name another folder, or delete it."
        )
    return Fused(to, found.card, reused=True)


def _bits(bits: object) -> str:
    return f"{bits} bits" if bits else "not quantized"
