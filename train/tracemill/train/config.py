"""What a user asks of a training run: options of the command line and keys of a TOML file, checked alike.

In: a table such as

    learning_rate = 1e-4
    epochs = 3
    layers = "all"
    modules = ["q_proj", "v_proj"]

and the options of the command line, which win. Out: plain values by key. A key that nothing reads is an
error, with the key that was probably meant; so are two that contradict each other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from tracemill.curate.names import suggest
from tracemill.train.errors import TrainError
from tracemill.train.settings import Schedule

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]

BETA = 0.1
"""Of direct preference optimization, where nobody says another one."""
ONE_OF = (("steps", "epochs"), ("scale", "alpha"), ("seed", "seeds"), ("dora", "full"))
"""Keys that say the same thing in two ways: at most one of each may be given."""
NOT_FULL = ("rank", "scale", "alpha", "dropout", "modules")
"""Keys of LoRA and DoRA that mean nothing where every weight learns."""
OF_ADAPTER = ("rank", "scale", "alpha", "layers", "modules", "dora", "full")
"""Keys that an adapter to go on from has settled."""


class Asked(BaseModel, extra="forbid", strict=True):
    """Every key of a configuration file; each is an option of `tracemill train` too."""

    model: str | None = None
    method: Literal["sft", "dpo"] | None = None
    beta: Positive | None = None
    adapter: str | None = None
    max_tokens: Count | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    seeds: list[Annotated[int, Field(ge=0)]] | None = None
    steps: Count | None = None
    epochs: Positive | None = None
    batch_size: Count | None = None
    batch_tokens: Count | None = None
    grad_checkpoint: bool | None = None
    learning_rate: Positive | None = None
    schedule: Schedule | None = None
    warmup: Share | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    rank: Count | None = None
    scale: Positive | None = None
    alpha: Positive | None = None
    dropout: Share | None = None
    layers: Count | Literal["all"] | None = None
    modules: list[str] | None = None
    dora: bool | None = None
    full: bool | None = None
    context: Annotated[int, Field(ge=8)] | None = None
    every: Count | None = None
    patience: Annotated[int, Field(ge=0)] | None = None
    guard_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    guard_floor: Share | None = None
    save_every: Annotated[int, Field(ge=0)] | None = None
    log: Literal["tensorboard", "wandb"] | None = None


def read(path: Path) -> dict[str, Any]:
    """The checked keys of a TOML file; TrainError says what is wrong in it and where."""
    return check(table_of(path), str(path))


def table_of(path: Path) -> dict[str, Any]:
    """What a TOML file holds; TrainError where it cannot be read or is none."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"Cannot read {path} ({error}); give the path of a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise TrainError(f"In {path}: not TOML: {error}.") from error


def merged(path: Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the file, if any, and the options given, which win."""
    given = check({key: value for key, value in options.items() if value is not None}, "the options")
    if path is None:
        return given
    beaten = {other for group in ONE_OF if given.keys() & set(group) for other in group}
    kept = {key: value for key, value in read(path).items() if key not in beaten}
    return check(kept | given, f"{path} with the options")


def check(table: Mapping[str, Any], place: str) -> dict[str, Any]:
    """`table` with its values checked; TrainError names the key and says how to mend it."""
    try:
        given = Asked.model_validate(table).model_dump(exclude_none=True)
    except ValidationError as error:
        raise TrainError(_told(error, place)) from error
    for group in ONE_OF:
        if len(both := [key for key in group if given.get(key) is not None and given[key] is not False]) > 1:
            raise TrainError(
                f"In {place}: {both[0]!r} and {both[1]!r} contradict each other; give one of them."
            )
    if given.get("full") and (idle := [key for key in NOT_FULL if key in given]):
        raise TrainError(
            f"In {place}: {idle[0]!r} means nothing with 'full', where every weight learns; drop one."
        )
    if "beta" in given and given.get("method") != "dpo":
        raise TrainError(
            f"In {place}: 'beta' means something with the method 'dpo' only; add it, or drop 'beta'."
        )
    if "adapter" in given and (idle := [key for key in OF_ADAPTER if key in given]):
        raise TrainError(f"In {place}: {idle[0]!r} is that of the adapter to go on from; drop one.")
    return given


def fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that decide a run, as fields of `Settings`."""
    beside = {
        "model",
        "method",
        "beta",
        "adapter",
        "max_tokens",
        "seeds",
        "save_every",
        "log",
        "alpha",
        "dora",
        "full",
        "layers",
        "modules",
    }
    made = {key: value for key, value in given.items() if key not in beside}
    if given.get("method") == "dpo":
        made["beta"] = given.get("beta", BETA)
    if "alpha" in given:
        made["scale"] = given["alpha"] / given.get("rank", 8)
    if "layers" in given:
        made["layers"] = None if given["layers"] == "all" else given["layers"]
    if "modules" in given:
        made["modules"] = tuple(given["modules"])
    if "patience" in given:
        made["patience"] = given["patience"] or None
    made["method"] = "full" if given.get("full") else "dora" if given.get("dora") else "lora"
    return made


def shape_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """What an adapter, by its card, has settled for whoever goes on from it: fields of `Settings`."""
    settings = card["settings"]
    return {
        "method": settings["method"],
        "rank": settings["rank"],
        "scale": settings["scale"],
        "layers": settings["layers"],
        "modules": tuple(settings["modules"]),
    }


def _told(error: ValidationError, place: str) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"][:1])
    if first["type"] == "extra_forbidden":
        known = list(Asked.model_fields)
        told = f"nothing reads the key {key!r}{suggest(key, known)}"
        return f"In {place}: {told}; the keys are {', '.join(known)}."
    return f"In {place}: the key {key!r}: {first['msg']}."
