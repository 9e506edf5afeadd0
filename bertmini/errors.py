"""The one exception for what a user can cause and can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, told in one line: what was found, where, what was expected, what to do."""
