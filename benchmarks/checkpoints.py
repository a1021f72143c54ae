"""Which checkpoint to keep: `python benchmarks/checkpoints.py [SEEDS]` writes
`benchmarks/results/checkpoints.md`. Half an hour on two cores.

The demo's sessions and settings, but a checkpoint every 26 steps. Each is judged on the validation split by
exact tool calls and by loss; the three that could be kept (most accurate, lowest loss, last) then answer the
held-out calls. The guard is not asked, so that nothing but the rule differs. In: seeds, by default 0,1,2.
Out: a table. State goes to a temporary folder, or to TRACEMILL_HOME where that is set: there, seeds that are
done are kept.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracemill.cli.demo import MAX_TOKENS, SETTINGS
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.curate.export import export
from tracemill.demo.record import record
from tracemill.demo.tasks import tasks
from tracemill.evaluate.statistics import graded_difference, permutation, proportion
from tracemill.tracer.home import Home
from tracemill.train import blas
from tracemill.train.base import resolve
from tracemill.train.choice import Checkpoint, Judged, best
from tracemill.warehouse.ingest import ingest

RESULT = Path(__file__).parent / "results" / "checkpoints.md"
MODEL = "smollm2-135m"
EVERY = 26
RULES = {"accuracy": "most accurate", "loss": "lowest loss", "last": "last"}


def main() -> None:
    seeds = [int(seed) for seed in (sys.argv[1] if len(sys.argv) > 1 else "0,1,2").split(",")]
    with tempfile.TemporaryDirectory(prefix="tracemill-checkpoints-") as scratch:
        home = Home(Path(os.environ.get("TRACEMILL_HOME", scratch)))
        blas.activate(home)
        record(home, tasks(), progress=say)
        ingest(home)
        base = resolve(MODEL, home).path
        dataset = export(home, chat=Chat.load(base))
        made = {seed: once(home, base, dataset, seed) for seed in seeds}
    RESULT.write_text(page(made), "utf-8")
    print(RESULT.read_text("utf-8"))


def once(home: Home, base: Path, dataset: Dataset, seed: int) -> dict[str, Any]:
    """What a seed gave: its checkpoints, and by rule the step and the held-out calls, right or not."""
    kept = home.root / f"checkpoints-{seed}.json"
    if not kept.exists():
        kept.write_text(json.dumps(trained(base, dataset, seed)), "utf-8")
    return json.loads(kept.read_text("utf-8"))


def trained(base: Path, dataset: Dataset, seed: int) -> dict[str, Any]:
    """Train, keep every checkpoint's weights, and let those that a rule keeps answer."""
    from tracemill.evaluate.holdout import call_judge, evaluate_rows  # these import MLX, after the BLAS
    from tracemill.train.examples import sequences, valid_sequences
    from tracemill.train.finetune import load_base
    from tracemill.train.loop import fit
    from tracemill.train.trainee import resolved, weights

    settings = replace(SETTINGS, every=EVERY, guard_loss=None, seed=seed)
    chat, model = Chat.load(base), load_base(base)
    settings = resolved(model, settings)
    calls = call_judge(dataset.rows("valid"), MAX_TOKENS, say)
    states: list[dict[str, Any]] = []

    def judge() -> Judged:
        states.append(weights(model))
        return calls(model, chat)

    found = fit(
        model,
        sequences(chat, dataset.rows("train"), settings.context).parts,
        settings,
        judge,
        valid=valid_sequences(chat, dataset, settings.context),
        progress=say,
    ).found
    answers: dict[int, dict[str, bool]] = {}
    sessions: dict[str, str] = {}
    for step in sorted({one.step for one in by_rule(found).values()}):
        at = next(at for at, one in enumerate(found) if one.step == step)
        model.load_weights(list(states[at].items()), strict=False)
        results = evaluate_rows(model, chat, dataset.rows("test"), max_tokens=MAX_TOKENS, progress=say)
        asked = [one for one in results if one.item.kind == "call"]
        answers[step] = {one.item.id: one.score.right for one in asked}
        sessions = {one.item.id: one.item.session_id for one in asked}
    return {
        "checkpoints": [one.asdict() for one in found],
        "kept": {
            rule: {"step": one.step, "right": answers[one.step]} for rule, one in by_rule(found).items()
        },
        "sessions": sessions,
    }


def by_rule(found: list[Checkpoint]) -> dict[str, Checkpoint]:
    """The checkpoint that each rule keeps."""
    accurate = best(None, found, None)
    assert accurate is not None
    return {
        "accuracy": accurate,
        "loss": min(found, key=lambda one: one.valid_loss or 0.0),
        "last": found[-1],
    }


def say(stage: str, done: int, total: int) -> None:
    if done % 10 == 0:
        print(f"{stage}: {done} of {total}", file=sys.stderr)


def page(made: dict[int, dict[str, Any]]) -> str:
    first = next(iter(made.values()))
    lines = [
        "# Which checkpoint to keep",
        "",
        f"The demo's data and settings, a checkpoint every {EVERY} of {SETTINGS.steps} steps, judged on the",
        f"validation split ({first['checkpoints'][0]['judged']['n']} calls) and asked "
        f"{len(first['sessions'])} held-out calls. {platform.machine()}, {os.cpu_count()} cores.",
        "",
        "| seed | step | exact on validation | loss on validation | kept as | exact on held-out calls |",
        "|---:|---:|---:|---:|---|---|",
    ]
    for seed, one in made.items():
        for checkpoint in map(Checkpoint.fromdict, one["checkpoints"]):
            kept = [rule for rule in RULES if one["kept"][rule]["step"] == checkpoint.step]
            held = interval(one, kept[0]) if kept else ""
            lines.append(
                f"| {seed} | {checkpoint.step} | {checkpoint.judged.score:.1%} | "
                f"{checkpoint.valid_loss:.4f} | {', '.join(RULES[rule] for rule in kept)} | {held} |"
            )
    lines += ["", "| kept | held-out calls right, seed by seed | mean |", "|---|---|---:|"]
    for rule, name in RULES.items():
        shares = [statistics.mean(one["kept"][rule]["right"].values()) for one in made.values()]
        each = ", ".join(f"{share:.1%}" for share in shares)
        lines.append(f"| {name} | {each} | {statistics.mean(shares):.1%} |")
    lines += ["", *(against(made, rule) for rule in ("loss", "last")), ""]
    return "\n".join([*lines, "Made by `python benchmarks/checkpoints.py`.", ""])


def interval(one: dict[str, Any], rule: str) -> str:
    right = one["kept"][rule]["right"]
    share = proportion(list(right.values()), [one["sessions"][item] for item in right])
    return f"{share.estimate:.1%} ({share.low:.1%} to {share.high:.1%})"


def against(made: dict[int, dict[str, Any]], rule: str) -> str:
    """The most accurate checkpoint less another, over the means of the seeds."""
    sessions = next(iter(made.values()))["sessions"]

    def shares(which: str) -> list[float]:
        return [
            statistics.mean(one["kept"][which]["right"][item] for one in made.values()) for item in sessions
        ]

    pair = shares(rule), shares("accuracy"), list(sessions.values())
    gain, test = graded_difference(*pair), permutation(*pair)
    return (
        f"Most accurate less {RULES[rule]}: {100 * gain.estimate:+.1f} points "
        f"({100 * gain.low:+.1f} to {100 * gain.high:+.1f}, bootstrap over sessions; p = {test.p:.2g}).  "
    )


if __name__ == "__main__":
    main()
