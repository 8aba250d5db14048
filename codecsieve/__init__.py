"""Videos in, sparse tokens out: keep the patches that move, straight from what the codec already knows."""

__version__ = "0.1.0"
