"""The one exception of the cache: a line that names the file, what is wrong with it and what to do."""

from __future__ import annotations


class CacheError(Exception):
    """A cache cannot be made, written or read; the message is one line a user can act on."""
