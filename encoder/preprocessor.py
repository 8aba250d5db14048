"""`preprocessor_config.json`: how a picture becomes the encoder's input, as transformers' AutoImageProcessor reads it.

It is written here and read there. The encoder itself takes pictures that are ready, or patches of a cache.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codecsieve.encoder.tokens import MEAN, STD

PREPROCESSOR = "preprocessor_config.json"

_BICUBIC = 3  # Pillow's number for it


def preprocessor_settings(image_size: int) -> dict[str, Any]:
    """CLIP's processor: the short side to `image_size`, bicubic, the middle square, CLIP's mean and deviation."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": image_size},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": image_size, "width": image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }


def write_preprocessor(folder: Path, image_size: int) -> None:
    """Write the file into a folder; one that is there, of a user's own making perhaps, is left as it is."""
    path = folder / PREPROCESSOR
    if not path.exists():
        path.write_text(json.dumps(preprocessor_settings(image_size), indent=2) + "\n", encoding="utf-8")
