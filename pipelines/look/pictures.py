"""The pictures of the method: what a clip shows, where its motion and surprise are, and which patches were
kept.

A still has four rows over a few slots; an animation shows every slot. Both are drawn from plain arrays:
decoding, scoring and selecting are left to others, colours and type to `tiles`.
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

from codecsieve.pipelines.look.tiles import (
    FAINT,
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


@dataclass(frozen=True)
class DrawnClip:
    """A clip and what was kept of it.

    frames: uint8 [T, size, size, 3], RGB, at model resolution. scores: int or float [T, gh, gw], one a
    patch, in any unit. indices: int [K], ascending, `t*gh*gw + h*gw + w` of the patches kept. clip_id,
    codec, signals: as they are to be read in the title.
    """

    frames: NDArray[np.uint8]
    scores: NDArray[np.generic]
    indices: NDArray[np.integer]
    clip_id: str
    codec: str
    signals: str

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames ({self.frames.dtype} {self.frames.shape}) must be uint8 [T, S, S, 3]")
        if self.scores.ndim != 3 or len(self.scores) != len(self.frames) or not self.scores.size:
            raise ValueError(f"scores {self.scores.shape} must be [T, gh, gw] with T = {len(self.frames)}")
        if self.indices.size and not 0 <= self.indices.min() <= self.indices.max() < self.scores.size:
            raise ValueError(f"indices must be 0..{self.scores.size - 1}, the patches of scores")

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which patches were kept, bool [T, gh, gw]."""
        kept = np.zeros(self.scores.size, np.bool_)
        kept[self.indices] = True
        return kept.reshape(self.scores.shape)

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

    Uniform sampling spends the same number of tokens on whole frames: the share of the shown slots that are
    lit is the share of all slots which that budget pays for.
    """
    if slots < 1:
        raise ValueError(f"slots ({slots}) must be >= 1")
    shown = np.unique(np.linspace(0, len(clip.frames) - 1, slots).round().astype(int))
    rows = _rows(clip, shown)
    side_w, side_h = rows[0][2][0].size
    label, head, foot = 168, 104, 44
    width = 2 * _MARGIN + label + len(shown) * (side_w + _GAP) - _GAP
    height = head + len(rows) * (side_h + 2 * _GAP) - 2 * _GAP + foot + _MARGIN // 2
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, (_MARGIN, 28), clip.clip_id, 26, INK, width - 2 * _MARGIN)
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
    for column, (slot, count) in enumerate(zip(shown, clip.kept[shown].sum(axis=(1, 2)), strict=True)):
        centre = _MARGIN + label + column * (side_w + _GAP) + side_w // 2
        draw.text((centre, height - foot - _MARGIN // 2 + 12), f"slot {slot}", INK, font_of(13), anchor="ma")
        draw.text((centre, height - foot - _MARGIN // 2 + 30), f"{count} kept", FAINT, font_of(13), anchor="ma")
    return sheet


def _rows(clip: DrawnClip, shown: NDArray[np.integer]) -> list[tuple[str, str, list[Image.Image]]]:
    """Of each row its name, what it is, and its tiles."""
    total, cells = len(clip.frames), clip.scores[0].size
    whole = len(clip.indices) / cells
    lit = _spread(len(shown), whole / total)
    frames, heat, kept = clip.frames[shown], heat_of(clip.scores)[shown], clip.kept[shown]
    everything = np.ones_like(kept[0])
    return [
        ("Frames", f"{len(shown)} of {total} slots", [masked_tile(f, everything) for f in frames]),
        (
            "Uniform sampling",
            f"the same budget on\nwhole frames:\n{whole:.3g} of {total} slots",
            [masked_tile(f, everything & on) for f, on in zip(frames, lit, strict=True)],
        ),
        (
            "Saliency",
            "motion + residual\nof each patch",
            [heat_tile(f, h) for f, h in zip(frames, heat, strict=True)],
        ),
        (
            "Patches kept",
            "the highest scores\nof the whole clip",
            [masked_tile(f, k) for f, k in zip(frames, kept, strict=True)],
        ),
    ]


def _spread(count: int, share: float) -> list[bool]:
    """`share` of `count` places, evenly spread, at least one if any."""
    lit = [int((i + 0.5) * share + 0.5) > int((i - 0.5) * share + 0.5) for i in range(count)]
    if share > 0 and not any(lit):
        lit[count // 2] = True
    return lit


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
        draw_text(draw, (_MARGIN, 16), clip.clip_id, 18, INK, width - 2 * _MARGIN)
        draw_text(draw, (_MARGIN, 42), clip.facts, 13, FAINT, width - 2 * _MARGIN)
        for column, (name, panel) in enumerate(panels):
            left = _MARGIN + column * (wide + 2 * _GAP)
            sheet.paste(panel, (left, 68))
            draw.text((left, 76 + high), name, INK, font_of(13))
        bar = width - 2 * _MARGIN
        draw.rectangle((_MARGIN, 106 + high, _MARGIN + bar - 1, 108 + high), (228, 229, 233))
        draw.rectangle((_MARGIN, 106 + high, _MARGIN + bar * (slot + 1) // total - 1, 108 + high), INK)
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
