"""`tracemill improve`: the whole loop over what is in the warehouse.

In: sessions with a verified outcome, recorded or imported, or what else a recipe names. Out: a data set, an
adapter, a report, a verdict; what is better and lost nothing is promoted, and only that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tracemill.cli import knobs, output
from tracemill.cli.loop import Plan, Turn

if TYPE_CHECKING:
    from tracemill.cli.rival import Rival
    from tracemill.evaluate.guard.items import Size
    from tracemill.tracer.home import Home


def improve(
    model: Annotated[
        str | None, typer.Option(help="Base model: smollm2-135m (default), a folder or a Hugging Face id.")
    ] = None,
    recipe: knobs.Recipe = "default",
    where: knobs.Where = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of initialisation, dropout and data order, by default 0.")
    ] = None,
    steps: knobs.Steps = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a completion when scoring, by default 128.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of options of `tracemill train`, such as `epochs = 2`."),
    ] = None,
    guard: Annotated[
        Literal["quick", "standard", "full"],
        typer.Option(
            help="How much of general ability is asked; see `tracemill suite list`. The items of quick chose "
            "the checkpoint, so the larger sizes are judged by their others."
        ),
    ] = "standard",
    promote: Annotated[
        bool, typer.Option("--promote/--no-promote", help="Promote the adapter if it is better.")
    ] = True,
    as_json: knobs.AsJson = False,
) -> None:
    """Export, train, evaluate, compare, and promote what is better and lost nothing.

    Exit code 1 where the adapter is not better than its base on held-out turns, or lost general ability.
    Where another adapter is promoted, the two are compared on those turns and on what else both were asked;
    what is worse is not promoted.
    To learn from a folder of chat JSONL, give a recipe whose source has kind = "chat" and a path.
    """
    from tracemill.cli.fresh import fresh_home
    from tracemill.cli.loop import fast_blas, turn
    from tracemill.train.config import merged

    options = {"model": model, "seed": seed, "steps": steps, "max_tokens": max_tokens}
    plan = _plan(merged(config, options), recipe, where, guard, as_json)
    home = fresh_home()
    fast_blas(home)
    made = turn(home, plan)
    ended = settle(home, made, promote)
    if as_json:
        output.emit_json(summary(made) | ended.plain())
    else:
        show_places(made)
        show_end(made, ended)
    if ended.against:
        output.error(f"{made.made.adapter.path.name} {ended.against}")
        raise typer.Exit(1)


def _plan(given: dict[str, Any], recipe: str, where: str | None, guard: Size, quiet: bool) -> Plan:
    """The plan that options come to; TrainError for a key that is for `tracemill train` alone."""
    from tracemill.train.config import fields
    from tracemill.train.errors import TrainError

    idle = [key for key in ("method", "adapter", "seeds", "save_every", "log") if key in given]
    if idle:
        raise TrainError(
            f"`improve` makes one adapter from its base and does not read {idle[0]!r}; drop it from the "
            "configuration, or use `tracemill train`."
        )
    chosen = given.get("model", knobs.MODEL), fields(given), given.get("max_tokens", knobs.MAX_TOKENS)
    return Plan(*chosen, recipe, where, guard=guard, quiet=quiet)


@dataclass(frozen=True)
class Ended:
    """What became of the adapter: `against` is why it was not promoted, None where nothing speaks against it.

    promoted: it is what `serve` serves now; new: since this run; before: what was promoted till then; rival:
    what came of comparing the two.
    """

    against: str | None
    promoted: bool = False
    new: bool = False
    before: str | None = None
    rival: Rival | None = None

    def plain(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {
            "promoted": self.promoted,
            "newly_promoted": self.new,
            "not_promoted_because": self.against,
            "against_promoted": self.rival.plain() if self.rival else None,
        }


def settle(home: Home, made: Turn, promote: bool = True) -> Ended:
    """Promote the adapter of a turn of the loop if it is better and lost nothing, once.

    Where another is promoted, it is not if it is worse than that one (`cli/rival.py`).
    """
    from tracemill.cli.rival import made_against_promoted
    from tracemill.train.errors import PromotionError
    from tracemill.train.promotion import current, history
    from tracemill.train.promotion import promote as promote_it

    adapter, word = made.made.adapter, made.report.comparison.verdict.word
    before = current(history(home))
    promoted = before is not None and before.weights_sha256 == adapter.card["weights_sha256"]
    if word != "better" and promoted:
        return Ended(f"is promoted and {_TOLD[word]}; `tracemill rollback` takes it back.", promoted)
    if word != "better":
        return Ended(f"{_TOLD[word]}, so it is not promoted.")
    if not promote:
        return Ended(None, promoted)
    rival = made_against_promoted(home, made)
    if rival and rival.beaten:
        return Ended(f"is better than its base and not promoted. {rival.told}", rival=rival)
    try:
        step = promote_it(home, adapter)
    except PromotionError as error:
        return Ended(f"is not promoted: {error}", promoted, rival=rival)
    return Ended(None, True, step != before, before.adapter if before else None, rival)


_TOLD = {
    "worse": "is worse than its base",
    "not better": "is not better than its base",
    "undecided": "was not shown to be better than its base",
}


def show_end(made: Turn, ended: Ended) -> None:
    """Say what was promoted and how to take it back; what speaks against it is told as an error."""
    name = made.made.adapter.path.name
    if ended.against:
        return
    if not ended.promoted:
        output.say(f"{name} is better and was not promoted, as you asked; `tracemill promote {name}` does.")
    elif not ended.new:
        output.say(f"{name} is promoted already.")
    else:
        if ended.rival:
            output.say(ended.rival.told)
        instead = f" instead of {ended.before}" if ended.before else ""
        output.say(f"{name} is promoted{instead}.", style="bold")
        output.hint("`tracemill serve` serves it; `tracemill rollback` takes it back.")


def summary(made: Turn) -> dict[str, Any]:
    """The figures of a turn of the loop that its report leads with."""
    comparison, guard = made.report.comparison, made.report.guard
    manifest = made.dataset.manifest
    assert manifest is not None, "an export has its manifest"
    assert guard is not None, "every turn of the loop asks the guard"
    return {
        "calls": comparison.calls.n,
        "rows": sum(count.rows for count in manifest.splits.values()),
        "base_exact": comparison.calls.base.estimate,
        "adapter_exact": comparison.calls.adapter.estimate,
        "base_direct": comparison.direct.base.estimate if comparison.direct else None,
        "adapter_direct": comparison.direct.adapter.estimate if comparison.direct else None,
        "p_value": comparison.calls.test.p,
        "guard_kept": guard.verdict.kept,
        "guard_notes": guard.notes,
        "verdict": comparison.verdict.word,
        "reason": comparison.verdict.reason,
        "dataset": made.dataset.folder,
        "adapter": made.made.adapter.path,
        "report": made.page,
    }


def show_places(made: Turn) -> None:
    """Say where everything is."""
    output.say(f"\nreport   {made.page}")
    output.say(f"adapter  {made.made.adapter.path}")
    output.say(f"data set {made.dataset.folder}")
