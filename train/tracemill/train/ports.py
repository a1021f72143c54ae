"""What listens on a port of this machine already, in words for the person who wants the port.

In: a port number. Out: nothing where it is free, else who is there, as far as that can be told: a model
server of ours or of others by the models it names, a web server by its name, and on Linux the process. What
it says of itself is cut short; a caller that prints it cleans it.
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
LOOPBACKS = (HOST, "::1")
"""Both that `localhost` may mean."""
PATIENCE_S = 2.0
MOST_BYTES = 65536


def occupant(port: int) -> str | None:
    """Who listens on `port` of a loopback address; None where nobody does."""
    for host in LOOPBACKS:
        try:
            socket.create_connection((host, port), PATIENCE_S).close()
        except TimeoutError:
            return _with_process("a program that takes no connection", port)
        except OSError:  # refused, or no such address on this machine
            continue
        return _with_process(_described(host, port), port)
    return None


def _described(host: str, port: int) -> str:
    status, server, ours = _get(host, port, "/tracemill")
    if status is None:
        return "a program that does not speak HTTP"
    models = _models(_get(host, port, "/v1/models")[2])
    if isinstance(ours, dict) and "token" in ours:
        return f"a model server of Tracemill{models}"
    if models:
        return f"an OpenAI-compatible server{models}"
    return f"a web server ({server[:80]})" if server else "a web server"


def _get(host: str, port: int, path: str) -> tuple[int | None, str, Any]:
    """Status, name of the server and JSON of one answer; no status where there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read1(MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return None, "", None
    finally:
        connection.close()
    try:
        return response.status, response.headers.get("Server", ""), json.loads(body)
    except ValueError:
        return response.status, response.headers.get("Server", ""), None


def _models(answer: Any) -> str:
    """` that serves NAME`, where an answer lists models as OpenAI's API does."""
    listed = answer.get("data") if isinstance(answer, dict) else None
    found = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    named = [one[:80] for one in found if isinstance(one, str)]
    return f" that serves {', '.join(named[:3])}{', ...' if len(named) > 3 else ''}" if named else ""


def _with_process(what: str, port: int) -> str:
    found = _listener(port)
    return f"{what} (process {found[0]}, {found[1]})" if found else what


def _listener(port: int) -> tuple[int, str] | None:
    """Number and name of the process of ours that listens on `port`, as Linux tells; None elsewhere."""
    wanted = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        try:
            if str(link.readlink()) in wanted:
                process = link.parents[1]
                return int(process.name), (process / "comm").read_text("utf-8", "replace").strip()
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return None


def _listening(table: str, port: int) -> list[str]:
    """The inodes of the sockets that listen on `port` (proc_pid_net(5): local address, state, inode)."""
    try:
        rows = [line.split() for line in Path("/proc/net", table).read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
