"""`tracemill doctor` as a user runs it: a process of its own, in which nothing has loaded MLX yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conversations import chat, record
from tiny import tiny_model
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest

CHECKS = ["python", "packages", "home", "disk", "mlx", "g++", "base model", "spool", "warehouse"]


def run(*words: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", "from tracemill.cli.main import main; main()", "doctor", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def checks(**environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    code, shown = run("--json", **environment)
    found = json.loads(shown)
    return code, {check["name"]: check for check in found}


@pytest.mark.skipif(sys.platform != "linux", reason="macOS needs no g++")
def test_a_fresh_home_is_fine_and_says_what_is_not_there_yet(home: Home) -> None:
    code, found = checks()
    assert code == 0
    assert list(found) == CHECKS
    assert {name for name, check in found.items() if check["state"] == "fail"} == set()
    assert "mlx-lm 0." in found["packages"]["found"]
    assert "GFLOP/s" in found["mlx"]["found"]
    assert (found["base model"]["state"], found["spool"]["state"]) == ("warn", "warn")
    assert found["warehouse"] == {
        "name": "warehouse",
        "state": "warn",
        "found": "there is none yet",
        "mend": "run `tracemill ingest`",
    }
    assert all(check["mend"] for check in found.values() if check["state"] != "ok")


def test_what_is_there_is_counted(home: Home) -> None:
    record(home, "one", chat("Read it"))
    ingest(home)
    tiny_model(home.models / "smollm2-135m")
    code, shown = run()
    assert code == 0
    lines = [line.split() for line in shown.splitlines()]
    assert any(line[:4] == ["ok", "warehouse", "1", "sessions,"] for line in lines)
    assert any(line[:4] == ["ok", "spool", "1", "files,"] for line in lines)
    assert any(line[:4] == ["ok", "base", "model", "smollm2-135m,"] for line in lines)


def test_a_home_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, found = checks(TRACEMILL_HOME=str(tmp_path / "file" / "home"))
    assert code == 1
    assert found["home"]["state"] == "fail"
    assert "TRACEMILL_HOME" in found["home"]["mend"]
    assert found["disk"]["state"] in {"ok", "warn"}


def test_a_broken_snapshot_fails(home: Home) -> None:
    home.ensure(home.root)
    home.snapshot.write_text("this is no database")
    code, found = checks()
    assert code == 1
    assert found["warehouse"]["state"] == "fail"


@pytest.mark.skipif(sys.platform != "linux", reason="macOS needs no g++")
def test_a_missing_compiler_warns_and_a_broken_one_fails(home: Home, tmp_path: Path) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    code, found = checks(PATH=str(nothing), CC="", CXX="")
    assert (code, found["g++"]["state"], found["g++"]["mend"]) == (0, "warn", "install g++")
    if found["mlx"]["state"] == "warn":
        assert "libopenblas" in found["mlx"]["mend"]
    broken = nothing / "g++"
    broken.write_text("#!/bin/sh\necho 'fatal error: cmath: No such file' >&2\nexit 1\n")
    broken.chmod(0o755)
    code, found = checks(PATH=f"{nothing}{os.pathsep}{os.environ['PATH']}")
    assert (code, found["g++"]["state"]) == (1, "fail")
    assert "cmath" in found["g++"]["found"]
