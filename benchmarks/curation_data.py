"""Conversations for `benchmarks/curation.py`: any number of about 4 kB, made from real ones.

In: the real sessions of `../shared/data` and a number. Out: one JSON row per conversation, the same in every
run, and what was planted. A conversation is a prompt and some exchanges (an assistant's turn and what answers
it) of real sessions of one agent, with a quarter of their words replaced by other real words, so that no two
are near copies by themselves. Of 100 rows about 5 are exact copies of an earlier one, save call ids and white
space, 5 are near copies (5% of the words replaced, dropped or added), 4 go on where an earlier one of the
same session stopped, and 15 are labelled bad or not at all.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "tests"))
from planted_copies import edited_messages  # noqa: E402 - it lies beside the tests

Message = dict[str, Any]
EXACT, NEAR, BRANCH = 0.05, 0.05, 0.04
BAD, UNLABELLED = 0.10, 0.05
_VARIED, _EDITED = 0.25, 0.05
_LONGEST = 1500
_SYSTEM = 400
# Words that make a wire format, which an edit would break.
_KEPT = frozenset(("tool_call", "function", "parameter", "name", "arguments", "code", "bash"))


@dataclass(frozen=True)
class Agent:
    """What conversations of one agent are made of."""

    system: str
    prompts: list[str]
    exchanges: list[list[Message]]
    tools: dict[str, Any]
    share: float


@cache
def agents() -> tuple[list[Agent], list[str]]:
    """The three agents, and real words to vary their texts with."""
    found = [_airline(), _coder(), _punie()]
    text = " ".join(message["content"] for one in found for part in one.exchanges[:3000] for message in part)
    return found, sorted(set(re.findall(r"\b[A-Za-z_]{3,12}\b", text)))[:20_000]


def row(number: int) -> dict[str, Any]:
    """The row of this number."""
    kind, source = planted(number)
    rng = random.Random(f"row {number}")
    if source is None:
        return _original(number)
    made = row(source) if kind == "branch" else _original(source)
    if kind == "exact":
        made["messages"] = [_respaced(message, number) for message in made["messages"]]
    elif kind == "near":
        made["messages"] = edited_messages(made["messages"], _EDITED, rng, agents()[1])
    else:
        agent = agents()[0][_agent(source)]
        made["messages"] += _exchanges(agent, rng, 1500)
        return {**made, "id": f"c{number}"}
    return {**made, "id": f"c{number}", "session_id": f"s{number}", "task": f"t{number}"}


def planted(number: int) -> tuple[str, int | None]:
    """Whether a row is `exact`, `near` or `branch` of an earlier one, and of which; `original` of none."""
    rng = random.Random(f"kind {number}")
    drawn = rng.random()
    kinds = (("exact", EXACT), ("near", EXACT + NEAR), ("branch", EXACT + NEAR + BRANCH))
    kind = next((kind for kind, below in kinds if drawn < below), "original")
    for _ in range(20 if kind != "original" else 0):
        source = rng.randrange(number + 1)
        if source < number and planted(source)[0] == "original" and outcome(source) == "good":
            return kind, source
    return "original", None


def outcome(number: int) -> str | None:
    """How the session of an original went."""
    drawn = random.Random(f"outcome {number}").random()
    return "bad" if drawn < BAD else None if drawn < BAD + UNLABELLED else "good"


def text(messages: Sequence[Message]) -> str:
    """A conversation as one text, for tools that know no conversations; system prompts aside, as ours."""
    parts: list[str] = []
    for message in messages:
        if message["role"] != "system":
            calls = (json.dumps(call["function"]) for call in message.get("tool_calls", ()))
            parts += [message["content"] or "", *calls]
    return "\n".join(parts)


def write(first: int, last: int, file: Path) -> None:
    """The rows of these numbers, with their text, as JSONL."""
    with file.open("w", encoding="utf-8") as stream:
        for number in range(first, last):
            stream.write(json.dumps(row(number), ensure_ascii=False) + "\n")


def _agent(number: int) -> int:
    drawn = random.Random(f"agent {number}").random()
    return 0 if drawn < 0.4 else 1 if drawn < 0.8 else 2


def _original(number: int) -> dict[str, Any]:
    rng = random.Random(f"original {number}")
    agent = agents()[0][_agent(number)]
    prompt = _varied(rng.choice(agent.prompts), rng)
    size = int(min(rng.lognormvariate(7.55, 0.5), 12_000) * agent.share)
    messages = [
        {"role": "system", "content": agent.system},
        {"role": "user", "content": prompt},
        *_exchanges(agent, rng, size),
    ]
    called = {call["function"]["name"] for message in messages for call in message.get("tool_calls", ())}
    offered = [*sorted(called), *rng.sample(sorted(agent.tools), min(3, len(agent.tools)))]
    return {
        "id": f"c{number}",
        "session_id": f"s{number}",
        "task": f"t{number}",
        "outcome": outcome(number),
        "messages": messages,
        "tools": [agent.tools[name] for name in dict.fromkeys(offered)],
    }


def _exchanges(agent: Agent, rng: random.Random, size: int) -> list[Message]:
    """Exchanges of so many characters or a little more; the last turn is the assistant's."""
    messages: list[Message] = []
    while size > 0:
        for message in rng.choice(agent.exchanges):
            made = {**message, "content": _varied(message["content"], rng)}
            size -= len(made["content"]) + 100 * len(made.get("tool_calls", ()))
            messages.append(made)
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if "tool_calls" in messages[-1]:
        messages.append({"role": "assistant", "content": _varied(rng.choice(agent.prompts)[:200], rng)})
    return messages


def _varied(content: str, rng: random.Random) -> str:
    pool = agents()[1]
    parts = list(_parts(content))
    words = range(1, len(parts), 2)
    if words:
        times = max(1, int(_VARIED * len(words)))
        for at, new in zip(rng.choices(words, k=times), rng.choices(pool, k=times), strict=True):
            if parts[at] not in _KEPT:
                parts[at] = new
    return "".join(parts)


@cache
def _parts(content: str) -> tuple[str, ...]:
    return tuple(re.split(r"(\w+)", content))


def _respaced(message: Message, number: int) -> Message:
    """The same to any reader: other call ids, and white space at the end."""
    made = {**message, "content": message["content"] and message["content"] + " \n"}
    if "tool_calls" in made:
        made["tool_calls"] = [{**call, "id": f"{call['id']}-{number}"} for call in made["tool_calls"]]
    if "tool_call_id" in made:
        made["tool_call_id"] = f"{made['tool_call_id']}-{number}"
    return made


def _airline() -> Agent:
    with gzip.open(SHARED / "tau-bench" / "gpt-4o-airline.json.gz", "rt", encoding="utf-8") as stream:
        sessions = [[_plain(message) for message in one["traj"]] for one in json.load(stream)]
    arguments: dict[str, set[str]] = {}
    for call in (c for one in sessions for message in one for c in message.get("tool_calls", ())):
        given = json.loads(call["function"]["arguments"])
        arguments.setdefault(call["function"]["name"], set()).update(given)
    tools = {
        name: {
            "type": "function",
            "function": {
                "name": name,
                "description": f"{name.replace('_', ' ')} of the airline".capitalize(),
                "parameters": {"type": "object", "properties": {key: {} for key in sorted(keys)}},
            },
        }
        for name, keys in sorted(arguments.items())
    }
    return _made(sessions, tools, 0.75)


def _coder() -> Agent:
    with gzip.open(SHARED / "mini-swe-agent" / "sessions.jsonl.gz", "rt", encoding="utf-8") as stream:
        sessions = [
            [_plain(message) for message in json.loads(line)["trajectory"]["messages"]] for line in stream
        ]
    return _made(sessions, {}, 1.15)


def _punie() -> Agent:
    lines = (SHARED / "punie" / "phase27-cleaned" / "train.jsonl").read_text("utf-8").splitlines()
    return _made([[_plain(message) for message in json.loads(line)["messages"]] for line in lines], {}, 1.0)


def _plain(message: Message) -> Message:
    kept = {key: message[key] for key in ("tool_calls", "tool_call_id", "name") if message.get(key)}
    return {"role": message["role"], "content": (message["content"] or "")[:_LONGEST], **kept}


def _made(sessions: list[list[Message]], tools: dict[str, Any], share: float) -> Agent:
    exchanges: list[list[Message]] = []
    for one in sessions:
        open_: list[Message] | None = None
        for message in one:
            if message["role"] == "assistant":
                open_ = [message]
                exchanges.append(open_)
            elif open_ is not None and len(open_) < 4:
                open_.append(message)
    prompts = [next(message["content"] for message in one if message["role"] == "user") for one in sessions]
    return Agent(sessions[0][0]["content"][:_SYSTEM], prompts, exchanges, tools, share)
