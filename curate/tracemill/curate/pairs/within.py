"""Pairs within one conversation: a failed call and its second try, a denied call and what came instead.

In: its messages, how its calls ended, the turns a person disliked, the turns that are learned. Out: `Pair`s.
A chosen answer is made of learned turns only, so it passed every step that the recipe has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher

from tracemill.curate.pairs.options import Pair
from tracemill.tracer.messages import Message, ToolCall, canonical_json

_FAILED = ("error", "retry", "invalid", "unknown")
_ACCEPTED = ("ok", "deferred")
_ALIKE, _COMPARED = 0.6, 2000


class Turns:
    """The assistant turns of a conversation, each with its calls and how they ended."""

    def __init__(
        self, messages: Sequence[Message], endings: Sequence[str], disliked: Collection[int]
    ) -> None:
        self.messages = messages
        self.calls: dict[int, list[tuple[ToolCall, str]]] = {}
        self.disliked = frozenset(disliked)
        waiting = iter(endings)
        for position, message in enumerate(messages):
            if message["role"] == "assistant":
                calls = message.get("tool_calls", [])
                self.calls[position] = [(call, next(waiting, "")) for call in calls]

    def after(self, position: int) -> Iterator[int]:
        """The turns that follow with nothing but results of tools between."""
        for at in range(position + 1, len(self.messages)):
            role = self.messages[at]["role"]
            if role == "assistant":
                yield at
            elif role != "tool":
                return

    def denied(self, position: int) -> list[int]:
        """The numbers of the calls of a turn that a person rejected."""
        calls = self.calls[position]
        known = [at for at, (_, end) in enumerate(calls) if end == "denied"]
        return known or (list(range(len(calls))) if position in self.disliked else [])


def second_tries(turns: Turns, learned: Collection[int]) -> Iterator[Pair]:
    """A turn with calls that failed, and the same turn with the calls that then succeeded in their place.

    The tries follow each other, of the same tool (of any, where the failed one does not exist): an agent that
    looked around in between knew more when it tried again.
    """
    for position, calls in turns.calls.items():
        failed = [at for at, (_, end) in enumerate(calls) if end in _FAILED]
        if not failed or turns.denied(position):
            continue
        better = _second_try(turns, position, failed, learned)
        if better is None:
            continue
        at, found = better
        made = [found.get(number, call) for number, (call, _) in enumerate(calls)]
        old = turns.messages[position]
        if [_plain(call) for call in made] == [_plain(call) for call, _ in calls]:
            continue
        told = ", ".join(f"{calls[number][0]['name']} ended as {calls[number][1]}" for number in failed)
        evidence = f"turn {position}: {told}; turn {at} called {_names(found.values())}, which went well"
        yield Pair("retried", position, {**old, "tool_calls": made}, old, evidence)


def _second_try(
    turns: Turns, position: int, failed: list[int], learned: Collection[int]
) -> tuple[int, dict[int, ToolCall]] | None:
    """The turn that succeeded, and its call for each failed one; None where the agent did something else."""
    wanted = [turns.calls[position][number] for number in failed]
    for at in turns.after(position):
        left = list(turns.calls[at])
        found: dict[int, ToolCall] = {}
        for number, (call, end) in zip(failed, wanted, strict=True):
            fits = [one for one in left if _tries_again(call, end, one[0])]
            good = next((one for one in fits if one[1] in _ACCEPTED), None)
            if good is not None:
                left.remove(good)
                found[number] = good[0]
            elif not any(one[1] in _FAILED for one in fits):
                return None
        if len(found) == len(failed):
            return (at, found) if at in learned else None
    return None


def _tries_again(call: ToolCall, end: str, later: ToolCall) -> bool:
    """Whether a later call is another try of one that failed.

    Where a tool raised an error, as a shell does for a failing test, nobody asked for another try, and the
    same tool may do something else next: then the arguments must be alike.
    """
    if end == "unknown":
        return True
    if later["name"] != call["name"] or end != "error":
        return later["name"] == call["name"]
    texts = [canonical_json(one["arguments"]).decode()[:_COMPARED] for one in (call, later)]
    return SequenceMatcher(None, *texts, autojunk=False).ratio() >= _ALIKE


def denials(turns: Turns, learned: Collection[int]) -> Iterator[Pair]:
    """A turn with calls that a person rejected, and the next that was accepted.

    Of a turn in which other calls were accepted, those alone are chosen: that is the same turn without what
    was rejected.
    """
    for position, calls in turns.calls.items():
        denied = turns.denied(position)
        if not denied:
            continue
        names = _names(calls[number][0] for number in denied)
        old = turns.messages[position]
        rest = [call for number, (call, _) in enumerate(calls) if number not in denied]
        if rest and all(end in _ACCEPTED for number, (_, end) in enumerate(calls) if number not in denied):
            told = f"turn {position}: a person rejected {names} and let the others pass"
            yield Pair("denied", position, {**old, "tool_calls": rest}, old, told)
            continue
        for at in turns.after(position):
            if turns.denied(at) or any(end not in _ACCEPTED for _, end in turns.calls[at]):
                continue
            if at in learned and not rest:
                told = f"turn {position}: a person rejected {names}; turn {at} was accepted"
                yield Pair("denied", position, turns.messages[at], old, told)
            break


def _names(calls: Iterator[ToolCall] | Collection[ToolCall]) -> str:
    return ", ".join(call["name"] for call in calls)


def _plain(call: ToolCall) -> tuple[str, object]:
    return call["name"], call["arguments"]
