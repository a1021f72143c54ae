"""Agents that are spoken to over ACP, as their deps tell: Punie, and whatever is built like it.

In: the deps of a run that hold the editor's session id and the connection to the editor. Out: the session its
runs belong to, and three things that only the connection sees: decisions on permissions (feedback), replies
that hide an exception (the run failed after all), and requests made by code in another thread (inner calls).

Nothing is imported for it: deps are known by a text `session_id` and a value with the methods of an ACP
client. The connection stays the object it is; those of its methods that are watched are wrapped on it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from tracemill.tracer.events import new_id
from tracemill.tracer.inner_calls import (
    Executing,
    InnerCall,
    Spare,
    executing,
    named_arguments,
    watch_known_sandboxes,
)
from tracemill.tracer.messages import content_id
from tracemill.tracer.process import RECORDING

if TYPE_CHECKING:
    from tracemill.tracer.run_record import RunRecord

REQUESTS = (
    "read_text_file",
    "write_text_file",
    "create_terminal",
    "terminal_output",
    "wait_for_terminal_exit",
    "release_terminal",
    "kill_terminal",
    "ext_method",
)
"""What an agent asks an editor to do: the methods of an ACP client, less those that tell or ask leave."""

ERROR_REPLIES = ("Agent error: ", "Usage limit exceeded: ")
"""How the replies begin in which Punie tells of an exception that it caught."""

_PROCESS = new_id()


class EditorSession:
    """One session of an editor, as this process sees it."""

    def __init__(self, acp_session: str) -> None:
        self.acp_session = acp_session
        self.executing: list[Executing] = []
        """The tool calls being executed for it."""
        self._answered: tuple[RunRecord, object] | None = None
        """The run whose reply comes next, and its output."""

    @property
    def session_id(self) -> str:
        """Its name here: agents number their sessions anew in every process, so the process is part of it."""
        return content_id(["acp", os.environ.get(RECORDING), _PROCESS, os.getpid(), self.acp_session])

    @property
    def metadata(self) -> dict[str, Any]:
        """What the session says of itself; the same session seen by a tee is found by it."""
        return {"acp_session": self.acp_session}

    def only_call(self) -> Executing | None:
        """The tool call being executed; None where there is none, or more than one."""
        return self.executing[0] if len(self.executing) == 1 else None

    def run_begins(self, run: RunRecord) -> None:
        """Follow a run of this session."""
        run.editor, run.executing = self, self.executing
        self._answered = None

    def run_is_over(self, run: RunRecord, output: object) -> None:
        """A run has its result; what the editor is told next is the reply."""
        self._answered = (run, output)

    def told(self, text: str) -> None:
        """The editor is shown a message of the agent."""
        answered, self._answered = self._answered, None
        if answered is not None and text != answered[1] and text.startswith(ERROR_REPLIES):
            answered[0].failed_afterwards(text)


class Editor:
    """What is at the other end of a connection."""

    def __init__(self, connection: object, spare: Spare) -> None:
        self._spare = spare
        self._sessions: dict[str, EditorSession] = {}
        self._wrap(connection, "session_update", self._update)
        self._wrap(connection, "request_permission", self._permission)
        for name in REQUESTS:
            self._wrap(connection, name, self._request)

    def session(self, acp_session: str) -> EditorSession:
        """The session that the editor calls `acp_session`."""
        return self._sessions.setdefault(acp_session, EditorSession(acp_session))

    def _wrap(self, connection: object, name: str, around: Callable[..., Awaitable[Any]]) -> None:
        original = getattr(connection, name, None)
        own = getattr(connection, "__dict__", None)
        if original is None or own is None or not inspect.iscoroutinefunction(original):
            return

        @functools.wraps(original)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            arguments = named_arguments(original, args, kwargs)
            session = self.session(str(arguments.pop("session_id", "")))
            return await around(session, name, arguments, functools.partial(original, *args, **kwargs))

        setattr(watched, _MARK, self)
        own[name] = watched

    async def _request(
        self,
        session: EditorSession,
        name: str,
        arguments: dict[str, Any],
        ask: Callable[[], Awaitable[Any]],
    ) -> Any:
        # What a tool asks for itself is its own affair; code in another thread has lost the context.
        outer = session.only_call() if executing() is None else None
        if outer is None:
            return await ask()
        with InnerCall(outer, name, arguments) as inner:
            inner.result = await ask()
        return inner.result

    async def _permission(
        self,
        session: EditorSession,
        name: str,  # noqa: ARG002 (as for every method)
        arguments: dict[str, Any],
        ask: Callable[[], Awaitable[Any]],
    ) -> Any:
        answer = await ask()
        self._spare(_decided, executing() or session.only_call(), arguments, answer)
        return answer

    async def _update(
        self,
        session: EditorSession,
        name: str,  # noqa: ARG002 (as for every method)
        arguments: dict[str, Any],
        ask: Callable[[], Awaitable[Any]],
    ) -> Any:
        try:
            return await ask()
        finally:
            self._spare(_updated, session, arguments)


_MARK = "_tracemill_editor"


def editor_session(deps: object, spare: Spare) -> EditorSession | None:
    """The editor's session that a run with these deps belongs to, watched from now on; None without one.

    `spare` does the recorder's own work, so that a fault in it is nothing to the agent.
    """
    return None if deps is None else spare(_editor_session, deps, spare)


def _editor_session(deps: object, spare: Spare) -> EditorSession | None:
    connection = next((value for value in _fields(deps) if _is_connection(value)), None)
    acp_session = field_of(deps, "session_id")
    if connection is None or not isinstance(acp_session, str) or not acp_session:
        return None
    watch_known_sandboxes(deps)
    editor: Editor | None = getattr(getattr(connection, "session_update", None), _MARK, None)
    return (editor or Editor(connection, spare)).session(acp_session)


def decision(options: Iterable[object], answer: object) -> str | None:
    """The kind of the option that was chosen, such as allow_once; None where nobody chose."""
    outcome = field_of(answer, "outcome")
    chosen = field_of(outcome, "option_id", "optionId")
    kinds = (field_of(one, "kind") for one in options if field_of(one, "option_id", "optionId") == chosen)
    return next((str(kind) for kind in kinds), None) if isinstance(chosen, str) else None


def field_of(value: object, *names: str) -> Any:
    """A field of an object or of a dict, by the first of `names` that it has; None for nothing."""
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        return next((found[name] for name in names if name in found), None)
    return next((getattr(value, name) for name in names if hasattr(value, name)), None)


def _decided(asking: Executing | None, arguments: Mapping[str, Any], answer: object) -> None:
    kind = decision(arguments.get("options", ()), answer)
    if asking is not None and kind is not None:
        asking.run.permission(asking.call, kind)


def _updated(session: EditorSession, arguments: Mapping[str, Any]) -> None:
    update = arguments.get("update")
    if field_of(update, "session_update", "sessionUpdate") == "agent_message_chunk":
        session.told(str(field_of(field_of(update, "content"), "text")))


def _fields(deps: object) -> Iterable[object]:
    if isinstance(deps, Mapping):
        return list(cast("Mapping[str, object]", deps).values())
    names: Iterable[str] = getattr(type(deps), "__dataclass_fields__", None) or getattr(deps, "__dict__", ())
    return [getattr(deps, name, None) for name in names]


def _is_connection(value: object) -> bool:
    return all(
        callable(getattr(type(value), name, None)) for name in ("session_update", "request_permission")
    )
