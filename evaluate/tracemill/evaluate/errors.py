"""What can go wrong while evaluating, each with one sentence the user can act on."""

from tracemill.tracer.errors import TracemillError


class EvaluationError(TracemillError):
    """An evaluation that cannot be run: unusable rows, a prompt too long, a server that is gone."""
