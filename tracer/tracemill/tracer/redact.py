"""Secrets are taken out of what is recorded before it reaches the disk.

In: strings, and JSON values made of them. Out: the same with each secret and each e-mail address replaced by
a placeholder such as `[REDACTED:openai-key:1]`, and the owner of a home folder by `user`, so that its paths
stay paths: `/home/user/project`. What is found is told by `detect`; hashes and numbers are left alone. An id
in which something is found becomes another id, the same one wherever it stands.

A secret keeps its number within its session, so that a reader can still follow it, and once a password was
seen beside its name it is hidden wherever else it stands. Redaction is a fixed point: doing it again changes
nothing.

Message bodies are named by their content and shared by sessions. They still are where two sessions number
their secrets alike, which is the rule, because the same system prompt comes first; where they do not, the
bodies differ and are stored apart.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypeVar, cast

from tracemill.tracer.detect import Detector, apart, occurrences, spellings
from tracemill.tracer.harmless import Harmless
from tracemill.tracer.json_text import encodable, parsed, spelled_text, unescaped
from tracemill.tracer.messages import Message, compact_json, content_id, put_together, quoted
from tracemill.tracer.secret_names import announces, is_secret_name, kind_of_field

T = TypeVar("T")

SESSIONS_REMEMBERED = 256
_SECRETS_REMEMBERED = 256

_PLACEHOLDER = re.compile(r"(\[REDACTED:[a-z0-9-]+:[0-9]+\])")
_FIXED_FIELDS = frozenset(("v", "ts", "kind", "status", "target", "outcome", "added", "path", "base", "rows"))
"""Fields of an event that hold fixed words, names of messages, places of data sets, adapters and bases; rows
of ids are looked at apart."""
_ID_FIELDS = frozenset(("id", "previous"))
"""Fields of an event that hold ids; so do those whose names end in `_id`."""
_KINDS_OF_ROWS = frozenset(("dataset", "dataset_rows"))
_OWN_IDS = re.compile("[0-9a-f]*")
_OWN_LENGTH = frozenset((32,))
_MADE_ID = re.compile("[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id as programs make them, ours and Pydantic AI among them: no token begins in it."""
_PLAIN_ID = re.compile("[A-Za-z0-9_-]{1,64}")
_SCHEMA_VALUES = frozenset(("default", "const", "enum", "example", "examples"))
_TOLD_BY_NAME = frozenset(("password", "token", "url-password", "authorization", "option"))
_json = compact_json()
_TEXT_TYPES = re.compile(
    r"text/|application/(?:json|xml|yaml|x-yaml|toml|x-sh|javascript)|[\w./-]+\+(?:json|xml)",
    re.IGNORECASE,
)


class Redactor:
    """Replaces secrets; one for a process. Every session has placeholders of its own."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is where secret variables and the home are looked up, by default this process's."""
        self.detector = Detector(environment)
        self._sessions: OrderedDict[str, SessionRedactor] = OrderedDict()
        self._latest: tuple[str, SessionRedactor] | None = None
        self._harmless = Harmless()

    def refresh(self) -> None:
        """Look at the environment again if it changed."""
        if self.detector.refresh():
            self._harmless.clear()

    def session(self, session_id: str) -> SessionRedactor:
        """The redactor of one session; one that was not heard of for long begins to count again."""
        if self.detector.refresh():
            self._harmless.clear()
        latest = self._latest
        if latest is not None and latest[0] == session_id:
            return latest[1]
        # Each step is atomic, so threads may share a session, and find the same one.
        found = self._sessions.get(session_id)
        if found is None:
            found = self._sessions.setdefault(session_id, SessionRedactor(self.detector, self._harmless))
            while len(self._sessions) > SESSIONS_REMEMBERED:
                self._sessions.popitem(last=False)
        else:
            with contextlib.suppress(KeyError):
                self._sessions.move_to_end(session_id)
        self._latest = session_id, found
        return found

    def redact(self, value: Any, session_id: str = "") -> Any:
        """A JSON value without secrets, in its strings and in its field names; the rest as it is."""
        return self.session(session_id).redact(value)

    def redact_message(self, message: Message, session_id: str = "", written: str | None = None) -> Message:
        """A message without secrets; its role stays, and ids of tool calls where they hold none.

        `written` is its JSON, where the caller has it. The very message where it has no secrets.
        """
        return self.session(session_id).redact_message(message, written)

    def redact_event(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event without secrets; bodies that are named by content are already clean.

        The very event where it has no secrets.
        """
        if event["kind"] in ("message", "toolset"):
            return event
        return self.session(event.get("session_id", "")).redact_event(event)

    def text(self, text: str, session_id: str = "") -> str:
        """A string without secrets, valid Unicode."""
        return self.session(session_id).text(text)

    def clean_id(self, id: str) -> str:
        """An id somebody made up; where it holds a secret or an address, another one that follows from it."""
        return _clean_id(id, self.detector, self._harmless)


class SessionRedactor:
    """Replaces secrets by the placeholders of one session."""

    def __init__(self, detector: Detector, harmless: Harmless) -> None:
        """`harmless` is where texts are remembered in which nothing was found."""
        self.counts: Counter[str] = Counter()
        """How often something of each kind was replaced."""
        self._detector = detector
        self._harmless = harmless
        self._placeholders: dict[tuple[bool, str], str] = {}
        self._counts: dict[str, count[int]] = {}
        self._learned: dict[str, None] = {}
        """Secrets that only their surroundings gave away, and which may turn up without them.

        Another thread may add one at any time, so only a copy is ever iterated.
        """

    def number_after(self, highest: Mapping[str, int]) -> None:
        """Number what is found from now on after the placeholders of each kind that stand there already."""
        for kind, number in highest.items():
            self._counts[kind] = count(number + 1)

    def redact(self, value: Any) -> Any:
        """See `Redactor.redact`."""
        return self._settled(self._value, value)

    def redact_message(self, message: Message, written: str | None = None) -> Message:
        """See `Redactor.redact_message`."""
        if "tool_calls" in message and self._clears_calls(message, written):
            return message
        return message if self._clears_message(message) else self._settled(self._message, message)

    def redact_event(self, event: dict[str, Any]) -> dict[str, Any]:
        """See `Redactor.redact_event`."""
        return event if self._clears_event(event) else self._settled(self._event, event)

    def text(self, text: str) -> str:
        """See `Redactor.text`."""
        return self._settled(self._text, text)

    def _clears_calls(self, message: Message, written: str | None) -> bool:
        """Whether one look at a whole answer shows that neither it nor its calls have secrets."""
        if written is None or self._learned or not self._detector.look.clears(written, is_json=True):
            return False
        for call in message.get("tool_calls", ()):
            # Each will be asked for again when the call starts.
            if _PLAIN_ID.fullmatch(call["id"]):
                self._harmless.add(call["id"])
        return True

    def _clears_message(self, message: Message) -> bool:
        """Whether one look shows that a message has no secrets."""
        for name, item in message.items():
            if name == "tool_calls":
                for call in message.get("tool_calls", ()):
                    if not (
                        self.clears_id(call["id"])
                        and self._clears(call["name"])
                        and self._clears(call["arguments"])
                    ):
                        return False
            elif name != "role" and not (
                self.clears_id(item) if name == "tool_call_id" else self._clears(item)
            ):
                return False
        return True

    def _clears_event(self, event: dict[str, Any]) -> bool:
        """Whether one look shows that an event has no secrets."""
        ids, texts = _fields_to_clean(tuple(event))
        if not self._clears_ids([event[name] for name in ids]):
            return False
        for name in texts:
            item = event[name]
            if item is not None and not self._clears(item):
                return False
        return event["kind"] not in _KINDS_OF_ROWS

    def _clears_ids(self, ids: list[Any]) -> bool:
        known = self._harmless.texts
        strange = [id for id in ids if id is not None and (type(id) is not str or id not in known)]
        # Most are our own, which are known at a glance.
        try:
            if _are_our_own(strange) and not self._detector.holds_variable(*strange):
                return True
        except TypeError:  # no text
            return False
        return all(map(self.clears_id, strange))

    def clears_id(self, id: Any) -> bool:
        """Whether an id may stay as it is."""
        if type(id) is not str:
            return False
        return id in self._harmless.texts or _clean_id(id, self._detector, self._harmless) == id

    def cleared(self, value: Any) -> str | None:
        """The JSON of a value, if one look shows that it has no secrets."""
        if value is None:
            return "null"
        if type(value) is str:
            return self._quoted(value)
        try:
            written = _json(value)
        except (TypeError, ValueError, RecursionError):  # no JSON
            return None
        return written if self._clears(value, written) else None

    def spelled(self, message: Message) -> tuple[str, str] | None:
        """The JSON of a message as `messages.spelled` gives it, if it is plain and one look clears it."""
        if "tool_calls" in message or "attachments" in message:
            return None
        texts: list[str] = []
        for name, item in message.items():
            if name == "role" or (name == "tool_call_id" and self.clears_id(item)):
                text = quoted(item)
            else:
                text = self._quoted(item) if type(item) is str else None
            if text is None:
                return None
            texts.append(text)
        return put_together(tuple(message), tuple(texts))

    def _quoted(self, text: str) -> str | None:
        """The JSON of a text, if one look shows that it has no secrets."""
        if self._learned:
            return None
        known = self._harmless.texts
        found = known.get(text)
        if found is None:
            if text not in known and not self._detector.look.clears(text):
                return None
            found = spelled_text(text)
            self._harmless.add(text, found)
        return found

    def _clears(self, value: Any, written: str | None = None) -> bool:
        """Whether one look shows that a value has no secrets; `written` is its JSON, where there is some."""
        kind = type(value)
        if kind is int or kind is float or kind is bool or value is None:
            return True
        if self._learned:
            return False
        is_json = kind is not str
        try:
            text: str = written or (_json(value) if is_json else value)
        except (TypeError, ValueError, RecursionError):  # no JSON
            return False
        harmless = self._harmless
        if text in harmless.texts:
            return True
        if not self._detector.look.clears(text, is_json=is_json):
            return False
        harmless.add(text)
        return True

    def _settled(self, work: Callable[[T], T], value: T) -> T:
        # A password that is learned late in a value may stand in it before.
        while True:
            known = len(self._learned)
            value = work(value)
            if len(self._learned) == known:
                return value

    def _event(self, event: dict[str, Any]) -> dict[str, Any]:
        clean = dict(event)
        ids, texts = _fields_to_clean(tuple(event))
        for name in ids:
            clean[name] = self._id(event[name])
        for name in texts:
            clean[name] = self._value(event[name])
        if event["kind"] in _KINDS_OF_ROWS and isinstance(event.get("rows"), list):
            clean["rows"] = [self._row(row) for row in event["rows"]]
        return clean

    def _row(self, row: Any) -> Any:
        """A row of a data set: ids, which must stay those of sessions."""
        if not isinstance(row, dict):
            return self._value(row)
        fields = cast("dict[str, Any]", row)
        return {name: self._id(value) for name, value in fields.items()}

    def _id(self, value: Any) -> Any:
        return (
            _clean_id(value, self._detector, self._harmless) if isinstance(value, str) else self._value(value)
        )

    def _message(self, message: Message) -> Message:
        clean: dict[str, Any] = {}
        for name, item in message.items():
            if name == "role":
                clean[name] = item
            elif name == "tool_call_id":
                clean[name] = self._id(item)
            elif name == "tool_calls":
                clean[name] = [
                    {
                        "id": self._id(call["id"]),
                        "name": self._text(call["name"]),
                        "arguments": self._value(call["arguments"]),
                    }
                    for call in message.get("tool_calls", ())
                ]
            elif name == "attachments":
                clean[name] = [self._attachment(file) for file in cast("list[dict[str, Any]]", item)]
            else:
                clean[name] = self._value(item)
        return cast("Message", clean)

    def _attachment(self, file: dict[str, Any]) -> dict[str, Any]:
        """The content of a text that holds secrets is not kept; its hash and size are."""
        clean = self._value({name: item for name, item in file.items() if name != "data"})
        if "data" in file and not self._is_dirty_text(file["data"], file.get("media_type")):
            clean["data"] = file["data"]
        return clean

    def _is_dirty_text(self, data: Any, media_type: Any) -> bool:
        if not isinstance(data, str):
            return True
        try:
            content = base64.b64decode(data)
        except ValueError:
            return True
        # Whoever sends a file may give it any type: what reads as text is one.
        if isinstance(media_type, str) and not _TEXT_TYPES.match(media_type) and not _is_text(content):
            return False
        text = content.decode("utf-8", "replace")
        return self._text(text) != text

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            items = cast("list[Any]", value)
            return [self._item(before, item) for before, item in zip((None, *items), items, strict=False)]
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            if "sha256" in fields and "data" in fields:
                return self._attachment(fields)
            # Some write `{"name": "API_KEY", "value": "..."}`.
            called = fields.get("name", fields.get("key")) if "value" in fields else None
            return {
                self._text(name): self._field(called if name == "value" and called else name, item)
                for name, item in fields.items()
            }
        return value

    def _item(self, before: Any, item: Any) -> Any:
        """An item of a list, which may be the value of an option before it."""
        if isinstance(item, str) and isinstance(before, str) and announces(before, item):
            return self._placeholder("option", item)
        return self._value(item)

    def _field(self, name: Any, value: Any) -> Any:
        if isinstance(value, str):
            kind = kind_of_field(name, value) if isinstance(name, str) else None
            return self._text(value) if kind is None else self._placeholder(kind, value)
        return (
            self._under(name, value) if isinstance(name, str) and is_secret_name(name) else self._value(value)
        )

    def _under(self, name: str, value: Any) -> Any:
        """What stands under a secret name; of a JSON schema only what it gives as values."""
        if isinstance(value, list):
            items = cast("list[Any]", value)
            return [self._field(name, item) for item in items]
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {
                self._text(inner): self._field(name if inner in _SCHEMA_VALUES else inner, item)
                for inner, item in fields.items()
            }
        return value

    def _text(self, text: str) -> str:
        learned = self._learned and any(value in text for value in tuple(self._learned))
        if text in self._harmless.texts and not learned:
            return text
        clean = encodable(text)
        while True:
            found = self._pass(clean)
            if found == clean:
                break
            clean = found
        if clean is text:
            self._harmless.add(text)
        return clean

    def _pass(self, text: str) -> str:
        # Inside JSON text fields have names, and a secret with a quote in it is spelled differently.
        value = parsed(text)
        if value is None:
            return self._once(text)
        clean = self._value(value)
        return text if clean == value else json.dumps(clean, ensure_ascii=False)

    def _once(self, text: str) -> str:
        # What stands for a secret is never looked into again; that is what makes redaction end.
        if "[REDACTED:" not in text:
            return self._replaced(text)
        pieces = _PLACEHOLDER.split(text)
        return "".join(piece if index % 2 else self._replaced(piece) for index, piece in enumerate(pieces))

    def _replaced(self, text: str) -> str:
        spans = self._detector.find(text)
        if self._learned:
            spans = apart([*spans, *occurrences(text, tuple(self._learned), "password")])
        if not spans:
            return text
        pieces: list[str] = []
        done = 0
        for start, end, kind in spans:
            pieces += (text[done:start], self._placeholder(kind, text[start:end]))
            done = end
        return "".join((*pieces, text[done:]))

    def _placeholder(self, kind: str, secret: str) -> str:
        self.counts[kind] += 1
        key = (kind == "user", unescaped(secret))
        known = self._placeholders.get(key)
        if known is None:
            # Both steps are atomic, so threads may share a session; at worst a number is skipped.
            number = next(self._counts.setdefault(kind, count(1)))
            shown = f"[REDACTED:{kind}:{number}]"
            if kind == "user":
                shown = "user" if number == 1 else f"user{number}"
            known = self._placeholders.setdefault(key, shown)
            if kind in _TOLD_BY_NAME and _may_turn_up(secret) and len(self._learned) < _SECRETS_REMEMBERED:
                self._learned.update(dict.fromkeys(spellings(secret)))
        return known


@functools.lru_cache(maxsize=128)
def _fields_to_clean(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of a kind of event that hold ids, and those that hold text."""
    told = [name for name in names if name not in _FIXED_FIELDS]
    ids = tuple(name for name in told if name in _ID_FIELDS or name.endswith("_id"))
    return ids, tuple(name for name in told if name not in ids)


def _are_our_own(ids: list[str]) -> bool:
    """Whether nothing but a secret of the environment looks like one of these."""
    return _OWN_IDS.fullmatch("".join(ids)) is not None and _OWN_LENGTH.issuperset(map(len, ids))


def _clean_id(id: str, detector: Detector, harmless: Harmless) -> str:
    if id in harmless.texts:
        return id
    if _MADE_ID.fullmatch(id):
        return _other_id(id) if detector.holds_variable(id) else id
    if not detector.look.clears(id) and detector.find(id):
        return _other_id(id)
    if _PLAIN_ID.fullmatch(id):
        harmless.add(id)
    return encodable(id)


def _other_id(id: str) -> str:
    return content_id(["redacted", encodable(id)])


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_turn_up(secret: str) -> bool:
    """Whether a secret would be known for itself wherever it stands, and is no word or number."""
    mixed = any(c.isdigit() for c in secret) and any(c.isalpha() for c in secret)
    return len(secret) >= 8 and mixed and "[REDACTED:" not in secret
