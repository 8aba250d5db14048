"""The model that reads sparse tokens: OneVision-Encoder, compatible with the published checkpoints.

It needs torch and safetensors (`pip install 'codecsieve[encoder]'`), and knows neither codec nor cache.
"""

from __future__ import annotations

from codecsieve.encoder.config import EncoderConfig
from codecsieve.encoder.model import EncoderOutput, OneVisionEncoder
from codecsieve.encoder.tokens import normalise, pack_clips, pad_clips, tokens_of_frames, tokens_of_pixels
from codecsieve.errors import EncoderError

load_encoder = OneVisionEncoder.from_pretrained
"""Load a published or a saved encoder by folder or hub id: `codecsieve.load_encoder(FOLDER_OR_HUB_ID)`."""

__all__ = [
    "EncoderConfig",
    "EncoderError",
    "EncoderOutput",
    "OneVisionEncoder",
    "load_encoder",
    "normalise",
    "pack_clips",
    "pad_clips",
    "tokens_of_frames",
    "tokens_of_pixels",
]
