"""Curation at scale: `python benchmarks/curation.py` writes `benchmarks/results/curation.md` and `.png`.

    .venv/bin/python benchmarks/curation.py [--environment FOLDER] [--data FOLDER] [--sizes N ...]

Conversations of about 4 kB made from real ones (`curation_data.py`), 10,000 to 1,000,000 of them, go through
an export with the steps of the default recipe, each size in a fresh process; a tenth of the most of them also
from a warehouse. datatrove and data-juicer do what they can of it with the same tenth
(`curation_datatrove.py`, `curation_data_juicer.py`), each in an environment of its own under `--environment`,
which is made where it is missing (some minutes; 3 GB; removed again without the option). `--data` keeps the
conversations. Out: time, memory, which planted copies were found, and a plot. An hour on two cores that have
nothing else to do, 20 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import curation_data_juicer
import polars as pl
from curation_data import planted, text, write

from tracemill.curate.manifest import FILE, Manifest, dropped_of, rows_of
from tracemill.curate.recipe import shipped

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
FILE_ROWS = 5_000
PACKAGES = {
    "datatrove": ["datatrove[processing,io]", "spacy"],
    "data-juicer": ["py-data-juicer", "aiohttp", "scipy", "spacy"],
}
CORES = 2
OURS = """\
import json, sys
from pathlib import Path
from tracemill.curate.export import export
from tracemill.tracer.home import Home
if __name__ == "__main__":
    print(export(Home(Path(sys.argv[1])), recipe=Path(sys.argv[2]), name="made").folder)
"""


@dataclass(frozen=True)
class Run:
    """One export: what ran over how many rows, seconds that passed and of the processor, bytes of memory.

    `exact` and `near` are the shares of the planted copies that are gone, or their original is; `lost` is the
    share of the rows that nobody copied and that are gone as copies; `kept` are the ids of the rest.
    """

    name: str
    rows: int
    wall: float
    cpu: float
    memory: int
    exact: float = 0.0
    near: float = 0.0
    lost: float = 0.0
    kept: frozenset[str] = frozenset()


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="tracemill-curation-") as scratch:
        work = Path(scratch)
        data = made(arguments.data or work / "rows", max(arguments.sizes))
        load = os.getloadavg()[0]
        ours = [tracemill(part(data, size, work), size, work) for size in arguments.sizes]
        tenth = max(arguments.sizes) // 10
        stored = [warehouse(part(data, tenth, work), tenth, work)] if arguments.warehouse else []
        peers: list[Run] = []
        if not arguments.no_peers:
            texts = as_texts(part(data, tenth, work), work / "texts")
            if not any(run.rows == tenth for run in ours):
                ours = sorted(
                    [*ours, tracemill(part(data, tenth, work), tenth, work)], key=lambda one: one.rows
                )
            environments = arguments.environment or work / "peers"
            peers = [
                datatrove(texts, tenth, environments, work),
                data_juicer(texts, tenth, environments, work),
            ]
    (RESULTS / "curation.md").write_text(page(ours, stored, peers, load), "utf-8")
    plot(ours, RESULTS / "curation.png")
    print((RESULTS / "curation.md").read_text("utf-8"))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what curating many conversations costs.")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(SIZES), help="how many (multiples of 5,000)"
    )
    parser.add_argument(
        "--environment", type=Path, help="where the environments of the peers are, or will be"
    )
    parser.add_argument("--data", type=Path, help="where the conversations are, or will be")
    parser.add_argument("--no-peers", action="store_true", help="leave out datatrove and data-juicer")
    parser.add_argument(
        "--warehouse", action=argparse.BooleanOptionalAction, default=True, help="also from there"
    )
    return parser.parse_args()


def made(folder: Path, rows: int) -> Path:
    """The conversations, in files of `FILE_ROWS`; those that are there already are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    firsts = [first for first in range(0, rows, FILE_ROWS) if not (folder / name_of(first)).exists()]
    say(f"making {len(firsts) * FILE_ROWS} conversations")
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(whole_file, repeat(folder), firsts))
    return folder


def whole_file(folder: Path, first: int) -> None:
    half = folder / f"{name_of(first)}.half"
    write(first, first + FILE_ROWS, half)
    half.rename(folder / name_of(first))


def name_of(first: int) -> str:
    return f"rows-{first:08}.jsonl"


def part(data: Path, rows: int, work: Path) -> Path:
    """A folder of the first `rows` conversations."""
    folder = work / f"first-{rows}"
    folder.mkdir(exist_ok=True)
    for first in range(0, rows, FILE_ROWS):
        with suppress(FileExistsError):
            (folder / name_of(first)).symlink_to((data / name_of(first)).resolve())
    return folder


def as_texts(rows: Path, folder: Path) -> Path:
    """What the others read: each conversation as one text, its white space levelled as ours levels it."""
    folder.mkdir()
    for file in sorted(rows.iterdir()):
        with file.open(encoding="utf-8") as lines, (folder / file.name).open("w", encoding="utf-8") as target:
            for line in lines:
                row = json.loads(line)
                plain = " ".join(text(row["messages"]).split())
                told = {"id": row["id"], "text": plain, "outcome": row["outcome"] or "none"}
                target.write(json.dumps(told, ensure_ascii=False) + "\n")
    return folder


def tracemill(rows: Path, count: int, work: Path) -> Run:
    source = f'[source]\nkind = "chat"\npath = "{rows}"\n'
    return exported("Tracemill", source, count, work / f"home-{count}")


def warehouse(rows: Path, count: int, work: Path) -> Run:
    """The same from a warehouse, into which the rows are imported first; that is not in the time."""
    home = work / "home-warehouse"
    say(f"importing {count} conversations")
    command = [Path(sys.executable).with_name("tracemill"), "import", "openai-chat", rows]
    fields = ["--messages-field", "messages", "--outcome-field", "outcome", "--task-field", "task"]
    environment = {**os.environ, "TRACEMILL_HOME": str(home)}
    subprocess.run([*command, *fields], env=environment, check=True, stdout=subprocess.DEVNULL)
    return exported("Tracemill, from the warehouse", "", count, home, ids=False)


def exported(name: str, source: str, count: int, home: Path, *, ids: bool = True) -> Run:
    """An export with the steps of the default recipe."""
    shown = shipped()["default"]
    head, _, steps = shown.partition("[steps.")
    file = home.with_suffix(".toml")
    file.write_text((f'name = "full"\n{source}' if source else head) + f"[steps.{steps}")
    script = home.with_suffix(".py")
    script.write_text(OURS)
    run, told = measured(name, count, [sys.executable, script, home, file])
    folder = Path(told.strip().splitlines()[-1])
    manifest = Manifest.model_validate_json((folder / FILE).read_bytes())
    kept = frozenset(rows_of(folder, manifest)["conversation_id"])
    if not ids:
        return replace(run, kept=kept)
    copies = dropped_of(folder, manifest).filter(pl.col("step").is_in(["duplicates", "near_duplicates"]))
    gone = set(copies["conversation_id"])
    subprocess.run(["rm", "-r", home], check=True)
    return judged(run, kept, gone)


def datatrove(rows: Path, count: int, environments: Path, work: Path) -> Run:
    python = environment(environments / "datatrove", PACKAGES["datatrove"])
    script = ROOT / "benchmarks" / "curation_datatrove.py"
    folder = work / "datatrove"
    run, _ = measured(f"datatrove {version(python, 'datatrove')}", count, [python, script, rows, folder])
    kept = frozenset(ids_in(folder / "kept"))
    return judged(run, kept, set(ids_in(folder / "good")) - kept)


def data_juicer(rows: Path, count: int, environments: Path, work: Path) -> Run:
    python = environment(environments / "data-juicer", PACKAGES["data-juicer"])
    folder = work / "data-juicer"
    folder.mkdir()
    command = [python.with_name("dj-process"), "--config", curation_data_juicer.recipe(rows, folder)]
    run, _ = measured(f"data-juicer {version(python, 'py-data-juicer')}", count, command)
    kept = frozenset(json.loads(line)["id"] for line in (folder / "kept.jsonl").open(encoding="utf-8"))
    good = {
        row["id"]
        for file in rows.iterdir()
        for line in file.open(encoding="utf-8")
        if (row := json.loads(line))["outcome"] == "good"
    }
    return judged(run, kept, good - kept)


def ids_in(folder: Path) -> Iterator[str]:
    for file in folder.iterdir():
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["id"]


def environment(folder: Path, packages: list[str]) -> Path:
    """The Python of an environment that has `packages`."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making an environment with {packages[0]}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([python, "-c", code], text=True).strip()


def measured(name: str, rows: int, command: list[Any]) -> tuple[Run, str]:
    """The command run alone: its time, the most memory that it and its processes held at once, its output.

    The time of the processor is what each of its processes had used when it was last seen: not every program
    waits for its workers, so the system does not add them up.
    """
    say(f"{name}: {rows} rows")
    start, most = time.monotonic(), 0
    used: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        while process.poll() is None:
            most = max(most, held(process.pid, used))
            time.sleep(0.2)
        wall = time.monotonic() - start
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{name} failed:\n{errors.read()[-3000:]}")
        cpu = sum(used.values())
        say(f"  {wall:.0f} s, {cpu:.0f} s of the processor, {most / 2**30:.1f} GB")
        return Run(name, rows, wall, cpu, most), out.read()


def held(root: int, used: dict[int, float]) -> int:
    """Bytes of memory of a process and all below it; pages that they share count once each (PSS).

    `used` is told the seconds of the processor of each so far.
    """
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            seconds[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        used[process] = seconds.get(process, used.get(process, 0.0))
        with suppress(OSError):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def judged(run: Run, kept: frozenset[str], gone: set[str]) -> Run:
    """The run with what became of the planted copies: `gone` are the ids that were dropped as copies."""
    copies = {"exact": [0, 0], "near": [0, 0]}
    copied: set[str] = set()
    for number in range(run.rows):
        kind, source = planted(number)
        if kind in copies and source is not None:
            pair = {f"c{number}", f"c{source}"}
            copied |= pair
            copies[kind][0] += 1
            copies[kind][1] += not pair <= kept
    exact, near = (found / max(all_, 1) for all_, found in copies.values())
    alone = len(kept - copied) + len(gone - copied)
    return replace(run, exact=exact, near=near, lost=len(gone - copied) / max(alone, 1), kept=kept)


def page(ours: list[Run], stored: list[Run], peers: list[Run], load: float) -> str:
    largest = ours[-1]
    lines = [
        "# Curation at scale",
        "",
        f"Conversations of about 4 kB made from real ones, with the steps of the default recipe. "
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; load average before the run {load:.1f}. "
        "Memory is that of all processes together.",
        "",
        *table([*ours, *stored]),
        "",
        f"{largest.rows:,} conversations took {largest.wall:.0f} s and {largest.memory / 2**30:.1f} GB; "
        f"wanted: {600 * largest.rows / 1_000_000:.0f} s and 8 GB. A conversation of the largest run took "
        f"{1e6 * largest.wall / largest.rows:,.0f} µs, one of the smallest, with the start of the processes, "
        f"{1e6 * ours[0].wall / ours[0].rows:,.0f} µs.",
        "",
        "![Seconds by conversations](curation.png)",
    ]
    if peers:
        same = next(run for run in ours if run.rows == peers[0].rows)
        times = ", ".join(
            f"{one.wall / same.wall:.1f} times as long as Tracemill ({one.name})" for one in peers
        )
        agree = ", ".join(
            f"{100 * len(one.kept & same.kept) / max(len(one.kept | same.kept), 1):.1f}% ({one.name})"
            for one in peers
        )
        lines += ["", "## The same rows elsewhere", "", ABOUT, "", *table([same, *peers]), ""]
        lines += [f"The others took {times}; wanted: five times. Kept by both, of what either kept: {agree}."]
    return "\n".join([*lines, "", "Made by `python benchmarks/curation.py`.", ""])


ABOUT = """\
In turn, each in its own environment, in two processes, as their documentation advises: rows labelled good, of
ten words or more, without exact copies, without near copies by MinHash, from JSONL to JSONL. They are given
each conversation as one text with its white space levelled, which they do not do themselves, and pairs of
words as shingles, for with five words, their default, they miss most copies of which 5% of the words were
edited. Tracemill reads and writes whole conversations, and also checks their calls, learns turns of branches
once, splits without leaks, and says of every row why it is not there."""


def table(runs: list[Run]) -> list[str]:
    columns = "conversations seconds of_the_processor memory kept exact_copies_found near others_lost"
    head = columns.split()
    lines = ["| | " + " | ".join(head).replace("_", " ") + " |", "|---" + "|---:" * len(head) + "|"]
    for run in runs:
        found = [f"{100 * run.exact:.2f}%", f"{100 * run.near:.2f}%", f"{100 * run.lost:.2f}%"]
        cells = [
            run.name,
            f"{run.rows:,}",
            f"{run.wall:,.0f}",
            f"{run.cpu:,.0f}",
            f"{run.memory / 2**30:.1f} GB",
            f"{len(run.kept):,}",
            *(found if run.exact else [""] * 3),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def plot(runs: list[Run], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), dpi=120)
    rows = [run.rows for run in runs]
    axes.loglog(rows, [run.wall for run in runs], "o-", label="seconds that passed")
    axes.loglog(rows, [run.cpu for run in runs], "s--", label="seconds of the processor")
    last = runs[-1].wall / rows[-1]
    axes.loglog(rows, [last * count for count in rows], ":", color="grey", label="linear")
    axes.set(xlabel="conversations of about 4 kB", ylabel="seconds")
    axes.legend()
    axes.grid(visible=True, which="both", alpha=0.2)
    figure.tight_layout()
    figure.savefig(file)


def say(told: str) -> None:
    print(told, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
