"""Whether the promises hold that the README makes, when caches, videos and runs are damaged on purpose. See `run`."""
