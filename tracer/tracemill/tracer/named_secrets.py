"""Secrets that their surroundings give away: what a name, a header, a URL or a command says is one.

In: a text. Out: `named`, the places of such secrets in it: assignments in code, settings, JSON, YAML, shells,
HTML and prose, HTTP headers, cookies, URLs with passwords, options of commands, blocks of private keys.

Words are searched for with `str.find` and an expression is only matched behind one, which takes a tenth of
the time of an expression that looks for them. Every repetition is bounded.
"""

from __future__ import annotations

import functools
import re
import string
from bisect import bisect_left
from collections.abc import Iterator

from tracemill.tracer.literals import AnyOf
from tracemill.tracer.secret_names import STRONG_WORDS, WORDS, is_strong
from tracemill.tracer.secret_patterns import Span
from tracemill.tracer.secret_values import (
    is_code,
    is_fetched,
    is_hash,
    is_mixed,
    is_name,
    looks_random,
    stands_for_a_value,
)

_QUOTED = r"""(?P<open>\\{0,7}["'`])(?P<quoted>(?:(?!(?P=open))(?:\\[^\r\n]|[^\\\r\n])){1,500})(?P=open)"""
_ASSIGNED = re.compile(
    rf"""
    (?:s|_base|_?(?:[0-9]{{1,2}}|confirmation|confirm|again))?
    (?P<closed>\\{{0,7}}["'`])?\]?
    (?:
        (?P<equals>
            \s{{0,5}}:\s{{0,5}}[A-Za-z_][\w.\[\]|\ ]{{0,60}}=(?!=)             # password: str = ...
          | \s{{0,20}}(?::=|=>|[=!]={{0,2}}|:(?!:))                           # password = ..., password: ...
        )\s{{0,20}}
      | (?P<attribute>,?\s{{1,40}}["']?value["']?\s{{0,5}}[:=]\s{{0,5}})       # name="password" value="..."
      | (?P<tag>>)                                                          # <password>...</password>
      | (?P<comma>,\s{{0,20}})                                              # setdefault("PASSWORD", "...")
      | (?P<prose>\s{{1,3}}(?:is|was)\s{{0,3}}:?\s{{1,3}})                  # the password is ...
    )
    (?:[\w.]{{0,30}}Secret(?:Str|Bytes)?\(|str\(|bytes\()?
    (?: [bBrRfFuU]{{0,2}}{_QUOTED} | (?P<bare>[^\s"'`,;(){{}}\[\]<>&|\\]{{4,500}}) (?P<next>[(\[{{<])? )
    """,
    re.VERBOSE,
)
_IN_ENVIRONMENT = re.compile(rf"[0-9]{{0,2}}=(?:{_QUOTED}|(?P<bare>[^\s\"'`;&|<>\\]{{6,500}}))")

_TAG = re.compile(r"<[\w:.-]{0,39}$")


def _assignments(text: str, lowered: str) -> Iterator[Span]:
    for word in [word for word in WORDS if word in lowered]:
        at = lowered.find(word)
        while at >= 0:
            end = at + len(word)
            found = _in_environment(text, word, at, end) or _assigned(text, lowered, word, at, end)
            if found is not None:
                yield found
            at = lowered.find(word, end)


def _assigned(text: str, lowered: str, word: str, at: int, end: int) -> Span | None:
    match = _ASSIGNED.match(text, end)
    if match is None:
        return None
    group = "quoted" if match["quoted"] else "bare"
    value = match[group]
    password = word in STRONG_WORDS
    strong = is_strong(word, lowered[max(0, at - 20) : at])
    if not strong and match["closed"] and word in ("pass", "pwd"):
        # A field of that name alone, as in the settings of a mail server.
        strong = text[at - 1 : at] in ('"', "'")
    if match["tag"] and not (_TAG.search(text, max(0, at - 40), at) and match["next"] == "<"):
        return None
    if stands_for_a_value(value):
        return None
    if not (_fits_strong(match, value, password) if strong else _fits_weak(match, word, value)):
        return None
    return Span(*match.span(group), "password" if strong else "token")


def _fits_strong(match: re.Match[str], value: str, password: bool) -> bool:
    mixed = is_mixed(value)
    if match["comma"]:
        return bool(match["quoted"] and match["closed"] and mixed and not is_name(value))
    if match["prose"]:
        return len(value) >= 6 and is_mixed(value.rstrip(".?!:")) and " " not in value
    if match["quoted"]:
        # Where the name is quoted as well this is data, and the password in data may hold spaces.
        spaces = password and match["closed"] is not None
        certain = mixed or password or (len(value) >= 20 and value.isalnum())
        return len(value) >= 4 and certain and (spaces or " " not in value)
    if match["tag"]:
        return mixed or password
    # A bare value may be code (`password=get_password`).
    return len(value) >= 6 and mixed and not _is_code(match, value)


def _fits_weak(match: re.Match[str], word: str, value: str) -> bool:
    if word == "key" and is_hash(value):
        return False
    if match["tag"] or match["prose"] or (match["comma"] and not match["closed"]):
        return False
    return looks_random(value) and (match["quoted"] is not None or not _is_code(match, value))


def _is_code(match: re.Match[str], value: str) -> bool:
    return match["next"] in ("(", "[", "{") or is_code(value)


def _in_environment(text: str, word: str, at: int, end: int) -> Span | None:
    """NAME=value, as shells and their files write it; the value may be any text."""
    if text[end : end + 1] not in "=0123456789" or not text[at:end].isupper():
        return None
    if word not in ("password", "passwd", "passphrase", "secret", "token") and text[at - 1 : at] != "_":
        return None
    match = _IN_ENVIRONMENT.match(text, end)
    if match is None:
        return None
    group = "quoted" if match["quoted"] else "bare"
    value = match[group]
    if len(value) < 6 or stands_for_a_value(value) or is_fetched(value):
        return None
    if word == "key" and not is_mixed(value):
        return None
    return Span(*match.span(group), "password")


# What stands behind a literal (in small letters); the group `secret` is the secret.
# Inside quoted shell and JSON a quote is written with others, or with backslashes.
_OPEN = r"""(?:\\{0,7}["'`]){0,5}"""
_WORD = r"""(?P<secret>[^\s"'`\\]{4,500})"""
_VALUE = _OPEN + _WORD
_MIX = r"""(?=[^\s"']{0,200}[0-9!@#^*?~%+])"""
_MIXED_VALUE = _OPEN + _MIX + _WORD
_USER = r"""[^\s/:@"'<>\\]{0,200}"""
_SCHEME = r"(?:basic|digest|token|api-?key|bearer|aws4-hmac-sha256)"
_PASSWORD_OPTION = r"(?:[a-z]+-){0,3}(?:password|passwd|passphrase|pass)"
_TOKEN_OPTION = r"(?:[a-z]+-){0,3}(?:api-?key|secret|token|secret-key)"
_SIGNATURE = r"(?P<secret>(?=[^&\s]{0,100}[0-9])[a-z0-9%+/=_-]{16,1000})"
_CONTEXTS = (
    ("url-password", "://", rf"""{_USER}:(?P<secret>[^\s/"'<>\\]{{1,500}})@"""),
    ("url-password", ":\\/\\/", rf"""{_USER}:(?P<secret>[^\s/"'<>\\]{{1,500}})@"""),
    ("url-password", "://", r"(?P<secret>(?=[a-z_-]{0,200}[0-9])[a-z0-9_-]{20,200})@"),
    ("authorization", "bearer", rf"\s{{1,5}}{_MIX}(?P<secret>[a-z0-9._~+/-]{{12,4000}}=*)"),
    (
        "authorization",
        "authorization",
        rf"""\\{{0,7}}["']?\s{{0,5}}[:=,]\s{{0,5}}\\{{0,7}}["']?{_SCHEME}\s{{1,5}}{_MIX}"""
        r"""(?P<secret>[^\s"'\\]{8,4000})""",
    ),
    ("cookie", "cookie:", r"""\s{0,5}(?=[^\r\n"']{0,200}=[^\s"';]{8})(?P<secret>[^\r\n"'\\]{8,4000})"""),
    ("signature", "signature=", _SIGNATURE),
    ("signature", "?sig=", _SIGNATURE),
    ("signature", "&sig=", _SIGNATURE),
    ("option", "--", rf"{_PASSWORD_OPTION}\s{{1,5}}{_MIXED_VALUE}"),
    (
        "option",
        "--",
        rf"""{_TOKEN_OPTION}\s{{1,5}}{_OPEN}(?=[^\s]{{0,100}}[0-9])(?P<secret>[^\s"'`\\]{{8,500}})""",
    ),
    ("option", "curl", rf"""[^\n]{{0,300}}?\s(?:-u|--user)[\s=]{{0,3}}["']?[^\s:"'$]{{1,100}}:{_VALUE}"""),
    ("option", "sshpass", rf"\s{{1,5}}-p\s{{0,5}}{_VALUE}"),
    ("option", "mysql", rf"[^\n]{{0,200}}?\s-p{_MIXED_VALUE}"),
    ("option", "redis-cli", rf"[^\n]{{0,200}}?\s-a\s{{1,5}}{_VALUE}"),
    ("option", "docker login", rf"[^\n]{{0,200}}?\s-p\s{{1,5}}{_VALUE}"),
    ("password", "identified by", r"""\s{1,5}\\{0,7}["'](?P<secret>[^\s"'\\]{4,500})"""),
    ("password", "password '", rf"{_MIX}(?P<secret>[^\s'\\]{{4,500}})'"),
    ("password", "login ", rf"\S{{1,100}}\s{{1,9}}password\s{{1,5}}{_VALUE}"),
    ("password", "env ", rf"[a-z0-9_]{{0,60}}(?:password|secret|token|_key)\s{{1,3}}{_MIXED_VALUE}"),
)


CONTEXT_HINTS = tuple(hint for _, hint, _ in _CONTEXTS)
"""Literals (in small letters) one of which stands in every text with a secret told by a context."""
_has_word = AnyOf(WORDS)
_has_context = AnyOf(CONTEXT_HINTS)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _in_contexts(text: str, lowered: str) -> Iterator[Span]:
    for kind, hint, pattern in [context for context in _CONTEXTS if context[1] in lowered]:
        at = lowered.find(hint)
        while at >= 0:
            at += len(hint)
            match = _compiled(pattern).match(text, at)
            if match is not None and not stands_for_a_value(match["secret"]):
                yield Span(*match.span("secret"), kind)
            at = lowered.find(hint, at)


_KEY_BEGINS = re.compile(
    r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|PuTTY-User-Key-File-[0-9]: ?[a-z0-9-]{0,40}"
)
_KEY_ENDS = re.compile(
    r"-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|Private-MAC: ?[0-9a-f]{0,64}"
)
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{16}")
_BREAK = r"(?:\\{1,7}[nr]|[\r\n])"
# What readers of files put before a line: `     2<tab>`, `2:`, `2 |`.
_LINE_NUMBER = r"(?:[0-9]{1,7}(?:\\{1,7}(?:t|u2192)|[ \t→:|-]){1,4})?"
_HEADER = r"(?:Proc-Type|DEK-Info|Version|Comment|Encryption|P[a-z]+-Lines): [^\\\r\n]{0,200}"
_KEY_LINE = re.compile(
    rf"[ \t\"',>|#*]*{_BREAK}(?:\\{{1,7}}[nr]|[\s\"',>|#*])*{_LINE_NUMBER}"
    rf"(?:{_HEADER}"
    r"|[A-Za-z0-9+/=]{16,}|[A-Za-z0-9+/=]+(?=\s*$|\s?\W{0,2}\.\.\.|…))"
)


def _private_keys(text: str) -> Iterator[Span]:
    """Blocks of private keys, whole or cut off; what only speaks of one is left alone."""
    begins = [match.span() for match in _KEY_BEGINS.finditer(text)]
    for number, (start, body) in enumerate(begins, 1):
        limit = begins[number][0] if number < len(begins) else len(text)
        end = _KEY_ENDS.search(text, body, limit)
        stop = body
        if end is None:
            while line := _KEY_LINE.match(text, stop, limit):
                stop = line.end()
        elif _KEY_BODY.search(text, body, end.start()):
            stop = end.end()
        if stop > body:
            yield Span(start, stop, "private-key")
    yield from _ends_of_keys(text, [start for start, _ in begins])


def _ends_of_keys(text: str, begins: list[int]) -> Iterator[Span]:
    """Blocks of private keys whose beginning was cut off."""
    floor = 0
    for match in _KEY_ENDS.finditer(text):
        number = bisect_left(begins, floor)
        if match[0].startswith("-") and not (number < len(begins) and begins[number] < match.start()):
            start = _key_before(text, floor, match.start())
            if _KEY_BODY.search(text, start, match.start()):
                yield Span(start, match.end(), "private-key")
        floor = match.end()


_BREAKS = re.compile(_BREAK)
_NUMBER = re.compile(_LINE_NUMBER)
_HEADERS = re.compile(_HEADER)
_AROUND_KEY_LINE = string.whitespace + "\"',>|#*"
_BASE64 = string.ascii_letters + string.digits + "+/="


def _key_before(text: str, floor: int, end: int) -> int:
    """Where the lines of base64 begin that lead up to `end`, at `floor` the earliest."""
    breaks = [match.span() for match in _BREAKS.finditer(text, floor, end)]
    starts, stops = [floor, *(stop for _, stop in breaks)], [*(start for start, _ in breaks), end]
    begin = end
    for start, stop in zip(reversed(starts), reversed(stops), strict=True):
        # Strings strip in linear time, which an expression with two repetitions does not.
        line = text[start:stop].lstrip(_AROUND_KEY_LINE)
        line = _NUMBER.sub("", line, count=1).lstrip(_AROUND_KEY_LINE)
        first = stop - len(line)
        line = line.rstrip(_AROUND_KEY_LINE)
        if not line or _HEADERS.fullmatch(line):
            continue
        head = line.rstrip(_BASE64)
        # Only the last line of a key may be short.
        if len(line) - len(head) < 16 and not (begin == end and stop < end and not head):
            break
        begin = first + len(head)
        if head:
            break
    return begin


# A name or a path alone says nothing about itself.
_BARE_WORD = re.compile(r"[A-Za-z0-9_./-]*")


def named(text: str) -> Iterator[Span]:
    """The secrets in a text that their surroundings give away."""
    if _BARE_WORD.fullmatch(text):
        return
    lowered = _lowered(text)
    if _has_word(lowered):
        yield from _assignments(text, lowered)
    if _has_context(lowered):
        yield from _in_contexts(text, lowered)
    if "PRIVATE KEY" in text or "PuTTY-User-Key-File" in text:
        yield from _private_keys(text)


def _lowered(text: str) -> str:
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    # A few letters have no small form of one character, and the places must stay the same.
    return "".join(small if len(small := character.lower()) == 1 else character for character in text)
