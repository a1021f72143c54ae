"""Recipes: what to learn from and how to split it, as a TOML file.

In: the name of a recipe that comes with Tracemill, or the path of a file such as

    name = "mine"
    [source]
    where = "agent = 'punie'"       # SQL over the conversations, optional
    [steps.outcome]                 # a table per step, taken in the order of the file
    keep = ["good"]
    [split]
    valid = 0.1
    test = 0.1
    seed = 0

Out: a `Recipe`. A key that nothing reads is an error, with the key that was probably meant.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from tracemill.curate.errors import RecipeError
from tracemill.curate.splits import SplitOptions
from tracemill.curate.steps import STEPS, Options

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and checked; `text` is the file verbatim."""

    name: str
    where: str | None
    steps: dict[str, Options]
    split: SplitOptions
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class _File(BaseModel, extra="forbid", strict=True):
    name: str = Field(pattern=NAME)
    source: dict[str, Any] = {}
    steps: dict[str, dict[str, Any]]
    split: dict[str, Any] = {}


class _Source(BaseModel, extra="forbid", strict=True):
    where: str | None = Field(default=None, min_length=1)


def find(recipe: str | Path) -> Recipe:
    """The recipe of that name that comes with Tracemill, or that of a `.toml` file; else RecipeError."""
    folder = files("tracemill.curate") / "recipes"
    shipped = {file.name.removesuffix(".toml"): file for file in folder.iterdir()}
    if str(recipe) in shipped:
        return parse(shipped[str(recipe)].read_text("utf-8"), f"the recipe {recipe}")
    path = Path(recipe)
    if path.suffix != ".toml":
        known = f"{_suggest(str(recipe), shipped)}; the recipes are {', '.join(shipped)}"
        raise RecipeError(f"There is no recipe {str(recipe)!r}{known}, and a file of yours ends in .toml.")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"Cannot read the recipe {path} ({error}); give the path of a TOML file."
        ) from error
    return parse(text, str(path))


def parse(text: str, place: str) -> Recipe:
    """The recipe written in `text`; `place` says in errors where that stands."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"In {place}: not TOML: {error}.") from error
    file = _check(_File, table, place)
    if not file.steps:
        raise RecipeError(f"In {place}: no step; add a table such as [steps.outcome].")
    return Recipe(
        file.name,
        _check(_Source, file.source, f"{place}, [source]").where,
        {name: _step(name, table, place) for name, table in file.steps.items()},
        _check(SplitOptions, file.split, f"{place}, [split]"),
        text,
    )


def _step(name: str, table: dict[str, Any], place: str) -> Options:
    if name not in STEPS:
        known = f"{_suggest(name, STEPS)}; the steps are {', '.join(STEPS)}"
        raise RecipeError(f"In {place}: there is no step {name!r}{known}.")
    return _check(STEPS[name].options, table, f"{place}, [steps.{name}]")


def _check(model: type[_Model], table: dict[str, Any], place: str) -> _Model:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(model.model_fields)
        mend = f"its keys are {', '.join(known)}" if known else "it takes none"
        raise RecipeError(f"In {place}: nothing reads the key {key!r}{_suggest(key, known)}; {mend}.")
    if first["type"] == "missing":
        raise RecipeError(f"In {place}: the key {key!r} is missing; add it.")
    told = first["msg"].removeprefix("Value error, ")
    raise RecipeError(f"In {place}: {f'the key {key!r}: ' if key else ''}{told}.")


def _suggest(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
