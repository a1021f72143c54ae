"""What can go wrong while curating, each with one sentence the user can act on."""

from tracemill.tracer.errors import TracemillError


class CodecError(TracemillError, ValueError):
    """A turn that has no `<tool_call>` text form, or text that cannot be read as one."""


class TemplateError(TracemillError, ValueError):
    """A chat template that is missing or refuses a conversation."""


class ProofError(TracemillError, ValueError):
    """Training, evaluation and serving would not see the same tokens."""


class RecipeError(TracemillError, ValueError):
    """A recipe that cannot be found or says something no step understands."""


class ExportError(TracemillError):
    """An export that has nothing to write, or may not write what it has."""


class DatasetError(TracemillError, ValueError):
    """A data set folder that cannot be read as one."""
