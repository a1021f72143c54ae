"""What `benchmarks/generation.py` runs in an environment with Inspect AI: its items, asked of a server.

`python generation_inspect.py ITEMS URL LOGS MAX_TOKENS CONNECTIONS`; ITEMS is a JSON list of {"system",
"user"}. Out, as one line of JSON: the seconds of the task by Inspect's own log, and the answers in order.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, get_model
from inspect_ai.solver import generate


def main() -> None:
    items, url, logs, max_tokens, connections = sys.argv[1:]
    samples = [
        Sample(
            id=number,
            input=[ChatMessageSystem(content=item["system"]), ChatMessageUser(content=item["user"])],
        )
        for number, item in enumerate(json.loads(Path(items).read_text()))
    ]
    model = get_model("openai-api/local/default_model", base_url=url, api_key="none")
    task = Task(dataset=MemoryDataset(samples), solver=generate(), name="generation")
    (log,) = eval(
        task,
        model=model,
        log_dir=logs,
        display="none",
        score=False,
        temperature=0,
        max_tokens=int(max_tokens),
        max_connections=int(connections),
        max_samples=int(connections),
    )
    if log.status != "success" or log.stats is None or log.samples is None:
        sys.exit(f"Inspect AI ended with {log.status}: {log.error}")
    began, ended = (datetime.fromisoformat(at) for at in (log.stats.started_at, log.stats.completed_at))
    answers = {sample.id: sample.output.completion for sample in log.samples}
    told = {"seconds": (ended - began).total_seconds(), "texts": [answers[n] for n in range(len(samples))]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
