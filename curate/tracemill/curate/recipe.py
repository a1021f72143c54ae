"""Recipes: what to learn from and how to split it, as a TOML file.

In: the name of a recipe that comes with Tracemill, or the path of a file such as

    name = "mine"
    [source]                        # or several: [[source]]
    where = "agent = 'punie'"       # SQL over the conversations, optional
    model = "claude-*"              # only sessions in which that model gave every answer, optional
    [rewrites.preambles]            # a table per rewrite, taken in the order of the file, before the steps
    [steps.outcome]                 # a table per step, taken in the order of the file
    keep = ["good"]
    [split]
    valid = 0.1
    test = 0.1
    seed = 0
    [order]                         # optional, as recorded by default
    by = "short to long"
    [format]                        # optional: calls as text, one row a conversation
    calls = "structured"
    rows = "turn"
    [pairs]                         # optional: preference pairs beside the rows, for training such as DPO
    kinds = ["retried", "denied", "runs"]
    [replay]                        # optional: general conversations, so that the model forgets nothing
    path = "general/"
    fraction = 0.1

Out: a `Recipe`. A key that nothing reads is an error, with the key that was probably meant.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from tracemill.curate.errors import RecipeError
from tracemill.curate.format import FormatOptions
from tracemill.curate.names import NAME, suggest
from tracemill.curate.order import OrderOptions
from tracemill.curate.pairs.options import PairOptions
from tracemill.curate.rewrites import REWRITES
from tracemill.curate.rewrites.edits import RewriteOptions
from tracemill.curate.sieve import Options
from tracemill.curate.sources import ReplayOptions, SourceOptions
from tracemill.curate.splits import SplitOptions
from tracemill.curate.steps import STEPS

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read and checked; `text` is the file verbatim, `base` its folder."""

    name: str
    sources: tuple[SourceOptions, ...]
    rewrites: dict[str, RewriteOptions]
    steps: dict[str, Options]
    split: SplitOptions
    text: str
    base: Path | None = None
    order: OrderOptions = field(default_factory=OrderOptions)
    replay: ReplayOptions | None = None
    format: FormatOptions = field(default_factory=FormatOptions)
    pairs: PairOptions | None = None

    @property
    def where(self) -> str | None:
        """The SQL condition of its source; null where it has none, or several sources."""
        return self.sources[0].condition() if len(self.sources) == 1 else None

    @property
    def every_source(self) -> tuple[SourceOptions, ...]:
        """Its sources, and that of the conversations to replay."""
        return (*self.sources, self.replay.source()) if self.replay else self.sources

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class _File(BaseModel, extra="forbid", strict=True):
    name: str = Field(pattern=NAME)
    source: dict[str, Any] | list[dict[str, Any]] = {}
    rewrites: dict[str, dict[str, Any]] = {}
    steps: dict[str, dict[str, Any]]
    split: dict[str, Any] = {}
    order: dict[str, Any] = {}
    replay: dict[str, Any] | None = None
    format: dict[str, Any] = {}
    pairs: dict[str, Any] | None = None


def shipped() -> dict[str, str]:
    """The text of every recipe that comes with Tracemill, by name."""
    folder = files("tracemill.curate") / "recipes"
    found = {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in folder.iterdir()}
    return dict(sorted(found.items()))


def find(recipe: str | Path) -> Recipe:
    """The recipe of that name that comes with Tracemill, or that of a `.toml` file; else RecipeError."""
    known = shipped()
    if str(recipe) in known:
        return parse(known[str(recipe)], f"the recipe {recipe}")
    path = Path(recipe)
    if path.suffix != ".toml":
        told = f"{suggest(str(recipe), known)}; the recipes are {', '.join(known)}"
        raise RecipeError(f"There is no recipe {str(recipe)!r}{told}, and a file of yours ends in .toml.")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"Cannot read the recipe {path} ({error}); give the path of a TOML file."
        ) from error
    return parse(text, str(path), path.parent)


def parse(text: str, place: str, base: Path | None = None) -> Recipe:
    """The recipe written in `text`; `place` says where that stands, paths are relative to `base`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"In {place}: not TOML: {error}.") from error
    file = _check(_File, table, place)
    if not file.steps:
        raise RecipeError(f"In {place}: no step; add a table such as [steps.outcome].")
    return Recipe(
        file.name,
        _sources(file.source, place),
        {name: _rewrite(name, table, place) for name, table in file.rewrites.items()},
        {name: _step(name, table, place) for name, table in file.steps.items()},
        _check(SplitOptions, file.split, f"{place}, [split]"),
        text,
        base,
        _check(OrderOptions, file.order, f"{place}, [order]"),
        None if file.replay is None else _check(ReplayOptions, file.replay, f"{place}, [replay]"),
        _check(FormatOptions, file.format, f"{place}, [format]"),
        None if file.pairs is None else _check(PairOptions, file.pairs, f"{place}, [pairs]"),
    )


def _sources(given: dict[str, Any] | list[dict[str, Any]], place: str) -> tuple[SourceOptions, ...]:
    if isinstance(given, dict):
        return (_check(SourceOptions, given, f"{place}, [source]"),)
    found = [_check(SourceOptions, one, f"{place}, [[source]] {at}") for at, one in enumerate(given, 1)]
    titles = [one.title for one in found]
    if not found or len(set(titles)) < len(titles):
        twice = next((title for title in titles if titles.count(title) > 1), None)
        told = f"two sources are called {twice!r}; give each a `name` of its own" if twice else "no source"
        raise RecipeError(f"In {place}: {told}.")
    return tuple(found)


def _rewrite(name: str, table: dict[str, Any], place: str) -> RewriteOptions:
    if name not in REWRITES:
        known = f"{suggest(name, REWRITES)}; the rewrites are {', '.join(REWRITES)}"
        raise RecipeError(f"In {place}: there is no rewrite {name!r}{known}.")
    return _check(REWRITES[name].options, table, f"{place}, [rewrites.{name}]")


def _step(name: str, table: dict[str, Any], place: str) -> Options:
    if name not in STEPS:
        known = f"{suggest(name, STEPS)}; the steps are {', '.join(STEPS)}"
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
        raise RecipeError(f"In {place}: nothing reads the key {key!r}{suggest(key, known)}; {mend}.")
    if first["type"] == "missing":
        raise RecipeError(f"In {place}: the key {key!r} is missing; add it.")
    told = first["msg"].removeprefix("Value error, ")
    raise RecipeError(f"In {place}: {f'the key {key!r}: ' if key else ''}{told}.")
