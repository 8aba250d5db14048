"""Pictures of known colours in every layout of samples that FFmpeg has, and what a model should be shown of them.

Neither goes through FFmpeg's conversions or codecsieve's kernels: samples are made of a formula and put in place by
numpy, and what is expected is made of those samples in floating point, and resized by Pillow.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codecsieve.kernels.geometry import geometry

Floats = NDArray[np.float64]
LIMITED, FULL = 1, 2
"""AVColorRange."""
KR, KB = 0.299, 0.114
"""BT.601, which FFmpeg takes where a file says nothing."""
SUBSAMPLED = {"410": (2, 2), "411": (0, 2), "420": (1, 1), "422": (0, 1), "440": (1, 0), "444": (0, 0)}
"""log2 of the luma samples a chroma sample stands for, by row and column."""
INTERLEAVED = {"nv12": "420", "nv21": "420", "nv16": "422", "nv20": "422", "nv24": "444", "nv42": "444"}
WORDS = {
    **{name: name.upper() for name in ("rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr")},
    **{"rgb24": "RGB", "bgr24": "BGR", "rgb48": "RGB", "bgr48": "BGR", "rgba64": "RGBA", "bgra64": "BGRA"},
    **{"rgb96": "RGB", "rgba128": "RGBA", "rgbf16": "RGB", "rgbaf16": "RGBA", "rgbf32": "RGB", "rgbaf32": "RGBA"},
    **{"ayuv": "AYUV", "vuya": "VUYA", "vuyx": "VUY0", "uyva": "UYVA", "vyu444": "VYU", "ayuv64": "AYUV"},
    **{"xv36": "UYV0", "xv48": "UYV0", "xyz12": "RGB", "ya8": "YA", "ya16": "YA", "yaf16": "YA", "yaf32": "YA"},
    **{"yuyv422": "YUYV", "uyvy422": "UYVY", "yvyu422": "YVYU", "uyyvyy411": "UYYVYY"},
    **{"y210": "YUYV", "y212": "YUYV", "y216": "YUYV"},
}
"""Samples side by side, each a word of its own, in their order in memory; 0 and A stand for no colour."""
FIELDS = {
    **{"rgb565": "R5G6B5", "bgr565": "B5G6R5", "rgb555": "X1R5G5B5", "bgr555": "X1B5G5R5", "rgb444": "X4R4G4B4"},
    **{"bgr444": "X4B4G4R4", "rgb8": "R3G3B2", "bgr8": "B2G3R3", "rgb4_byte": "X4R1G2B1", "bgr4_byte": "X4B1G2R1"},
    **{"x2rgb10": "X2R10G10B10", "x2bgr10": "X2B10G10R10", "xv30": "X2V10Y10U10", "v30x": "V10Y10U10X2"},
}
"""Samples of a pixel within one word, from its highest bits down."""


def smooth(height: int, width: int, down: tuple[int, int] = (0, 0), sited: bool = False) -> Floats:
    """R, G, B of 0..1, [3, rows, columns], at the samples of a plane: a few soft waves, level at the edges.

    sited: samples lie on the first of the luma samples in a row that they stand for, not in their middle.
    """
    (tall, wide), (step_y, step_x) = (-(-height // (1 << down[0])), -(-width // (1 << down[1]))), (1 << d for d in down)
    y = np.minimum((np.arange(tall) + 0.5) * step_y / height, 1)[:, None]
    x = np.minimum((np.arange(wide) * step_x + (0.5 if sited else step_x / 2)) / width, 1)[None, :]
    waves = [(1, 0.9, 0.2), (2, 0.5, 0.6), (1, 0.1, 0.8)]
    return np.stack([
        0.5 + 0.42 * np.cos(np.pi * cycles * x) * tilt + 0.4 * np.cos(np.pi * y) * lean * (1 - tilt)
        for cycles, tilt, lean in waves
    ])  # fmt: skip


def to_yuv(rgb: Floats) -> Floats:
    """Y of 0..1, U and V of -0.5..0.5."""
    red, green, blue = rgb
    y = KR * red + (1 - KR - KB) * green + KB * blue
    return np.stack([y, (blue - y) / (2 - 2 * KB), (red - y) / (2 - 2 * KR)])


def to_rgb(y: Floats, u: Floats, v: Floats) -> Floats:
    """The inverse of `to_yuv`."""
    red, blue = y + (2 - 2 * KR) * v, y + (2 - 2 * KB) * u
    return np.stack([red, (y - KR * red - KB * blue) / (1 - KR - KB), blue])


class Samples:
    """The samples of one picture in one layout: as they are stored, and what they mean."""

    def __init__(self, name: str, height: int, width: int, full: bool | None = None) -> None:
        self.name, self.size = name, (height, width)
        self.order = ">" if name.endswith("be") else "<"
        self.base = re.sub(r"(le|be)$", "", name)
        self.format = av.VideoFormat(name)
        self.floats = bool(re.search(r"f(16|32)", name))
        self.grey = len([c for c in self.format.components if not c.is_alpha]) == 1 and self.base != "pal8"
        self.yuv = not self.grey and not self.format.is_rgb and self.base not in ("xyz12", "pal8")
        self.stated = True if "yuvj" in name else full
        self.full = self.grey if self.stated is None else self.stated
        self.down = self._subsampled()
        self.stored = self._stored()

    def _subsampled(self) -> tuple[int, int]:
        if not self.yuv:
            return 0, 0
        kind = INTERLEAVED.get(self.base) or next((k for k in SUBSAMPLED if re.search(rf"{k}(p|$)", self.base)), "444")
        kind = {"p0": "420", "p2": "422", "p4": "444", "y2": "422"}.get(self.base[:2], kind)
        return SUBSAMPLED[kind]

    @property
    def sited(self) -> bool:
        """MPEG's: halved chroma lies on the left one of a pair."""
        return self.down[1] == 1

    def bits(self, letter: str) -> int:
        """Bits of a sample."""
        if self.base in FIELDS:
            return int(re.findall(rf"{letter}(\d+)", FIELDS[self.base])[0])
        return self.format.components[0].bits

    def _stored(self) -> dict[str, NDArray[np.float64]]:
        """Numbers as stored, by letter of their sample."""
        rgb = smooth(*self.size)
        if not self.yuv and not self.grey:
            if self.base == "xyz12":
                rgb = to_xyz(rgb)
            return {letter: self._level(letter, plane) for letter, plane in zip("RGB", rgb, strict=True)}
        y = self._level("Y", to_yuv(rgb)[0])
        if self.grey:
            return {"Y": y}
        _, u, v = to_yuv(smooth(*self.size, self.down, self.sited))
        return {"Y": y, "U": self._level("U", u), "V": self._level("V", v)}

    def _scale(self, letter: str) -> tuple[float, float]:
        """What a sample of 0 is stored as, and how much is added for 1."""
        if self.floats:
            return 0, 1
        bits = self.bits(letter)
        if self.full or not (self.yuv or self.grey):
            return (1 << bits - 1 if letter in "UV" else 0), (1 << bits) - 1
        unit = 1 << bits - 8
        return (128 * unit, 224 * unit) if letter in "UV" else (16 * unit, 219 * unit)

    def _level(self, letter: str, values: Floats) -> Floats:
        zero, one = self._scale(letter)
        level = zero + one * values
        return level if self.floats else np.clip(np.round(level), 0, 2 ** self.bits(letter) - 1)

    def colours(self) -> Floats:
        """R, G, B of 0..255 that the stored samples mean, [3, height, width]."""
        planes = {}
        for letter, level in self.stored.items():
            zero, one = self._scale(letter)
            planes[letter] = (level - zero) / one
        if self.grey:
            return 255 * np.stack([planes["Y"]] * 3)
        if not self.yuv:
            rgb = np.stack([planes[letter] for letter in "RGB"])
            return 255 * (from_xyz(rgb) if self.base == "xyz12" else rgb)
        u, v = (upsample(planes[letter], self.size, self.down, self.sited) for letter in "UV")
        return 255 * to_rgb(planes["Y"], u, v)

    def frame(self) -> av.VideoFrame:
        """The stored samples as a frame of FFmpeg's."""
        if self.base == "pal8":
            return self._with_palette()
        frame = av.VideoFrame(self.size[1], self.size[0], self.name)
        for plane, rows in zip(frame.planes, self._planes(), strict=True):
            data = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
            packed = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
            data[: len(packed), : packed.shape[1]] = packed
            plane.update(data.tobytes())
        if self.stated is not None:
            frame.color_range = FULL if self.stated else LIMITED
        return frame

    def _with_palette(self) -> av.VideoFrame:
        """With a palette of 6 x 7 x 6 colours."""
        counts = np.array([6, 7, 6])
        steps = [np.round(self.stored[letter] / 255 * (n - 1)) for letter, n in zip("RGB", counts, strict=True)]
        for letter, step, n in zip("RGB", steps, counts, strict=True):
            self.stored[letter] = np.round(step * 255 / (n - 1))
        number = ((steps[0] * 7 + steps[1]) * 6 + steps[2]).astype(np.uint8)
        palette = np.zeros((256, 4), np.uint8)
        palette[:, 0] = 255
        for index in range(counts.prod()):
            digits = np.array([index // 42, index // 6 % 7, index % 6])
            palette[index, 1:] = np.round(digits * 255 / (counts - 1))
        return av.VideoFrame.from_ndarray((number, palette), format="pal8")

    def _planes(self) -> list[NDArray[np.generic]]:
        if self.base in ("monob", "monow"):
            on = self.stored["Y"] > 0
            return [np.packbits(on if self.base == "monob" else ~on, axis=1)]
        if self.base in FIELDS:
            return [self._fields(FIELDS[self.base])]
        if self.base in WORDS:
            return [self._words(WORDS[self.base])]
        if self.base in INTERLEAVED or re.match(r"p[024]1[026]", self.base):
            u, v = self.words("U"), self.words("V")
            pair = (v, u) if self.base in ("nv21", "nv42") else (u, v)
            return [self.words("Y"), np.stack(pair, axis=2, dtype=u.dtype).reshape(len(u), -1)]
        letters = "GBR" if self.base.startswith("gb") else "Y" if self.grey else "YUV"
        planes = [self.words(letter) for letter in letters]
        return [*planes, planes[0]] if "yuva" in self.base or "gbrap" in self.base else planes

    def words(self, letter: str) -> NDArray[np.generic]:
        """A plane's samples as words of memory."""
        bits = self.bits(letter)
        size = 1 if bits <= 8 else 2 if bits <= 16 else 4
        if self.floats:
            return self.stored[letter].astype(f"{self.order}f{size}")
        high = re.match(r"p[024]1|xv36|xyz12|y21", self.base) or "msb" in self.base
        return (self.stored[letter].astype(np.uint64) << (size * 8 - bits if high else 0)).astype(
            f"{self.order}u{size}"
        )

    def _words(self, order: str) -> NDArray[np.generic]:
        """Words side by side; where luma samples share chroma, two or more pixels of them."""
        height, width = self.size
        luma = self.words("Y" if self.yuv or self.grey else "G")
        group = order.count("Y") if self.yuv else 1
        result = np.zeros((height, -(-width // group), len(order)), luma.dtype)
        for place, letter in enumerate(order):
            if letter == "Y" and group > 1:
                number = order[:place].count("Y")
                part = luma[:, number::group]
                if order == "UYYVYY" or group == 2:
                    result[:, : part.shape[1], place] = part
            elif letter in self.stored:
                plane = self.words(letter)
                result[:, : plane.shape[1], place] = plane
            elif letter in "A0":
                result[:, :, place] = luma[:, ::group][:, : result.shape[1]]
        return result.reshape(height, -1)

    def _fields(self, fields: str) -> NDArray[np.generic]:
        parts = re.findall(r"([A-Z])(\d+)", fields)
        total = sum(int(bits) for _, bits in parts)
        word = np.zeros(self.size, np.uint64)
        for letter, bits in parts:
            word <<= np.uint64(bits)
            if letter != "X":
                word |= self.stored[letter].astype(np.uint64)
        return word.astype(f"{self.order}u{total // 8}")


XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def to_xyz(rgb: Floats) -> Floats:
    """X', Y', Z' of digital cinema (gamma 2.6) of R, G, B of a display (gamma 2.2)."""
    return np.tensordot(XYZ, rgb**2.2, 1) ** (1 / 2.6)


def from_xyz(xyz: Floats) -> Floats:
    """The inverse of `to_xyz`."""
    return np.clip(np.tensordot(np.linalg.inv(XYZ), xyz**2.6, 1), 0, 1) ** (1 / 2.2)


def upsample(plane: Floats, size: tuple[int, int], down: tuple[int, int], sited: bool) -> Floats:
    """A chroma plane at the picture's luma samples: Catmull-Rom through its samples, the outermost ones repeated."""
    for axis in (0, 1):
        step = 1 << down[axis]
        middle = 0.5 if sited and axis == 1 else step / 2
        at = (np.arange(size[axis]) + 0.5 - middle) / step
        first = np.floor(at).astype(int)
        t = at - first
        weights = [
            ((-0.5 * t + 1) * t - 0.5) * t, (1.5 * t - 2.5) * t * t + 1,
            ((-1.5 * t + 2) * t + 0.5) * t, (0.5 * t - 0.5) * t * t,
        ]  # fmt: skip
        shape = (-1, 1) if axis == 0 else (1, -1)
        last = plane.shape[axis] - 1
        plane = sum(
            w.reshape(shape) * plane.take(np.clip(first + k, 0, last), axis)
            for w, k in zip(weights, (-1, 0, 1, 2), strict=True)
        )
    return plane


def expected(colours: Floats, size: int = 112, patch: int = 14) -> Floats:
    """What a model of `size` pixels should be shown of R, G, B of 0..255: [size, size, 3], resized by Pillow."""
    grids = geometry(*colours.shape[1:], size, patch)
    shape = grids.scaled_width, grids.scaled_height
    resized = [Image.fromarray(c.astype(np.float32)).resize(shape, Image.Resampling.BICUBIC) for c in colours]
    top, left = grids.crop_top, grids.crop_left
    return np.stack([np.asarray(c)[top : top + size, left : left + size] for c in resized], axis=-1).clip(0, 255)


def write(path: Path, samples: Samples, codec: str, options: dict[str, str] | None = None, frames: int = 4) -> Path:
    """A file of one picture, over and over."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = samples.size
        stream.pix_fmt = samples.name
        stream.codec_context.thread_count = 1
        if samples.full:
            stream.codec_context.color_range = FULL
        for number in range(frames):
            frame = samples.frame()
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
