"""From Pydantic AI's messages to the neutral form, as an OpenAI-compatible server is sent them.

In: the request context that Pydantic AI hands to its hooks (both majors). Out: `Payload`, the neutral
messages and the tools of one request, one message per part and in the order of OpenAI's chat model
(`OpenAIChatModel._map_messages`): system prompts first, then instructions, then the turns; tool results as
text; retries as tool or user messages; the texts of one answer joined by a blank line. A test compares this
with what that model really sends.

Images and files are `attachments`, with a marker such as `[image/png]` in the text of the prompt they stand
in. Reasoning that the model does not take back inside the text is `thinking`. The calls of tools that the
provider runs itself are no part of a message; the record has them among the tool calls.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import to_jsonable_python

from tracemill.tracer.attachments import attachment, is_file, media_type, without_bytes
from tracemill.tracer.messages import Message, Tool, ToolCall, parse_arguments

if TYPE_CHECKING:
    from pydantic_ai.messages import InstructionPart, ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestContext, ModelRequestParameters


@dataclass(frozen=True)
class Payload:
    """What a model is sent in one request."""

    messages: list[Message]
    tools: list[Tool]


def payload(context: ModelRequestContext, model: Model | None = None, *, keep_files: bool = False) -> Payload:
    """The messages and tools of a request, prepared as its model (or another candidate) will prepare them.

    With `keep_files` the bytes of images and files stand in the messages, not only their hashes.
    """
    model = model or serving_models(context.model)[0]
    messages = prepared_messages(model, context.messages, context.model_request_parameters)
    _, parameters = model.prepare_request(context.model_settings, context.model_request_parameters)
    instructions = instruction_parts(model, messages, parameters)
    neutral = from_model_messages(messages, instructions, model, keep_files=keep_files)
    return Payload(neutral, offered_tools(parameters))


def serving_models(model: Model) -> list[Model]:
    """The model itself, or the candidates in their order where it is a choice of several."""
    candidates: Sequence[Model] | None = getattr(model, "models", None)
    return [one for candidate in candidates for one in serving_models(candidate)] if candidates else [model]


@dataclass(frozen=True)
class Dialect:
    """What of a model decides how its own earlier answers are sent back to it."""

    system: str
    is_chat: bool
    """Whether it speaks to an OpenAI-compatible chat server, which may want reasoning inside the text."""
    thinking_field: str | None
    send_back: str
    mimics: bool
    tags: tuple[str, str]


def dialect(model: Model) -> Dialect:
    """How a model is sent its own earlier answers, from its class and its profile."""
    inner = model
    while (wrapped := getattr(inner, "wrapped", None)) is not None:
        inner = wrapped
    profile: object = model.profile
    start, end = _option(profile, "thinking_tags", ("<think>", "</think>"))
    return Dialect(
        system=model.system,
        is_chat=any(kind.__name__ == "OpenAIChatModel" for kind in type(inner).__mro__),
        thinking_field=_option(profile, "openai_chat_thinking_field", None),
        send_back=_option(profile, "openai_chat_send_back_thinking_parts", "auto"),
        mimics=bool(_option(profile, "mimics_assistant_message_formatting", False)),
        tags=(start, end),
    )


def from_model_messages(
    messages: Sequence[ModelMessage],
    instructions: Sequence[InstructionPart],
    model: Model,
    *,
    keep_files: bool = False,
) -> list[Message]:
    """A prepared history in neutral form; `instructions` come after the leading system prompts."""
    spoken = dialect(model)
    neutral = [
        one for message in messages for one in neutral_messages(message, spoken, keep_files=keep_files)
    ]
    head = next((i for i, message in enumerate(neutral) if message["role"] != "system"), len(neutral))
    neutral[head:head] = [{"role": "system", "content": part.content} for part in instructions]
    return neutral


def neutral_messages(message: ModelMessage, spoken: Dialect, *, keep_files: bool = False) -> list[Message]:
    """One message of a prepared history in neutral form; nothing where it is not sent again."""
    if message.kind == "request":
        return list(_request_messages(message.parts, keep_files))
    answer = response_message(message, spoken, keep_files=keep_files)
    return [answer] if is_sent(answer, message, spoken) else []


def response_message(response: ModelResponse, model: Model | Dialect, *, keep_files: bool = False) -> Message:
    """A model's answer as the assistant message that the next request will carry."""
    spoken = model if isinstance(model, Dialect) else dialect(model)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    files: list[Any] = []
    for part in response.parts:
        if part.part_kind == "text":
            texts.append(part.content)
        elif part.part_kind == "thinking":
            tags = _thinking_tags(part, spoken)
            if tags:
                texts.append("\n".join((tags[0], part.content, tags[1])))
            elif part.content:
                thoughts.append(part.content)
        elif part.part_kind == "file":
            files.append(part.content)
        elif part.part_kind == "tool-call":
            calls.append(
                {
                    "id": part.tool_call_id,
                    "name": part.tool_name,
                    "arguments": jsonable(parse_arguments(part.args)),
                }
            )
    message: Message = {"role": "assistant", "content": "\n\n".join(texts)}
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["thinking"] = "\n\n".join(thoughts)
    if files:
        message["attachments"] = [attachment(file, keep_files) for file in files]
    return message


def offered_tools(parameters: ModelRequestParameters) -> list[Tool]:
    """Function tools, then output tools, as the model is offered them; hidden ones are left out."""
    declared: Mapping[str, Any] = getattr(parameters, "declared_tool_defs", parameters.tool_defs)
    return [
        {
            "name": tool.name,
            "description": tool.description or "",
            "parameters": jsonable(tool.parameters_json_schema),
        }
        for tool in declared.values()
    ]


def jsonable(value: Any, *, keep_files: bool = False) -> Any:
    """Any Python value as JSON: models and dataclasses as objects, what has no form as its `repr`.

    Images and files in it become attachments; `keep_files` is that of `payload`.
    """
    kind = type(value)
    if kind is str:
        return value
    if kind is dict and _is_flat(value):
        return {**value}
    return _plain(to_jsonable_python(value, by_alias=True, bytes_mode="base64", fallback=repr), keep_files)


_NAMES = frozenset({str})
_FLAT = frozenset({str, int, bool, type(None)})


def _is_flat(value: dict[Any, Any]) -> bool:
    """Whether an object is JSON already and not a file: that is how the arguments of most tools are."""
    plain = _FLAT.issuperset(map(type, value.values())) and _NAMES.issuperset(map(type, value))
    return plain and "kind" not in value  # which every file has


def _plain(value: Any, keep_files: bool) -> Any:
    kind = type(value)
    # NaN and the infinities are numbers to Python only.
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if kind is list:
        return [_plain(item, keep_files) for item in cast("list[Any]", value)]
    if kind is dict:
        found = without_bytes(value, keep_files)
        return {name: _plain(item, keep_files) for name, item in found.items()}
    return value


def _request_messages(parts: Sequence[Any], keep_files: bool) -> Iterator[Message]:
    files: list[Any] = []
    for part in parts:
        kind: str = part.part_kind
        if kind == "system-prompt":
            yield {"role": "system", "content": part.content}
        elif kind == "user-prompt":
            yield _user_message(part.content, keep_files)
        elif kind == "tool-return" and _is_text(part):
            yield _tool_message(part, part.content)
        elif kind == "tool-return":
            text, part_files = part.model_response_str_and_user_content()
            files.extend(part_files)
            yield _tool_message(part, text)
        elif kind == "retry-prompt" and part.tool_name is not None:
            yield _tool_message(part, part.model_response())
        elif kind in ("retry-prompt", "retry-feedback"):
            yield {"role": "user", "content": part.model_response()}
    if files:
        yield _user_message(files, keep_files)


def _is_text(part: Any) -> bool:
    """Whether a model is sent the very text that a tool returned, which is the rule."""
    return type(part.content) is str and getattr(part, "outcome", "success") == "success"


def _tool_message(part: Any, text: str) -> Message:
    return {"role": "tool", "tool_call_id": part.tool_call_id, "name": part.tool_name, "content": text}


def _user_message(content: str | Sequence[Any], keep_files: bool) -> Message:
    """A prompt; the pieces of a list are joined without a gap, as mlx-lm's server joins them."""
    if isinstance(content, str):
        return {"role": "user", "content": content}
    message: Message = {"role": "user", "content": "".join(_piece(item) for item in content)}
    if files := [attachment(item, keep_files) for item in content if is_file(item)]:
        message["attachments"] = files
    return message


def _piece(item: Any) -> str:
    if isinstance(item, str):
        return item
    if is_file(item):
        return f"[{media_type(item)}]"
    text: object = getattr(item, "content", None)
    return text if isinstance(text, str) else ""


def is_sent(answer: Message, response: ModelResponse, spoken: Dialect) -> bool:
    """Whether an earlier answer is sent again: no empty one, and to a chat server text and calls only."""
    if "tool_calls" in answer or any(part.part_kind == "text" for part in response.parts):
        return True
    kept_apart = "thinking" in answer or "attachments" in answer
    return bool(answer["content"]) or (kept_apart and not spoken.is_chat)


def _thinking_tags(part: Any, spoken: Dialect) -> tuple[str, str] | None:
    """The tags between which reasoning is sent back inside the text; None where it is not."""
    if not part.content or not spoken.is_chat:
        return None
    own_field = part.id and part.id != "content" and part.provider_name == spoken.system
    told_apart = own_field and spoken.thinking_field in (None, part.id)
    as_text = spoken.send_back == "tags" or (spoken.send_back == "auto" and not told_apart)
    return spoken.tags if as_text and not spoken.mimics else None


def _option(profile: object, name: str, default: Any) -> Any:
    # A profile is a dataclass in Pydantic AI 1 and a dict in 2.
    if isinstance(profile, Mapping):
        return cast("Mapping[str, Any]", profile).get(name, default)
    return getattr(profile, name, default)


def instruction_parts(
    model: Model, messages: Sequence[ModelMessage], parameters: ModelRequestParameters
) -> Sequence[InstructionPart]:
    """The instructions of a request that is prepared, as its model will read them."""
    read = getattr(model, "_get_instruction_parts", None)
    return (read(messages, parameters) if read else parameters.instruction_parts) or []


def prepared_messages(
    model: Model, messages: Sequence[ModelMessage], parameters: ModelRequestParameters
) -> list[ModelMessage]:
    """A history as the agent makes it ready for its model."""
    clean = _cleaner()
    tidy = clean(list(messages))
    prepare: Callable[..., list[ModelMessage]] = model.prepare_messages
    takes_parameters = len(inspect.signature(prepare).parameters) > 1
    prepared = prepare(tidy, parameters) if takes_parameters else prepare(tidy)
    return prepared if prepared is tidy else clean(prepared)


@functools.cache
def _cleaner() -> Callable[[list[ModelMessage]], list[ModelMessage]]:
    """What the agent does to a history before every request: it merges requests that follow each other.

    The function is private to Pydantic AI; where a version does not have it, the history is taken as it is.
    """
    graph = importlib.import_module("pydantic_ai._agent_graph")
    clean: Callable[..., list[ModelMessage]] | None = getattr(graph, "_clean_message_history", None)
    if clean is None:
        return list
    if "repair_last_response" in inspect.signature(clean).parameters:
        return lambda messages: clean(messages, repair_last_response=True)
    return clean
