"""Whether the arguments of calls fit the JSON schemas that were offered.

In: a `Talk`. Out: the turns with a call that does not fit, and where. Nothing outside the schema is fetched.
Of a tool whose schema is itself broken, or refers to something that is not in it, nothing is said.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

from tracemill.curate.features.faults import TurnFault
from tracemill.curate.features.talk import Talk

_MESSAGE = 160


def misfits(talk: Talk) -> list[TurnFault] | None:
    """Turns with a call of an offered tool whose arguments do not fit its schema."""
    if not talk.called or not talk.tools:
        return None
    schemas = {tool["name"]: tool["parameters"] for tool in talk.tools}
    found: list[TurnFault] = []
    for turn, call, _ in talk.called:
        validator = _validator(json.dumps(schemas[call.name])) if call.name in schemas else None
        if validator is not None and (told := _misfit(validator, call.arguments)):
            found.append({"turn": turn, "reason": "arguments do not fit", "evidence": f"{call.name}: {told}"})
    return found or None


def fits(parameters: object, arguments: dict[str, Any]) -> bool:
    """Whether `arguments` fit the JSON schema `parameters`; True where nobody can say."""
    validator = _validator(json.dumps(parameters))
    return validator is None or _misfit(validator, arguments) is None


def _misfit(validator: Validator, arguments: dict[str, Any]) -> str | None:
    """The error that says most, and where in the arguments it is; null where they fit or nobody can say."""
    try:
        if validator.is_valid(arguments):
            return None
        error = cast("ValidationError", best_match(validator.iter_errors(arguments)))
    except (Unresolvable, RecursionError, re.error):
        return None
    place = error.json_path.removeprefix("$").removeprefix(".")
    told = " ".join(error.message.split())
    told = told if len(told) <= _MESSAGE else told[:_MESSAGE] + "..."
    return f"{place}: {told}" if place else told


# Few tools stand in very many toolsets, and to check a schema takes a hundred times as long as a call.
@lru_cache(maxsize=1024)
def _validator(text: str) -> Validator | None:
    schema = json.loads(text)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (SchemaError, RecursionError, re.error):
        return None
    return kind(schema, registry=REGISTRY)
