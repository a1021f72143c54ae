"""Single steps of the leaderboard's multi-turn conversations, from the package bfcl-eval.

In: the package: its conversations, right calls, functions and the classes behind them. Out: an `ItemSuite` of
next actions. The history of each is the conversation as it should have gone: what the user said, the right
calls one at a time, and what the package's own classes answered to them. So a mistake costs one item, and
nothing is measured of what follows from it: this is not the leaderboard's multi-turn score, for which a model
goes on from its own calls and the state at the end decides.

- `steps`: a call is due. Another call of the turn is as right where making it first leads to the same state
  and results, the rule of the package's own checker. A look around that the package would forgive is wrong.
- `ends`: the last turn's calls are made, and words are due.
- `gaps`: a function (miss_func) or a value (miss_param) is missing, and words are due. Of these
  conversations the turn with the gap and the one that closes it are asked; the rest is asked in `base`.

Our own words stand where the package has none: the rules in front, and what the assistant said at the end of
a turn. The conversations of one number tell one story, which is their session.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tracemill.curate.chat.codec import Call
from tracemill.evaluate.items import Item, WantedCall, exactly
from tracemill.evaluate.suites.bfcl_data import damaged, expected_turn, lines, located, tool
from tracemill.evaluate.suites.bfcl_replay import Played, Script, modules, replay
from tracemill.evaluate.suites.suite import ItemSuite
from tracemill.tracer.messages import Message, Tool

RULES = (
    "Do what the user asks with your tools, one call at a time. Say so in words once it is done. Where a "
    "tool is missing, or something that only the user knows, call nothing and say what is missing."
)
DONE = "Done."
NOT_DONE = "Something is missing for that."
THERE_NOW = "The tools that were missing are there now. Please do it."
"""What the user says where the package only adds functions."""
STEPS, LONG = "bfcl-steps", "bfcl-steps-long"
NOTE = (
    "Each item is one step after a right history. That is not the leaderboard's multi-turn score, for which "
    "a model goes on from its own calls, and what they did decides."
)
_GAPS = ("miss_func", "miss_param")


@dataclass(frozen=True)
class _Conversation:
    id: str
    kind: str
    file: str
    script: Script
    said: Sequence[list[Message]]
    tools: Sequence[Tool]
    missing: set[str]
    """Functions that are not offered up to the gap."""

    @property
    def gap(self) -> int | None:
        """The turn for which something is missing."""
        turns = self.script.turns
        return next((at for at, calls in enumerate(turns) if not calls), None) if self.kind in _GAPS else None

    def offered(self, turn: int) -> list[Tool]:
        """The tools that there are at a turn."""
        early = self.gap is not None and turn <= self.gap
        return [one for one in self.tools if not (early and one["name"] in self.missing)]


def load_bfcl_steps(folder: Path | None = None, *, long: bool = False) -> ItemSuite:
    """All steps; with `long` those of the conversations with long results instead (long_context).

    `folder` is the package's `data` where it is not installed. EvaluationError where it is not there, cannot
    be read, or cannot be run on this machine.
    """
    name = LONG if long else STEPS
    data, source = located(folder, name)
    kinds = ("long_context",) if long else ("base", *_GAPS)
    homes = modules(data.parent)
    found = [one for kind in kinds for one in _conversations(data, kind, homes)]
    played = replay(data.parent, homes, [one.script for one in found])
    items = [item for one, told in zip(found, played, strict=True) for item in _items(one, told)]
    return ItemSuite(name, "full", items, source, NOTE)


def _conversations(data: Path, kind: str, homes: Mapping[str, str]) -> Iterator[_Conversation]:
    file = f"BFCL_v4_multi_turn_{kind}.json"
    answers = {one["id"]: one["ground_truth"] for one in lines(data / "possible_answer" / file)}
    docs = data / "multi_turn_func_doc"
    offered: dict[str, list[Tool]] = {}
    for one in lines(data / file):
        for name in one["involved_classes"]:
            if name not in homes:
                raise damaged(data / file, f"{one['id']}: there is no class {name}")
            if name not in offered:
                offered[name] = [tool(each) for each in lines(docs / f"{homes[name]}.json")]
        tools = [each for name in one["involved_classes"] for each in offered[name]]
        try:
            turns = [[_call(text, tools) for text in turn] for turn in answers[one["id"]]]
        except (KeyError, ValueError, SyntaxError) as error:
            raise damaged(data / file, f"{one['id']}: {error}") from error
        yield _Conversation(
            id=one["id"],
            kind=kind,
            file=file,
            script=Script(one["involved_classes"], one["initial_config"], kind == "long_context", turns),
            said=one["question"],
            tools=tools,
            missing={name for names in one.get("missed_function", {}).values() for name in names},
        )


def _call(text: str, tools: Sequence[Tool]) -> Call:
    """A right call from its Python text; ValueError for what is not a call with plain values."""
    node = ast.parse(text.strip(), mode="eval").body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(f"{text!r} is not a call")
    name = node.func.id
    fields = next((one["parameters"]["properties"] for one in tools if one["name"] == name), None)
    if fields is None:
        raise ValueError(f"{name} is not a function of its classes")
    given = dict(zip(fields, node.args, strict=False)) | {str(one.arg): one.value for one in node.keywords}
    return Call(name, {key: _plain(ast.literal_eval(value)) for key, value in given.items()})


def _plain(value: Any) -> Any:
    """As JSON has it: a tuple is a list."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in cast("dict[Any, Any]", value).items()}
    return value


def _items(one: _Conversation, played: Sequence[Sequence[Played]]) -> Iterator[Item]:
    """The items of a conversation, as far as it could be played."""
    history: list[Message] = [{"role": "system", "content": RULES}]
    for turn, (calls, told) in enumerate(zip(one.script.turns, played, strict=False)):
        said = one.said[turn] or [{"role": "user", "content": THERE_NOW}]
        history += [cast(Message, dict(message)) for message in said]
        asked = one.gap is None or turn == one.gap + 1
        for at, (call, known) in enumerate(zip(calls, told, strict=False)):
            if asked:
                others = [exactly([calls[place]]) for place in known.others]
                yield _item(one, turn, str(at + 1), "steps", history, exactly([call]), others)
            history += _step(f"call_{turn + 1}_{at + 1}", call, known.result)
        if len(told) < len(calls):
            if asked:
                yield _item(one, turn, str(len(told) + 1), "steps", history, exactly([calls[len(told)]]), [])
            return
        last = one.gap is None and turn == len(one.script.turns) - 1
        if turn == one.gap or (last and calls):
            yield _item(one, turn, "end", "ends" if calls else "gaps", history, (), [])
        history.append({"role": "assistant", "content": DONE if calls else NOT_DONE})


def _item(
    one: _Conversation,
    turn: int,
    place: str,
    what: Literal["steps", "ends", "gaps"],
    history: Sequence[Message],
    calls: tuple[WantedCall, ...],
    others: Sequence[tuple[WantedCall, ...]],
) -> Item:
    return Item(
        id=f"{one.id}:{turn + 1}.{place}",
        session_id=f"multi_turn_{one.id.rpartition('_')[2]}",
        category=f"{what} of multi_turn_{one.kind}",
        kind="call" if calls else "direct",
        messages=list(history),
        tools=one.offered(turn),
        expected=expected_turn(calls),
        calls=calls,
        source=f"bfcl-eval, {one.file}, turn {turn + 1}",
        alternatives=others,
    )


def _step(name: str, call: Call, result: str) -> list[Message]:
    """A call and its result as messages."""
    made = {"id": name, "name": call.name, "arguments": call.arguments}
    return [
        cast(Message, {"role": "assistant", "content": "", "tool_calls": [made]}),
        {"role": "tool", "tool_call_id": name, "name": call.name, "content": result},
    ]
