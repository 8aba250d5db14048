"""A language model that answers questions about clips, from their tokens."""
