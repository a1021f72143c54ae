"""`tracemill judge`: which of two models writes better prose, said by judges who know neither.

In: two evaluations as `tracemill compare` takes them, and judges: models that Pydantic AI knows, or `human`.
Out: who is preferred, with interval and test, and what speaks against believing it. Every answer is on disk
when it is given, so a judging that was killed or left goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.judge.judging import Judge, Judging
    from tracemill.evaluate.judge.kept import Kept
    from tracemill.evaluate.judge.pairs import Pair, Shared
    from tracemill.evaluate.results import Header


def judge(
    a: Annotated[str, typer.Argument(metavar="A", help="As for compare: adapter, base, id or result file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What is compared with it.")],
    by: Annotated[
        list[str],
        typer.Option(
            help="A judge: a model as Pydantic AI names it, such as openai:gpt-5-mini, or human: you, in "
            "this terminal. Several times for several judges."
        ),
    ],
    criterion: Annotated[
        str | None,
        typer.Option(help="What counts, such as 'which answer is kinder'; by default, which serves."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Which of their evaluations; needed where they share several.")
    ] = None,
    calls: Annotated[
        bool, typer.Option("--calls", help="Judge items where a tool call is due too; compare scores those.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many items, drawn by their content.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="How many judged items to show, with the reasons.")] = 3,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask models anew, such as after one changed behind its name.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Have the completions of B judged against those of A, blind, item by item, and say which is preferred.

    A model judges every item in both orders, and where these disagree the item is a tie. What it is asked
    leaves this machine, unless it runs here. A person sees each item once; 1, 2 or t chooses, s skips, q
    leaves it for later.
    """
    if len(set(by)) < len(by):
        raise typer.BadParameter("a judge is named twice; name each once.", param_hint="--by")
    from tracemill.cli.judge_by_hand import ask_person
    from tracemill.evaluate.judge.asking import place
    from tracemill.evaluate.judge.judging import HUMAN, judging
    from tracemill.evaluate.judge.kept import Kept
    from tracemill.evaluate.judge.pairs import CRITERION, shared
    from tracemill.evaluate.judge.remember import remember
    from tracemill.evaluate.stored_comparison import find_evaluations
    from tracemill.tracer.errors import TracemillError
    from tracemill.tracer.home import Home

    models = [name for name in by if name != HUMAN]
    if fresh and not models:
        raise typer.BadParameter("a person goes on where they were; name a model.", param_hint="--fresh")
    home, what = Home.find(), criterion or CRITERION
    one, other = find_evaluations(home, [a, b], suite)
    found = shared(one, other, calls=calls, limit=limit)
    _foresee(found)
    said = {name: Kept(home, name, place(name), fresh=fresh) for name in models}
    failed: dict[str, str] = {}
    for name, kept in said.items():
        failed |= _ask_model(name, kept, found.pairs, what)
    if HUMAN in by:
        said[HUMAN] = Kept(home, HUMAN)
    if HUMAN in said and not ask_person(said[HUMAN], found.pairs, what, quiet=as_json):
        raise typer.Exit
    result = judging(found.pairs, {name: said[name].answers for name in by}, what)
    if result is None:
        why = f": {next(iter(failed.values()))}" if failed else ""
        raise TracemillError(f"No item was judged{why}; run it again, what was answered is kept.")
    remember(home, one.header, other.header, what, found.pairs, result)
    if as_json:
        output.emit_json(_plain(one.header, other.header, what, found, result, failed))
    else:
        _show(one.header, other.header, found, result, failed, show)


def _foresee(found: Shared) -> None:
    same = sum(pair.same for pair in found.pairs)
    told = f"{len(found.pairs)} items to judge"
    told += f", {same} of them ties already, for both wrote the same" if same else ""
    if found.calls:
        told += f"; {found.calls} more are due a tool call, which compare scores (--calls judges them too)"
    output.hint(f"{told}.")


def _ask_model(name: str, kept: Kept, pairs: Sequence[Pair], criterion: str) -> dict[str, str]:
    import asyncio

    from tracemill.evaluate.judge.asking import ask
    from tracemill.evaluate.judge.judging import prompts_of

    prompts = {one.key: one for pair in pairs for one in prompts_of(name, pair, criterion)}
    new = [one for key, one in prompts.items() if key not in kept.answers]
    if len(new) < len(prompts):
        days = [kept.answers[key].when for key in prompts if key in kept.answers]
        told = output.kept_since(len(prompts) - len(new), len(prompts), days)
        output.hint(f"{name}: {told}")
    if not new:
        return {}
    with output.progress() as progress:
        what = f"asking {name}"
        progress(what, 0, len(new))
        return asyncio.run(ask(name, new, kept.add, lambda done: progress(what, done, len(new))))


def _show(a: Header, b: Header, found: Shared, result: Judging, failed: Mapping[str, str], show: int) -> None:
    output.say(f"B {b.name} against A {a.name} on {b.suite}", style="bold")
    if any(found.of_one):
        output.say(f"Left out: {found.of_one[0]} items that only A has, {found.of_one[1]} that only B has.")
    output.table(
        ("judge", "items", "A better", "tie", "B better", "changed with the order", "said first", "no answer",
         "tokens", "US dollars"),
        [_line(one) for one in result.judges],
    )  # fmt: skip
    if result.measure:
        told = "not defined: one word was all they said" if result.agreement is None else ""
        output.say(f"agreement: {result.measure} {told or f'{result.agreement:.2f}'}")
    for pair in _telling(found.pairs, result)[:show]:
        _show_item(pair, result)
    for reason in sorted(set(failed.values()))[:3]:
        output.hint(f"no answer: {reason}")
    for told in result.warnings:
        output.say(f"warning: {told}", style="yellow")
    output.say(f"{result.verdict.word}: {result.verdict.reason}", style="bold")


def _line(one: Judge) -> tuple[object, ...]:
    first = None if one.first is None else f"{one.first:.0%}"
    tokens = one.input_tokens + one.output_tokens
    cost = "unknown" if one.cost is None else f"{one.cost:.4f}" if tokens else None
    items = len(one.rulings)
    return (one.name, items, one.a, one.ties, one.b, one.changed, first, one.missing, tokens or None, cost)


def _telling(pairs: Sequence[Pair], result: Judging) -> list[Pair]:
    """Items on which somebody chose a side."""
    decided = {one.item for judge in result.judges for one in judge.rulings if one.side != "tie"}
    return [pair for pair in pairs if pair.id in decided]


def _show_item(pair: Pair, result: Judging) -> None:
    output.say(f"{pair.id} ({pair.category or 'no category'})", style="bold")
    for what, text in (("asked", pair.asked), ("A", pair.a), ("B", pair.b)):
        output.say(f"{what}: {output.one_line(text)[:500]}")
    for judge in result.judges:
        for one in judge.rulings:
            if one.item == pair.id:
                word = "tie" if one.side == "tie" else f"{one.side.upper()} is better"
                reason = next((f": {why}" for why in one.reasons if why), "")
                output.say(f"{judge.name}: {word}{output.one_line(reason)[:300]}")


def _plain(
    a: Header, b: Header, criterion: str, found: Shared, result: Judging, failed: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "a": asdict(a),
        "b": asdict(b),
        "criterion": criterion,
        "left_out": {"only_a": found.of_one[0], "only_b": found.of_one[1], "calls": found.calls},
        **asdict(result),
        "errors": sorted(set(failed.values())),
    }
