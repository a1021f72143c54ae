"""Tool calls that the code of another tool call makes, as in code mode: the model calls `execute_code` only,
and the code it wrote calls `read_file` and `run_command`.

In: the call being executed, and the functions its code may call. Out: a `tool_start` and a `tool_end` for
each call of such a function, with the enclosing call as parent. The functions keep signatures and results.

Code mostly runs in another thread, to which the context of the tool does not travel. So the functions are
bound to the enclosing call where they are handed out, which happens in the tool itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from tracemill.tracer.conversion import jsonable
from tracemill.tracer.events import milliseconds_since
from tracemill.tracer.tool_calls import Call, Verdict, failure

if TYPE_CHECKING:
    from tracemill.tracer.run_record import RunRecord

Spare = Callable[..., Any]
"""Does a piece of the recorder's own work; a fault in it is nothing to the agent."""


class Executing:
    """A tool call while it is executed: a `with` statement around its execution."""

    __slots__ = ("_token", "call", "numbers", "run", "spare")

    def __init__(self, run: RunRecord, call: Call, spare: Spare) -> None:
        self.run = run
        self.call = call
        self.spare = spare
        self.numbers = itertools.count(1)

    def __enter__(self) -> None:
        self._token = _executing.set(self)
        self.call.executing = True
        self.run.executing.append(self)

    def __exit__(self, *_: object) -> None:
        _executing.reset(self._token)
        self.call.executing = False
        self.run.executing.remove(self)


_executing: ContextVar[Executing | None] = ContextVar("tracemill_executing", default=None)


def enclosing_run() -> RunRecord | None:
    """The run whose tool started what runs here, even if that tool is through."""
    found = _executing.get()
    return None if found is None else found.run


def executing() -> Executing | None:
    """The tool call in whose code we are, as far as the context tells."""
    found = _executing.get()
    # A thread may have inherited its context from whoever started it, long ago.
    return None if found is None or found.call.ended else found


def enclosing_call(run: RunRecord) -> Call | None:
    """The call of this very run in whose code we are."""
    found = executing()
    return found.call if found is not None and found.run is run else None


class InnerCall:
    """One call from inside another one: a `with` statement around it; set `result` before leaving."""

    def __init__(self, outer: Executing, tool: str, arguments: dict[str, Any]) -> None:
        self.result: Any = None
        self._outer = outer
        self._call: Call | None = outer.spare(self._begin, tool, arguments)
        self._token: Token[Executing | None] | None = None
        self._started = time.perf_counter_ns()

    def __enter__(self) -> InnerCall:
        if self._call is not None:
            self._token = _executing.set(Executing(self._outer.run, self._call, self._outer.spare))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        latency = milliseconds_since(self._started)
        if self._token is not None:
            _executing.reset(self._token)
        self._outer.spare(self._end, error, latency)

    def _begin(self, tool: str, arguments: dict[str, Any]) -> Call:
        outer = self._outer
        written = jsonable(arguments)
        call = Call(
            None,
            f"{outer.call.tool_call_id}/{next(outer.numbers)}",
            tool,
            written,
            arguments=written,
            parent_call_id=outer.call.call_id,
        )
        outer.run.call_starts(call)
        return call

    def _end(self, error: BaseException | None, latency: float) -> None:
        if self._call is None:
            return
        verdict = failure(error) if error is not None else Verdict("ok", result=jsonable(self.result))
        verdict.latency_ms = latency
        self._outer.run.call_ends(self._call, verdict)


def recorded(function: Callable[..., Any], tool: str, outer: Executing) -> Callable[..., Any]:
    """`function` as it is, but for each call being recorded as one that the code of `outer` makes."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with InnerCall(outer, tool, named_arguments(function, args, kwargs)) as inner:
                inner.result = await function(*args, **kwargs)
            return inner.result

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with InnerCall(outer, tool, named_arguments(function, args, kwargs)) as inner:
            inner.result = function(*args, **kwargs)
        return inner.result

    return called


def named_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by the names of its parameters; by number where they do not fit."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {**{str(number): value for number, value in enumerate(args)}, **kwargs}
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            named.update(cast("dict[str, Any]", value))
        else:
            named[name] = value
    return named


_MARK = "_tracemill_watched"


def watch_functions(sandbox: type) -> None:
    """From now on, record what is called through the objects of a class that a tool makes for its code.

    Each object holds the functions that the code may call as attributes; a frozen dataclass is fine. Objects
    made outside of a tool call are left alone.
    """
    original = cast("Callable[..., None]", sandbox.__init__)
    if hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def made(self: object, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        outer = executing()
        if outer is not None:
            outer.spare(_watch_object, self, outer)

    setattr(made, _MARK, True)
    sandbox.__init__ = made


def _watch_object(functions: object, outer: Executing) -> None:
    for name, function in list(vars(functions).items()):
        if callable(function):
            object.__setattr__(functions, name, recorded(function, name, outer))


def watch_known_sandboxes(deps: object) -> None:
    """Watch the functions that the code mode of a known agent, told by the class of its deps, hands out."""
    if type(deps).__module__.partition(".")[0] != "punie" or "punie.agent" not in sys.modules:
        return
    # The tool imports this module when it is first called; it needs the standard library only.
    module = importlib.import_module("punie.agent.monty_runner")
    watch_functions(module.ExternalFunctions)
