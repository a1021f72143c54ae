"""Training against mlx_lm.lora: `python benchmarks/training.py [STEPS]` writes
`benchmarks/results/training.md`.

Both train SmolLM2-135M on the same rows, in the same batches and order, from the same LoRA weights, with the
same optimizer, on the targets that mlx-lm's `--mask-prompt` gives: the last message, and the one token of
padding after it that mlx-lm adds. Each runs in a process of its own, with OpenBLAS under both. In: the number
of steps (default: as each data set says); the data in `../shared/data`. Out: rows and targets per second,
peak memory, losses.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.metadata
import io
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tracemill.curate.chat.codec import Call, encode
from tracemill.tracer.home import Home
from tracemill.train import base, blas
from tracemill.train.cores import usable_cores

RESULT = Path(__file__).parent / "results" / "training.md"
DATA = Path(__file__).parents[2] / "shared" / "data"
CONTEXT = 2048
LAYERS = 16
RATE = 1e-4
SEED = 0


@dataclass(frozen=True)
class Run:
    """What one process measured; the first step, in which kernels are compiled, is in `losses` only."""

    seconds: list[float]
    losses: list[float]
    targets: list[int]
    tokens: list[int]
    peak: int
    blas: str


@dataclass(frozen=True)
class Case:
    """A data set to train on: how many of its rows go into a step, and how many steps are taken."""

    label: str
    batch: int
    steps: int
    rows: Callable[[Any], list[dict[str, Any]]]


def tau_bench() -> list[list[dict[str, Any]]]:
    """The sessions as chat messages, tool calls written as their text."""
    sessions = json.loads(gzip.decompress((DATA / "tau-bench/gpt-4o-airline.json.gz").read_bytes()))
    return [[tau_message(message) for message in session["traj"]] for session in sessions]


def tau_message(message: dict[str, Any]) -> dict[str, Any]:
    text = message.get("content") or ""
    functions = [call["function"] for call in message.get("tool_calls") or []]
    calls = [Call(function["name"], json.loads(function["arguments"])) for function in functions]
    return {"role": message["role"], "content": encode(text, calls) if calls else text}


def first_turns(_tokenizer: Any) -> list[dict[str, Any]]:
    """The system prompt, the first question and its answer: short rows after one long prefix."""
    rows = [
        session[:3] for session in tau_bench() if [m["role"] for m in session[1:3]] == ["user", "assistant"]
    ]
    return [{"messages": row} for row in rows]


def sessions(tokenizer: Any) -> list[dict[str, Any]]:
    """Each session up to its last turn that fits into the context."""
    rows: list[dict[str, Any]] = []
    for session in tau_bench():
        turns = [at for at, message in enumerate(session) if message["role"] == "assistant"]
        fitting = [at for at in turns if length(tokenizer, session[: at + 1]) < CONTEXT]
        rows += [{"messages": session[: at + 1]} for at in fitting[-1:]]
    return rows


def python(_tokenizer: Any) -> list[dict[str, Any]]:
    """Questions and answers that have nothing in common but a sentence of system prompt."""
    lines = (DATA / "punie/diverse-python-5k/train.jsonl").read_text().splitlines()
    return [{"messages": json.loads(line)["messages"]} for line in lines]


def length(tokenizer: Any, messages: list[dict[str, Any]]) -> int:
    return len(tokenizer.apply_chat_template(messages, return_dict=False))


# In larger batches of the long rows mlx-lm needs more than 24 GB.
CASES = {
    "agent": Case("agent rows: one long prompt, first turns (tau-bench)", 4, 2, first_turns),
    "tau-bench": Case("sessions up to the context (tau-bench)", 2, 3, sessions),
    "python": Case("rows that share nothing (diverse-python-5k)", 8, 8, python),
}


def write_rows(case: Case, count: int, model: Path, folder: Path) -> None:
    """A seeded sample of `count` rows as mlx-lm's train.jsonl."""
    from transformers import AutoTokenizer

    rows = case.rows(AutoTokenizer.from_pretrained(model))
    chosen = random.Random(SEED).sample(rows, count)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))


def mlx_lm(model_path: Path, folder: Path, batch: int, steps: int) -> dict[str, Any]:
    """What `mlx_lm.lora --train --mask-prompt` does, with its own data set, loop and reports."""
    import mlx_lm.lora as lora
    import numpy as np
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.tuner.datasets import load_dataset
    from mlx_lm.utils import load

    class Reports(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            found["seconds"].append(1 / train_info["iterations_per_second"])
            found["losses"].append(train_info["train_loss"])

    found: dict[str, Any] = {"seconds": [], "losses": []}
    args = SimpleNamespace(**{
        **lora.CONFIG_DEFAULTS, "model": str(model_path), "train": True, "data": str(folder), "seed": SEED,
        "num_layers": LAYERS, "batch_size": batch, "iters": steps, "learning_rate": RATE,
        "steps_per_report": 1,
        "adapter_path": str(folder / "adapter"), "save_every": steps + 1, "max_seq_length": CONTEXT,
        "mask_prompt": True,
    })  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        np.random.seed(SEED)
        model, tokenizer = load(args.model)
        train, valid, _ = load_dataset(args, tokenizer)
        lora.train_model(args, model, train, valid, Reports())
    return found


def tracemill(model_path: Path, folder: Path, batch: int, steps: int) -> dict[str, Any]:
    """The same steps by way of `Gradients`."""
    import mlx.core as mx
    import mlx.optimizers as optim
    import numpy as np
    from transformers import AutoTokenizer

    from tracemill.train.finetune import load_base
    from tracemill.train.forward import cut, lane_streams
    from tracemill.train.gradients import Gradients
    from tracemill.train.settings import Settings
    from tracemill.train.trainee import prepare

    parts = targets_of_mlx_lm(AutoTokenizer.from_pretrained(model_path), folder)
    model = load_base(model_path)
    prepare(model, Settings(layers=LAYERS, rank=8, scale=20.0, seed=SEED))
    np.random.seed(SEED)
    batches = [range(batch * at, batch * (at + 1)) for at in np.random.permutation(len(parts) // batch)]
    streams = lane_streams()
    blas.one_thread()
    gradients = Gradients(model, cut(model, LAYERS), parts, streams, visits=len(parts))
    optimizer = optim.Adam(learning_rate=RATE)
    model.train()
    found: dict[str, Any] = {"seconds": [], "losses": [], "targets": [], "tokens": []}
    for rows in batches[:steps]:
        began = time.perf_counter()
        count = sum(end - start for row in rows for start, end in parts[row].spans)
        loss, grads, targets = gradients.of(rows, count)
        optimizer.update(model, grads)
        mx.eval(model.trainable_parameters(), optimizer.state, loss)
        found["seconds"].append(time.perf_counter() - began)
        found["losses"].append(loss.item())
        found["targets"].append(targets)
        found["tokens"].append(sum(len(parts[row].tokens) - 1 for row in rows))
    return found


def targets_of_mlx_lm(tokenizer: Any, folder: Path) -> list[Any]:
    """The rows as mlx-lm reads them, and its targets: the last message and the padding token after it."""
    from mlx_lm.tuner.datasets import ChatDataset

    from tracemill.curate.chat.render import Rendered

    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    read = ChatDataset(rows, tokenizer, mask_prompt=True)
    pairs = [read.process(row) for row in rows]
    return [Rendered([*tokens, 0], ((offset, len(tokens) + 1),)) for tokens, offset in pairs]


def measure(which: str, model: Path, folder: Path, batch: int, steps: int) -> None:
    """Train in this process and print what was measured as JSON."""
    name = blas.activate(Home.find()).name
    found = (mlx_lm if which == "mlx-lm" else tracemill)(model, folder, batch, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    run = Run(targets=found.pop("targets", []), tokens=found.pop("tokens", []), peak=peak, blas=name, **found)
    print(json.dumps(asdict(run)))


def in_a_process(which: str, model: Path, folder: Path, batch: int, steps: int) -> Run:
    command = [sys.executable, __file__, "--measure", which, str(model), str(folder), str(batch), str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {usable_cores()} cores"


def speeds(run: Run, amount: int) -> float:
    return amount / sum(run.seconds[1:])


def report(results: dict[str, tuple[Run, Run]], load: float) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mlx", "mlx-lm"))
    lines = [
        "# Training against mlx_lm.lora",
        "",
        f"SmolLM2-135M in float32, LoRA of rank 8 on the last {LAYERS} layers, Adam at {RATE:g}; the same",
        "rows, batches, order, first weights and targets (the last message, as `--mask-prompt` gives it).",
        f"Each in a process of its own, in turn, with {next(iter(results.values()))[0].blas} under both;",
        "the first step of each, in which kernels are compiled, is left out of the speeds.",
        "",
        f"{cpu()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}; "
        f"load average before the run {load:.1f}.",
        "",
        "| rows | batch | steps | tokens a row | mlx-lm rows/s | Tracemill rows/s | ratio | "
        "mlx-lm targets/s | Tracemill targets/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (theirs, ours) in results.items():
        case, counted = CASES[name], len(ours.seconds) - 1
        rows, targets = case.batch * counted, sum(ours.targets[1:])
        slow, fast = speeds(theirs, rows), speeds(ours, rows)
        each = sum(ours.tokens) / (case.batch * len(ours.tokens))
        lines.append(
            f"| {case.label} | {case.batch} | {counted} | {each:.0f} | "
            f"{slow:.3f} | {fast:.3f} | {fast / slow:.1f} | "
            f"{speeds(theirs, targets):.1f} | {speeds(ours, targets):.1f} |"
        )
    lines += [
        "",
        "| rows | mlx-lm peak memory | Tracemill peak memory | mlx-lm last loss | Tracemill last loss | "
        "largest difference of a step |",
        "|---|---|---|---|---|---|",
    ]
    for name, (theirs, ours) in results.items():
        apart = max(abs(a - b) for a, b in zip(theirs.losses, ours.losses, strict=True))
        lines.append(
            f"| {CASES[name].label} | {theirs.peak / 2**30:.2f} GiB | {ours.peak / 2**30:.2f} GiB | "
            f"{theirs.losses[-1]:.5f} | {ours.losses[-1]:.5f} | {apart:.1g} |"
        )
    return "\n".join([*lines, "", "Made by `python benchmarks/training.py`.", ""])


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        which, model, folder, batch, steps = sys.argv[2:]
        measure(which, Path(model), Path(folder), int(batch), int(steps))
        return
    load = os.getloadavg()[0]
    home = Home.find()
    model = base.resolve(base.SMOLLM2, home).path
    results: dict[str, tuple[Run, Run]] = {}
    for name in sys.argv[2:] or list(CASES):
        case = CASES[name]
        steps = int(sys.argv[1]) + 1 if len(sys.argv) > 1 else case.steps + 1
        with tempfile.TemporaryDirectory() as folder:
            write_rows(case, steps * case.batch, model, Path(folder))
            pair = [
                in_a_process(which, model, Path(folder), case.batch, steps)
                for which in ("mlx-lm", "tracemill")
            ]
        results[name] = pair[0], pair[1]
        print(f"{name}: {pair[0].seconds} {pair[1].seconds} seconds a step", file=sys.stderr)
    RESULT.write_text(report(results, load))
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
