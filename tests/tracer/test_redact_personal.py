"""Addresses of people and the names in their home folders are gone; what only looks like them is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tracemill.tracer import Redactor

OWNER = "ada"
# Put together here, so that nobody's home or address stands in this repository.
HOMES, USERS, ROOT, SCRATCH = "/" + "home", "/" + "Users", "/" + "root", "/" + "tmp/pytest-of"
ADA, BOB = "ada.l" + "@lovelace.org", "b.smith+x" + "@mail.corp.co.uk"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor({"HOME": f"{HOMES}/{OWNER}"})


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "<{}>",
        "Author: Ada <{}>",
        "mailto:{}?subject=x",
        '"{}",',
        "({}).",
        r"a\n{}\n",
        "to={}&x=1",
        "git+ssh {}:",
    ],
)
def test_addresses(redactor: Redactor, text: str) -> None:
    for address in (ADA, BOB):
        assert redactor.text(text.format(address), address) == text.format("[REDACTED:email:1]")


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com, test@gmail.com, a@b.com, someone@foo.bar, you@yourdomain.com, x@sub.example.org",
        "git@github.com:org/repo.git git+ssh://git@gitlab.com/x noreply@github.com",
        "ssh://deploy@build.server.net/x and https://name@host.com/",
        "@app.route('/x')\n@pytest.mark.slow\n    @property\n\t@functools.cache",
        r"'import pytest\n\n@pytest.fixture\ndef x(): ...\n@dataclasses.dataclass'",
        "+@functools.lru_cache\n-@app.io",
        "requests@2.32.1 react@18.2.0-rc.next actions/checkout@v4 @types/node.js repo@main",
        "x@self.weight.T @ w; h = q@k.transpose(0, 1); y@w.to(device)",
        "icon@2x.png getty@tty1.service image@sha256:abcdef user@host {user}@{host}.com %s@%s.com $USER@corp.com",
        "foo@bar.py docs@v1.md",
        r"re.compile(r'[\w.]+@[\w.]+\.com')",
    ],
)
def test_what_is_no_address_of_a_person(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (f"{HOMES}/ada/work/x.py", f"{HOMES}/user/work/x.py"),
        (f"cd {HOMES}/ada", f"cd {HOMES}/user"),
        ('File "/Users/grace/x.py", line 1', 'File "/Users/user/x.py", line 1'),
        (r"C:\Users\Grace Hopper\x.py", r"C:\Users\user\x.py"),
        (r"'C:\\Users\\grace\\x.py'", r"'C:\\Users\\user\\x.py'"),
        ("C:/Users/grace/x.py", "C:/Users/user/x.py"),
        ("/mnt/c/Users/grace/x.py", "/mnt/c/Users/user/x.py"),
        (f"{SCRATCH}-grace/pytest-0/x", f"{SCRATCH}-user/pytest-0/x"),
        (
            f"file://{HOMES}/grace/x and host:{HOMES}/j.doe/y",
            f"file://{HOMES}/user/x and host:{HOMES}/user2/y",
        ),
        ("~/.claude/projects/-home-ada-work/x.jsonl", "~/.claude/projects/-home-user-work/x.jsonl"),
        ("%2Fhome%2Fada%2Fwork", "%2Fhome%2Fuser%2Fwork"),
        (r"one\n/home/ada/x\n/home/grace/y", r"one\n/home/user/x\n/home/user2/y"),
        (f"{HOMES}/ada/a {HOMES}/grace/b {HOMES}/ada/c", f"{HOMES}/user/a {HOMES}/user2/b {HOMES}/user/c"),
    ],
)
def test_homes(redactor: Redactor, told: str, found: str) -> None:
    assert redactor.text(told) == found
    assert redactor.text(found) == found


@pytest.mark.parametrize(
    "text",
    [
        f"{HOMES}/user/x {HOMES}/runner/work {USERS}/runner {USERS}/Shared/x {ROOT}/x {HOMES}/ubuntu/x "
        f"{HOMES}/user7/x",
        f"https://host.com{HOMES}/index.html {HOMES}/page.html site{HOMES}/news.html {HOMES}/{{name}}/x "
        f"{HOMES}/$USER/x",
        f"{HOMES}/<name>/x ~/x /usr{HOMES} nav-home-button /api/Users/12",
        f"ada said {HOMES}/ is not hers",
    ],
)
def test_what_is_nobodys_home(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    ("home", "told", "found"),
    [
        (
            "/data/people/ada",
            "/data/people/ada/x, /data/people/adam",
            "/data/people/user/x, /data/people/adam",
        ),
        (ROOT, f"{ROOT}/x", f"{ROOT}/x"),
        (f"{HOMES}/runner", f"{HOMES}/runner/x", f"{HOMES}/runner/x"),
        ("", "/x", "/x"),
        ("/", "/x", "/x"),
        ("D:\\People\\Ada", r"D:\People\Ada\x", r"D:\People\user\x"),
        (
            "D:\\People\\Ada",
            json.dumps({"path": "D:\\People\\Ada\\x"}),
            json.dumps({"path": "D:\\People\\user\\x"}),
        ),
    ],
)
def test_the_home_of_this_process(home: str, told: str, found: str) -> None:
    assert Redactor({"HOME": home}).text(told) == found
    assert Redactor({"USERPROFILE": home}).text(told) == found


def test_paths_stay_the_same_in_all_of_a_session(redactor: Redactor) -> None:
    told: Any = {
        "project": f"{HOMES}/grace/x",
        "root": f"{HOMES}/grace/x",
        "files": [f"{HOMES}/grace/x/a.py"],
        "raw_arguments": json.dumps({"path": f"{HOMES}/grace/x/a.py"}),
        "arguments": {"path": f"{HOMES}/grace/x/a.py"},
        "result": f"{HOMES}/grace/x/a.py by {ADA}, for {BOB}",
    }
    found = redactor.redact(told, "one")
    assert found["files"] == [f"{HOMES}/user/x/a.py"]
    assert json.loads(found["raw_arguments"]) == found["arguments"] == {"path": f"{HOMES}/user/x/a.py"}
    assert found["result"] == f"{HOMES}/user/x/a.py by [REDACTED:email:1], for [REDACTED:email:2]"
    assert redactor.text(BOB, "one") == "[REDACTED:email:2]"
    assert redactor.text(f"{HOMES}/ada/y", "one") == f"{HOMES}/user2/y"
    assert redactor.text(f"{HOMES}/grace/y", "two") == f"{HOMES}/user/y"
