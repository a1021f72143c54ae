"""The errors of the room `train`: each is one sentence for the user, as `TracemillError` asks."""

from __future__ import annotations

from tracemill.tracer.errors import TracemillError


class BaseModelError(TracemillError):
    """A base model that cannot be found, fetched or read."""


class ServerError(TracemillError):
    """A model server that did not start, died, or is not ours."""


class TrainError(TracemillError):
    """A training run that cannot start or must not go on."""


class Interrupted(KeyboardInterrupt):
    """A training run that was stopped by Ctrl-C after its state was saved; the message says how to go on."""


class PromotionError(TracemillError):
    """An adapter that must not be promoted, or none that is."""


class FuseError(TracemillError):
    """An adapter that cannot become a model of its own."""
