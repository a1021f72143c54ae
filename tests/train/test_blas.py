"""The fast BLAS: MLX really runs on it, and where it cannot be had the user is told how to mend that.

Every test starts a fresh process, because a process binds MLX to a BLAS once.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.tracer.home import Home
from tracemill.train import blas
from tracemill.train.cores import NOISE, Usage, free_cores, usable_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MLX on macOS brings Accelerate")
SCRIPT = """
import json, sys
if "early" in sys.argv:
    import mlx.core
from tracemill.tracer.home import Home
from tracemill.train import blas
info = blas.activate(Home.find())
again = blas.activate(Home.find())
import mlx.core as mx, numpy as np
a, b = (np.random.default_rng(seed).normal(size=(70, 70)).astype("float32") for seed in (1, 2))
error = float(np.abs(np.array(mx.array(a) @ mx.array(b)) - a @ b).max())
pivots, lower, upper = (np.array(part) for part in mx.linalg.lu(mx.array(a), stream=mx.cpu))
lu = float(np.abs(lower[pivots] @ upper - a).max())
print(json.dumps({"name": info.name, "path": str(info.path), "reason": info.reason, "fast": info.fast,
                  "error": error, "lu": lu, "same": again is info,
                  "threads": blas.adapt_threads()}))
"""


def run(*arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["error"] < 1e-3
    assert answer["lu"] < 1e-3
    assert answer["same"]
    return answer


@pytest.fixture
def compiler() -> None:
    if importlib.util.find_spec("scipy_openblas32") is None or blas.find_compiler() is None:
        pytest.skip("needs scipy-openblas32 and a C compiler")


@pytest.mark.usefixtures("compiler")
def test_the_linker_binds_mlx_to_openblas(home: Home, tmp_path: Path) -> None:
    answer = run(LD_DEBUG="bindings", LD_DEBUG_OUTPUT=str(tmp_path / "bindings"))
    assert answer["fast"]
    assert answer["name"].startswith("scipy-openblas32 0.")
    lines = "\n".join(log.read_text(errors="replace") for log in tmp_path.glob("bindings.*")).splitlines()
    for routine in blas.ROUTINES:
        bound = [line for line in lines if f"symbol `{routine}'" in line and "file " in line]
        from_mlx = [line for line in bound if "libmlx" in line.split(" to ")[0]]
        assert from_mlx, routine
        assert all("blas_forward-" in line.split(" to ")[1] for line in from_mlx), from_mlx


@pytest.mark.usefixtures("compiler")
def test_the_library_is_compiled_once_and_private(home: Home) -> None:
    first = run()
    made = Path(first["path"])
    before = made.stat().st_mtime_ns
    assert made.stat().st_mode & 0o777 == 0o600
    assert [*made.parent.iterdir()] == [made]
    without_compiler = run(PATH=str(home.root), CC="", CXX="")
    assert without_compiler["name"] == first["name"]
    assert made.stat().st_mtime_ns == before


def test_without_a_compiler_the_reason_says_what_to_install(home: Home) -> None:
    answer = run(PATH=str(home.root), CC="", CXX="")
    assert "no C compiler" in answer["reason"] or "not installed" in answer["reason"]
    if not answer["fast"]:
        assert "libopenblas" in answer["reason"]
        assert "gcc or clang" in answer["reason"]


def test_a_compiler_that_fails_is_named(home: Home) -> None:
    if importlib.util.find_spec("scipy_openblas32") is None:
        pytest.skip("needs scipy-openblas32")
    assert "false failed on blas_forward.c" in run(CC="false")["reason"]
    assert not list(home.root.rglob("*.so"))


def test_mlx_imported_first_is_said(home: Home) -> None:
    answer = run("early")
    assert not answer["fast"]
    assert "before" in answer["reason"]


def test_openblas_leaves_busy_cores_alone(home: Home) -> None:
    busy = "import time; end = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", busy]) for _ in os.sched_getaffinity(0)]
    try:
        answer = run()
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert answer["threads"] in {1, None}


def test_the_user_has_the_last_word_on_threads(home: Home) -> None:
    assert run(OPENBLAS_NUM_THREADS="1")["threads"] is None


def test_usable_cores_stay_within_what_the_process_may_use() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@given(st.floats(0, 8), st.floats(0, 8), st.integers(1, 8))
def test_free_cores_are_what_others_leave(others: float, own: float, cores: int) -> None:
    spent = min(others + own, 8.0)
    others = spent - min(own, spent)
    before = Usage(elapsed=100.0, idle=50.0, own=7.0)
    after = Usage(elapsed=108.0, idle=50.0 + 8.0 - spent, own=7.0 + min(own, spent))
    free = free_cores(before, after, cores)
    assert 1 <= free <= cores
    exact = cores * (1 - others / 8) + NOISE
    on_the_edge = abs(exact - round(exact)) < 1e-6
    assert on_the_edge or free == max(1, min(cores, math.floor(exact)))
    assert free_cores(before, before, cores) == cores


def test_only_the_cores_allowed_to_us_are_counted() -> None:
    number = min(os.sched_getaffinity(0))
    stat = f"cpu  9 9 9 9 9 9 9 9 9 9\ncpu{number} 100 20 30 400 50 6 7 8 99 9\ncpu99999 1 1 1 1 1 1 1 1 1 1\nintr 1"
    usage = Usage.now(stat)
    tick = os.sysconf("SC_CLK_TCK")
    assert (usage.elapsed, usage.idle) == (621 / tick, 450 / tick)
    assert Usage.now("").elapsed == 0
