"""Adapters by name, and the base that one belongs to.

In: what a user typed: the folder of an adapter, or the name of one in `$TRACEMILL_HOME/adapters`, or the
beginning of it. Out: a checked `Adapter`, and the `BaseModel` that it was trained on and no other.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracemill.tracer.home import Home
from tracemill.train.adapter import CARD, Adapter, load_adapter
from tracemill.train.base import BaseModel, Progress, resolve
from tracemill.train.choice import Judged
from tracemill.train.errors import BaseModelError, TrainError

BEGINNING = (
    "base_sha256", "template_sha256", "start_sha256", "dataset_sha256", "code_sha256", "judge",
)  # fmt: skip
"""What decides how a model is judged before its first step."""


def find_adapter(home: Home, name: str) -> Adapter:
    """The adapter that `name` means; TrainError where there is none, several, or a damaged one."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_adapter(folder.absolute())
    known = names(home)
    found = [name] if name in known else [one for one in known if name and one.startswith(name)]
    if len(found) == 1:
        return load_adapter(home.adapters / found[0])
    if found:
        raise TrainError(f"Several adapters begin with {name!r}: {_listed(found)}; write more of the name.")
    raise TrainError(f"There is no adapter {name!r}{_instead(home, name, known)}")


def names(home: Home) -> list[str]:
    """The adapters in the home, by name."""
    return sorted(card.parent.name for card in home.adapters.glob(f"[!.]*/{CARD}"))


def judged_before(home: Home, identity: Mapping[str, Any]) -> Judged | None:
    """What the same judge found before the first step of another run, which begins where this one does.

    `identity` is what decides a run, as its adapter's card has it. None where no run has asked.
    """
    for name in names(home):
        try:
            card = json.loads((home.adapters / name / CARD).read_text("utf-8"))
            if card["before"] and all(card.get(key) == identity.get(key) for key in BEGINNING):
                return Judged(**card["before"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a damaged card; whoever wants that adapter is told
    return None


def base_of(
    home: Home, adapter: Adapter, name: str | None = None, progress: Progress | None = None
) -> BaseModel:
    """The base that `adapter` was trained on, by the name it had then, or by `name`.

    TrainError where it is not to be found, or where what is found there is another model.
    """
    card = adapter.card
    asked = name or str(card["base"])
    try:
        base = resolve(asked, home, progress)
    except BaseModelError as error:
        if name is not None:
            raise
        raise TrainError(
            f"The base of {adapter.path.name} is not where it was ({str(error).rstrip('.')}); "
            "say where it is with --base."
        ) from error
    if base.digest != card["base_sha256"]:
        raise TrainError(
            f"{adapter.path.name} was trained on another base than {asked}: its base {card['base']} has the "
            f"SHA-256 {card['base_sha256'][:16]}, this one {base.digest[:16]}; "
            "name its own with --base, or train again."
        )
    return base


def _instead(home: Home, name: str, known: list[str]) -> str:
    if not known:
        return f": {home.adapters} holds none; `tracemill train` makes one."
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[-3:]
    return f"; there is {_listed(near)} in {home.adapters}, or name a folder."


def _listed(found: list[str]) -> str:
    return ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
