"""`tracemill sweep`: training with many settings, and which of them is best on the validation split.

In: a data set folder and a TOML file of what to vary. Out: an adapter a run, a table and a picture in
`$TRACEMILL_HOME/sweeps`, the best point, and a warning of what its score is worth. The test split is not
read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import knobs, output

if TYPE_CHECKING:
    from tracemill.curate.dataset import Dataset
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter
    from tracemill.train.base import BaseModel
    from tracemill.train.finetune import Finetuned
    from tracemill.train.sweep import Point, Ran, Sweep

TABLE, PICTURE = "sweep.json", "sweep.svg"


def sweep(
    dataset: Annotated[Path, typer.Argument(help="Folder of a data set, as `tracemill export` makes it.")],
    config: Annotated[
        Path,
        typer.Argument(
            # The backslash keeps rich from taking the name of a table for a style.
            help=r"TOML file: keys of `tracemill train --config`, and below \[grid] lists of values such as "
            r"`rank = [4, 8]`, or below \[search] ranges for Optuna such as "
            r"`rank = {low = 4, high = 32}`, with `trials = 20` at the top."
        ),
    ],
    as_json: knobs.AsJson = False,
) -> None:
    """Train with every point of a grid, or those that Optuna proposes, and rank them on the validation split.

    With `seeds = [0, 1, 2]` in the file each point is trained so many times. Runs that were made before are
    reused, and one that was stopped or killed goes on: give the same command again.
    """
    from tracemill.cli.loop import fast_blas
    from tracemill.cli.tuning import begin
    from tracemill.curate.chat.template import Chat
    from tracemill.curate.dataset import load
    from tracemill.evaluate.holdout import check_rows
    from tracemill.tracer.home import Home
    from tracemill.train.errors import TrainError
    from tracemill.train.sweep import ranked, read_sweep
    from tracemill.train.sweep_search import library, search

    home = Home.find()
    data, plan = load(dataset), read_sweep(config)
    if plan.space:
        library()  # what is missing is said before anything is trained
    fast_blas(home)
    output.hint(
        f"{plan.count} points, {len(plan.seeds)} seeds each: up to {plan.count * len(plan.seeds)} runs. "
        "A sweep that is stopped goes on with the same command."
    )
    made: list[Finetuned] = []
    points: list[Point] = []
    with output.progress() as progress:
        base, start = begin(home, plan.shared, progress)
        if not check_rows(data.rows("valid"), Chat.load(base.path)):
            raise TrainError(
                f"{data.folder}/valid.jsonl asks for no tool call, so there is nothing to choose by; "
                "export more sessions."
            )

        def worth(chosen: dict[str, Any]) -> float | None:
            points.append(_run(home, data, base, start, plan, chosen, made, progress))
            progress("points of the sweep", len(points), plan.count)
            return points[-1].worth

        if plan.space:
            search(plan.space, plan.trials, worth)
        else:
            for chosen in plan.points:
                worth(chosen)
    order = ranked(points)
    if order[0].failed:
        raise TrainError(f"No point of the sweep gave an adapter. The first: {points[0].failed}")
    folder, told = _written(home, data, base, plan, order, made)
    if as_json:
        output.emit_json({**told, "folder": folder, "picture": folder / PICTURE})
    else:
        _show(order, told, folder)


def _run(
    home: Home,
    data: Dataset,
    base: BaseModel,
    start: Adapter | None,
    plan: Sweep,
    chosen: dict[str, Any],
    made: list[Finetuned],
    progress: output.ProgressCallback,
) -> Point:
    """Train with the knobs `chosen`, once a seed; what fails is told and ends the point, not the sweep."""
    from tracemill.cli.tuning import fine_tune, settle
    from tracemill.train.errors import TrainError
    from tracemill.train.finetune import Conduct
    from tracemill.train.sweep import Point

    try:
        given = plan.given(chosen)
    except TrainError as error:
        return Point(chosen, [], str(error))
    settings, _ = settle(data, given, start)
    conduct = Conduct(given.get("save_every", Conduct.save_every), log=given.get("log"))
    runs: list[Ran] = []
    for seed in plan.seeds:
        try:
            one = fine_tune(
                home, data, base, replace(settings, seed=seed), given.get("max_tokens", knobs.MAX_TOKENS),
                progress, conduct, start,
            )  # fmt: skip
        except TrainError as error:
            return Point(chosen, runs, f"seed {seed}: {error}")
        made.append(one)
        runs.append(_ran(one))
    return Point(chosen, runs)


def _ran(made: Finetuned) -> Ran:
    from tracemill.train.choice import guard_lost
    from tracemill.train.sweep import Ran

    card = made.adapter.card
    left = 1 - guard_lost(card["before"]["guard"], card["chosen"]["guard"]) if card["before"] else None
    return Ran(
        card["settings"]["seed"],
        str(made.adapter.path),
        card["best_score"],
        card["guarded"],
        left,
        made.reused,
    )


def _written(
    home: Home, data: Dataset, base: BaseModel, plan: Sweep, order: list[Point], made: list[Finetuned]
) -> tuple[Path, dict[str, Any]]:
    """The folder with the table and the picture of the sweep, and what stands in the table."""
    from tracemill.train.adapter import write_folder
    from tracemill.train.sweep import optimism
    from tracemill.train.sweep_plot import picture

    card = made[0].adapter.card
    items, runs = card["selection_items"], sum(len(point.runs) for point in order)
    best = order[0]
    flatters = optimism(best.mean or 0.0, items, runs)
    told: dict[str, Any] = {
        "dataset": str(data.folder),
        "dataset_sha256": data.digest,
        "base": base.name,
        "base_score": card["before"]["score"] if card["before"] else None,
        "selection_items": items,
        "points": [point.asdict() for point in order],
        "best": {"knobs": best.knobs, "adapter": best.best_run.adapter, "flatters_by": flatters},
        "note": _note(best, base, data, items, runs, flatters),
    }
    asked = {"shared": plan.shared, "seeds": plan.seeds, "points": plan.points, "trials": plan.trials}
    asked["space"] = {key: str(one) for key, one in plan.space.items()}
    identity = json.dumps([data.digest, base.digest, asked], sort_keys=True)
    folder = home.root / "sweeps" / f"{data.name}-{hashlib.sha256(identity.encode()).hexdigest()[:10]}"

    def fill(draft: Path) -> None:
        (draft / TABLE).write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        (draft / PICTURE).write_text(picture(order, told["base_score"]), "utf-8")

    home.ensure(folder.parent)
    write_folder(folder, fill)
    return folder, told


def _note(best: Point, base: BaseModel, data: Dataset, items: int, runs: int, flatters: float) -> str:
    from tracemill.train.choice import half_width

    half = half_width(best.mean or 0.0, items)
    more = f", by chance alone up to about {100 * flatters:.0f} points too high" if flatters else ""
    command = f"tracemill evaluate {base.name} --adapter {best.best_run.adapter} --dataset {data.folder}"
    return (
        f"The best of {runs} runs was chosen by the very {items} tool calls that its score is a share of: "
        f"that score flatters{more}. Its 95% interval is +-{100 * half:.0f} points or more, and points that "
        f"differ by less cannot be told apart. Before you believe it, score it once on calls that chose "
        f"nothing: {command} --split test"
    )


def _show(order: list[Point], told: dict[str, Any], folder: Path) -> None:
    from tracemill.train.sweep_plot import told as told_of
    from tracemill.train.sweep_plot import value_told

    names = list(order[0].knobs)
    rows = [
        (*map(value_told, point.knobs.values()), len(point.runs), *_scores(point), "best" * (at == 0))
        for at, point in enumerate(order)
    ]
    output.table((*names, "seeds", "exact tool calls on valid", "95% interval", "general ability", ""), rows)
    for point in order:
        if point.failed:
            output.hint(f"{told_of(point.knobs)}: {point.failed}")
    if not order[0].guarded:
        output.hint("Every point lost more general ability than --guard-loss allows; lower rates lose less.")
    output.say(f"picture  {folder / PICTURE}")
    output.say(f"table    {folder / TABLE}")
    output.say(f"best     {told['best']['adapter']}")
    output.say(told["note"], style="bold")


def _scores(point: Point) -> tuple[str, str, str]:
    if point.mean is None:
        return "failed", "", ""
    interval = (
        "" if point.interval is None else "{:.1f}% to {:.1f}%".format(*(100 * end for end in point.interval))
    )
    left = [run.general_ability for run in point.runs if run.general_ability is not None]
    return f"{100 * point.mean:.1f}%", interval, f"{100 * min(left):.0f}%" if left else ""
