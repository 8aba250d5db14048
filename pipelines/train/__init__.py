"""An encoder trained from caches: clips told apart by their concepts."""
