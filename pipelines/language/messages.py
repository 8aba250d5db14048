"""Messages in the style of Qwen's vision models, and what the sieve makes of the videos in them, in format B.

    [{"role": "user", "content": [
        {"type": "video", "video": "a.mp4", "video_start": 2.0, "video_end": 9.5, "nframes": 32, "max_pixels": 50176},
        {"type": "text", "text": "Who wins?"}]}]

Format B is what newer video systems share: `pixel_values`, `image_grid_thw`, `patch_positions`, patches in order of the
blocks that a model merges. Text as tokens is left to `processor`.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from torch import Tensor

from codecsieve.encoder.tokens import normalise
from codecsieve.errors import ConfigError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.language.chat import VIDEO, Conversation, Turn
from codecsieve.pipelines.sieve.clip import open_clip, sieve_clip
from codecsieve.text import quoted

_KEYS = {"type", "video", "video_start", "video_end", "fps", "nframes", "max_pixels"}


@dataclass(frozen=True)
class VideoRequest:
    """A video of a message. start, end: seconds, None: from the first or to the last frame; fps, nframes: frames that
    are looked at, a second or in all, not both, None: as the sieve's options have it; max_pixels: of a frame.
    """

    path: str
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    nframes: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the video."""
        for name in ("fps", "nframes", "max_pixels"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, numbers.Real) and 0 < float(value) < math.inf):
                raise ConfigError(f"{name} ({quoted(value)}) must be a number > 0")
        if self.nframes is not None and self.nframes != int(self.nframes):
            raise ConfigError(f"nframes ({self.nframes}) must be a whole number")
        if self.fps is not None and self.nframes is not None:
            raise ConfigError(f"fps ({self.fps}) and nframes ({self.nframes}) say the same; give one of them")


def read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[Conversation, list[VideoRequest]]:
    """Messages as a conversation, `<video>` where a video was, and the videos. Raises ConfigError for what is none."""
    turns, requests = [], []
    for message in messages:
        said, videos = _read_message(message)
        turns.append(said)
        requests += videos
    if not turns:
        raise ConfigError("messages (none) must be one or more")
    return Conversation(tuple(turns), tuple(request.path for request in requests)), requests


def _read_message(message: Any) -> tuple[Turn, list[VideoRequest]]:
    if not isinstance(message, Mapping):
        raise ConfigError(f"message ({quoted(message)}) must be a dict with `role` and `content`")
    role, content = message.get("role"), message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list | tuple) or not all(isinstance(part, Mapping) for part in parts):
        raise ConfigError(f"content ({quoted(content)}) must be a text, or a list of parts with `type`")
    texts, videos = [], []
    for part in parts:
        if part.get("type") == "text":
            texts.append(_text(part))
        else:
            videos.append(_request(part))
            texts.append(f"{VIDEO}\n")
    if videos and role == "assistant":
        raise ConfigError("a video is in an assistant's message; only what is asked may hold some")
    return Turn(str(role), "".join(texts)), videos


def _text(part: Mapping[str, Any]) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise ConfigError(f"text ({quoted(text)}) of a part must be a text")
    if VIDEO in text:
        raise ConfigError(f"text ({quoted(text)}) must not hold {VIDEO}, which stands for a video; write it otherwise")
    return text


def _request(part: Mapping[str, Any]) -> VideoRequest:
    if part.get("type") != "video":
        raise ConfigError(f"type ({quoted(part.get('type'))}) must be text or video; give a picture's file as a video")
    unknown = sorted(set(part) - _KEYS)
    if unknown:
        raise ConfigError(
            f"{', '.join(map(quoted, unknown))} of a video is not known; there are {', '.join(sorted(_KEYS))}"
        )
    video = part.get("video")
    if not isinstance(video, str | os.PathLike):
        raise ConfigError(
            f"video ({quoted(type(video).__name__)}) must be a file's path: frames have no codec's signals"
        )
    named = {"start": "video_start", "end": "video_end"}
    options = {name: part.get(named.get(name, name)) for name in ("start", "end", "fps", "nframes", "max_pixels")}
    return VideoRequest(_path(str(video)), **options)


def _path(video: str) -> str:
    """A path, also of a `file://` address."""
    address = urlsplit(video)
    if address.scheme == "file":
        return unquote(address.path)
    if "://" in video:
        raise ConfigError(f"video ({quoted(video)}) must be a file; fetch it first")
    return video


def request_config(request: VideoRequest, config: SieveConfig) -> SieveConfig:
    """The sieve's options for one video: as many slots and as large as its message says, at most so many kept.

    With `fit` native the message's max_pixels go before those of the options, else the square's side is the largest
    multiple of a block that they allow; neither is larger than the options have it. Raises ConfigError where no block
    fits, VideoError where fps is given and the video cannot be opened.
    """
    block = config.patch_size * config.merge
    side, pixels = config.input_size, config.max_pixels
    if request.max_pixels is not None:
        if request.max_pixels < block**2:
            raise ConfigError(f"max_pixels ({request.max_pixels}) must be >= {block**2}, one block of patches")
        pixels = min(pixels, int(request.max_pixels))
        if config.fit != "native":
            side = min(side, math.isqrt(int(request.max_pixels)) // block * block)
    slots = int(request.nframes or config.num_frames)
    if request.fps is not None:
        with open_clip(request.path, config, request.start, request.end) as clip:
            seconds = clip.sample.frames / clip.source.facts.fps
            slots = min(max(1, round(seconds * request.fps)), clip.sample.frames)
    blocks = pixels // block**2 if config.fit == "native" else (side // block) ** 2
    most = slots * blocks * config.merge**2
    return replace(config, num_frames=slots, input_size=side, max_pixels=pixels, k_keep=min(config.k_keep, most))


def sieve_requests(requests: Sequence[VideoRequest], config: SieveConfig) -> dict[str, Tensor]:
    """Videos sieved, in format B; `merge` of the options is the side of the blocks that the model makes one token of.

    Returns:
        pixel_values: float32 [N, 3 * P * P], patches of all videos end to end, colours normalised, channel by channel.
        image_grid_thw: int64 [videos, 3]: of each video one canvas, 1, merge and K / merge patches: its K patches
            belong together, and none but `patch_positions` says where they are.
        patch_positions: int64 [N, 3]: slot, row and column of each.

    Patches are in the sieve's order, see `token_order`, and with `merge` block by block, row by row in a block.
    Raises ConfigError for an option that cannot work, VideoError for a video.
    """
    pixels, grids, places = [], [], []
    for request in requests:
        clip = sieve_clip(request.path, request_config(request, config), request.start, request.end)
        pixels.append(normalise(torch.from_numpy(clip.patches)).flatten(1))
        places.append(torch.from_numpy(clip.positions.astype(np.int64)))
        grids.append([1, config.merge, len(clip.patches) // config.merge])
    if not pixels:
        return {}
    return {
        "pixel_values": torch.cat(pixels),
        "image_grid_thw": torch.tensor(grids),
        "patch_positions": torch.cat(places),
    }


def lengths_of(image_grid_thw: Tensor, merge_size: int) -> Iterator[int]:
    """How many tokens a model makes of each video, merging blocks."""
    return (int(grid.prod()) // merge_size**2 for grid in image_grid_thw)
