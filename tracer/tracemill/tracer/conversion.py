"""From Pydantic AI's messages to the neutral form, as an OpenAI-compatible server is sent them.

In: the request context that Pydantic AI hands to its hooks (both majors). Out: `Payload`, the neutral
messages and the tools of one request, one message per part and in the order of OpenAI's chat model
(`OpenAIChatModel._map_messages`): system prompts first, then instructions, then the turns; tool results as
text; retries as tool or user messages; the texts of one answer joined by a blank line. A test compares this
with what that model really sends.

Not carried over: files and images (a placeholder such as `[image-url]` stands for each), provider-native tool
calls, and reasoning that the model takes back in a field of its own rather than in the text.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import to_jsonable_python

from tracemill.tracer.messages import Message, Tool, ToolCall, parse_arguments

if TYPE_CHECKING:
    from pydantic_ai.messages import InstructionPart, ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestContext, ModelRequestParameters


@dataclass(frozen=True)
class Payload:
    """What a model is sent in one request."""

    messages: list[Message]
    tools: list[Tool]


def payload(context: ModelRequestContext) -> Payload:
    """The messages and tools of a request, prepared as its model will prepare them."""
    model = serving_model(context.model)
    messages = _prepared_messages(model, context.messages, context.model_request_parameters)
    _, parameters = model.prepare_request(context.model_settings, context.model_request_parameters)
    read_instructions = getattr(model, "_get_instruction_parts", None)
    instructions = (
        read_instructions(messages, parameters) if read_instructions else parameters.instruction_parts
    )
    return Payload(from_model_messages(messages, instructions or [], model), offered_tools(parameters))


def serving_model(model: Model) -> Model:
    """The model itself, or the first candidate where it is a choice of several."""
    candidates: Sequence[Model] | None = getattr(model, "models", None)
    return serving_model(candidates[0]) if candidates else model


def from_model_messages(
    messages: Sequence[ModelMessage], instructions: Sequence[InstructionPart], model: Model
) -> list[Message]:
    """A prepared history in neutral form; `instructions` come after the leading system prompts."""
    neutral: list[Message] = []
    for message in messages:
        if message.kind == "request":
            neutral.extend(_request_messages(message.parts))
        else:
            answer = response_message(message, model)
            if answer["content"] or "tool_calls" in answer or _has_text(message):
                neutral.append(answer)
    head = next((i for i, message in enumerate(neutral) if message["role"] != "system"), len(neutral))
    neutral[head:head] = [{"role": "system", "content": part.content} for part in instructions]
    return neutral


def response_message(response: ModelResponse, model: Model) -> Message:
    """A model's answer as the assistant message that the next request will carry."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for part in response.parts:
        if part.part_kind == "text":
            texts.append(part.content)
        elif part.part_kind == "thinking":
            texts.extend(_thinking_text(part, model))
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


def jsonable(value: object) -> Any:
    """Any Python value as JSON: models and dataclasses as objects, what has no form as its `repr`."""
    return _finite(to_jsonable_python(value, by_alias=True, bytes_mode="base64", fallback=repr))


def _finite(value: Any) -> Any:
    # NaN and the infinities are numbers to Python only.
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return [_finite(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in cast("dict[str, Any]", value).items()}
    return value


def _request_messages(parts: Sequence[Any]) -> Iterator[Message]:
    files: list[Any] = []
    for part in parts:
        kind: str = part.part_kind
        if kind == "system-prompt":
            yield {"role": "system", "content": part.content}
        elif kind == "user-prompt":
            yield {"role": "user", "content": _user_text(part.content)}
        elif kind == "tool-return":
            text, part_files = part.model_response_str_and_user_content()
            files.extend(part_files)
            yield _tool_message(part, text)
        elif kind == "retry-prompt" and part.tool_name is not None:
            yield _tool_message(part, part.model_response())
        elif kind in ("retry-prompt", "retry-feedback"):
            yield {"role": "user", "content": part.model_response()}
    if files:
        yield {"role": "user", "content": _user_text(files)}


def _tool_message(part: Any, text: str) -> Message:
    return {"role": "tool", "tool_call_id": part.tool_call_id, "name": part.tool_name, "content": text}


def _user_text(content: str | Sequence[Any]) -> str:
    """A prompt as one text; the pieces of a list are joined without a gap, as mlx-lm's server joins them."""
    if isinstance(content, str):
        return content
    return "".join(_piece(item) for item in content)


def _piece(item: Any) -> str:
    if isinstance(item, str):
        return item
    kind: str = item.kind
    if kind == "cache-point":
        return ""
    text: object = getattr(item, "content", None)
    return text if isinstance(text, str) else f"[{getattr(item, 'media_type', kind)}]"


def _has_text(response: ModelResponse) -> bool:
    return any(part.part_kind == "text" for part in response.parts)


def _thinking_text(part: Any, model: Model) -> list[str]:
    """Reasoning where it is sent back inside the text; nothing where it has a field of its own."""
    profile: object = model.profile
    own_field = part.id and part.id != "content" and part.provider_name == model.system
    method = _option(profile, "openai_chat_send_back_thinking_parts", "auto")
    as_text = method == "tags" or (method == "auto" and not own_field)
    if not part.content or not as_text or _option(profile, "mimics_assistant_message_formatting", False):
        return []
    start, end = _option(profile, "thinking_tags", ("<think>", "</think>"))
    return ["\n".join((start, part.content, end))]


def _option(profile: object, name: str, default: Any) -> Any:
    # A profile is a dataclass in Pydantic AI 1 and a dict in 2.
    if isinstance(profile, Mapping):
        return cast("Mapping[str, Any]", profile).get(name, default)
    return getattr(profile, name, default)


def _prepared_messages(
    model: Model, messages: Sequence[ModelMessage], parameters: ModelRequestParameters
) -> list[ModelMessage]:
    clean = _cleaner()
    tidy = clean(list(messages))
    prepare: Callable[..., list[ModelMessage]] = model.prepare_messages
    takes_parameters = len(inspect.signature(prepare).parameters) > 1
    prepared = prepare(tidy, parameters) if takes_parameters else prepare(tidy)
    return prepared if prepared is tidy else clean(prepared)


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
