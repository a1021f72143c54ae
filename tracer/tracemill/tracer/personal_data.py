"""What tells who somebody is: e-mail addresses, and the names of people in the paths of their home folders.

In: a text. Out: `emails` and `home_names`, the places of such things in it. Addresses that name nobody
(`user@example.com`, `git@github.com`, `noreply@...`) and homes of roles (`/home/runner`) are left alone, and
so is what only looks like an address: decorators, versions of packages, matrix products, names of files.

Of a home only the name of its owner is taken, so that an absolute path stays one, on the system it is from:
tools want such paths, and a model that learns from the trace must see the kind of path it will be given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

from tracemill.tracer.secret_patterns import Span


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
_LOCAL_LONGEST = 64
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}([A-Za-z]{2,18})(?![A-Za-z0-9_(\[])"
)
_TOP_LEVEL = _words(
    """
    com org net edu gov mil int info biz name pro aero coop museum jobs io dev app ai cloud online
    site tech store xyz club shop email live news blog page team work works world today agency
    company digital design foundation group host institute international land law life media network
    ninja one party press science software solutions space studio support systems university wiki
    zone berlin london paris tokyo wien hamburg swiss scot cat asia africa global social health
    energy engineering academy education school training consulting partners ventures capital
    finance bank insurance legal corp internal lan local
    """
)
# Other endings of two letters are countries, but for those that files have.
_FILE_ENDINGS = _words(
    """
    py so md sh js ts rb go gz hh po
    """
)
_NOBODY = _words(
    """
    git hg svn noreply no-reply donotreply do-not-reply user username example someone somebody
    anyone nobody foo bar baz qux email e-mail name firstname.lastname first.last you your
    your.email your-email youremail your_email your.name yourname test tester testuser test1 test2
    user1 user2
    """
)
_DUMMY_DOMAIN = re.compile(
    r"(?i)(?:^|\.)(?:example[0-9]?|domain|yourdomain|mydomain|company|yourcompany|mycompany|acme|test|foo|bar|baz)"
    r"\.(?:com|org|net|edu|io|co|dev)$|(?:^|\.)(?:example|test|invalid|localhost)$"
)


def emails(text: str) -> Iterator[Span]:
    """The e-mail addresses of people in a text."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain is not None:
            start = _local_start(text, at)
            if start < at and _is_somebody(text[start:at], domain):
                yield Span(start, domain.end(), "email")
        at = text.find("@", at + 1)


def _local_start(text: str, at: int) -> int:
    """Where the part before the @ begins; `at` itself where there is none."""
    before = text[max(0, at - _LOCAL_LONGEST) : at]
    local = before[len(before.rstrip(_LOCAL)) :].lstrip("._%+-")
    start = at - len(local)
    previous = text[start - 1 : start]
    if previous == "\\" and local[:1] in ("n", "r", "t"):
        # The escape of a line end is no letter of the address.
        return start + 1
    # The user of a URL, a variable, a template are no addresses.
    return at if previous in ("$", "%", "/", "{") else start


def _is_somebody(local: str, domain: re.Match[str]) -> bool:
    top = domain[1]
    if top.lower() not in _TOP_LEVEL and (len(top) != 2 or not top.islower() or top in _FILE_ENDINGS):
        return False
    if local.lower() in _NOBODY or _DUMMY_DOMAIN.search(domain[0]):
        return False
    # `a@b.com` is a letter for a person and one for a place.
    return len(local) > 1 or domain[0].find(".") > 1


# `/home/` begins a path, it does not stand in one (`https://host/home/page`), but for a few systems.
_BEGINS = (
    r"(?:(?<![A-Za-z0-9_.~}}\])-].{{{past}}})|(?<=/export.{{{past}}})|(?<=/var.{{{past}}})|(?<=/usr.{{{past}}})"
    r"|(?<=/mnt/[a-z].{{{past}}})|(?<=[^\w.]/[a-z].{{{past}}})|(?<=\\[nrt].{{{past}}}))"
)
# A name may hold a dot where the path goes on; at its end `name.ext` is a file.
_OWNER = r"(?P<inside>[^\W\d][\w.-]{0,63})(?=[/\\])|(?P<last>[^\W\d][\w-]{0,63})(?![\w(]|\.\w)"
HOME_HINTS = ("/home/", "Users", "pytest-of-")
"""Literals one of which stands in every text with somebody's home, but for that of the environment."""
_HOME = re.compile(
    f"(?s:/home/{_BEGINS.format(past=6)}|/Users/{_BEGINS.format(past=7)}|pytest-of-)(?:{_OWNER})"
)
_WINDOWS_HOME = re.compile(
    r"(?<=:)(?:\\{1,8}|//?)Users(?:\\{1,8}|//?)"
    r"(?:(?P<inside>\w[^\\/:*?\"'<>|\r\n]{0,63})(?=[\\/])|(?P<last>\w[\w-]{0,63})(?![\w-]))"
)
_ROLES = _words(
    """
    user users username userid your_username yourusername your-username you me name runner
    runneradmin ubuntu debian fedora centos ec2-user admin administrator root shared public default
    guest vscode codespace coder gitpod node app appuser jovyan vagrant circleci travis docker
    linuxbrew jenkins gitlab-runner builder build agent swe-bench nonroot postgres www-data deploy
    dev developer test tester project projects foo bar somebody someone example nobody work
    workspace index about dashboard login settings profile help contact
    """
)
_NUMBERED_ROLE = re.compile(r"user[0-9]*$")


class OwnHome(NamedTuple):
    """The home folder of whoever this process runs for, in the ways that paths are written."""

    names: frozenset[str]
    """Its owner's name; one of them stands wherever the pattern fits."""
    pattern: re.Pattern[str]


def own_home(environment: Mapping[str, str]) -> OwnHome | None:
    """The home that an environment names; None where it tells nothing, such as `/root`."""
    home = (environment.get("HOME") or environment.get("USERPROFILE") or "").rstrip("/\\")
    name = re.split(r"[/\\]", home)[-1]
    parent = home[: len(home) - len(name)]
    if len(parent) < 2 or _is_role(name):
        return None
    # As it is, in a string of code or JSON, in a URL, and as tools name folders after paths.
    before = {
        parent,
        parent.replace("\\", "\\\\"),
        quote(parent, safe=""),
        re.sub(r"[^A-Za-z0-9]", "-", parent),
    }
    names = frozenset((name, quote(name, safe=""), re.sub(r"[^A-Za-z0-9]", "-", name)))
    either = ("|".join(map(re.escape, sorted(forms))) for forms in (before, names))
    return OwnHome(names, re.compile("(?:{})(?P<last>{})(?![A-Za-z0-9_])".format(*either)))


def home_names(text: str, own: OwnHome | None = None) -> Iterator[Span]:
    """The names of people in the paths of a text; `own` is also found where no home usually is."""
    patterns = [_HOME] if "/home/" in text or "/Users/" in text or "pytest-of-" in text else []
    if "Users" in text:
        patterns.append(_WINDOWS_HOME)
    if own is not None and any(name in text for name in own.names):
        patterns.append(own.pattern)
    for pattern in patterns:
        for match in pattern.finditer(text):
            group = "inside" if match.groupdict().get("inside") else "last"
            if not _is_role(match[group]):
                yield Span(*match.span(group), "user")


def _is_role(name: str) -> bool:
    return name.lower() in _ROLES or _NUMBERED_ROLE.match(name) is not None
