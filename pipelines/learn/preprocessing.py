"""How a model of transformers wants its pictures: their size, mean and deviation, as the files beside its weights say.

What is known without such files is in `families`; pictures are changed in `baselines`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codecsieve.errors import EncoderError
from codecsieve.pipelines.learn.families import COLOURS, Colours
from codecsieve.text import shortened

_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
_OF_PROCESSOR = ("image_processor", "video_processor")  # where the last of these files has the others' content


def pictures_of(folder: Path, config: Any, kind: str) -> tuple[tuple[int, int], Colours | None]:
    """Height and width in pixels of a model's pictures, and mean and deviation that they are normalised by.

    Args:
        folder: the model's, with its preprocessor's configuration or without.
        config: the model's configuration, as transformers has it.
        kind: its `model_type`, whose colours are taken where the folder says none; None where that has none either.

    Raises EncoderError where what is there cannot be a picture's.
    """
    processor = _read_processor(folder)
    try:
        size, colours = _size(processor, config, kind), _colours(processor, kind)
        if min(size) < 1 or (colours is not None and not min(colours[1]) > 0):
            raise ValueError(f"size {size}, colours {colours}")
    except (AttributeError, TypeError, ValueError) as error:
        what = "the preprocessor's size or colours cannot be a picture's"
        raise EncoderError(f"{folder}: {what} ({shortened(str(error), 200)})") from error
    return size, colours


def _read_processor(folder: Path) -> dict[str, Any]:
    for name in _PROCESSORS:
        if (folder / name).exists():
            values = read_json(folder / name)
            return next((values[part] for part in _OF_PROCESSOR if isinstance(values.get(part), dict)), values)
    return {}


def _colours(processor: Mapping[str, Any], kind: str) -> Colours | None:
    """For pixels in 0..1, whatever the preprocessor scales them to before it takes its own mean off."""
    if processor.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    elif "image_mean" in processor and "image_std" in processor:
        mean, std = processor["image_mean"], processor["image_std"]
    else:
        return COLOURS.get(kind)
    scale = 255 * processor.get("rescale_factor", 1 / 255)
    shift = 1.0 if processor.get("offset") else 0.0
    (r, g, b), (of_r, of_g, of_b) = [(m + shift) / scale for m in mean], [s / scale for s in std]
    return (r, g, b), (of_r, of_g, of_b)


def _size(processor: Mapping[str, Any], config: Any, kind: str) -> tuple[int, int]:
    """The preprocessor's crop or size, else that of the model's configuration."""
    if kind == "siglip2":  # any size with so many patches
        side = math.isqrt(processor.get("max_num_patches", config.num_patches)) * config.patch_size
        return side, side
    cropped = processor.get("crop_size") if processor.get("do_center_crop") is not False else None
    given = cropped or processor.get("size") or getattr(config, "image_size", None) or config.crop_size
    if isinstance(given, Mapping):
        shortest = given.get("shortest_edge")
        given = (given.get("height", shortest), given.get("width", shortest))
    height, width = (given, given) if isinstance(given, int) else given
    return int(height), int(width)


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file says; empty where there is none. Raises EncoderError where it holds no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON ({shortened(str(error), 200)})") from error
    if not isinstance(values, dict):
        raise EncoderError(f"{path}: must hold a JSON object")
    return values
