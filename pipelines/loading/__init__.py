"""From a cache to batches of a model: in which order, how they are read, and what becomes of their colours."""
