"""Many clips into a cache: on which devices, by which workers, and what becomes of each."""
