"""`tracemill serve` as a user runs it: a process of its own, asked by the lines that it prints itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import openai
import pytest

from adapters import lora_adapter
from command_line import Run
from tiny import CALL, scripted_model, tiny_model
from tracemill.tracer.home import Home
from tracemill.train.adapter import save_adapter

SCRIPT = "from tracemill.cli.main import main; main()"


@contextmanager
def served(home: Home, *words: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """`tracemill serve WORDS` once it is ready, and what it said until then; killed if a test leaves it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "serve", *words],
        env={**os.environ, "TRACEMILL_HOME": str(home.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = _until_ready(cast("IO[str]", process.stdout), "--json" in words)
        assert said, cast("IO[str]", process.stderr).read()
        yield process, said
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            cast("IO[str]", pipe).close()


def _until_ready(told: IO[str], as_json: bool) -> str:
    last = "}\n" if as_json else '    print(agent.run_sync("Hello").output)\n'
    said = ""
    for line in told:
        said += line
        if line == last:
            return said
    return ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def soon(true: Any) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        os.kill(pid, 0)
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with the bases `tiny` and `calling`, and an adapter of each: `tiny-a` and `caller`."""
    home = Home(tmp_path_factory.mktemp("home"))
    lora_adapter(home.adapters / "tiny-a", tiny_model(home.models / "tiny"))
    lora_adapter(home.adapters / "caller", scripted_model(home.models / "calling", CALL), strength=0.0)
    yield home


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_it_serves_the_promoted_adapter_until_it_is_told_to_stop(
    work: Home, number: signal.Signals, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEMILL_HOME", str(work.root))
    assert tracemill("promote", "tiny-a", "--force").code == 0
    port = free_port()
    with served(work, "--port", str(port), "--json") as (process, said):
        told = json.loads(said)
        assert told["base_url"] == f"http://127.0.0.1:{port}/v1"
        assert told["model"] == "tiny-a"
        assert (work.root / "logs" / f"serve-{port}.log").stat().st_mode & 0o777 == 0o600
        with openai.OpenAI(base_url=told["base_url"], api_key="none", max_retries=0) as api:
            asked: Any = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            assert api.chat.completions.create(model="tiny-a", **asked).model == "tiny-a"
            for other in ("tiny", "default", "default_model"):
                with pytest.raises(openai.NotFoundError):
                    api.chat.completions.create(model=other, **asked)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert "Stopped." in cast("IO[str]", process.stderr).read()
    assert soon(lambda: gone(told["process"]))
    assert is_free(port)


def test_no_server_is_left_when_the_command_is_killed(work: Home) -> None:
    with served(work, "tiny-a", "--port", "0", "--json") as (process, said):
        process.kill()
        process.wait()
        assert soon(lambda: gone(json.loads(said)["process"]))


def test_it_says_so_when_the_server_dies(work: Home) -> None:
    with served(work, "tiny-a", "--port", "0", "--json") as (process, said):
        os.kill(json.loads(said)["process"], signal.SIGKILL)
        assert process.wait(20) == 1
        assert (
            "error: The model server of tiny-a was killed by SIGKILL"
            in cast("IO[str]", process.stderr).read()
        )


def test_the_lines_it_prints_work_as_they_stand(work: Home) -> None:
    with served(work, "caller", "--port", "0") as (_, said):
        blocks = dict(re.findall(r"^(\S.*):\n\n((?:    .*\n|\n)+)", said, re.MULTILINE))
        code = {title: re.sub(r"^    ", "", text, flags=re.MULTILINE) for title, text in blocks.items()}
        assert list(code) == ["Punie", "OpenAI's client", "Pydantic AI"]
        spec = re.fullmatch(r'punie serve --model "local:(.*)"\n+', code["Punie"])
        assert spec is not None
        base_url, model = spec[1].rsplit("/", 1)  # as Punie takes it apart
        with openai.OpenAI(base_url=base_url, api_key="not-needed", max_retries=0) as api:
            assert [one.id for one in api.models.list()] == [model] == ["caller"]
        for title in ("OpenAI's client", "Pydantic AI"):
            # The model calls `read_file` whatever it is asked; without tools that is text to the agent.
            text = code[title].replace("agent = Agent(model)", _AGENT).replace('"Hello").output', '"Hello")')
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
            assert (
                ("I look." in done.stdout) if title == "OpenAI's client" else ("read a.py" in done.stdout)
            ), done.stderr


_AGENT = """\
agent = Agent(model, retries=0)
@agent.tool_plain
def read_file(path: str) -> str:
    print("read", path)
    raise SystemExit(0)
"""


def refusal(run: Run, *words: str) -> str:
    ended = run("serve", *words)
    assert (ended.code, ended.out) == (1, "")
    return next(line for line in ended.err.splitlines() if line.startswith("error: "))


@pytest.fixture
def here(work: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TRACEMILL_HOME", str(work.root))
    return work


def test_a_taken_port_is_refused_with_who_has_it(here: Home, tracemill: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = refusal(tracemill, "tiny-a", "--port", port)
        assert f"Port {port} of 127.0.0.1 is taken by a program that does not speak HTTP" in line
    with served(here, "caller", "--port", "0", "--json") as (_, said):
        port = re.findall(r":(\d+)/v1", said)[0]
        assert "taken by a model server of Tracemill that serves caller" in refusal(
            tracemill, "tiny-a", "--port", port
        )


def test_what_is_no_adapter_is_refused(here: Home, tracemill: Run) -> None:
    assert "There is no adapter 'tiny-z'; there is tiny-a" in refusal(tracemill, "tiny-z")
    assert "is not an adapter: it has no adapters.safetensors" in refusal(
        tracemill, str(here.models / "tiny")
    )


def test_an_adapter_of_another_base_is_refused(here: Home, tracemill: Run, tmp_path: Path) -> None:
    line = refusal(tracemill, "tiny-a", "--base", str(here.models / "calling"))
    assert "tiny-a was trained on another base than" in line
    gone_base = tiny_model(tmp_path / "base", seed=3)
    made = lora_adapter(tmp_path / "run", gone_base)
    shutil.move(gone_base, tmp_path / "moved")
    line = refusal(tracemill, str(made.path))
    assert "The base of run is not where it was" in line
    assert line.endswith("say where it is with --base.")


def test_an_adapter_that_does_not_fit_its_base_fails_with_the_reason(here: Home, tracemill: Run) -> None:
    import mlx.core as mx

    made = lora_adapter(here.adapters / "odd", here.models / "tiny")
    weights = {"model.layers.0.self_attn.q_proj.lora_a": mx.zeros((3, 3))}
    config = json.loads((made.path / "adapter_config.json").read_text())
    template = (made.path / "chat_template.jinja").read_text()
    save_adapter(made.path, weights, config, template, made.card)
    assert "The model server of odd did not start" in refusal(tracemill, "odd", "--port", "0")
    shutil.rmtree(made.path)


def test_nothing_promoted_is_one_sentence(home: Home, tracemill: Run) -> None:
    assert "No adapter is promoted" in refusal(tracemill)
    assert not (home.root / "logs").exists()


def test_a_base_alone_is_served_under_its_name(here: Home) -> None:
    with served(here, "--base", str(here.models / "tiny"), "--port", "0", "--json") as (_, said):
        told = json.loads(said)
    assert (told["model"], told["adapter"]) == ("tiny", None)
