"""What recording costs an agent: `python benchmarks/overhead.py` writes `benchmarks/results/overhead.md`.

    .venv/bin/python benchmarks/overhead.py [--rounds N] [--environment FOLDER] [--cpu]

The same agent does the same work (`overhead_agent.py`) under Tracemill, under nothing, and under Logfire,
MLflow and OpenInference, each in a process of its own, in turn, in one environment with the Pydantic AI of
this checkout. In: how often (MLflow once: a round of it takes longer than all the others), and a folder for
the environment of the peers, which is made where it is missing (about a minute; 1 GB; removed again without
`--environment`). Out: a table. Eight minutes on two cores that have nothing else to do; where they have,
`--cpu` counts the time of the processor instead of the time that passes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "overhead.md"
PEERS = ("logfire", "mlflow", "openinference-instrumentation-pydantic-ai")
LABELS = {
    "nothing": "nothing",
    "tracemill": "Tracemill",
    "logfire": "Logfire, to a file",
    "openinference": "OpenInference, in memory",
    "mlflow": "MLflow, sqlite",
}
WORKLOADS = {
    "batches": "2,000 tool calls, ten at a time (10 runs of 20 steps)",
    "steps": "2,000 tool calls, one at a time (50 runs of 40 steps)",
    "session": "A session of 30 turns under a system prompt of 20 kB (two tool calls and an answer each)",
}
LENGTHS = (100, 200, 400, 800)
LONGEST_OF_PEERS = 200
"""Turns: what the others write grows with the square of the length."""
LIMIT_US = 100
CLOCKS = {
    "wall": "Times are times that passed.",
    "cpu": "Times are times of the processor, in all threads of the process.",
}
ABOUT = """\
The same agent, in the same environment, in fresh processes, in turn: {rounds} for each contender, one for
MLflow. Its model is a function and costs nothing, so what is added is not hidden behind waiting. What tools
return is as long as in 250 real sessions: 282 characters at the median, 1,065 on average, never the same text
twice. Median and p99 are over all steps (turns, in the session) of the time per tool call less the median
time of the same step without recording; the rows of `nothing` show the noise of that. A step is all that lies
between two requests: an answer, the tool calls in it and the next request. The mean is of all the work to the
last byte written, starts and ends of runs and flushing included. Tracemill has every event on disk, redacted,
before the agent goes on; Logfire and MLflow write later, from another thread."""


@dataclass(frozen=True)
class Measured:
    """One process: seconds and tool calls of each unit of work, seconds of all, bytes of memory and disk."""

    units: list[tuple[float, int]]
    total: float
    peak: int
    written: int

    @property
    def per_call(self) -> list[float]:
        """Seconds per tool call, unit by unit."""
        return [seconds / calls for seconds, calls in self.units]

    @property
    def calls(self) -> int:
        """Tool calls in all."""
        return sum(calls for _, calls in self.units)


@dataclass(frozen=True)
class Row:
    """One contender: seconds added per tool call, bytes written, bytes of memory added."""

    name: str
    median: float
    p99: float
    mean: float
    written: float
    memory: float


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="tracemill-overhead-") as scratch:
        python = environment(arguments.environment or Path(scratch) / "peers")
        versions = installed(python)
        load = os.getloadavg()[0]
        clock = "cpu" if arguments.cpu else "wall"
        tables = {name: contest(python, name, clock, arguments.rounds) for name in WORKLOADS}
        growth = {name: growing(python, name) for name in LABELS if name != "openinference"}
    how = f"{CLOCKS[clock]} Load average before the run {load:.1f}."
    RESULT.write_text(page(tables, growth, versions, how, arguments.rounds), "utf-8")
    print(RESULT.read_text("utf-8"))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what recording costs an agent.")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each contender (default: 3)")
    parser.add_argument("--environment", type=Path, help="where the environment of the peers is, or will be")
    parser.add_argument("--cpu", action="store_true", help="count the time of the processor, in all threads")
    return parser.parse_args()


def environment(folder: Path) -> Path:
    """The Python of an environment that has all contenders and this checkout's Pydantic AI."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = f"pydantic-ai-slim=={importlib.metadata.version('pydantic-ai-slim')}"
    if not python.exists() or installed(python).get("pydantic-ai-slim") != wanted.partition("==")[2]:
        say(f"making an environment with {', '.join(PEERS)}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, wanted, *PEERS], check=True)
    return python


def installed(python: Path) -> dict[str, str]:
    """The versions of the contenders and of Pydantic AI in an environment."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({d.name: d.version for d in m.distributions() if d.name in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [python, "-c", code, *PEERS, "pydantic-ai-slim"], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


def contest(python: Path, workload: str, clock: str, rounds: int) -> list[Row]:
    """All contenders at one piece of work, in turn."""
    measured: dict[str, list[Measured]] = {name: [] for name in LABELS}
    for done in range(rounds):
        for name, found in measured.items():
            if done == 0 or name != "mlflow":
                found.append(in_a_process(python, name, workload, clock))
    return list(rows(measured))


def growing(python: Path, name: str) -> dict[int, float]:
    """Bytes written per turn by the length of a session."""
    lengths = [turns for turns in LENGTHS if name == "tracemill" or turns <= LONGEST_OF_PEERS]
    if name == "nothing":
        return {}
    return {turns: in_a_process(python, name, f"turns-{turns}").written / turns for turns in lengths}


def in_a_process(python: Path, name: str, workload: str, clock: str = "wall") -> Measured:
    say(f"{workload}: {name}")
    with tempfile.TemporaryDirectory(prefix="tracemill-overhead-") as folder:
        done = subprocess.run(
            [python, ROOT / "benchmarks" / "overhead_agent.py", name, workload, folder, clock],
            env={**os.environ, "PYTHONPATH": str(ROOT / "tracer"), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit(f"{name} failed at {workload}:\n{done.stderr}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def rows(measured: dict[str, list[Measured]]) -> Iterator[Row]:
    """What each contender added to the same unit of work as it is without recording."""
    bare = measured["nothing"]
    usual = [statistics.median(times) for times in zip(*(run.per_call for run in bare), strict=True)]
    whole = statistics.median(run.total / run.calls for run in bare)
    memory = statistics.median(run.peak for run in bare)
    for name, runs in measured.items():
        added = sorted(
            seconds - without for run in runs for seconds, without in zip(run.per_call, usual, strict=True)
        )
        yield Row(
            name,
            median=statistics.median(added),
            p99=added[round(0.99 * (len(added) - 1))],
            mean=statistics.median(run.total / run.calls for run in runs) - whole,
            written=statistics.median(run.written for run in runs),
            memory=statistics.median(run.peak for run in runs) - memory,
        )


def page(
    tables: dict[str, list[Row]],
    growth: dict[str, dict[int, float]],
    versions: dict[str, str],
    how: str,
    rounds: int,
) -> str:
    peers = ", ".join(f"{name} {versions[name]}" for name in ("pydantic-ai-slim", *PEERS))
    lines = [
        "# What recording costs",
        "",
        f"{peers}, Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores. {how}",
        "",
        ABOUT.format(rounds=rounds),
    ]
    for name, found in tables.items():
        lines += ["", f"## {WORKLOADS[name]}", "", *table(found)]
    lines += ["", "## Bytes written per turn, by the turns of a session", "", *growth_table(growth)]
    lines += ["", *verdict(tables, growth), "", "Made by `python benchmarks/overhead.py`.", ""]
    return "\n".join(lines)


def table(found: list[Row]) -> list[str]:
    ours = next(row for row in found if row.name == "tracemill")
    lines = [
        "| | added per tool call, median | p99 | mean of all | times Tracemill's | bytes written | memory |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        times = f"{row.mean / ours.mean:.1f}" if row.name != "nothing" else ""
        cells = (
            LABELS[row.name],
            *(f"{1e6 * seconds:,.0f} µs" for seconds in (row.median, row.p99, row.mean)),
            times,
            f"{row.written:,.0f}",
            f"{row.memory / 2**20:+,.0f} MiB" if row.name != "nothing" else "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def growth_table(growth: dict[str, dict[int, float]]) -> list[str]:
    lines = ["| | " + " | ".join(map(str, LENGTHS)) + " |", "|---" + "|---:" * len(LENGTHS) + "|"]
    for name, found in growth.items():
        if found:
            cells = (f"{found[turns]:,.0f}" if turns in found else "" for turns in LENGTHS)
            lines.append(f"| {LABELS[name]} | " + " | ".join(cells) + " |")
    return lines


def verdict(tables: dict[str, list[Row]], growth: dict[str, dict[int, float]]) -> list[str]:
    def of(workload: str, name: str) -> Row:
        return next(row for row in tables[workload] if row.name == name)

    medians = {name: of(name, "tracemill").median * 1e6 for name in WORKLOADS}
    least = min(of(name, "mlflow").mean / of(name, "tracemill").mean for name in WORKLOADS)
    flat = [growth["tracemill"][turns] for turns in LENGTHS]
    told = ", ".join(f"{median:,.0f} µs ({name})" for name, median in medians.items())
    # A step of n calls costs a request and n calls: two kinds of steps tell both.
    call = (10 * medians["batches"] - medians["steps"]) / 9
    request = medians["steps"] - call
    return [
        f"Tracemill adds at the median {told} per tool call; wanted: at most {LIMIT_US} µs. "
        f"MLflow adds at least {least:.0f} times as much in the mean, for it does most when a run is over; "
        f"wanted: ten times. From {LENGTHS[0]} to {LENGTHS[-1]} "
        f"turns Tracemill writes {min(flat):,.0f} to {max(flat):,.0f} bytes a turn. "
        f"Told apart by steps of one and of ten calls: {call:,.0f} µs for a tool call, {request:,.0f} µs for "
        "a request with its answer.",
    ]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
