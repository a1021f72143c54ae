"""The errors of the warehouse: each names the file or the query, and what to do."""

from __future__ import annotations

from tracemill.tracer.errors import TracemillError


class WarehouseError(TracemillError):
    """The warehouse or its snapshot cannot be opened or written."""


class BusyError(WarehouseError):
    """Another process is ingesting, and has been for as long as we were ready to wait."""


class QueryError(TracemillError):
    """A query was refused or failed; the text says why."""


class MistakeError(QueryError):
    """A query that was refused or failed for what stands in it, and not for want of room or time."""
