"""The pictures of the method: what a clip shows, where its motion and surprise are, and which patches were
kept.

A still has four rows over a few slots, and below them how many tokens every slot was given; an animation shows every
slot. Both are drawn from plain arrays: decoding, scoring and selecting are left to others, colours and type to `tiles`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from codecsieve.pipelines.look.strips import Strip, draw_strips, strips_height
from codecsieve.pipelines.look.tiles import (
    FAINT,
    FIRE,
    INK,
    PAPER,
    draw_legend,
    draw_text,
    font_of,
    heat_of,
    heat_tile,
    masked_tile,
)

SUFFIXES = (".png", ".gif", ".mp4")
"""Of the files that `save_picture` writes."""

_MARGIN = 36
_GAP = 6
_FRAMES_A_SECOND = 8

_NAMES = {"saliency": "By saliency", "sampling": "By sampling", "random": "At random"}
_CHOSEN = {
    "saliency": "the highest scores\nof {}",
    "sampling": "whole slots,\nuniformly spaced",
    "random": "any of the clip's,\nat random",
}
"""By policy: what it is called, and how it chose."""


@dataclass(frozen=True)
class DrawnClip:
    """A clip and what was kept of it.

    frames: uint8 [T, size, size, 3], RGB, at model resolution. scores: int or float [T, gh, gw], one a
    patch, in any unit. indices: int [K], `t*gh*gw + h*gw + w` of the patches kept by `policy`;
    sampled: likewise of those that uniform sampling keeps for the same budget, which are whole slots. title,
    codec, signals: as they are to be read above; groups: of slots, in each of which as many were kept.
    """

    frames: NDArray[np.uint8]
    scores: NDArray[np.generic]
    indices: NDArray[np.integer]
    sampled: NDArray[np.integer]
    title: str
    codec: str
    signals: str
    policy: str = "saliency"
    groups: int = 1

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames ({self.frames.dtype} {self.frames.shape}) must be uint8 [T, S, S, 3]")
        if self.scores.ndim != 3 or len(self.scores) != len(self.frames) or not self.scores.size:
            raise ValueError(f"scores {self.scores.shape} must be [T, gh, gw] with T = {len(self.frames)}")
        for name, kept in (("indices", self.indices), ("sampled", self.sampled)):
            if kept.size and not 0 <= kept.min() <= kept.max() < self.scores.size:
                raise ValueError(f"{name} must be 0..{self.scores.size - 1}, the patches of scores")

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which patches were kept, bool [T, gh, gw]."""
        return self._mask(self.indices)

    @property
    def kept_by_sampling(self) -> NDArray[np.bool_]:
        """Which patches uniform sampling would have kept, bool [T, gh, gw]."""
        return self._mask(self.sampled)

    def _mask(self, indices: NDArray[np.integer]) -> NDArray[np.bool_]:
        mask = np.zeros(self.scores.size, np.bool_)
        mask[indices] = True
        return mask.reshape(self.scores.shape)

    @property
    def facts(self) -> str:
        """The line under the title."""
        kept, total = len(self.indices), self.scores.size
        share = f"kept {kept} of {total} patches ({100 * kept / total:.1f} %)"
        return f"{self.codec}  ·  {self.signals} signals  ·  {share}"


def save_picture(path: str | Path, clip: DrawnClip, slots: int = 8) -> None:
    """Write the picture that the suffix asks for: `.png` the still, `.gif` or `.mp4` the animation.

    The file appears whole or not at all. slots: how many the still shows. Raises ValueError for other
    suffixes.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a picture's suffix must be one of {', '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".picture-{uuid.uuid4().hex}.part")
    try:
        match suffix:
            case ".png":
                draw_rows(clip, slots).save(part, format="PNG", optimize=True)
            case ".gif":
                _write_gif(part, list(draw_animation(clip, 208)))
            case ".mp4":
                _write_mp4(part, list(draw_animation(clip)))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# --- the still


def draw_rows(clip: DrawnClip, slots: int = 8) -> Image.Image:
    """Four rows over `slots` evenly spaced slots: frames, uniform sampling, heat, the patches kept.

    Below, two strips over all slots: tokens kept of each by uniform sampling, and by the clip's policy.
    """
    if slots < 1:
        raise ValueError(f"slots ({slots}) must be >= 1")
    shown = np.unique(np.linspace(0, len(clip.frames) - 1, slots).round().astype(int))
    rows, strips = _rows(clip, shown), _strips(clip)
    side_w, side_h = rows[0][2][0].size
    label, head, foot = 168, 104, 66
    tiles_width = len(shown) * (side_w + _GAP) - _GAP
    tiles_height = len(rows) * (side_h + 2 * _GAP) - 2 * _GAP
    width = 2 * _MARGIN + label + tiles_width
    sheet = Image.new("RGB", (width, head + tiles_height + foot + strips_height(strips) + _MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, (_MARGIN, 28), clip.title, 26, INK, width - 2 * _MARGIN)
    draw_text(draw, (_MARGIN, 64), clip.facts, 16, FAINT, width - 2 * _MARGIN)
    for row, (name, what, tiles) in enumerate(rows):
        top = head + row * (side_h + 2 * _GAP)
        draw_text(draw, (_MARGIN, top + 2), name, 18, INK, label)
        for line, words in enumerate(what.split("\n")):
            draw_text(draw, (_MARGIN, top + 30 + 18 * line), words, 13, FAINT, label)
        if name == "Saliency":
            draw_legend(sheet, draw, _MARGIN, top + 80)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (_MARGIN + label + column * (side_w + _GAP), top))
    below = head + tiles_height
    for column, (slot, count) in enumerate(zip(shown, clip.kept[shown].sum(axis=(1, 2)), strict=True)):
        centre = _MARGIN + label + column * (side_w + _GAP) + side_w // 2
        draw.text((centre, below + 12), f"slot {slot}", INK, font_of(13), anchor="ma")
        draw.text((centre, below + 30), f"{count} kept", FAINT, font_of(13), anchor="ma")
    draw_strips(draw, _MARGIN, below + foot, label, tiles_width, strips, shown)
    return sheet


def _rows(clip: DrawnClip, shown: NDArray[np.integer]) -> list[tuple[str, str, list[Image.Image]]]:
    """Of each row its name, what it is, and its tiles."""
    total = len(clip.frames)
    frames, heat = clip.frames[shown], heat_of(clip.scores)[shown]
    sampled, kept = clip.kept_by_sampling, clip.kept
    slots = sampled.any(axis=(1, 2)).sum()
    pays_for = f"{slots} of {total} slots" if slots else "less than one"
    whole = kept.all(axis=(1, 2)).sum()
    chosen = _CHOSEN[clip.policy].format("the whole clip" if clip.groups == 1 else f"each of {clip.groups} groups")
    if whole and clip.policy == "saliency":
        chosen += f"\n{whole} of {total} slots whole"
    everything = np.ones_like(kept[0])
    return [
        ("Frames", f"{len(shown)} of {total} slots", [masked_tile(frame, everything) for frame in frames]),
        (
            "Uniform sampling",
            f"the same budget on\nwhole frames:\n{pays_for}",
            [masked_tile(frame, mask) for frame, mask in zip(frames, sampled[shown], strict=True)],
        ),
        (
            "Saliency",
            "motion + residual\nof each patch",
            [heat_tile(frame, warmth) for frame, warmth in zip(frames, heat, strict=True)],
        ),
        (
            "Patches kept",
            chosen,
            [masked_tile(frame, mask) for frame, mask in zip(frames, kept[shown], strict=True)],
        ),
    ]


def _strips(clip: DrawnClip) -> list[Strip]:
    """Tokens of every slot, by uniform sampling and by the clip's policy."""
    both = [("Uniform sampling", clip.kept_by_sampling, INK), (_NAMES[clip.policy], clip.kept, FIRE)]
    strips = []
    for name, kept, colour in both:
        counts = kept.sum(axis=(1, 2))
        some = counts[counts > 0]
        most = f"{'' if len(set(some)) == 1 else 'up to '}{counts.max()}, in {len(some)} of {len(counts)}"
        strips.append(Strip(name, f"tokens kept a slot:\n{most if len(some) else 'none'}", counts, colour))
    return strips


# --- the animation


def draw_animation(clip: DrawnClip, side: int = 256) -> Iterator[Image.Image]:
    """One image a slot, all of even size: the frame, its heat, and the patches kept of it, side by side.

    side: about how many pixels wide a panel is; the nearest multiple of the patch grid is taken.
    """
    heat, kept = heat_of(clip.scores), clip.kept
    everything = np.ones_like(kept[0])
    counts = kept.sum(axis=(1, 2))
    total = len(clip.frames)
    for slot, frame in enumerate(clip.frames):
        panels = [
            ("frame", masked_tile(frame, everything, side)),
            ("saliency", heat_tile(frame, heat[slot], side)),
            (f"{counts[slot]} of {kept[0].size} patches kept", masked_tile(frame, kept[slot], side)),
        ]
        wide, high = panels[0][1].size
        width = 2 * _MARGIN + 3 * (wide + 2 * _GAP) - 2 * _GAP
        sheet = Image.new("RGB", (width + width % 2, 122 + high + high % 2), PAPER)
        draw = ImageDraw.Draw(sheet)
        draw_text(draw, (_MARGIN, 16), clip.title, 18, INK, width - 2 * _MARGIN)
        draw_text(draw, (_MARGIN, 42), clip.facts, 13, FAINT, width - 2 * _MARGIN)
        for column, (name, panel) in enumerate(panels):
            left = _MARGIN + column * (wide + 2 * _GAP)
            sheet.paste(panel, (left, 68))
            draw.text((left, 76 + high), name, INK, font_of(13))
        bar = width - 2 * _MARGIN
        draw.rectangle((_MARGIN, 106 + high, _MARGIN + bar - 1, 108 + high), (228, 229, 233))
        reached = max(1, bar * (slot + 1) // total)  # of more slots than it has pixels, the first come to none
        draw.rectangle((_MARGIN, 106 + high, _MARGIN + reached - 1, 108 + high), INK)
        yield sheet


def _write_gif(path: Path, images: list[Image.Image]) -> None:
    # One palette for all, from a sheet of every slot: what stands still keeps its colour and costs no bytes.
    wide, high = images[0].size
    sheet = Image.new("RGB", (wide, high * len(images)))
    for index, image in enumerate(images):
        sheet.paste(image, (0, high * index))
    palette = sheet.resize((wide // 2, sheet.height // 4)).quantize(255, method=Image.Quantize.MEDIANCUT)
    pages = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    pages[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pages[1:],
        duration=1000 // _FRAMES_A_SECOND,
        loop=0,
        optimize=False,
    )


def _write_mp4(path: Path, images: list[Image.Image]) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # Not every build of FFmpeg has x264; its own MPEG-4 encoder is in all of them.
        x264 = "libx264" in av.codecs_available
        codec, quality = ("libx264", {"crf": "16"}) if x264 else ("mpeg4", {"qmin": "2", "qmax": "3"})
        stream = container.add_stream(codec, rate=_FRAMES_A_SECOND, options=quality)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
