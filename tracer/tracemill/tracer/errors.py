"""The error every room raises for something the user can mend.

In: one sentence that says what went wrong, where, and how to mend it. Out: the command line prints that
sentence alone and exits with code 1. Anything else that escapes is a bug and keeps its traceback.
"""


class TracemillError(Exception):
    """A failure the user can mend; its text is one full sentence."""
