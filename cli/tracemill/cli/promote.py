"""`tracemill promote` and `tracemill rollback`: which adapter `serve` serves.

In: an adapter that an evaluation found better than its base, and none worse than what is promoted. Out: it is
promoted, and the history of who promoted what, when and on which verdict has one more line.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output
from tracemill.tracer.home import Home

if TYPE_CHECKING:
    from tracemill.train.promotion import Step

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def promote(
    adapter: Annotated[
        str | None,
        typer.Argument(
            help="Folder of an adapter, or its name in $TRACEMILL_HOME/adapters, or its beginning."
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Only say what is promoted, and what was before.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it whatever was found; the history keeps that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make an adapter the one that `tracemill serve` serves.

    Of the newest verdicts on it, one on each suite that it was compared on,
    one must be `better` and none `worse`. An adapter that lost general ability is `worse` on the guard.
    What was found on rows of its own training or validation splits does not speak for it.

    Where another is promoted, the two are compared on every suite that both were asked alike; what is worse
    on one of them is refused. Where there is no such suite, that is said.
    """
    if (adapter is None) != show or (show and force):
        raise typer.BadParameter("give an adapter to promote, or --show alone.")
    if adapter is None:
        _show(Home.find(), as_json)
        return
    from tracemill.cli.fresh import fresh_home
    from tracemill.cli.rival import against_promoted
    from tracemill.train.finding import find_adapter
    from tracemill.train.promotion import current, history, objection, verdicts
    from tracemill.train.promotion import promote as promote_it

    home = fresh_home()
    before = current(history(home))
    found = find_adapter(home, adapter)
    rival = against_promoted(home, found)
    beaten = rival.told if rival and rival.beaten else None
    step = promote_it(home, found, beaten=beaten, force=force)
    known = verdicts(home, found)
    if rival:
        output.hint(rival.told)
    if step.forced:
        why = f"no verdict speaks for {step.adapter} ({step.verdict or 'it was never compared'})"
        if rival and rival.beaten and not objection(found, known):
            why = f"{step.adapter} is worse than {rival.name}"
        output.hint(f"Forced: {why}; the history keeps that.")
    if not any(one.suite.startswith("guard/") for one in known):
        output.hint(
            f"Nobody asked what {step.adapter} lost of its base's general ability: "
            f"`tracemill evaluate {found.card['base']} --adapter {found.path} --suite guard` does."
        )
    if as_json:
        against = rival.plain() if rival else None
        output.emit_json({"changed": step != before, **step.model_dump(), "against_promoted": against})
        return
    output.say(f"{step.adapter} {'is promoted already.' if step == before else 'is promoted.'}")
    output.hint("`tracemill serve` serves it; `tracemill rollback` takes it back.")


def rollback(as_json: AsJson = False) -> None:
    """Take the last promotion back: what was promoted before it is promoted again."""
    from tracemill.train.promotion import rollback as roll_back

    taken, step = roll_back(Home.find())
    if as_json:
        output.emit_json({"taken_back": taken.adapter, **step.model_dump()})
        return
    now = f"{step.adapter} is promoted again." if step.adapter else "Nothing is promoted now."
    output.say(f"{taken.adapter} is taken back. {now}")
    output.hint("A server that runs goes on with what it serves; start it anew.")


def _show(home: Home, as_json: bool) -> None:
    from tracemill.train.promotion import current, folder_of, history

    steps = history(home)
    now = current(steps)
    gone = now is not None and folder_of(home, now) is None
    if as_json:
        shown: dict[str, Any] | None = now.model_dump() if now else None
        output.emit_json({"promoted": shown, "gone": gone, "history": [step.model_dump() for step in steps]})
        return
    if steps:
        output.table(("when", "what", "adapter", "verdict", "on", "by"), [_line(step) for step in steps])
    if now is None:
        output.say("No adapter is promoted; `tracemill promote ADAPTER` promotes one.")
    elif gone:
        output.say(
            f"{now.adapter} is promoted, but gone: there is no folder {now.path}; `tracemill rollback`."
        )
    else:
        output.say(f"{now.adapter} is promoted.")


def _line(step: Step) -> tuple[object, ...]:
    verdict = (step.verdict or "never compared") if step.adapter else ""
    return (
        datetime.fromtimestamp(step.at, timezone.utc),
        step.action,
        step.adapter or "(none)",
        f"{verdict}, forced" if step.forced else verdict,
        step.suite,
        step.by,
    )
