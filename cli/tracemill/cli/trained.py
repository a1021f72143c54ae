"""What the command line says of training runs.

In: what `fine_tune` made, of one seed or several. Out: tables and lines, or one object for JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.train.finetune import Finetuned

WIDE = 0.1
"""Half of an interval from which on it is said that it is wide."""


def show(made: Finetuned) -> None:
    """Say what a training run gave."""
    card = made.adapter.card
    for note in made.notes:
        output.hint(note)
    if made.reused:
        output.say("This very run was made before; its adapter is reused.")
    elif made.resumed:
        output.say(f"Went on from step {made.resumed}, where this run was interrupted.")
    _table(card)
    first, last = card["losses"][0], card["losses"][-1]
    pairs = card.get("method") == "dpo"
    learned = f"{card['sequences'] // 2} pairs" if pairs else f"{card['sequences']} sequences"
    output.say(
        f"{learned}, {card['target_tokens']} targets; loss {first:.2f} to {last:.3f}; "
        f"{card['seconds_per_step']:.1f} s a step on {card['blas']}."
    )
    if card["stopped"]:
        output.say(f"Stopped early: {card['stopped']}")
    for line in _doubts(card):
        output.hint(line)
    output.say(f"curves   {made.adapter.path / 'curves.svg'}")
    output.say(str(made.adapter.path))


def show_seeds(made: Sequence[Finetuned]) -> None:
    """Say what the runs of several seeds gave, with the mean over them."""
    rows = [
        (one.adapter.card["settings"]["seed"], one.adapter.card["best_step"],
         output.percent(one.adapter.card["best_score"]), str(one.adapter.path))
        for one in made
    ]  # fmt: skip
    output.table(("seed", "step kept", "exact tool calls on valid", "adapter"), rows)
    over = summary(made)["score"]
    if over is None:
        output.hint("valid.jsonl asks for no tool call, so there is no score to take a mean of.")
    else:
        mean, low, high = (output.percent(over[name]) for name in ("mean", "low", "high"))
        output.say(f"mean {mean} over {len(made)} seeds, 95% interval {low} to {high}")
    for line in _doubts(made[0].adapter.card):
        output.hint(line)


def summary(made: Sequence[Finetuned]) -> dict[str, Any]:
    """One run as its card, several as `runs` with the mean of their scores and its interval, for JSON."""
    from tracemill.train.choice import over_seeds

    runs = [
        {
            "adapter": one.adapter.path,
            "curves": one.adapter.path / "curves.svg",
            "reused": one.reused,
            "resumed": one.resumed,
            "notes": list(one.notes),
            **one.adapter.card,
        }
        for one in made
    ]
    if len(runs) == 1:
        return runs[0]
    scores = [one.adapter.card["best_score"] for one in made]
    mean = None if None in scores else dict(zip(("mean", "low", "high"), over_seeds(scores), strict=True))
    return {"runs": runs, "score": mean}


def general_ability(base: dict[str, float], now: dict[str, float]) -> str | None:
    """What is left of the measure of the guard that fell most, such as `93% (answers)`."""
    from tracemill.train.choice import most_lost

    worst = most_lost(base, now)
    return f"{100 * (1 - worst[1]):.0f}% ({worst[0]})" if worst else None


def _table(card: dict[str, Any]) -> None:
    before = card["before"]
    rows: list[tuple[object, ...]] = []
    if before:
        rows.append((0, output.percent(before["score"]), None, None, None, "100%", "base"))
    for one in card["checkpoints"]:
        judged, valid = one["judged"], one["valid_loss"]
        left = general_ability(before["guard"], judged["guard"]) if before else None
        kept = _kept(card) if one["step"] == card["best_step"] else ""
        rows.append((
            one["step"], output.percent(judged["score"]), None if valid is None else f"{valid:.3f}",
            *_preferred(one.get("figures", {})), left, kept,
        ))  # fmt: skip
    columns = (
        "step", "exact tool calls on valid", "loss on valid", "chosen preferred on valid", "reward margin",
        "general ability", "",
    )  # fmt: skip
    shown = [
        at for at, _ in enumerate(columns) if at in (0, 1, 6) or any(row[at] is not None for row in rows)
    ]
    output.table([columns[at] for at in shown], [[row[at] for at in shown] for row in rows])


def _kept(card: dict[str, Any]) -> str:
    share = card.get("strength", 1.0)
    return "kept" if share == 1 else f"kept, {100 * share:.0f}% of it"


def _preferred(figures: dict[str, float]) -> tuple[str | None, str | None]:
    """In which share of the validation pairs what was chosen is preferred, and the mean reward margin."""
    if not figures:
        return None, None
    return output.percent(figures["preference accuracy"]), f"{figures['reward margin']:.3f}"


def _forgetting(card: dict[str, Any]) -> list[str]:
    """What the guard had against the checkpoints, where it had anything."""
    from tracemill.train.settings import Settings

    share, allowed = card.get("strength", 1.0), Settings(**card["settings"]).most_lost
    if allowed is None or (card["guarded"] and share == 1):
        return []
    told = f"Every checkpoint lost more than {100 * allowed:.0f}% of the base's general ability"
    learned = f"{100 * share:.0f}% of what step {card['best_step']} learned"
    if share == 1:
        return [
            f"{told}; the one that lost least was kept. A lower --learning-rate or fewer --steps lose less."
        ]
    if card["guarded"]:
        return [
            f"{told}. {learned} keeps it and was saved: {output.percent(card['best_score'])} exact on valid."
        ]
    return [f"{told}, and even {learned} did, which was saved. Try a lower --learning-rate or fewer --steps."]


def _doubts(card: dict[str, Any]) -> list[str]:
    """What a reader of the scores should know, a sentence each."""
    from tracemill.train.choice import half_width

    told: list[str] = []
    if cut := card["sequences_cut"]:
        told.append(
            f"{cut} sequences lost the first turns of their history to fit "
            f"{card['settings']['context']} tokens."
        )
    if dropped := card["turns_dropped"]:
        what = "pairs" if card.get("method") == "dpo" else "turns"
        told.append(f"{dropped} {what} were not learned, the first because: {card['dropped'][0]}")
    if card.get("method") == "dpo" and not card["checkpoints"][-1].get("figures"):
        told.append("There is no valid_pairs.jsonl, so nothing says how often what was chosen is preferred.")
    score, n = card["best_score"], card["selection_items"]
    if score is None:
        told.append("valid.jsonl asks for no tool call, so no checkpoint was scored: the last one was kept.")
    elif n and (half := half_width(score, n)) > WIDE:
        told.append(
            f"{n} tool calls to choose by: the 95% interval is +-{100 * half:.0f} points or more, and "
            "checkpoints that differ by less cannot be told apart; a larger valid.jsonl would tell more."
        )
    if card["before"] and score is not None and score <= (card["before"]["score"] or 0):
        told.append("No checkpoint called tools better than the base itself.")
    told += _forgetting(card)
    return told
