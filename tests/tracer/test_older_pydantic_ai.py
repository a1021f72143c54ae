"""All of the tracer's tests on the oldest Pydantic AI it supports, in an environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("pydantic-ai-slim[openai]==1.107.*", "pytest", "pytest-timeout", "hypothesis")


@pytest.mark.slow
def test_the_tracer_runs_on_pydantic_ai_1(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDED],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    if install.returncode != 0:
        pytest.skip(f"pip cannot install Pydantic AI 1.107: {install.stderr.strip().splitlines()[-1]}")
    done = subprocess.run(
        [python, "-m", "pytest", "-m", "not slow", "-q", "-p", "no:cacheprovider", "tests/tracer"],
        cwd=ROOT,
        # This room alone: nothing else of the project may be needed.
        env={**os.environ, "PYTHONPATH": str(ROOT / "tracer")},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    version = "import importlib.metadata as m; print(m.version('pydantic-ai-slim'))"
    told = subprocess.run([python, "-c", version], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("1.107.")
