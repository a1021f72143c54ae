"""What OpenBLAS is worth: `python benchmarks/blas.py [ROUNDS]` writes `benchmarks/results/blas.md`.

The reference BLAS of MLX's Linux wheel and the OpenBLAS that `tracemill.train.blas` puts under it are
measured in turn, each in a process of its own, on two things: the product that gives 512 positions their
logits over SmolLM2's vocabulary, and a forward pass of a Llama of the size of SmolLM2-135M (random weights)
over 128 tokens. In: the number of rounds (default 5). Out: medians, ranges and ratios of the same run.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tracemill.tracer.home import Home
from tracemill.train import blas
from tracemill.train.cores import usable_cores

RESULT = Path(__file__).parent / "results" / "blas.md"
LABELS = {
    "product": "product 512 x 576 x 49152, float32",
    "forward": "forward pass, SmolLM2-135M's shape, 1 x 128 tokens, float32",
}
# config.json of SmolLM2-135M-Instruct
SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "max_position_embeddings": 8192,
}


def seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(which: str) -> dict[str, float | str]:
    """The two times in this process, in seconds, after MLX has compiled its kernels on a small input."""
    name = blas.activate(Home.find()).name if which == "openblas" else blas.REFERENCE
    import mlx.core as mx
    from mlx_lm.models.llama import Model, ModelArgs

    a, b = mx.random.normal((512, 576)), mx.random.normal((576, 49152))
    model = Model(ModelArgs.from_dict(SMOLLM2))
    tokens = mx.random.randint(0, 49152, (1, 128))
    mx.eval(a, b, tokens, model.parameters(), model(tokens[:, :2]))
    return {
        "name": name,
        "product": seconds(lambda: mx.eval(a @ b)),
        "forward": seconds(lambda: mx.eval(model(tokens))),
    }


def in_a_process(which: str) -> dict[str, float | str]:
    done = subprocess.run([sys.executable, __file__, "--measure", which], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f})"


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {usable_cores()} cores"


def report(runs: dict[str, list[dict[str, float | str]]], load: float) -> str:
    rounds = len(runs["openblas"])
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mlx", "mlx-lm"))
    lines = [
        "# OpenBLAS under MLX's CPU backend",
        "",
        f"Median of {rounds} rounds (range), each round one fresh process per BLAS, in turn.",
        f"{cpu()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}; "
        f"load average before the run {load:.1f}.",
        "",
        f"| what | reference BLAS | {runs['openblas'][0]['name']} | ratio of medians | n |",
        "|---|---|---|---|---|",
    ]
    for key, label in LABELS.items():
        slow, fast = ([float(run[key]) for run in runs[which]] for which in ("reference", "openblas"))
        ratio = statistics.median(slow) / statistics.median(fast)
        lines.append(f"| {label} | {spread(slow)} | {spread(fast)} | {ratio:.1f} | {rounds} |")
    return "\n".join([*lines, "", "Made by `python benchmarks/blas.py`.", ""])


def main() -> None:
    if "--measure" in sys.argv:
        print(json.dumps(measure(sys.argv[-1])))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    load = os.getloadavg()[0]
    runs: dict[str, list[dict[str, float | str]]] = {"reference": [], "openblas": []}
    for done in range(rounds):
        for which, measured in runs.items():
            measured.append(in_a_process(which))
        print(f"round {done + 1} of {rounds}", file=sys.stderr)
    RESULT.write_text(report(runs, load))
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
