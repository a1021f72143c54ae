"""`tracemill improve`: the whole loop over what is in the warehouse.

In: sessions with a verified outcome, recorded or imported. Out: a data set, an adapter, a report, a verdict.
"""

from __future__ import annotations

from typing import Any

from tracemill.cli import knobs, output
from tracemill.cli.loop import Turn


def improve(
    model: knobs.Model = "smollm2-135m",
    recipe: knobs.Recipe = "default",
    where: knobs.Where = None,
    seed: knobs.Seed = 0,
    steps: knobs.Steps = None,
    max_tokens: knobs.MaxTokens = knobs.MAX_TOKENS,
    as_json: knobs.AsJson = False,
) -> None:
    """Export, train, evaluate, compare: one command from recorded sessions to a verdict."""
    from tracemill.cli.fresh import fresh_home
    from tracemill.cli.loop import Plan, fast_blas, turn

    home = fresh_home()
    fast_blas(home)
    asked = {"seed": seed} | ({"steps": steps} if steps else {})
    made = turn(home, Plan(model, asked, max_tokens, recipe, where, quiet=as_json))
    if as_json:
        output.emit_json(summary(made))
    else:
        show_places(made)


def summary(made: Turn) -> dict[str, Any]:
    """The figures of a turn of the loop that its report leads with."""
    comparison = made.report.comparison
    manifest = made.dataset.manifest
    assert manifest is not None, "an export has its manifest"
    return {
        "calls": comparison.calls.n,
        "rows": sum(count.rows for count in manifest.splits.values()),
        "base_exact": comparison.calls.base.estimate,
        "adapter_exact": comparison.calls.adapter.estimate,
        "base_direct": comparison.direct.base.estimate if comparison.direct else None,
        "adapter_direct": comparison.direct.adapter.estimate if comparison.direct else None,
        "p_value": comparison.calls.test.p,
        "verdict": comparison.verdict.word,
        "dataset": made.dataset.folder,
        "adapter": made.made.adapter.path,
        "report": made.page,
    }


def show_places(made: Turn) -> None:
    """Say where everything is."""
    output.say(f"\nreport   {made.page}")
    output.say(f"adapter  {made.made.adapter.path}")
    output.say(f"data set {made.dataset.folder}")
