"""The adapter folder: what a training run leaves behind.

    adapters.safetensors    the weights that learned, named as mlx-lm names them
    adapter_config.json     what mlx-lm needs to load them
    chat_template.jinja     the template it was trained with, to be served with
    tracemill.json          settings, curve, and the hashes of base, data, template, code and weights
    curves.svg              loss, accuracy and general ability by step, where they were drawn

In: weights and where they came from. Out: an `Adapter`. The folder appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tracemill.curate.chat.template import TEMPLATE_FILE
from tracemill.train.errors import TrainError

if TYPE_CHECKING:
    import mlx.core as mx

WEIGHTS, CONFIG, CARD = "adapters.safetensors", "adapter_config.json", "tracemill.json"
CURVES = "curves.svg"


@dataclass(frozen=True)
class Adapter:
    """A trained adapter on disk; `card` is the content of its tracemill.json."""

    path: Path
    card: dict[str, Any]


def load_adapter(path: Path) -> Adapter:
    """Read an adapter folder; TrainError where a file is missing or the weights are not those of the card."""
    for name in (WEIGHTS, CONFIG, CARD):
        if not (path / name).is_file():
            raise TrainError(
                f"{path} is not an adapter: it has no {name}; name a folder that `tracemill train` made."
            )
    try:
        card = cast(dict[str, Any], json.loads((path / CARD).read_text("utf-8")))
        intact = card["weights_sha256"] == file_sha256(path / WEIGHTS)
    except (ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{path / CARD} cannot be read ({error!r}); train again.") from error
    if not intact:
        raise TrainError(f"{path / WEIGHTS} changed after training, by its hash in {CARD}; train again.")
    return Adapter(path, card)


def save_adapter(
    path: Path,
    weights: dict[str, mx.array],
    mlx_config: dict[str, Any],
    template: str,
    card: dict[str, Any],
    picture: str | None = None,
) -> Adapter:
    """Write the adapter folder `path`, replacing one of that name; `picture` is the SVG of its curves."""

    def fill(folder: Path) -> None:
        import mlx.core as mx

        mx.save_safetensors(str(folder / WEIGHTS), weights, metadata={"format": "mlx"})
        full = {**card, "weights_sha256": file_sha256(folder / WEIGHTS)}
        (folder / CONFIG).write_text(json.dumps(mlx_config, indent=2) + "\n", "utf-8")
        (folder / TEMPLATE_FILE).write_text(template, "utf-8")
        if picture is not None:
            (folder / CURVES).write_text(picture, "utf-8")
        (folder / CARD).write_text(json.dumps(full, indent=2) + "\n", "utf-8")

    write_folder(path, fill)
    return load_adapter(path)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `path` whole: `fill` a private one beside it, rename it. TrainError on a full disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)  # of a killed process that had our number
    try:
        draft.mkdir(parents=True, mode=0o700)
        fill(draft)
        for file in draft.iterdir():
            file.chmod(0o600)
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
    except (OSError, RuntimeError) as error:  # a RuntimeError is how MLX tells of a full disk
        reason = getattr(error, "strerror", None) or error
        raise TrainError(f"Cannot write {path}: {reason}; free some space and run it again.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_sha256(*packages: str) -> str:
    """One hash over the source of `packages`: Python, templates, C and data beside them."""
    digest = hashlib.sha256()
    for name in packages:
        folder = Path(cast(str, import_module(name).__file__)).parent
        for file in sorted(folder.rglob("*")):
            if file.suffix in {".py", ".jinja", ".c", ".toml"}:
                digest.update(f"{name}/{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
