"""The options of an export, and the formats there are. How they act is said in `export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from codecsieve.options import check_options, option

Format = Literal["webdataset", "hf", "npz", "lance", "llava", "assets", "ov2"]
FORMATS: tuple[str, ...] = get_args(Format)
CANVAS_FORMATS = ("llava", "assets", "ov2")
"""Those that have patches on pictures, for language models; the others have a clip's arrays as they are."""
Canvas = Literal["png", "jpeg"]
SHARD_SIZE = 500 * 10**6
QUESTION = "What happens in this video?"


@dataclass(frozen=True)
class ExportOptions:
    """How to export. Raises ConfigError for values that cannot work."""

    shard_size: int = option(SHARD_SIZE, "Of a shard: as many clips as fit, at least one.", size=True, at_least=1)
    canvas: str = option(
        "png",
        "Of llava, assets, ov2: pictures that keep every pixel, or, of 16-px patches, JPEG of quality 95.",
        choices=get_args(Canvas),
    )
    question: str = option(
        QUESTION, "Of llava, ov2: what is asked of clips whose columns have neither conversations nor a question."
    )
    path_prefix: str = option(
        "", "Of llava, ov2: what paths in clips.jsonl begin with, such as where OUT will lie.", new="relative to OUT"
    )

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)
