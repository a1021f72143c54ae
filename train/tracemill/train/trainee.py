"""What of a model learns: LoRA, DoRA or every weight, on its last layers.

In: a loaded mlx-lm model and `Settings`. Out: the same model with its trainable parameters, and the modules
that can be named. The layers are mlx-lm's own, so that what it loads is what was trained.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from tracemill.curate.names import suggest
from tracemill.train.errors import TrainError
from tracemill.train.settings import Settings

LINEAR = (nn.Linear, nn.QuantizedLinear, SwitchLinear, QuantizedSwitchLinear)
QUANTIZED = (nn.QuantizedLinear, QuantizedSwitchLinear)


def resolved(model: Any, settings: Settings) -> Settings:
    """`settings` with the number of layers and full names of modules that `model` has, else TrainError."""
    layers = min(settings.layers or len(model.layers), len(model.layers))
    known = modules(model)
    named = tuple(_named(name, known) for name in settings.modules)
    return replace(
        settings, layers=layers, modules=tuple(dict.fromkeys(one for some in named for one in some))
    )


def prepare(model: Any, settings: Settings) -> None:
    """Freeze `model` but for what `settings` lets learn, seeded. TrainError where it cannot learn so."""
    settings = resolved(model, settings)
    assert settings.layers is not None
    mx.random.seed(settings.seed)
    model.freeze()
    last = model.layers[-settings.layers :]
    if settings.method == "full":
        if any(isinstance(module, QUANTIZED) for layer in last for _, module in layer.named_modules()):
            raise TrainError(
                "The weights of this base are quantized and cannot learn; "
                "leave out --full, or take the base in 16 bits."
            )
        for layer in last:
            layer.unfreeze()
        model.eval()
        return
    try:
        linear_to_lora_layers(model, settings.layers, settings.lora(), use_dora=settings.method == "dora")
    except ValueError as error:
        raise TrainError(
            f"This base cannot learn with {settings.method}: {error}; try plain LoRA."
        ) from error


def modules(model: Any) -> list[str]:
    """The names of the linear modules inside a layer of `model`, such as `self_attn.q_proj`."""
    names = {
        name for layer in model.layers for name, module in layer.named_modules() if isinstance(module, LINEAR)
    }
    return sorted(names)


def weights(model: Any) -> dict[str, mx.array]:
    """The trainable parameters by name, as mlx-lm names them."""
    return dict(cast(list[tuple[str, mx.array]], tree_flatten(model.trainable_parameters())))


def _named(name: str, known: Sequence[str]) -> list[str]:
    """The modules that `name` means: its full name, or the last part of several."""
    found = [one for one in known if one == name or one.rsplit(".", 1)[-1] == name]
    if not found:
        short = {one.rsplit(".", 1)[-1] for one in known}
        raise TrainError(
            f"The layers of this base have no module {name!r}{suggest(name, [*known, *short])}; "
            f"their modules are {', '.join(known)}."
        )
    return found
