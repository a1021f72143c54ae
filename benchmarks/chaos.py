"""Nothing recorded is lost: `python benchmarks/chaos.py` writes `benchmarks/results/chaos.md`.

Sixteen processes record real agents without a pause while one of them after the other, and the ingester
(`tracemill ingest --watch`), is killed with SIGKILL at random moments, and somebody asks SQL questions all
the while. A process notes the id of an event outside the home right after the recorder's write has returned;
in the end every noted id must be in the warehouse exactly once. Then, without kills, the same load for
`--minutes` with SQL against it. In: numbers of processes, kills and minutes. Out: a table, exit code 1 if
anything was lost, doubled, or refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.tracer import Recorder
from tracemill.tracer.home import Home
from tracemill.tracer.spool import Spool, read_events, spool_files
from tracemill.warehouse.read import connect

RESULT = Path(__file__).parent / "results" / "chaos.md"
TRACEMILL = [sys.executable, "-c", "from tracemill.cli.main import main; main()"]
INGEST = [*TRACEMILL, "ingest", "--watch", "--every", "0.5"]
CALLS = 3
WORKING_S = 0.02
"""How long a tool of the recorded agents takes while they are killed: sixteen take all of two cores."""
STEADY_S = 0.25
"""The same without kills: still far more than sixteen people's agents do, and the cores have some rest."""
ID = re.compile(rb'"id":"([^"]+)"')


@dataclass
class Told:
    """What a phase came to; times in seconds."""

    processes: int
    seconds: float = 0.0
    kills: int = 0
    ingester_kills: int = 0
    noted: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    agent_failures: int = 0
    queries: int = 0
    query_errors: list[str] = field(default_factory=list[str])
    lags: list[float] = field(default_factory=list[float])
    """How old the newest row was, of the process whose rows were seen last, when somebody asked."""
    asking: list[float] = field(default_factory=list[float])
    """How long the queries took."""


def main() -> int:
    """Run both phases and write the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--processes", type=int, default=16)
    words.add_argument("--kills", type=int, default=1000)
    words.add_argument("--minutes", type=float, default=10.0)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--json", action="store_true", help="print the figures and write no file")
    wanted = words.parse_args()
    killed = phase(wanted.processes, wanted.kills, 0.0, wanted.seed, WORKING_S)
    quiet = phase(wanted.processes, 0, wanted.minutes * 60, wanted.seed, STEADY_S)
    if wanted.json:
        print(json.dumps([asdict(killed), asdict(quiet)]))
    else:
        RESULT.write_text(table(killed, quiet), encoding="utf-8")
        print(RESULT.read_text(encoding="utf-8"))
    bad = any(
        told.lost or told.doubled or told.agent_failures or told.query_errors for told in (killed, quiet)
    )
    return 1 if bad else 0


def phase(processes: int, kills: int, seconds: float, seed: int, working: float) -> Told:
    """`processes` recording agents until `kills` were made and `seconds` are over, then the reckoning.

    `working`: seconds that a tool of theirs takes.
    """
    told = Told(processes)
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="tracemill-chaos-") as folder:
        home, notes = Home(Path(folder) / "home"), Path(folder) / "notes"
        notes.mkdir()
        os.environ["TRACEMILL_HOME"] = str(home.root)
        subprocess.run([*TRACEMILL, "ingest"], check=True, capture_output=True)
        asker = _asker(home, Path(folder) / "asked.json", 1 if kills else processes)
        children = [_child(home, notes, working) for _ in range(processes)]
        watcher = _watcher()
        started = time.monotonic()
        try:
            while told.kills < kills or time.monotonic() - started < seconds:
                time.sleep(draw.expovariate(4.0))
                if told.kills < kills:
                    victim = draw.randrange(processes)
                    told.agent_failures += _kill(children[victim])
                    children[victim] = _child(home, notes, working)
                    told.kills += 1
                    if draw.random() < 0.1:
                        watcher.kill()
                        watcher.wait()
                        told.ingester_kills += 1
                        watcher = _watcher()
        finally:
            for child in children:
                told.agent_failures += _kill(child)
            told.seconds = time.monotonic() - started
            os.kill(asker, signal.SIGTERM)
            os.waitpid(asker, 0)
            watcher.kill()
            watcher.wait()
        subprocess.run([*TRACEMILL, "ingest"], check=True, capture_output=True)
        asked = json.loads((Path(folder) / "asked.json").read_text(encoding="utf-8"))
        told.queries, told.query_errors, told.lags, told.asking = asked
        _reckon(home, notes, told)
    return told


def _child(home: Home, notes: Path, working: float) -> int:
    """A forked process that records agents until it is killed; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        asyncio.run(_record(home, notes / str(os.getpid()), working))
    except BaseException as error:
        print(f"an agent failed: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _kill(child: int) -> int:
    """Kill a process; 1 if it had ended by itself, which an agent never should."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return 0 if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else 1


async def _record(home: Home, note: Path, working: float) -> None:
    handle = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write = Spool.put_all

    def noted(self: Spool, lines: Sequence[tuple[bytes, str | None]]) -> bool:
        written = write(self, lines)
        if written:
            os.write(handle, b"".join(ID.findall(line)[0] + b"\n" for line, _ in lines))
        return written

    Spool.put_all = noted

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        asked = sum(isinstance(message, ModelResponse) for message in messages)
        if asked < CALLS:
            arguments = {"path": f"{random.random()}.py"}
            return ModelResponse(parts=[TextPart("Looking."), ToolCallPart("read", arguments)])
        return ModelResponse(parts=[TextPart("Done.")])

    agent = Agent(FunctionModel(answer), system_prompt="You read files. " * 50, capabilities=[Recorder(home)])

    @agent.tool_plain
    async def read(path: str) -> str:
        """Read a file."""
        await asyncio.sleep(working)
        return f"text of {path} " * 20

    while True:
        await agent.run(f"Read file {random.random()}")


def _watcher() -> subprocess.Popen[bytes]:
    # A session of its own, as in a terminal of its own: Linux shares its processors between sessions.
    return subprocess.Popen(
        INGEST, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _asker(home: Home, answers: Path, alive: int) -> int:
    """A forked process that asks again and again until SIGTERM: refusals, and how old the newest rows are.

    Of the `alive` files with the newest rows the one counts whose newest row is the oldest.
    """
    child = os.fork()
    if child:
        return child
    queries, errors, lags, asking = 0, list[str](), list[float](), list[float]()
    going_on = True

    def stop(*_: object) -> None:
        nonlocal going_on
        going_on = False

    signal.signal(signal.SIGTERM, stop)
    while going_on:
        time.sleep(0.25)
        queries += 1
        asked = time.time()
        try:
            with connect(home) as connection:
                row = connection.execute(
                    "SELECT epoch(min(newest)), (SELECT count(*) FROM session_overview WHERE tool_calls > 0) "
                    "FROM (SELECT max(ts) AS newest FROM events GROUP BY file ORDER BY newest DESC "
                    f"LIMIT {alive})"
                ).fetchone()
        except Exception as error:
            errors.append(str(error))
        else:
            asking.append(time.time() - asked)
            if row and row[0]:
                lags.append(asked - row[0])
    answers.write_text(json.dumps([queries, errors, lags, asking]), encoding="utf-8")
    os._exit(0)


def _reckon(home: Home, notes: Path, told: Told) -> None:
    noted = {line for note in notes.iterdir() for line in note.read_text().splitlines() if line}
    # The last line of a note may be torn by the kill as well.
    told.noted = len(noted)
    with connect(home) as connection:
        rows = connection.execute("SELECT event_id FROM events").fetchall()
        calls = connection.execute("SELECT count(*), count(DISTINCT call_id) FROM tool_calls").fetchone()
    known = {row[0] for row in rows}
    lost = noted - known
    whole = {event for event in lost if len(event) == 32 or event.startswith(("message-", "toolset-"))}
    told.lost = len(whole)
    told.doubled = len(rows) - len(known) + (calls[0] - calls[1] if calls else 0)
    for path in spool_files(home):
        end = max((line.end for line in read_events(path)), default=0)
        told.torn += path.stat().st_size > end


def table(killed: Told, quiet: Told) -> str:
    """Both phases as Markdown."""
    lines = [
        f"| {name} | {first} | {second} |"
        for (name, first), (_, second) in zip(_shown(killed), _shown(quiet), strict=True)
    ]
    body = "\n".join(["| | with kills | without kills |", "|---|---:|---:|", *lines])
    python = platform.python_version()
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {python}"
    return (
        "# Recording, killed at random moments\n\n"
        f"{killed.processes} processes record agents while `tracemill ingest --watch --every 0.5` runs:\n"
        f"while they are killed, a tool call every {WORKING_S * 1000:.0f} ms each\n"
        f"or as fast as the cores allow; without kills, a tool call every {STEADY_S * 1000:.0f} ms each.\n"
        "A kill of the ingester lengthens the time until a row can be seen, for it has to start anew.\n"
        "That time is the age of the newest row when somebody asks; without kills, of the newest row of the\n"
        "process that is seen last.\n"
        f"`python benchmarks/chaos.py`, {machine}.\n\n"
        f"{body}\n"
    )


def _shown(told: Told) -> list[tuple[str, str]]:
    return [
        ("recording processes", str(told.processes)),
        ("seconds", f"{told.seconds:.0f}"),
        ("kill -9 of recording processes", str(told.kills)),
        ("kill -9 of the ingester", str(told.ingester_kills)),
        ("events whose write returned", str(told.noted)),
        ("of them lost", str(told.lost)),
        ("rows that stand twice", str(told.doubled)),
        ("files with a torn last line (it waits, it is no event)", str(told.torn)),
        ("agents that failed", str(told.agent_failures)),
        ("SQL queries meanwhile", str(told.queries)),
        ("of them refused or failed", str(len(told.query_errors))),
        ("seconds until a new row can be seen, median", f"{median(told.lags):.2f}" if told.lags else ""),
        ("the same, largest", f"{max(told.lags):.2f}" if told.lags else ""),
        (
            "seconds a query over all sessions takes, median",
            f"{median(told.asking):.2f}" if told.asking else "",
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
