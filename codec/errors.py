"""The errors that a bitstream or an option can cause, so that a caller can catch them without knowing who raised them.

A message is one line that a user can act on; it is what the index records for a clip that failed.
"""

from __future__ import annotations


class OptionError(ValueError):
    """An option that cannot work: one line with its value and the rule."""


class VideoError(ValueError):
    """A video that cannot be used: one line with the path, what is wrong and what to do."""
