"""Items per second of an evaluation: `python benchmarks/generation.py [--inspect PYTHON] [--items N]`.

The same model writes greedy answers to the same prompts, which share a system prompt of some 500 tokens: in
Tracemill's batches; behind `mlx_lm.server`, asked one item after another; and behind it again, driven by
Inspect AI, for which PYTHON is the interpreter of an environment that has `inspect-ai` and `openai`. Every
way runs in processes of its own, in turn, with the model loaded and warm before the clock starts, and with
the same BLAS. Out: `benchmarks/results/generation.md`, with how many answers are the same text.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.generate import BATCH
from tracemill.evaluate.items import Item
from tracemill.tracer.home import Home
from tracemill.train import base, blas
from tracemill.train.cores import usable_cores

HERE = Path(__file__).parent
RESULT = HERE / "results" / "generation.md"
PREFIX_TOKENS = 500
MAX_TOKENS = 32
"""About the length of a tool call."""
CONNECTIONS = {10: "its default", 32: "what the server decodes at once"}
"""Requests at once of Inspect AI, and why so many."""
WARM = {"system": "You are brief.", "user": "Hello"}


@dataclass(frozen=True)
class Run:
    """What one way took for all items, and what it wrote."""

    seconds: float
    texts: list[str]


def make_items(chat: Chat, count: int) -> list[dict[str, str]]:
    """Questions on sentences of the documentation, after a system prompt of PREFIX_TOKENS tokens of it."""
    text = (HERE.parent / "docs" / "architecture.md").read_text("utf-8")
    system = chat.tokenizer.decode(chat.tokenizer.encode(text)[: PREFIX_TOKENS - 20])
    sentences = re.findall(r"[A-Z][^.|`*]{30,120}\.", " ".join(text.split()))
    chosen = [sentences[i % len(sentences)] for i in range(count)]
    return [
        {"system": system, "user": f"{number}. Say in other words: {sentence}"}
        for number, sentence in enumerate(chosen, start=1)
    ]


def as_items(items: Sequence[dict[str, str]]) -> list[Item]:
    return [
        Item(
            id=str(number),
            session_id=str(number),
            category="",
            kind="direct",
            messages=[
                {"role": "system", "content": item["system"]},
                {"role": "user", "content": item["user"]},
            ],
            tools=[],
            expected={"role": "assistant", "content": ""},
        )
        for number, item in enumerate(items)
    ]


def in_batches(model_path: Path, items: Sequence[dict[str, str]]) -> None:
    """Generate and score in this process, and print the run as JSON."""
    blas.activate(Home.find())
    from tracemill.evaluate.generate import load_model
    from tracemill.evaluate.holdout import evaluate_items

    chat, model = Chat.load(model_path), load_model(model_path)
    evaluate_items(model, chat, as_items([WARM]), max_tokens=2)
    began = time.perf_counter()
    found = evaluate_items(model, chat, as_items(items), max_tokens=MAX_TOKENS)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "texts": [one.text for one in found]}))


def serve(model_path: Path, port: str) -> None:
    """`mlx_lm.server` as it is, on the same BLAS and with the same template."""
    blas.activate(Home.find())
    from mlx_lm import server

    template = Chat.load(model_path).template
    sys.argv = ["mlx_lm.server", "--model", str(model_path), "--port", port, "--chat-template", template]
    server.main()


@contextmanager
def served(model_path: Path, log: Path) -> Generator[int]:
    """A fresh server, so with no prompts in its cache, that has answered once; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(model_path), str(port)]
    with log.open("ab") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        try:
            for _ in range(600):
                try:
                    ask(port, WARM, 2)
                    break
                except OSError:
                    if process.poll() is not None:
                        sys.exit(f"mlx_lm.server ended:\n{log.read_text()[-2000:]}")
                    time.sleep(0.5)
            yield port
        finally:
            process.terminate()


def ask(port: int, item: dict[str, str], max_tokens: int) -> dict[str, Any]:
    """One answer of the server, as it tells it."""
    messages = [{"role": "system", "content": item["system"]}, {"role": "user", "content": item["user"]}]
    body = {"model": "default_model", "messages": messages, "temperature": 0, "max_tokens": max_tokens}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def one_at_a_time(port: int, items: Sequence[dict[str, str]], prompts: Sequence[Sequence[int]]) -> Run:
    """Every item asked when the one before it is answered; stops where the server reads another prompt."""
    began = time.perf_counter()
    answers = [ask(port, item, MAX_TOKENS) for item in items]
    seconds = time.perf_counter() - began
    for answer, prompt in zip(answers, prompts, strict=True):
        if answer["usage"]["prompt_tokens"] != len(prompt):
            sys.exit(f"The server reads {answer['usage']['prompt_tokens']} tokens, not {len(prompt)}.")
    return Run(seconds, [answer["choices"][0]["message"]["content"] or "" for answer in answers])


def by_inspect(python: str, port: int, folder: Path, connections: int) -> Run:
    """Every item asked by Inspect AI, `connections` at a time."""
    command = [python, str(HERE / "generation_inspect.py"), str(folder / "items.json")]
    command += [f"http://127.0.0.1:{port}/v1", str(folder / "logs"), str(MAX_TOKENS), str(connections)]
    return run_of(command)


def run_of(command: Sequence[str]) -> Run:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def tell(runs: dict[str, list[Run]], number: int, way: str, run: Run) -> None:
    runs.setdefault(way, []).append(run)
    print(f"round {number + 1}, {way}: {run.seconds:.1f} s", file=sys.stderr)


def shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with."""
    return next(i for i, tokens in enumerate(zip(*prompts, strict=False)) if len(set(tokens)) > 1)


def spread(values: Sequence[float]) -> str:
    """The median, with the range where there are several."""
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def report(
    name: str, prompts: Sequence[Sequence[int]], runs: dict[str, list[Run]], inspect: str, load: float
) -> str:
    versions = ", ".join(f"{one} {importlib.metadata.version(one)}" for one in ("mlx", "mlx-lm")) + inspect
    ours = runs["Tracemill, in batches"]
    lengths = sorted(map(len, prompts))
    lines = [
        "# Speed of an evaluation",
        "",
        f"{name} in float32, {len(prompts)} prompts of {lengths[0]} to {lengths[-1]} tokens that share",
        f"the first {shared(prompts)}; greedy, at most {MAX_TOKENS} tokens; {BATCH} at once in process.",
        f"{len(ours)} rounds, median (range); in each every way once, in processes of its own, with the same",
        "BLAS under all; loading the model and a first answer are not counted. mlx_lm.server has its prompt",
        "cache, so it reads what prompts share once.",
        "",
        f"{cpu()}, {usable_cores()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}; load average before the run {load:.1f}.",
        "",
        "| way | items a second | Tracemill is faster by | answers equal to Tracemill's |",
        "|---|---|---|---|",
    ]
    for way, some in runs.items():
        times = [one.seconds / mine.seconds for one, mine in zip(some, ours, strict=True)]
        pairs = [
            pair
            for one, mine in zip(some, ours, strict=True)
            for pair in zip(one.texts, mine.texts, strict=True)
        ]
        equal = sum(one == mine for one, mine in pairs)
        speeds, total = [len(prompts) / one.seconds for one in some], len(prompts) * len(some)
        lines.append(f"| {way} | {spread(speeds)} | {spread(times)} | {equal} of {total} |")
    return "\n".join([*lines, "", "Made by `python benchmarks/generation.py --inspect PYTHON`.", ""])


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3])
        return
    if sys.argv[1:2] == ["--batches"]:
        in_batches(Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
        return
    parser = argparse.ArgumentParser(description=cast(str, __doc__))
    parser.add_argument("--inspect", help="Python of an environment with inspect-ai and openai")
    parser.add_argument("--model", default=base.SMOLLM2)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    path = base.resolve(asked.model, Home.find()).path
    chat = Chat.load(path)
    items = make_items(chat, asked.items)
    prompts = [chat.prompt(item.messages, item.tools) for item in as_items(items)]
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "items.json").write_text(json.dumps(items))
        for number in range(asked.rounds):
            command = [sys.executable, __file__, "--batches", str(path), str(folder / "items.json")]
            tell(runs, number, "Tracemill, in batches", run_of(command))
            with served(path, folder / "log") as port:
                tell(
                    runs, number, "mlx_lm.server, one request at a time", one_at_a_time(port, items, prompts)
                )
            for connections, why in CONNECTIONS.items() if asked.inspect else ():
                with served(path, folder / "log") as port:
                    run = by_inspect(asked.inspect, port, folder, connections)
                tell(runs, number, f"mlx_lm.server, driven by Inspect AI, {connections} at once ({why})", run)
    inspect = f", inspect-ai {_inspect_version(asked.inspect)}" if asked.inspect else ""
    asked.out.write_text(report(Path(asked.model).name, prompts, runs, inspect, load))
    print(asked.out.read_text())


def _inspect_version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('inspect-ai'))"
    return subprocess.run([python, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
