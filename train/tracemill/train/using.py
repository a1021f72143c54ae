"""How a model that is served here is used, as lines to copy.

In: the base URL of a server and the name that its model answers to. Out: a title and the lines for Punie, for
OpenAI's client and for Pydantic AI. They are code: a test runs them.
"""

from __future__ import annotations

KEY = "none"
"""Any API key does: the server asks for none, and clients insist on one."""


def punie(base_url: str, model: str) -> str:
    """The command that starts Punie with the model: its own form of a URL, with the name at the end."""
    return f'punie serve --model "local:{base_url}/{model}"'


def openai_client(base_url: str, model: str) -> str:
    """A chat completion with OpenAI's own client; any other takes the same three values."""
    return f"""\
from openai import OpenAI

client = OpenAI(base_url="{base_url}", api_key="{KEY}")
question = {{"role": "user", "content": "Hello"}}
answer = client.chat.completions.create(model="{model}", messages=[question])
print(answer.choices[0].message.content)"""


def pydantic_ai(base_url: str, model: str) -> str:
    """An agent of Pydantic AI that offers the schemas of its tools as they are, as the model learned them."""
    return f"""\
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(
    "{model}",
    provider=OpenAIProvider(base_url="{base_url}", api_key="{KEY}"),
    # Else the schemas of the tools are rewritten for OpenAI's own models.
    profile=OpenAIModelProfile(json_schema_transformer=None),
)
agent = Agent(model)
print(agent.run_sync("Hello").output)"""


def ways(base_url: str, model: str) -> dict[str, str]:
    """Title to lines, in the order they are shown."""
    return {
        "Punie": punie(base_url, model),
        "OpenAI's client": openai_client(base_url, model),
        "Pydantic AI": pydantic_ai(base_url, model),
    }
