"""How fast, how large: clips, caches, loaders, the encoder, the probe."""
