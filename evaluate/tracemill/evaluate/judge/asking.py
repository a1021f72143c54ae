"""A model as a judge, through Pydantic AI.

In: prompts and the name of a model (any that Pydantic AI knows). Out: an `Answer` each, handed over as soon
as it is there, and the reason for each that failed. What may pass is asked again; a model that does not
exist, lets nobody in or fails again and again ends it at once, and what was answered is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from tracemill.evaluate.costs import cost, total
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.judge.kept import Answer, Choice
from tracemill.evaluate.judge.pairs import Prompt

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model

TOGETHER = 8
"""Requests at once."""
TIMEOUT_S = 120.0
PAUSES_S = (2.0, 10.0)
"""How long to wait before a request is sent again."""
IN_A_ROW = 8
"""Failures without a success between them after which a judge is given up."""
_FATAL = frozenset({401, 402, 403, 404})


class _Said(BaseModel):
    """Which answer is better."""

    reason: str = Field(description="Why, in one or two sentences.")
    better: Literal["first", "second", "tie"]


async def ask(
    model: Model | str,
    prompts: Sequence[Prompt],
    keep: Callable[[str, Answer], None],
    progress: Callable[[int], None] | None = None,
    pauses: Sequence[float] = PAUSES_S,
) -> dict[str, str]:
    """Ask `model` every prompt, `TOGETHER` at once; the reason by key for those that stay unanswered.

    `keep` gets each answer as it comes, `progress` how many prompts are done. EvaluationError where the model
    cannot be asked at all.
    """
    agent, asked = _agent(model)
    waiting, failed = iter(prompts), dict[str, str]()
    done = in_a_row = 0
    ended: list[EvaluationError] = []

    async def work() -> None:
        nonlocal done, in_a_row
        for prompt in waiting:
            try:
                answer = await _answer(agent, prompt, pauses)
            except EvaluationError as error:
                ended.append(error)
                answer = str(error)
            if isinstance(answer, Answer):
                keep(prompt.key, answer)
                in_a_row = 0
            else:
                failed[prompt.key] = answer
                in_a_row += 1
                if in_a_row == IN_A_ROW:
                    told = (
                        f"The judge {_named(model)} failed {IN_A_ROW} times in a row, last: {answer}; "
                        "run it again when it is well: what it answered is kept."
                    )
                    ended.append(EvaluationError(told))
            done += 1
            if progress:
                progress(done)
            if ended:
                return  # the others finish what they asked: it is paid for

    async with asked:
        await asyncio.gather(*(work() for _ in range(TOGETHER)))
    if ended:
        raise ended[0]
    return failed


def _named(model: Model | str) -> str:
    return model if isinstance(model, str) else model.model_name


def place(model: str) -> str:
    """The URL that a judge is asked at, "" for none; EvaluationError where it cannot be asked."""
    from tracemill.evaluate.provider import served_at

    return served_at(_inferred(model))


def _inferred(model: Model | str) -> Model:
    from pydantic_ai.models import infer_model

    try:
        return infer_model(model)
    except Exception as error:  # each provider's library has errors of its own
        raise EvaluationError(
            f"The judge {_named(model)} cannot be asked: {_one_line(error).rstrip('.')}; name a model as "
            "Pydantic AI does, such as openai:gpt-5-mini, or human."
        ) from error


def _agent(model: Model | str) -> tuple[Agent[None, _Said], Model]:
    from pydantic_ai import Agent

    asked = _inferred(model)
    return Agent(asked, output_type=_Said, retries=2, model_settings={"temperature": 0.0}), asked


async def _answer(agent: Agent[None, _Said], prompt: Prompt, pauses: Sequence[float]) -> Answer | str:
    """What the model said, or why it said nothing; EvaluationError where nothing will ever do."""
    from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError

    told = ""
    for pause in (*pauses, None):
        try:
            async with asyncio.timeout(TIMEOUT_S):
                run = await agent.run(prompt.text, instructions=prompt.instructions)
            return _read(run.output.better, run.output.reason, run.all_messages())
        except ModelHTTPError as error:
            told = f"HTTP {error.status_code} of {error.model_name}"
            if error.status_code in _FATAL:
                raise EvaluationError(
                    f"The judge cannot be asked: {told} ({_one_line(error)}); mend the name, the key or the "
                    "account, then run it again: what was answered is kept."
                ) from error
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                return told
        except (ModelAPIError, TimeoutError) as error:
            told = _one_line(error) or f"no answer within {TIMEOUT_S:g} s"
        except AgentRunError as error:  # it does not answer as it is asked to
            return _one_line(error)
        if pause is not None:
            await asyncio.sleep(pause)
    return told


def _read(choice: Choice, reason: str, messages: Sequence[ModelMessage]) -> Answer:
    from pydantic_ai.messages import ModelResponse

    answers = [one for one in messages if isinstance(one, ModelResponse)]
    return Answer(
        choice,
        reason,
        sum(one.usage.input_tokens for one in answers),
        sum(one.usage.output_tokens for one in answers),
        total(cost(one) for one in answers),
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
