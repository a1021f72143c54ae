"""`tracemill recipe`: the recipes there are, what one says, and whether one of yours is in order.

In: the name of a recipe that comes with Tracemill, or the path of a .toml file. Out: its text, or what it
will do, or one sentence that says what is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.curate.recipe import Recipe


def recipe(
    action: Annotated[Literal["list", "show", "check"], typer.Argument(help="What to do.")] = "list",
    which: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="Name of a recipe, or path of a .toml file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the recipes, show one to start your own from, or check one.

    A check reads no conversation: it looks at keys, options, columns, files.
    """
    from tracemill.curate.recipe import find, parse, shipped

    if action == "list":
        if which is not None:
            raise typer.BadParameter(f"`list` takes no recipe; did you mean `tracemill recipe show {which}`?")
        known = {name: parse(text, f"the recipe {name}") for name, text in shipped().items()}
        if as_json:
            output.emit_json([_described(one) for one in known.values()])
            return
        output.table(
            ("recipe", "what for", "steps"),
            [(name, _purpose(one), ", ".join(one.steps)) for name, one in known.items()],
        )
        output.hint("`tracemill recipe show NAME > mine.toml` is a start for one of your own.")
        return
    if which is None:
        raise typer.BadParameter(f"`{action}` needs a recipe: a name, or the path of a .toml file.")
    found = find(which)
    if action == "show":
        if as_json:
            output.emit_json(_described(found) | {"text": found.text})
        else:
            output.say(found.text.rstrip("\n"))
        return
    _check(found)
    if as_json:
        output.emit_json(_described(found))
    else:
        _show(found, which)


def _check(found: Recipe) -> None:
    """Refuse a recipe whose files or conditions are not in order."""
    from tracemill.curate.sources import check
    from tracemill.tracer.home import Home

    for source in found.every_source:
        check(source, Home.find(), found.base)


def _show(found: Recipe, which: str) -> None:
    rows = [("source", one.title, _options(one)) for one in found.sources]
    rows += [("rewrite", name, _options(one)) for name, one in found.rewrites.items()]
    rows += [("step", name, _options(one)) for name, one in found.steps.items()]
    rows += [("split", "", _options(found.split)), ("order", "", _options(found.order))]
    rows += [("format", "", _options(found.format))]
    rows += [("replay", "", _options(found.replay))] if found.replay else []
    rows += [("pairs", "", _options(found.pairs))] if found.pairs else []
    output.table(("part", "name", "options"), rows)
    output.say(f"The recipe {which} is in order.")


def _options(model: Any) -> str:
    values = model.model_dump(mode="json", exclude_none=True)
    return ", ".join(f"{key} = {value!r}" for key, value in values.items())


def _purpose(found: Recipe) -> str:
    """The comment that a recipe begins with."""
    lines = found.text.splitlines()
    end = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:end])


def _described(found: Recipe) -> dict[str, Any]:
    def dumped(options: Any) -> Any:
        return options.model_dump(mode="json", exclude_none=True)

    return {
        "name": found.name,
        "sha256": found.digest,
        "sources": [dumped(one) | {"name": one.title} for one in found.sources],
        "rewrites": {name: dumped(one) for name, one in found.rewrites.items()},
        "steps": {name: dumped(one) for name, one in found.steps.items()},
        "split": dumped(found.split),
        "order": dumped(found.order),
        "replay": dumped(found.replay) if found.replay else None,
        "format": dumped(found.format),
        "pairs": dumped(found.pairs) if found.pairs else None,
    }
