"""Every agent of a process is recorded, in programs that know nothing of it: real programs, real agents."""

from __future__ import annotations

import os
import random
import site
import string
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_ai
import pytest

from tracemill.tracer import launch
from tracemill.tracer.home import Home
from tracemill.tracer.recording import Summary, recording

Recorded = Any  # tests/tracer/conftest.py

AGENT = """
import asyncio
from pydantic_ai import Agent, AgentRunResultEvent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel, DeltaToolCall
from pydantic_ai.models.test import TestModel

def doubler(name="doubler", **more):
    agent = Agent(TestModel(), name=name, **more)

    @agent.tool_plain
    def double(number: int) -> int:
        return 2 * number

    return agent
"""

ONE_RUN = AGENT + "print(asyncio.run(doubler().run('Double 0.')).output)\n"


@dataclass
class Ended:
    """A program that ran under the launcher."""

    code: int
    out: str
    err: str
    summary: Summary


Launch = Callable[..., Ended]


@pytest.fixture
def launched(home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Launch:
    """Runs a Python program, given as its text, as `tracemill record` does."""

    def start(
        program: str,
        *words: str,
        python: Path | str = sys.executable,
        metadata: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
    ) -> Ended:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(program), encoding="utf-8")
        with recording(home) as going_on:
            made = {**going_on.environment(metadata), **(env or {})}
            code = launch.run([str(python), str(path), *words], made)
            summary = going_on.summary()
        return Ended(code, *capfd.readouterr(), summary)

    return start


@pytest.fixture
def bare_environment(tmp_path: Path) -> Callable[..., Path]:
    """Makes a virtual environment that cannot import `tracemill`, with or without this one's Pydantic AI."""

    def make(*, with_pydantic_ai: bool) -> Path:
        folder = tmp_path / "bare"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        if with_pydantic_ai:
            (packages,) = folder.glob("lib/python*/site-packages")
            # A line in a .pth file adds a folder without looking at the .pth files in it.
            (packages / "borrowed.pth").write_text(str(Path(pydantic_ai.__file__).parents[1]) + "\n")
        return folder / "bin" / "python"

    return make


def test_a_program_that_knows_nothing_of_it(launched: Launch, recorded: Callable[[], Recorded]) -> None:
    ended = launched(ONE_RUN, "an", "argument", metadata={"task": "double"})
    assert (ended.code, ended.out, ended.err) == (0, '{"double":0}\n', "")
    (session,) = recorded().of("session")
    assert (session["agent"], session["source"]) == ("doubler", "pydantic-ai")
    process = session["metadata"].pop("process")
    assert session["metadata"] == {"task": "double"}
    assert process["recording"] == ended.summary.recording
    assert process["pydantic_ai"] == pydantic_ai.__version__
    assert process["python"] == ".".join(map(str, sys.version_info[:3]))
    assert process["pid"] not in (0, os.getpid())
    assert process["command"].endswith("program.py an argument")
    assert [call["status"] for call in recorded().tool_calls()] == ["ok"]
    assert ended.summary.sessions == [session["session_id"]]
    assert (ended.summary.runs, ended.summary.tool_calls, ended.summary.pythons) == (1, 1, 1)
    assert ended.summary.versions == [pydantic_ai.__version__]


def test_secrets_on_the_command_line_are_not_kept(launched: Launch, home: Home) -> None:
    letters = random.Random(1).choices(string.ascii_letters + string.digits, k=48)
    secret = "sk-proj-" + "".join(letters)
    assert launched(ONE_RUN, "--key", secret).summary.runs == 1
    assert all(secret.encode() not in path.read_bytes() for path in home.root.rglob("*") if path.is_file())


def test_a_long_argument_is_told_by_its_length(launched: Launch, recorded: Callable[[], Recorded]) -> None:
    launched(ONE_RUN, "x" * 501, "y")
    assert (
        recorded()
        .one("session")["metadata"]["process"]["command"]
        .endswith("program.py '[501 characters]' y")
    )


@pytest.mark.parametrize("inherited", [None, "", "/a:/b", ":/a", "/a::/b:"])
def test_the_environment_is_left_as_it_is(
    home: Home, monkeypatch: pytest.MonkeyPatch, inherited: str | None
) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if inherited is not None:
        monkeypatch.setenv("PYTHONPATH", inherited)
    alone = dict(os.environ)
    made = launch.environment(home, "r")
    ours = {"PYTHONPATH", "TRACEMILL_HOME", "TRACEMILL_TRACER", "TRACEMILL_RECORDING", "TRACEMILL_METADATA"}
    assert {name: value for name, value in made.items() if name not in ours} == {
        name: value for name, value in alone.items() if name not in ours
    }
    expected = [str(launch.INJECTED), *([inherited] if inherited else [])]
    assert made["PYTHONPATH"] == os.pathsep.join(expected)
    # A recording inside a recording.
    monkeypatch.setenv("PYTHONPATH", made["PYTHONPATH"])
    assert launch.environment(home, "inner")["PYTHONPATH"] == made["PYTHONPATH"]


WAYS = {
    "run": "asyncio.run(agent.run('go'))",
    "run_sync": "agent.run_sync('go')",
    "run_stream": """
        async def main():
            async with agent.run_stream('go') as result:
                print(await result.get_output())
        asyncio.run(main())
    """,
    "iter": """
        async def main():
            async with agent.iter('go') as run:
                async for _ in run:
                    pass
        asyncio.run(main())
    """,
    "run_stream_events": """
        async def main():
            import inspect
            stream = agent.run_stream_events('go')
            if hasattr(stream, '__aenter__'):
                async with stream as events:
                    async for _ in events:
                        pass
            else:
                async for _ in stream:
                    pass
        asyncio.run(main())
    """,
    "override": """
        with agent.override(model=TestModel(custom_output_text='other')):
            asyncio.run(agent.run('go'))
    """,
    "wrapper": """
        from pydantic_ai.agent import WrapperAgent
        asyncio.run(WrapperAgent(agent).run('go'))
    """,
    "subclass": """
        class Mine(Agent):
            def iter(self, *arguments, **options):
                return super().iter(*arguments, **options)
        asyncio.run(Mine(TestModel(), name='doubler', tools=[len]).run('go'))
    """,
    "with capabilities of its own": """
        from pydantic_ai.capabilities import AbstractCapability
        class Seen(AbstractCapability):
            async def before_model_request(self, ctx, request_context):
                print('seen')
                return request_context
        asyncio.run(agent.run('go', capabilities=[Seen()]))
    """,
}


def test_every_way_to_run_an_agent(launched: Launch, recorded: Callable[[], Recorded]) -> None:
    ways = [
        f"\nprint('way', {name!r}, flush=True)\nagent = doubler()\n{textwrap.dedent(text)}"
        for name, text in WAYS.items()
    ]
    ended = launched(AGENT + "".join(ways))
    assert (ended.code, ended.err) == (0, ""), ended.out
    sessions = recorded().of("session")
    assert [session["agent"] for session in sessions] == ["doubler"] * len(WAYS)
    for way, session in zip(WAYS, sessions, strict=True):
        of = {"session_id": session["session_id"]}.items()
        (run,) = [event for event in recorded().of("run_end") if of <= event.items()]
        assert run["status"] == "ok", way
        assert [event["step"] for event in recorded().of("request") if of <= event.items()] == [0, 1], way
        calls = [call for call in recorded().tool_calls() if of <= call.items()]
        assert [call["status"] for call in calls] == ["ok"], way
    assert (ended.summary.faults, ended.summary.dropped, ended.summary.failures) == (0, 0, [])


def test_a_sub_agent_belongs_to_its_parent(launched: Launch, recorded: Callable[[], Recorded]) -> None:
    program = """
    outer = Agent(TestModel(), name='outer')

    @outer.tool_plain
    async def ask() -> str:
        return (await doubler('inner').run('Double 0.')).output

    asyncio.run(outer.run('go'))
    """
    ended = launched(AGENT + textwrap.dedent(program))
    starts = {start["agent"]: start for start in recorded().of("run_start")}
    assert starts["inner"]["parent_run_id"] == starts["outer"]["run_id"]
    assert starts["inner"]["session_id"] == starts["outer"]["session_id"] == ended.summary.sessions[0]
    assert (ended.summary.runs, ended.summary.tool_calls) == (2, 2)


@pytest.mark.parametrize("launcher", [True, False], ids=["under the launcher", "alone"])
def test_attach_from_code_records_once(
    launched: Launch, recorded: Callable[[], Recorded], home: Home, launcher: bool
) -> None:
    program = """
    from tracemill.tracer import Recorder, attach
    early, own = doubler('early'), doubler('own', capabilities=[Recorder(agent='mine', metadata={'own': True})])
    attach(metadata={'first': True})
    attach(metadata={'second': True})
    asyncio.run(early.run('go'))
    asyncio.run(own.run('go'))
    """
    env = {"PYTHONPATH": str(Path(launch.__file__).parents[2])} if not launcher else {}
    ended = launched(AGENT + textwrap.dedent(program), env=env)
    assert (ended.code, ended.err) == (0, "")
    early, own = recorded().of("session")
    assert [early["agent"], own["agent"]] == ["early", "mine"]
    # Under the launcher the process was attached before the program was read.
    assert early["metadata"].get("first") is (None if launcher else True)
    assert "second" not in early["metadata"]
    assert own["metadata"]["own"] is True
    assert early["metadata"]["process"]["pid"] == own["metadata"]["process"]["pid"]
    assert len(recorded().of("run_start")) == len(recorded().of("run_end")) == 2
    assert len(recorded().of("request")) == len(recorded().of("response")) == 4
    assert len(recorded().tool_calls()) == 2


@pytest.mark.parametrize(
    "start",
    [
        "import subprocess, sys; subprocess.run([sys.executable, __file__, 'child'], check=True)",
        "import os; os.system(f'{sys.executable} {__file__} child')",
        *(
            f"import multiprocessing as m; p = m.get_context('{kind}').Process(target=work, args=('child',)); "
            "p.start(); p.join(); assert p.exitcode == 0"
            for kind in ("fork", "spawn", "forkserver")
        ),
        "import os; pid = os.fork(); work('child') if pid == 0 else os.waitpid(pid, 0)",
        "import concurrent.futures as f\n    with f.ProcessPoolExecutor(1) as p: p.submit(work, 'child').result()",
    ],
    ids=["subprocess", "shell", "fork", "spawn", "forkserver", "os.fork", "pool"],
)
def test_processes_that_a_program_starts(
    launched: Launch, recorded: Callable[[], Recorded], start: str
) -> None:
    program = f"""
import sys, warnings
warnings.simplefilter('ignore')
{AGENT}
def work(name):
    asyncio.run(doubler(name).run('go'))

if __name__ == '__main__' and 'child' in sys.argv:
    work('child')
elif __name__ == '__main__':
    work('parent')
    {start}
"""
    ended = launched(program)
    assert (ended.code, ended.err) == (0, "")
    sessions = {session["agent"]: session["metadata"]["process"] for session in recorded().of("session")}
    assert set(sessions) == {"parent", "child"}
    assert sessions["parent"]["pid"] != sessions["child"]["pid"]
    assert {process["recording"] for process in sessions.values()} == {ended.summary.recording}
    assert (len(ended.summary.sessions), ended.summary.runs, ended.summary.tool_calls) == (2, 2, 2)


def test_an_environment_without_tracemill(
    launched: Launch, recorded: Callable[[], Recorded], bare_environment: Callable[..., Path]
) -> None:
    python = bare_environment(with_pydantic_ai=True)
    program = "import sys\nbefore = list(sys.path)\n" + ONE_RUN
    program += "assert sys.path == before\nassert not any('tracemill' in part for part in before), before\n"
    program += "assert not any('duckdb' in name or 'typer' in name for name in sys.modules)\n"
    ended = launched(program, python=python, env={"PYTHONPATH": str(launch.INJECTED)})
    assert (ended.code, ended.out, ended.err) == (0, '{"double":0}\n', "")
    assert len(recorded().tool_calls()) == ended.summary.tool_calls == 1


def test_an_environment_with_other_parts_of_tracemill(
    launched: Launch, bare_environment: Callable[..., Path], tmp_path: Path
) -> None:
    python = bare_environment(with_pydantic_ai=True)
    (tmp_path / "other" / "tracemill").mkdir(parents=True)
    (tmp_path / "other" / "tracemill" / "plugin.py").write_text("HERE = True\n")
    folders = f"{launch.INJECTED}{os.pathsep}{tmp_path / 'other'}"
    program = "import tracemill.plugin\n" + ONE_RUN + "import tracemill.plugin as p\nassert p.HERE\n"
    ended = launched(program, python=python, env={"PYTHONPATH": folders})
    assert (ended.code, ended.err, ended.summary.runs) == (0, "", 1)
    later = ONE_RUN + "import tracemill.plugin as p\nassert p.HERE\n"
    ended = launched(later, python=python, env={"PYTHONPATH": folders})
    assert (ended.code, ended.err, ended.summary.runs) == (0, "", 1)


def test_a_python_without_pydantic_ai(launched: Launch, bare_environment: Callable[..., Path]) -> None:
    ended = launched("print('ran')", python=bare_environment(with_pydantic_ai=False))
    assert (ended.code, ended.out, ended.err) == (0, "ran\n", "")
    assert (ended.summary.pythons, ended.summary.versions, ended.summary.sessions) == (1, [], [])


def test_a_python_that_ignores_its_environment(launched: Launch) -> None:
    ended = launched("import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', 'pass'])")
    assert ended.summary.pythons == 1


def test_a_process_without_pydantic_ai_pays_for_nothing_else(home: Home) -> None:
    told = "import sys; print(*sorted(sys.modules)); print(*sys.path); print(sys.flags)"
    command = [sys.executable, "-c", told]
    with recording(home) as going_on:
        env = going_on.environment()
        alone = {**env, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        (with_us, path, flags), (without, its_path, its_flags) = (
            subprocess.run(command, env=e, capture_output=True, text=True, check=True).stdout.splitlines()
            for e in (env, alone)
        )
    assert set(with_us.split()) - set(without.split()) <= {"sitecustomize", "tracemill_hook"}
    assert (path, flags) == (its_path, its_flags)


def test_the_sitecustomize_that_was_there_runs(launched: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.theirs = __file__\n")
    program = f"""
    import sys, sitecustomize
    assert sys.theirs == sitecustomize.__file__ == {str(folder / "sitecustomize.py")!r}
    {{}}
    """
    env = {
        "PYTHONPATH": os.pathsep.join([str(launch.INJECTED), str(folder), os.environ.get("PYTHONPATH", "")])
    }
    ended = launched(textwrap.dedent(program).format(ONE_RUN), env=env)
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary.runs == 1


@pytest.mark.parametrize(
    "body", ["1 / 0", "import not_there", "raise ImportError('no', name='sitecustomize')"]
)
def test_a_broken_sitecustomize_is_as_broken_as_alone(home: Home, tmp_path: Path, body: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(body + "\n")
    command = [sys.executable, "-c", "print('ran')"]
    with recording(home) as going_on:
        folders = f"{launch.INJECTED}{os.pathsep}{tmp_path}"
        with_us, without = (
            subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            for env in (
                {**going_on.environment(), "PYTHONPATH": folders},
                {**os.environ, "PYTHONPATH": str(tmp_path)},
            )
        )
    assert (with_us.returncode, with_us.stdout) == (without.returncode, without.stdout)
    assert with_us.stderr.splitlines()[-1:] == without.stderr.splitlines()[-1:]


def test_usercustomize_runs(launched: Launch, tmp_path: Path) -> None:
    env = {"PYTHONUSERBASE": str(tmp_path)}
    ask = [sys._base_executable, "-m", "site", "--user-site"]  # type: ignore[attr-defined]
    told = subprocess.run(ask, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    folder = Path(told.stdout.strip())
    folder.mkdir(parents=True)
    (folder / "usercustomize.py").write_text("import sys\nsys.theirs = True\n")
    if not site.check_enableusersite() and sys.prefix == sys.base_prefix:
        pytest.skip("this Python has no user site")
    ended = launched("import sys; print(sys.theirs)", python=sys._base_executable, env=env)  # type: ignore[attr-defined]
    assert (ended.code, ended.out, ended.err) == (0, "True\n", "")


def test_an_agent_goes_on_where_nothing_can_be_written(launched: Launch, home: Home) -> None:
    blocked = (
        f"import pathlib, shutil; p = pathlib.Path({str(home.spool)!r}); shutil.rmtree(p); p.write_text('')\n"
    )
    ended = launched(blocked + ONE_RUN)
    home.spool.unlink()
    assert (ended.code, ended.out) == (0, '{"double":0}\n')
    assert ended.err.count("\n") == 1
    assert "cannot record" in ended.err
    assert ended.summary.dropped > 5
    assert ended.summary.sessions == []


def test_pydantic_ai_is_imported_again(launched: Launch, recorded: Callable[[], Recorded]) -> None:
    program = """
    import sys
    asyncio.run(doubler('first').run('go'))
    for name in [name for name in sys.modules if name.partition('.')[0] == 'pydantic_ai']:
        del sys.modules[name]
    """
    ended = launched(AGENT + textwrap.dedent(program) + AGENT + "asyncio.run(doubler('second').run('go'))\n")
    assert ended.code == 0
    assert recorded().of("session")[0]["agent"] == "first"


def test_pydantic_ai_that_cannot_be_imported_fails_as_alone(launched: Launch, tmp_path: Path) -> None:
    (tmp_path / "pydantic_ai").mkdir()
    (tmp_path / "pydantic_ai" / "__init__.py").write_text("raise RuntimeError('broken')\n")
    ended = launched("import pydantic_ai")  # found beside the program
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "RuntimeError: broken"


def test_an_agent_whose_folder_was_deleted(launched: Launch, recorded: Callable[[], Recorded]) -> None:
    deleted = "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)\n"
    ended = launched(deleted + ONE_RUN)
    assert (ended.code, ended.err, ended.summary.faults) == (0, "", 0)
    assert recorded().one("session")["project"] == ""
    assert recorded().one("run_end")["status"] == "ok"
