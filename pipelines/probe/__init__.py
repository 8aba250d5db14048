"""The attentive probe: how well a small head tells classes apart by a cache's tokens."""
