"""`tracemill label`: how a session turned out, said by a person."""

from __future__ import annotations

from typing import Annotated

import typer

from tracemill.cli import output


def label(
    session: Annotated[str, typer.Argument(help="Session id, or the beginning of one.")],
    good: Annotated[bool | None, typer.Option("--good/--bad", help="How the session turned out.")] = None,
    score: Annotated[float | None, typer.Option(min=-1, max=1, help="What you think of it.")] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Say how a session turned out, and why.

    The newest outcome of a session counts; --score is kept beside it as feedback.
    """
    if good is None and score is None:
        raise typer.BadParameter("give --good, --bad or --score.")
    from tracemill.cli.fresh import fresh_home
    from tracemill.warehouse import store
    from tracemill.warehouse.sessions import find

    home = fresh_home()
    session_id = find(home, session)
    outcome = None if good is None else "good" if good else "bad"
    store.label(home, session_id, outcome=outcome, score=score, note=note)
    said = [word for word in (outcome, None if score is None else f"score {score:g}") if word]
    output.say(f"{session_id}: {', '.join(said)}.")
