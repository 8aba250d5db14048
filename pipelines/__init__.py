"""Programs made of codec, kernels, cache and encoder: a room each, see ARCHITECTURE.md."""
