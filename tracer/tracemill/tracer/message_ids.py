"""The messages of a history by their ids, of which only the new ones are read.

In: the prepared history of each request of a run, whole. Out: ids; the bodies are written where the spool's
file does not have them. A history grows by a few messages a request, so what was read of a message is used
again as long as its parts are still what they were (`tracer/freezing.py`): programs change them in place,
leave some out, or load the same ones anew. All that is read of a message is in its parts.

`Histories` keeps those of the last runs, because each turn of a session hands the earlier messages in again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from tracemill.tracer.conversion import Dialect, dialect, is_sent, neutral_messages, response_message
from tracemill.tracer.freezing import NEVER, freeze_fields, same, size

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model

    from tracemill.tracer.messages import Message
    from tracemill.tracer.offer import Offer
    from tracemill.tracer.spool import Spool

HISTORIES_REMEMBERED = 16
LONGEST_REMEMBERED = 1_000_000
"""Characters and bytes of a history that is kept after its run."""

_parts_of = attrgetter("parts")
_fields_of = attrgetter("__dict__")


class _Read(NamedTuple):
    """What was read of one message."""

    place: int
    """Its `id` then: a hint where it may turn up again."""
    parts: int
    then: list[Any]
    """The values of the fields of its parts, frozen."""
    ids: tuple[str, ...]
    system: int
    """How many messages at its beginning are system prompts."""
    size: int
    """Characters and bytes that `then` keeps alive."""


class History:
    """The growing history of one run, or of several that go on from each other."""

    def __init__(self, spool: Spool, session_id: str, *, keep_files: bool) -> None:
        self.session_id = session_id
        self._spool = spool
        self._keep_files = keep_files
        self._generation: int | None = None
        self._spoken: Dialect | None = None
        self._answer: _Read | None = None
        self.offer: Offer | None = None
        """What the last run offered its model."""
        self._clear()

    def _clear(self) -> None:
        self._reads: list[_Read] = []
        self._ids: list[str] = []
        self._then: list[Any] = []
        self._lengths: list[int] = []
        self.size = 0
        """Characters and bytes of all messages."""

    def ids(
        self,
        messages: Sequence[ModelMessage],
        spoken: Dialect,
        generation: int | None,
        *,
        goes_on: bool = False,
    ) -> tuple[list[str], int]:
        """The ids of a prepared history, and how many system prompts stand at its beginning.

        `generation` is the one of the spool's file, None where that is gone; `goes_on` where that was told of
        these very messages just now.
        """
        known: list[_Read] = []
        if not self._is_current(spoken, generation):
            self._clear()
            self._answer = None
            self._generation, self._spoken = generation, spoken
        elif not goes_on and not self._begins(messages):
            known = self._reads
            self._clear()
        places = {read.place: read for read in known}
        if self._answer is not None:
            places[self._answer.place] = self._answer
        for index, message in enumerate(messages[len(self._reads) :], len(self._reads)):
            likely = [*known[index : index + 1], *filter(None, (places.get(id(message)),))]
            read = next((one for one in likely if _are_still(message.parts, one.then)), None)
            self._append(read or self._read(message, spoken))
        return list(self._ids), self._system_prompts()

    def answer(self, response: ModelResponse, spoken: Dialect) -> str:
        """The id of a model's answer."""
        then = _frozen(response)
        answer = response_message(response, spoken, keep_files=self._keep_files)
        ids, certain = self._write([answer])
        sent = ids if is_sent(answer, response, spoken) else ()
        then = then if certain else [NEVER]
        self._answer = _Read(id(response), len(response.parts), then, sent, 0, size(then))
        return ids[0]

    def goes_on(self, messages: Sequence[ModelMessage], spoken: Dialect, generation: int | None) -> bool:
        """Whether these begin with all the messages of the last request, which are still what they were."""
        return self._is_current(spoken, generation) and self._begins(messages)

    def _is_current(self, spoken: Dialect, generation: int | None) -> bool:
        return generation is not None and generation == self._generation and spoken == self._spoken

    def _begins(self, messages: Sequence[ModelMessage]) -> bool:
        known = messages[: len(self._reads)]
        if list(map(len, map(_parts_of, known))) != self._lengths:
            return False
        return _are_still(chain.from_iterable(map(_parts_of, known)), self._then)

    def _append(self, read: _Read) -> None:
        self._reads.append(read)
        self._ids += read.ids
        self._then += read.then
        self._lengths.append(read.parts)
        self.size += read.size

    def _system_prompts(self) -> int:
        count = 0
        for read in self._reads:
            count += read.system
            if read.system < len(read.ids):
                break
        return count

    def _read(self, message: ModelMessage, spoken: Dialect) -> _Read:
        then = _frozen(message)
        bodies = neutral_messages(message, spoken, keep_files=self._keep_files)
        ids, certain = self._write(bodies)
        system = next((n for n, body in enumerate(bodies) if body["role"] != "system"), len(bodies))
        then = then if certain else [NEVER]
        return _Read(id(message), len(message.parts), then, ids, system, size(then))

    def _write(self, bodies: Sequence[Message]) -> tuple[tuple[str, ...], bool]:
        """The ids of messages, and whether the file that is being written has them all."""
        before = self._spool.generation, self._spool.dropped
        ids = tuple(self._spool.messages(bodies, self.session_id))
        return ids, before == (self._spool.generation, self._spool.dropped)


class Histories:
    """The histories of runs that are over, for those that go on from them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[History] = []
        self._spoken: tuple[Model, object, Dialect] | None = None

    def dialect(self, model: Model) -> Dialect:
        """How a model is sent its own earlier answers; run after run asks the same one."""
        spoken, profile = self._spoken, model.profile
        if spoken is None or spoken[0] is not model or spoken[1] is not profile:
            self._spoken = spoken = model, profile, dialect(model)
        return spoken[2]

    def keep(self, history: History) -> None:
        """Remember a history, unless it is very long, and forget the oldest."""
        if history.size <= LONGEST_REMEMBERED:
            with self._lock:
                self._kept.insert(0, history)
                del self._kept[HISTORIES_REMEMBERED:]

    def claim(
        self, session_id: str, messages: Sequence[ModelMessage], spoken: Dialect, generation: int | None
    ) -> History | None:
        """The history that `messages` go on from; it is the caller's now."""
        with self._lock:
            for index, history in enumerate(self._kept):
                if history.session_id == session_id and history.goes_on(messages, spoken, generation):
                    return self._kept.pop(index)
        return None


def _fields(parts: Iterable[Any]) -> list[Any]:
    """The values of the fields of all parts: to compare them in one list takes a fraction of the time."""
    return list(chain.from_iterable(map(dict.values, map(_fields_of, parts))))


def _are_still(parts: Iterable[Any], then: list[Any]) -> bool:
    try:
        return same(_fields(parts), then)
    except AttributeError:  # a part without fields
        return False


def _frozen(message: ModelMessage) -> list[Any]:
    """The fields of the parts of a message as they are; nothing equals them where no copy would tell."""
    try:
        return freeze_fields(_fields(message.parts))
    except (TypeError, AttributeError, RecursionError):
        return [NEVER]
