"""The one exception that is meant for a person to read."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input or a broken environment; the message is one line that says what is wrong and what to do."""
