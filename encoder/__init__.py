"""The model that reads sparse tokens: OneVision-Encoder, compatible with the published checkpoints.

It needs torch and safetensors (`pip install 'codecsieve[encoder]'`), and knows neither codec nor cache.
"""

from __future__ import annotations

from codecsieve.encoder.config import EncoderConfig
from codecsieve.encoder.model import EncoderOutput, OneVisionEncoder
from codecsieve.encoder.tokens import normalise, pack_clips, pad_clips, tokens_of_frames, tokens_of_pixels
from codecsieve.errors import EncoderError

__all__ = [
    "EncoderConfig",
    "EncoderError",
    "EncoderOutput",
    "OneVisionEncoder",
    "normalise",
    "pack_clips",
    "pad_clips",
    "tokens_of_frames",
    "tokens_of_pixels",
]
