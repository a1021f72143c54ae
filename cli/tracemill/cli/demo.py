"""`tracemill demo`: the whole loop on a small coding agent, from its sessions to a better model.

In: nothing. Out: recorded sessions, a data set, an adapter, a report, and one JSON object with `--json`.
State goes to `$TRACEMILL_HOME/demo` (`demo-TEACHER` with one), so that its sessions never mix with yours
or with another teacher's.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Annotated

import typer

from tracemill.cli import knobs, output
from tracemill.train.settings import Settings

LIVE_TASKS = 12
MAX_TOKENS = 56
"""No demonstrated turn is longer than 52 tokens."""
SETTINGS = Settings(
    steps=130,
    batch_size=5,
    learning_rate=3e-4,
    rank=8,
    layers=12,
    checkpoints=1,
    guard_loss=0.1,
    guard_floor=0.0,
)
"""What `benchmarks/results/demo.md` was measured with; one checkpoint, because scoring takes its time."""
COUNTS = "SELECT (FROM sessions SELECT count(*)) AS sessions, (FROM tool_calls SELECT count(*)) AS tool_calls"
QUESTION = "SELECT tool, calls, errors, median_ms FROM tool_stats ORDER BY calls DESC"


def demo(
    teacher: Annotated[
        str | None,
        typer.Option(help="Pydantic AI model that gives the demonstrations, instead of the scripted policy."),
    ] = None,
    seed: knobs.Seed = 0,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = SETTINGS.steps,
    as_json: knobs.AsJson = False,
) -> None:
    """Record a coding agent at work, train a small model on it, and promote it if it got better.

    About 400 tasks with real tools on scratch projects. Without --teacher a scripted policy demonstrates
    them: it knows the tasks; the tools it calls really run, and what is recorded is real.
    """
    from tracemill.cli.improve import settle, show_end, show_places, summary
    from tracemill.cli.loop import Plan, fast_blas, turn
    from tracemill.demo.live import live_tasks
    from tracemill.demo.record import record
    from tracemill.demo.tasks import tasks
    from tracemill.tracer.home import Home
    from tracemill.warehouse.ingest import ingest
    from tracemill.warehouse.read import query

    began = time.monotonic()
    home = Home(Home.find().root / "-".join(["demo", *re.findall(r"[\w.]+", teacher or "")]))
    fast_blas(home)
    with output.progress() as progress:
        recorded = record(home, tasks(), teacher=teacher, progress=progress)
        ingest(home, progress)
    counts = query(home, COUNTS).row(0, named=True)
    if not as_json:
        now, before = recorded.good + recorded.bad, recorded.skipped
        output.say(f"Demonstrations by {teacher or 'a scripted policy, not a model'}.")
        output.say(f"{now} sessions recorded now, {before} before; {counts['tool_calls']} real tool calls.")
        output.say(f"\nA first answer: tracemill sql {QUESTION!r}", style="bold")
        answer = query(home, QUESTION)
        output.table(answer.columns, answer.rows())
    settings = replace(SETTINGS, seed=seed, steps=steps)
    plan = Plan("smollm2-135m", vars(settings), MAX_TOKENS, live_tasks=live_tasks(LIVE_TASKS), quiet=as_json)
    made = turn(home, plan)
    ended = settle(home, made)
    seconds = round(time.monotonic() - began, 1)
    live = made.report.live
    assert live is not None, "the plan has live tasks"
    if as_json:
        lives = {
            "live_tasks": live.group.n,
            "base_live": live.group.base.estimate,
            "adapter_live": live.group.adapter.estimate,
            "seconds": seconds,
        }
        output.emit_json({**counts, **summary(made), **ended.plain(), **lives})
        return
    show_places(made)
    show_end(made, ended)
    if ended.against:
        output.hint(f"{made.made.adapter.path.name} {ended.against}")
    output.say(f"traces   {home.snapshot} (TRACEMILL_HOME={home.root} tracemill sql ...)")
    output.say(f"{seconds:.0f} seconds")
