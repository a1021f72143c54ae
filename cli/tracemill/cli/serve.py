"""`tracemill serve`: the promoted adapter, or another model, behind an OpenAI-compatible server.

In: an adapter or a base model. Out: a server on the loopback interface until Ctrl-C, with lines to use it
from Punie, OpenAI's client and Pydantic AI. It says that it is ready when its model has answered a request.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter
    from tracemill.train.base import BaseModel
    from tracemill.train.server import ModelServer

PORT = 8377
STARTUP_S = 600.0
WATCH_S = 0.5


def serve(
    adapter: Annotated[
        str | None,
        typer.Argument(help="Folder or name of an adapter; without one, the promoted adapter is served."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Base model to serve without an adapter; beside an adapter, where its base is now.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes any free one.")
    ] = PORT,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 4096,
    log: Annotated[
        Path | None, typer.Option(help="Log file; without it, logs/serve-PORT.log in $TRACEMILL_HOME.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="When ready, print one JSON object instead of lines to copy.")
    ] = False,
) -> None:
    """Serve an adapter to any OpenAI client, on this machine only, until Ctrl-C.

    Prompts and tool calls are those of training and evaluation. The model
    answers to the name of its adapter, and to no other. A port that is taken
    is refused, whoever has it.
    """
    from tracemill.tracer.home import Home
    from tracemill.train.server import ModelServer

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    home = Home.find()
    file = log or home.root / "logs" / f"serve-{port}.log"
    try:
        with output.progress() as progress:
            which, on = _chosen(home, adapter, base, progress)
            server = ModelServer(
                on,
                which.path if which else None,
                home=home,
                log=_fresh(home, file, own=log is None),
                startup_timeout=STARTUP_S,
                port=port,
                max_tokens=max_tokens,
            )
            progress(f"loading {server.model}", 0, 0)
            server.start()
        try:
            _tell(server, which, on, file, as_json=as_json)
            while True:
                time.sleep(WATCH_S)
                server.check()
        finally:
            server.stop()
    except KeyboardInterrupt:
        output.hint("Stopped.")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _chosen(
    home: Home, adapter: str | None, base: str | None, progress: output.ProgressCallback
) -> tuple[Adapter | None, BaseModel]:
    """The adapter to serve, if any, and its base."""
    from tracemill.train.base import resolve
    from tracemill.train.finding import base_of, find_adapter
    from tracemill.train.promotion import promoted

    if adapter is None and base is not None:
        return None, resolve(base, home, progress)
    which = promoted(home) if adapter is None else find_adapter(home, adapter)
    return which, base_of(home, which, base, progress)


def _fresh(home: Home, file: Path, *, own: bool) -> Path:
    """The log file; one of our own starts anew with every server."""
    if own:
        home.ensure(file.parent)
        file.unlink(missing_ok=True)
    return file


def _tell(server: ModelServer, adapter: Adapter | None, base: BaseModel, log: Path, *, as_json: bool) -> None:
    from tracemill.train.using import ways

    lines = ways(server.base_url, server.model)
    if as_json:
        told: dict[str, Any] = {"base_url": server.base_url, "model": server.model, "process": server.pid}
        output.emit_json(
            told | {"adapter": adapter.path if adapter else None, "base": base.path, "log": log, "use": lines}
        )
    else:
        what = f"on {base.name}" if adapter else "without an adapter"
        output.say(f"{server.model}, {what}, answers at {server.base_url}", style="bold")
        for title, text in lines.items():
            output.say(f"\n{title}:\n")
            output.say("\n".join(f"    {line}".rstrip() for line in text.split("\n")))
        output.say()
        output.hint(f"Log: {log}. Ctrl-C stops it.")
    sys.stdout.flush()
