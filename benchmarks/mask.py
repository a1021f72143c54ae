"""Loss on every assistant turn against loss on the last message: `python benchmarks/mask.py` writes
`benchmarks/results/mask.md`. An hour on two cores.

    .venv/bin/python benchmarks/mask.py [--seeds 0,1,2] [--steps 60]

Punie's phase26-lsp-final (train.jsonl, in `../shared/data`) is split once, so that near copies stay on one
side. Two data sets are made of it which differ in nothing but weights: in one every assistant turn is
learned, in the other the last of each conversation only, as mlx-lm's `--mask-prompt` does. SmolLM2-135M is
trained on both with the same settings, steps and seeds; the adapter after the last step answers the held-
out turns. State goes to a temporary folder, or to TRACEMILL_HOME where that is set: what is done there is
used again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tracemill.curate.chat.codec import decode
from tracemill.curate.dataset import load
from tracemill.evaluate.results import Stored, headers, read_results
from tracemill.evaluate.statistics import graded_difference, permutation, proportion
from tracemill.tracer.home import Home
from tracemill.train import blas
from tracemill.train.base import resolve
from tracemill.train.choice import Judged
from tracemill.train.defaults import choose

RESULT = Path(__file__).parent / "results" / "mask.md"
SOURCE = Path(__file__).parents[2] / "shared" / "data" / "punie" / "phase26-lsp-final" / "train.jsonl"
MODEL = "smollm2-135m"
ARMS = {"exact": "every assistant turn", "last": "the last message"}
RECIPE = """name = "mask"
[source]
kind = "chat"
path = {path}
[rewrites.wire]
[steps.learnable]
[split]
valid = 0.1
test = 0.2
seed = 0
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    with tempfile.TemporaryDirectory(prefix="tracemill-mask-") as scratch:
        home = Home(Path(os.environ.get("TRACEMILL_HOME", scratch)))
        folders = data_sets(home)
        scored = {arm: [score(home, folders[arm], asked.steps, seed) for seed in seeds] for arm in ARMS}
        learned = {arm: calls_learned(folder) for arm, folder in folders.items()}
    RESULT.write_text(page(scored, learned, seeds, asked.steps), "utf-8")
    print(RESULT.read_text("utf-8"))


def tracemill(home: Home, *words: object) -> dict[str, Any]:
    """What a command prints as JSON."""
    command = [str(Path(sys.executable).with_name("tracemill")), *map(str, words), "--json"]
    environment = {**os.environ, "TRACEMILL_HOME": str(home.root)}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def data_sets(home: Home) -> dict[str, Path]:
    """A folder for each arm, with the same rows: in `last` only the last assistant turn has a weight."""
    home.ensure(home.root)
    work = home.root / "mask"
    if not work.exists():
        recipe = home.root / "mask.toml"
        recipe.write_text(RECIPE.format(path=json.dumps(str(SOURCE))), "utf-8")
        made = Path(tracemill(home, "export", "--recipe", recipe, "--model", MODEL)["folder"])
        part = home.root / "mask.part"
        for arm in ARMS:
            (part / arm).mkdir(parents=True)
            for split in ("train", "valid", "test"):
                shutil.copy(made / f"{split}.jsonl", part / arm)
        train = part / "last" / "train.jsonl"
        rows = [json.loads(line) for line in train.read_text("utf-8").splitlines()]
        for row in rows:
            assistant = [message for message in row["messages"] if message["role"] == "assistant"]
            for message in assistant[:-1]:
                message["weight"] = 0
        train.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        part.rename(work)
    return {arm: work / arm for arm in ARMS}


def calls_learned(folder: Path) -> int:
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text("utf-8").splitlines()]
    learned = [
        message
        for row in rows
        for message in row["messages"]
        if message["role"] == "assistant" and message.get("weight", 1)
    ]
    return sum(len(decode(message["content"]).calls) for message in learned)


def score(home: Home, folder: Path, steps: int, seed: int) -> Stored:
    """The held-out turns as the adapter after the last step answered them."""
    adapter = trained(home, folder, steps, seed)
    tracemill(home, "evaluate", MODEL, "--dataset", folder, "--adapter", adapter, "--max-tokens", 128)
    (found,) = [path for path, header in headers(home) if Path(header.adapter or "").name == adapter.name]
    return read_results(found)


def trained(home: Home, folder: Path, steps: int, seed: int) -> Path:
    """The adapter after `steps` steps: no checkpoint is chosen, so none is judged."""
    blas.activate(home)
    from tracemill.train.finetune import finetune  # imports MLX, which takes the BLAS that is there

    data = load(folder)
    settings, _ = choose(
        len(data.rows("train")), {"steps": steps, "seed": seed, "every": steps, "patience": 0}
    )
    made = finetune(home, data, resolve(MODEL, home), settings, lambda *_: Judged(None), "nobody", say)
    return made.adapter.path


def say(stage: str, done: int, total: int) -> None:
    if done % 10 == 0:
        print(f"{stage}: {done} of {total}", file=sys.stderr)


def page(scored: dict[str, list[Stored]], learned: dict[str, int], seeds: list[int], steps: int) -> str:
    lines = [
        "# Loss on every assistant turn against loss on the last message",
        "",
        f"SmolLM2-135M on the train file of phase26-lsp-final, {steps} steps with Tracemill's defaults,",
        f"seeds {', '.join(map(str, seeds))}, the adapter after the last step, on {platform.machine()}.",
        "The same rows, order and settings: only the turns that bear loss differ.",
        "Held out: a fifth of the rows; near copies stand on one side.",
        "Exact means the same calls with the same arguments.",
        "",
        "| loss on | tool calls learned | held-out calls | exact, seed by seed | mean | right tool, mean | "
        "held-out answers without a call | direct, mean |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for arm, runs in scored.items():
        calls, answers = of_kind(runs, "call"), of_kind(runs, "direct")
        exact = [statistics.mean(one.score.exact for one in run) for run in calls]
        tool = statistics.mean(one.score.name for run in calls for one in run)
        direct = statistics.mean(one.score.right for run in answers for one in run)
        each = ", ".join(f"{one:.1%}" for one in exact)
        lines.append(
            f"| {ARMS[arm]} | {learned[arm]} | {len(calls[0])} | {each} | "
            f"{statistics.mean(exact):.1%} | {tool:.1%} | {len(answers[0])} | {direct:.1%} |"
        )
    means, sessions = zip(*(means_of(of_kind(scored[arm], "call")) for arm in ("last", "exact")), strict=True)
    gain = graded_difference(*means, sessions[0])
    test = permutation(*means, sessions[0])
    first = {arm: of_kind(runs, "call")[0] for arm, runs in scored.items()}
    shares = {arm: proportion([one.score.exact for one in run], sessions[0]) for arm, run in first.items()}
    lines += [
        "",
        f"Every turn less last message, exact calls, mean of the seeds: {100 * gain.estimate:+.1f} points "
        f"(95% {100 * gain.low:+.1f} to {100 * gain.high:+.1f}, bootstrap over conversations; "
        f"p = {test.p:.2g}, permutation; {test.gained} conversations better, {test.lost} worse).",
        f"Of seed {seeds[0]} alone: "
        + ", ".join(
            f"{ARMS[arm]} {share.estimate:.1%} ({share.low:.1%} to {share.high:.1%})"
            for arm, share in shares.items()
        )
        + ".",
        "",
        "Every call of this data is one of `execute_code`, so the right tool says little. What the last",
        "message leaves out are calls that begin a conversation: short ones (median 188 characters, of",
        "last messages 325), which can be right to the letter.",
        "",
        f"Made by `python benchmarks/mask.py --steps {steps}`.",
        "",
    ]
    return "\n".join(lines)


def of_kind(runs: list[Stored], kind: str) -> list[list[Any]]:
    return [[item for item in run.items if item.kind == kind] for run in runs]


def means_of(runs: list[list[Any]]) -> tuple[list[float], list[str]]:
    """Each item's share of seeds that were right, and its conversation."""
    shares = [statistics.mean(float(one.score.exact) for one in items) for items in zip(*runs, strict=True)]
    return shares, [one.session_id for one in runs[0]]


if __name__ == "__main__":
    main()
