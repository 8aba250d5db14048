"""A source without an end, as selections of windows of its frames that slide along it."""
