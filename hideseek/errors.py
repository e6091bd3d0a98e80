"""The one exception that means: the user can mend this, so show a line and no traceback."""

from __future__ import annotations


class UserError(Exception):
    """A mistake outside the code: a missing file, a wrong name, unreadable data.

    The message is one line that names the thing, the place and the next step.
    """
