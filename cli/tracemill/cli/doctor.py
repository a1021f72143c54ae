"""`tracemill doctor`: whether this machine has what the loop needs, and how to mend what it has not.

In: the installed packages, the compiler, the home. Out: one line per check, `ok`, `warn` or `fail`; exit code
1 if any failed. What can be tried is tried: the product is multiplied, the compiler compiles, a file is
written. Nothing is downloaded and no recording is touched.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import output
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.units import size

if TYPE_CHECKING:
    from tracemill.tracer.home import Home

PACKAGES = ("mlx", "mlx-lm", "pydantic-ai-slim", "duckdb", "polars")
ROWS, INNER, COLUMNS = 512, 576, 6144  # a batch of hidden states times an eighth of SmolLM2's vocabulary
LITTLE_SPACE = 2_000_000_000  # bytes: a converted base model takes 0.6 GB, an adapter a few MB
# What MLX compiles its kernels with (mlx/backend/cpu/jit_compiler.cpp).
GXX = ("g++", "-std=c++17", "-O3", "-fPIC", "-shared", "-x", "c++", "-")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it is, what was found and how to mend it."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as a JSON list.")] = False,
) -> None:
    """Check the installation, the speed, the compiler and the state; exit code 1 if something fails."""
    from tracemill.tracer.home import Home

    checks = list(examine(Home.find()))
    if as_json:
        output.emit_json([asdict(check) for check in checks])
    else:
        output.table(
            ["", "check", "found", "mend"],
            [[check.state, check.name, check.found, check.mend] for check in checks],
        )
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def examine(home: Home) -> Iterator[Check]:
    """Every check in turn."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield packages()
    yield writable(home)
    yield space(home)
    yield multiplication(home)
    if sys.platform == "linux":
        yield compiler()
    yield base_model(home)
    yield spool(home)
    yield warehouse(home)


def packages() -> Check:
    """The versions of the libraries that do the work."""
    import importlib.metadata

    found: list[str] = []
    missing: list[str] = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(
            "packages", "fail", f"no {', '.join(missing)}", "install tracemill anew, with its packages"
        )
    return Check("packages", "ok", ", ".join(found))


def writable(home: Home) -> Check:
    """Whether a file can be written where all state lives."""
    try:
        with tempfile.NamedTemporaryFile(dir=home.ensure(home.root)):
            return Check("home", "ok", str(home.root))
    except (OSError, TracemillError) as error:
        return Check("home", "fail", str(error), "set TRACEMILL_HOME to a folder you can write")


def space(home: Home) -> Check:
    """Free space on the disk of the home."""
    there = next(folder for folder in (home.root, *home.root.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < LITTLE_SPACE:
        return Check("disk", "warn", f"{size(free)} free", "free some; a base model takes 0.6 GB or more")
    return Check("disk", "ok", f"{size(free)} free")


def multiplication(home: Home) -> Check:
    """Which BLAS MLX runs on and how fast it multiplies."""
    from tracemill.train import blas

    info = blas.activate(home)
    try:
        speed = _flops()
    except (ImportError, RuntimeError) as error:
        mend = "install tracemill anew: on Linux it needs mlx[cpu] or mlx[cuda]"
        return Check("mlx", "fail", f"MLX does not work here: {error}", mend)
    found = f"{info.name}, {speed / 1e9:.0f} GFLOP/s"
    return Check("mlx", "ok", found) if info.fast else Check("mlx", "warn", found, info.reason)


def _flops() -> float:
    """Floating-point operations per second of one product of float32 matrices, best of three."""
    import mlx.core as mx

    a, b = mx.ones((ROWS, INNER)), mx.ones((INNER, COLUMNS))
    mx.eval(a, b)
    seconds: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        mx.eval(a @ b)
        seconds.append(time.perf_counter() - start)
    return 2 * ROWS * INNER * COLUMNS / min(seconds)


def compiler() -> Check:
    """Whether g++ compiles: without one MLX runs its kernels one by one, with a broken one it fails."""
    path = shutil.which("g++")
    if path is None:
        return Check("g++", "warn", "none, so MLX cannot fuse kernels and is slower", "install g++")
    with tempfile.TemporaryDirectory() as scratch:
        command = [*GXX, "-o", str(Path(scratch) / "kernel.so")]
        source = "#include <cmath>\n#include <cstdint>\n"
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        return Check("g++", "fail", f"{path} does not compile: {told}", "install g++ with the C++ headers")
    return Check("g++", "ok", path)


def base_model(home: Home) -> Check:
    """Whether the base model of the examples is on this machine."""
    from tracemill.train.base import SMOLLM2, cached

    folder = cached(SMOLLM2, home)
    if folder is None:
        return Check("base model", "warn", f"{SMOLLM2} is not here yet", "the first use fetches it (98 MB)")
    return Check("base model", "ok", f"{SMOLLM2}, {size(_bytes(list(folder.iterdir())))}")


def spool(home: Home) -> Check:
    """What was recorded."""
    from tracemill.tracer.spool import spool_files

    files = spool_files(home)
    if not files:
        return Check(
            "spool",
            "warn",
            "nothing was recorded yet",
            "give your agent the Recorder capability, or run `tracemill import`",
        )
    locked = [file for file in files if not os.access(file, os.R_OK)]
    if locked:
        return Check("spool", "fail", f"cannot read {locked[0]}", "make it readable to you")
    return Check("spool", "ok", f"{len(files)} files, {size(_bytes(files))}")


def warehouse(home: Home) -> Check:
    """Whether the published snapshot can be asked, and how much it knows."""
    from tracemill.warehouse.read import query

    if not home.snapshot.exists():
        return Check("warehouse", "warn", "there is none yet", "run `tracemill ingest`")
    try:
        sessions = query(home, "SELECT count(*) FROM sessions").item()
    except TracemillError as error:
        return Check("warehouse", "fail", str(error), "delete the snapshot and run `tracemill ingest`")
    return Check("warehouse", "ok", f"{sessions} sessions, {size(_bytes([home.snapshot]))}")


def _bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)
