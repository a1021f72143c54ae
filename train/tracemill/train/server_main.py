"""The process behind `ModelServer`: `python -m tracemill.train.server_main`, which that class alone starts.

In: one JSON line on standard input, the `Settings` of `serving.py`; then standard input stays open, and its
end means that the parent is gone, however it died, and ends this process. Out: one JSON line on standard
output, `{"port"}` when the model is loaded or `{"error"}`; all else goes to standard error, the log.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from tracemill.tracer.home import Home
from tracemill.train import blas


def main() -> None:
    """Serve until the parent closes our standard input."""
    settings = json.loads(sys.stdin.readline())
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not be taken for our answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(blas.activate(Home(Path(settings["home"]))), file=sys.stderr)
    from tracemill.train.serving import serve

    def ready(told: dict[str, Any]) -> None:
        answer.write(json.dumps(told) + "\n")
        answer.flush()

    try:
        serve(settings, ready)
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)  # the generation thread would keep the process


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
