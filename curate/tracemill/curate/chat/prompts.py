"""Where the prompts of a long conversation end in its last one, without writing each of them.

In: a `Chat`, a conversation, and the tokens of its last prompt. Out: how many of these each earlier prompt
has, or None where that cannot be shown so; then each prompt must be written. Writing all of n prompts costs
the square of n. What is shown here is the same, from one writing:

- The template reads the messages one after another and never asks what comes later (`_Watched`, `_steady`).
  So up to where it asks for message p it has written what it writes of a conversation that ends before p, and
  what it would write then, behind its loop, is what it writes behind the last message.
- A tokenizer splits a text at special tokens before anything else. So what stands before the last special
  token of a prompt has the same tokens in both; that the text is the sum of such pieces is looked at, and so
  is what each prompt has behind it.

Some prompts are written all the same, ever fewer of them the longer they are, and must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from typing import Any

from tracemill.curate.chat.template import Chat, served, toolset
from tracemill.tracer.messages import Message, Tool

_NEAR = 200
"""How many characters before the end of a prompt its last special token is looked for."""
_AHEAD = {"last", "nextitem", "revindex", "revindex0", "length"}
_STATES = {"namespace", "cycler", "joiner"}


def prompt_ends(
    chat: Chat,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    positions: Sequence[int],
    tokens: list[int],
) -> list[int] | None:
    """How many of `tokens`, the prompt for `positions[-1]`, each other position's prompt has (ascending)."""
    *earlier, last = positions
    text = chat.written(messages[:last], tools, add_generation_prompt=True)
    places = _places(chat, messages[:last], tools, earlier[0], text)
    if places is None:
        return None
    tail = text[places[-1] :]
    if not all(text.startswith(tail, places[position]) for position in earlier):
        return None
    found = _in_tokens(chat, text, [places[position] + len(tail) for position in earlier], tokens)
    if found is None:
        return None
    some = {2**n - 1 for n in range(len(earlier).bit_length())} | {len(earlier) - 1}
    agree = (tokens[: found[n]] == chat.prompt(messages[: earlier[n]], tools) for n in sorted(some))
    return found if all(agree) else None


def _places(
    chat: Chat, messages: Sequence[Message], tools: Sequence[Tool], shortest: int, text: str
) -> list[int] | None:
    """How much of `text` is written when the template asks for each message, and when it finds no more."""
    compiled = _compiled(chat.template)
    if compiled is None:
        return None
    watched = _Watched([served(message) for message in messages], shortest)
    blocks: Iterator[str] = compiled.generate(
        **chat.tokenizer.special_tokens_map,
        messages=watched,
        tools=toolset(tools),
        documents=None,
        add_generation_prompt=True,
    )
    try:
        written = [watched.note(block) for block in blocks]
    except Exception:  # the template does with the messages what only a list can
        return None
    fits = watched.steady and len(watched.places) == len(messages) + 1 and "".join(written) == text
    return watched.places if fits else None


class _Watched(Sequence[dict[str, Any]]):
    """Messages that know how much was written when each was asked for, and whether any was asked for early.

    A conversation of `shortest` messages or more would have answered the same, up to its end.
    """

    def __init__(self, messages: list[dict[str, Any]], shortest: int):
        self._messages, self._shortest = messages, shortest
        self._written = 0
        self.places: list[int] = []
        self.steady = True

    def note(self, block: str) -> str:
        self._written += len(block)
        return block

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        self.steady = False
        return len(self._messages)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice) and (at.stop, at.step) == (None, None) and at.start in range(self._shortest):
            return _Rest(self, at.start)
        read = len(self.places) if len(self.places) <= len(self._messages) else 0
        if not isinstance(at, int) or not 0 <= at < max(self._shortest, read):
            self.steady = False
        return self._messages[at]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.after(0)

    def after(self, first: int) -> Iterator[dict[str, Any]]:
        """The messages from `first` on; only once, for a second look knows how many there are."""
        self.steady = self.steady and not self.places
        self.places += [self._written] * first
        for message in self._messages[first:]:
            self.places.append(self._written)
            yield message
        self.places.append(self._written)


class _Rest:
    """The messages from a place on, as templates name them that write the system prompt first."""

    def __init__(self, watched: _Watched, first: int):
        self._watched, self._first = watched, first

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._watched.after(self._first)


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """The template as transformers compiles it; None where its text shows that it may look ahead."""
    from transformers.utils import chat_template_utils

    compile_template = getattr(chat_template_utils, "_compile_jinja_template", None)
    if compile_template is None:
        return None
    compiled = compile_template(template)
    return compiled if _steady(compiled.environment.parse(template)) else None


def _steady(tree: Any) -> bool:
    """Whether no loop asks how long it is, and nothing behind that over messages knows what it counted."""
    from jinja2 import nodes

    of_loop = [
        node for node in tree.find_all((nodes.Getattr, nodes.Getitem)) if _is(node.node, "loop", nodes.Name)
    ]
    asked = [node.attr if isinstance(node, nodes.Getattr) else None for node in of_loop]
    uses = sum(node.name == "loop" for node in tree.find_all(nodes.Name))
    if uses > len(of_loop) or any(name is None or name in _AHEAD for name in asked):
        return False
    reading = _reading(tree)
    inside = [{loop for loop in [*node.find_all(nodes.For), node] if loop in reading} for node in tree.body]
    first = next((n for n, loops in enumerate(inside) if loops), len(inside))
    # A loop within another node goes on to what stands in there, which may be the loop again.
    if first == len(inside) or inside[first] != {tree.body[first]}:
        return False
    states = _STATES | {
        name
        for node in tree.find_all(nodes.Assign)
        if next(node.node.find_all((nodes.Call, nodes.Name)), None) or isinstance(node.node, nodes.Name)
        for name in _names(node.target, nodes.Name)
    }
    behind = [name for node in tree.body[first + 1 :] for name in _names(node, nodes.Name)]
    return states.isdisjoint(behind)


def _reading(tree: Any) -> set[Any]:
    """The loops that may go over the messages, under whatever name, but not those over what one holds."""
    from jinja2 import nodes

    def plain(value: Any) -> bool:
        of = value.node if isinstance(value, nodes.Getitem) and isinstance(value.arg, nodes.Slice) else value
        return isinstance(of, nodes.Name) and of.name not in boxed

    held, boxed = {"messages"}, set[str]()
    loops = list(tree.find_all(nodes.For))
    given = [(node.node, _targets(node.target)) for node in tree.find_all(nodes.Assign)]
    for node in tree.find_all(nodes.With):
        given += [(value, _targets(at)) for at, value in zip(node.targets, node.values, strict=True)]
    parameters = {name for node in tree.find_all(nodes.Macro) for at in node.args for name in _targets(at)}
    given += [(node, parameters) for node in tree.find_all(nodes.Call)]
    while True:
        known = len(held) + len(boxed)
        unplain = [(loop.iter, _targets(loop.target)) for loop in loops if not plain(loop.iter)]
        for value, targets in (*given, *unplain):
            if not held.isdisjoint(_names(value, nodes.Name)):
                held |= targets
                boxed |= set() if plain(value) else targets
        if len(held) + len(boxed) == known:
            return {loop for loop in loops if not held.isdisjoint(_names(loop.iter, nodes.Name))}


def _targets(node: Any) -> set[str]:
    from jinja2 import nodes

    return {*_names(node, nodes.Name), *_names(node, nodes.NSRef)}


def _names(node: Any, kind: Any) -> list[str]:
    found = [one.name for one in node.find_all(kind)]
    return [*found, node.name] if isinstance(node, kind) else found


def _is(node: Any, name: str, kind: Any) -> bool:
    return isinstance(node, kind) and node.name == name


def _in_tokens(chat: Chat, text: str, ends: Sequence[int], tokens: list[int]) -> list[int] | None:
    """How many of `tokens`, those of `text`, the text has up to each of `ends`."""
    special = _special(chat)
    cuts = (
        [max(text.rfind(mark, max(0, end - _NEAR), end) for mark in special) for end in ends]
        if special
        else []
    )
    if not cuts or min(cuts) < 0 or any(one >= other for one, other in pairwise(cuts)):
        return None

    @cache
    def read(piece: str) -> list[int]:
        return list(chat.tokenizer.encode(piece, add_special_tokens=False))

    pieces = [read(text[start:end]) for start, end in pairwise([0, *cuts, len(text)])]
    if [token for piece in pieces for token in piece] != tokens:
        return None
    found: list[int] = []
    for cut, end, start in zip(cuts, ends, accumulate(len(piece) for piece in pieces), strict=False):
        behind = read(text[cut:end])
        if tokens[start : start + len(behind)] != behind:
            return None
        found.append(start + len(behind))
    return found


def _special(chat: Chat) -> list[str]:
    """The special tokens at which the tokenizer splits a text, whatever stands beside them."""
    return [
        token.content
        for token in chat.tokenizer.added_tokens_decoder.values()
        if token.special and not (token.lstrip or token.rstrip or token.single_word or token.normalized)
    ]
