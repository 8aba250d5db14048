"""How many bytes a clip takes in memory, told from its header before anything is decoded, and what too many lead to.

An estimate from above of what is there at once: pictures that the decoder holds, pictures that prediction or the search
holds besides, samples kept of them, packets. `benchmarks/speed/memory.py` holds it against what is measured. A size
that a stream changes to on its way is estimated, and refused, like the first. What a process may take at all is
`machine.limit_memory`'s.
"""

from __future__ import annotations

import av

from codecsieve.codec.readable import readable_format
from codecsieve.codec.signals import MOTION_CODECS
from codecsieve.kernels.rules import Fit

HELD_BYTES = 256 << 20
"""Of pictures that were decoded, samples held at once for one clip: those of the model's crop."""
KEPT_REFERENCES = 6
"""Recent reference pictures held, enough for the candidates of a P-picture after a pyramid of B-pictures."""

_LOADED = 80 << 20  # kernels, tables and the decoder's own, of whatever size the pictures are
_HELD_SLOTS = 64
_HISTOGRAM = 16 << 20  # of 2^20 lengths, and its sums
_WAITING = 3  # B-pictures held until the picture behind them is there

_REFERENCES = {"h264": 16, "hevc": 16, "av1": 8, "vp9": 8, "vp8": 3, "vvc": 16}
"""Pictures that others may refer to, where headers do not say; 2 of other codecs, 0 of those that have none."""
_ON_THE_WAY = 4
"""Pictures that a decoder has besides: the one it is at, and those that wait to be shown."""
_TABLES = {"h264": 0.6, "hevc": 1.0, "av1": 0.5, "vp9": 0.3}
"""Bytes a pixel that a decoder keeps with each picture: motion, kinds of blocks."""
_WORK = 4.0
"""Bytes a pixel of what is made of one picture: exported motion, residual, energy."""


def clip_bytes(codec: str, pixel_format: str, width: int, height: int, references: int | None = None) -> int:
    """Bytes that a clip takes besides what a process has before its first.

    Args:
        codec: FFmpeg's name.
        pixel_format: FFmpeg's name; empty where it is not known, and then 4:4:4 of 16 bits.
        width: luma samples a row; likewise height.
        references: pictures that others may refer to at once, by the stream's headers; None where they do not say.
    """
    pixels = _aligned(width) * _aligned(height)
    samples, converted = _bytes_a_pixel(pixel_format)
    crop = _held_bytes(pixel_format, min(width, height) ** 2)
    held = crop * _HELD_SLOTS if crop * _HELD_SLOTS <= HELD_BYTES else crop
    return _LOADED + held + round(pixels * _picture_bytes(codec, samples, converted, references))


def further_bytes(pixel_format: str, width: int, height: int, pictures: int, size: int, fit: Fit) -> int:
    """Bytes of what is held of so many pictures beyond what `clip_bytes` counts, which are the crops of 64.

    size: of the model's square, as which pictures are held where their samples would take more; fit: how they are
    brought into it, whole where they are not cropped.
    """
    if fit == "crop" and pictures <= _HELD_SLOTS:
        return 0
    crop = _held_bytes(pixel_format, min(width, height) ** 2)
    seen = _held_bytes(pixel_format, width * height) if fit != "crop" else crop
    counted = crop * _HELD_SLOTS if crop * _HELD_SLOTS <= HELD_BYTES else crop
    held = seen * pictures if seen * pictures <= HELD_BYTES else seen + 3 * size**2 * pictures
    return max(held - counted, 0)


def signal_bytes(width: int, height: int, pictures: int, fit: Fit = "crop") -> int:
    """Bytes of what is held of so many pictures' signals until a clip is through: `kernels.cpu.held.HeldSlot`.

    A byte a pixel of the crop's residual, four for each 16 pixels of the whole picture; once, a histogram of lengths.
    """
    whole, crop = _aligned(width) * _aligned(height), _aligned(min(width, height)) ** 2
    return pictures * ((whole if fit != "crop" else crop) + whole // 4) + _HISTOGRAM


def largest_picture(codec: str, pixel_format: str, references: int | None, limit: int) -> int:
    """Pixels of a picture, of any larger one of which a clip takes more than so many bytes."""
    samples, converted = _bytes_a_pixel(pixel_format)
    return max(1, int((limit - _LOADED) / _picture_bytes(codec, samples, converted, references)))


def _picture_bytes(codec: str, samples: float, converted: float, references: int | None) -> float:
    """Bytes for each pixel of a stream's pictures, of all pictures that are there at once."""
    if references is None:
        references = 0 if _is_intra_only(codec) else _REFERENCES.get(codec, 2)
    decoded = references + (_ON_THE_WAY if references else 2)
    besides = max(KEPT_REFERENCES - references, 0) + _WAITING if codec in MOTION_CODECS else 1
    total = (decoded + besides) * (samples + _TABLES.get(codec, 0.5 if references else 0.0))
    return total + besides * converted + _WORK


def _held_bytes(pixel_format: str, pixels: int) -> int:
    """Bytes of the samples of so many pixels, as the kernels read them."""
    samples, converted = _bytes_a_pixel(pixel_format)
    return round(pixels * (converted or samples))


def _aligned(length: int) -> int:
    """A side of the picture as decoders have it, whole blocks."""
    return -(-length // 64) * 64


def _is_intra_only(codec: str) -> bool:
    try:
        return av.Codec(codec, "r").intra_only
    except av.codec.codec.UnknownCodecError:
        return False


def _bytes_a_pixel(pixel_format: str) -> tuple[float, float]:
    """Of a picture as it is decoded, and of the copy that the kernels read: 0 where they read it as it is."""
    if not pixel_format:
        return 6.0, 0.0
    layout = av.VideoFormat(pixel_format)
    name = readable_format(layout)
    own = max(layout.padded_bits_per_pixel / 8, 1.0)
    return own, 0.0 if name == pixel_format else 2 * av.VideoFormat(name).padded_bits_per_pixel / 8
