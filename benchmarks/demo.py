"""Run the demo for several seeds and write benchmarks/results/demo.md. Half an hour on two cores.

    .venv/bin/python benchmarks/demo.py 0 1 2

In: seeds. Out: a table of what `tracemill demo --json` said. Every seed trains anew; what does not depend on
the seed (recorded sessions, the data set, the base model's completions) is made by the first and reused.
State goes to a temporary folder, or to TRACEMILL_HOME where that is set: there, seeds that are done are kept.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "demo.md"
COLUMNS = (
    "base_exact", "adapter_exact", "base_direct", "adapter_direct", "base_live", "adapter_live",
    "p_value", "verdict", "seconds",
)  # fmt: skip


def main() -> None:
    seeds = [int(seed) for seed in sys.argv[1:]] or [0, 1, 2]
    with tempfile.TemporaryDirectory(prefix="tracemill-benchmark-") as scratch:
        home = Path(os.environ.get("TRACEMILL_HOME", scratch))
        made = {seed: demo(seed, home) for seed in seeds}
    RESULTS.write_text(page(made), "utf-8")


def demo(seed: int, home: Path) -> dict[str, Any]:
    """What `tracemill demo --json` says for `seed`."""
    kept = home / f"benchmark-{seed}.json"
    if kept.exists():
        return json.loads(kept.read_text("utf-8"))
    command = [str(Path(sys.executable).with_name("tracemill")), "demo", "--seed", str(seed), "--json"]
    done = subprocess.run(
        command,
        env={**os.environ, "TRACEMILL_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    kept.write_text(done.stdout, "utf-8")
    return json.loads(done.stdout)


def page(made: dict[int, dict[str, Any]]) -> str:
    first = next(iter(made.values()))
    lines = [
        "# The demo, seed by seed",
        "",
        f"`tracemill demo --json`: {first['sessions']} sessions, {first['tool_calls']} tool calls, "
        f"{first['calls']} held-out calls and {first['live_tasks']} live tasks, on {platform.machine()} with "
        f"{os.cpu_count()} cores.",
        "Demonstrations by the scripted policy. `exact` is strict: the right tools with the right arguments",
        "and nothing else; p is the exact McNemar test over sessions. The first row paid for everything; the",
        "others reuse what does not depend on the seed.",
        "",
        "| seed | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    rows = [[seed, *(found[name] for name in COLUMNS)] for seed, found in made.items()]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    median = statistics.median(found["adapter_exact"] for found in made.values())
    lines += ["", f"Median exact accuracy of the adapters: {median:.3f}.", ""]
    return "\n".join(lines)


def cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
