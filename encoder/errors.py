"""The one exception of the encoder: a line that names what is wrong, by value and rule, and what to do."""

from __future__ import annotations


class EncoderError(ValueError):
    """A configuration, a checkpoint or an input that the encoder cannot use; the message is one line."""
