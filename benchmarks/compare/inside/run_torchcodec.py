"""torchcodec: eight whole frames, evenly spaced, short side to 224 and the centre square: 2,048 patches of 14 px."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from loop import Shown, main
from torchcodec.decoders import VideoDecoder

FRAMES, SIDE = 8, 224


@dataclass(frozen=True)
class Decoded:
    """ids: int64 [8]. whole: uint8 [8, H, W, 3], as decoded. given: bytes of the squares."""

    ids: np.ndarray
    whole: np.ndarray
    given: int


def run(video: str, folder: Path) -> Decoded:
    """Decode the frames, by their numbers, with one thread, and cut their squares."""
    decoder = VideoDecoder(video, num_ffmpeg_threads=1)
    ids = np.linspace(0, len(decoder) - 1, FRAMES).round().astype(np.int64)
    frames = decoder.get_frames_at(ids.tolist()).data
    height, width = frames.shape[-2:]
    scale = SIDE / min(height, width)
    size = (max(SIDE, round(height * scale)), max(SIDE, round(width * scale)))
    resized = torch.nn.functional.interpolate(frames.float(), size=size, mode="bilinear", antialias=True)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    square = resized[..., top : top + SIDE, left : left + SIDE].round().clamp(0, 255).to(torch.uint8)
    return Decoded(ids, frames.permute(0, 2, 3, 1).numpy(), square.contiguous().numpy().nbytes)


def shown(decoded: Decoded) -> Shown:
    """The frames as decoded."""
    return Shown.of_pictures(decoded.ids, decoded.whole)


if __name__ == "__main__":
    main(run, shown)
