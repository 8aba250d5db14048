"""The options of transcoding. How they act is said in `ffmpeg_program`."""

from __future__ import annotations

from dataclasses import dataclass

from codecsieve.options import check_options, option

ENCODERS = {"h264": "libx264", "hevc": "libx265"}
"""Codec -> FFmpeg's name of its encoder."""
SPEEDS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip


@dataclass(frozen=True)
class TranscodeOptions:
    """How to encode. Raises ConfigError for values that cannot work."""

    codec: str = option("h264", "What to encode to.", choices=tuple(ENCODERS))
    crf: int = option(23, "Quality: 0 the best, 51 the worst.", at_least=0, at_most=51)
    gop: int = option(16, "Pictures from keyframe to keyframe.", at_least=1)
    preset: str = option("medium", "The encoder's name for its speed.", choices=SPEEDS)
    threads: int = option(1, "Of the encoder, for one file.", at_least=1)
    timeout: float = option(4 * 3600.0, "Seconds one file may take.", above=0)

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)
