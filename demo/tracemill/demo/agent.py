"""A small coding agent whose five tools really work on one folder.

In: a folder, a Pydantic AI model and, to record it, capabilities. Out: an agent that lists, reads, searches,
writes and runs inside that folder. The system prompt and the tool schemas stand before every conversation,
so they are as short as they can be: each of their tokens is computed at every training step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic.json_schema import JsonSchemaValue
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models import Model
from pydantic_ai.tools import GenerateToolJsonSchema, Tool
from pydantic_core import core_schema

from tracemill.demo.sandbox import RefusedError, Sandbox

INSTRUCTIONS = "You are a coding agent in a project folder. Call a tool if you need one, else answer briefly."


class _ShortSchema(GenerateToolJsonSchema):
    """Leaves `additionalProperties: false` out: arguments are validated all the same."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        short = super().typed_dict_schema(schema)
        short.pop("additionalProperties", None)
        return short


def coding_agent(
    folder: Path, model: Model | str, *, capabilities: Sequence[AbstractCapability[None]] = ()
) -> Agent[None, str]:
    """The agent at work in `folder`; a refused call goes back to the model with the reason, twice at most."""
    return Agent[None, str](
        model,
        name="coding-agent",
        deps_type=type(None),
        instructions=INSTRUCTIONS,
        tools=_tools(Sandbox(folder)),
        retries=2,
        capabilities=list(capabilities),
    )


def _tools(sandbox: Sandbox) -> list[Tool[None]]:
    def list_files(path: str) -> str:
        """List a folder."""
        return _or_retry(lambda: sandbox.list(path))

    def read_file(path: str) -> str:
        """Read a file."""
        return _or_retry(lambda: sandbox.read(path))

    def search(text: str) -> str:
        """Find a text in all files."""
        return _or_retry(lambda: sandbox.search(text))

    def write_file(path: str, content: str) -> str:
        """Create or replace a file."""
        return _or_retry(lambda: sandbox.write(path, content))

    def run_command(command: str) -> str:
        """Run a command."""
        return _or_retry(lambda: sandbox.run(command))

    functions: list[Callable[..., str]] = [list_files, read_file, search, write_file, run_command]
    return [Tool[None](function, takes_ctx=False, schema_generator=_ShortSchema) for function in functions]


def _or_retry(call: Callable[[], str]) -> str:
    try:
        return call()
    except RefusedError as refusal:
        raise ModelRetry(str(refusal)) from refusal
