"""The road of one clip: decoded, scored, selected, and what is kept of it cut out, on a processor or on a GPU."""
