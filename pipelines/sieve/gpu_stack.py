"""What is held on a GPU of one clip: decoded pictures, a few at a time, then their pyramids and crops.

A picture is copied out of the decoder's surface into a small stack; a full stack is turned upright and becomes pyramids
for block search and the model's crops, for the whole stack at once. Pixels never leave the device, but for the patches
that are cut out in the end. What is decoded, scored and kept is left to `gpu_clip`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import numpy as np
import torch

from codecsieve.codec.nvdec import DevicePicture
from codecsieve.codec.picture import PictureFormat
from codecsieve.codec.search import luma_taps
from codecsieve.codec.surfaces import as_bits, as_samples, unused_bits
from codecsieve.codec.upright import coded_layout, upright_layout
from codecsieve.kernels.cupy.gather import gather_patches
from codecsieve.kernels.cupy.resample import model_levels
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.resample import colour_matrix
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.crops import crop_taps

STACK_BYTES = 64 << 20
"""Decoded pictures that are worked on together take about this much memory."""

MOST_STACKED = 32


class PictureStack:
    """What is held on the device of one clip: pyramids of its pictures, crops of those that slots show."""

    def __init__(
        self,
        layout: PictureFormat,
        config: SieveConfig,
        needed: set[int],
        wanted: set[int],
        device: torch.device,
        pixels: bool,
    ) -> None:
        """Hold nothing yet.

        Args:
            layout: of the pictures.
            config: what the model sees of them.
            needed: display indices of the pictures to hold.
            wanted: of those among them that slots show.
            device: where they are.
            pixels: whether patches will be cut.
        """
        self.passed = 0
        self._layout = layout
        self._config = config
        self._needed = needed
        self._wanted = wanted
        self._device = device
        self._pixels = pixels
        self._depth = layout.bit_depth
        self._displays: list[int] = []
        self._stacked = 0
        self._luma = self._chroma = torch.empty(0)
        self._levels: list[Levels] = []
        self._crops: list[tuple[torch.Tensor, torch.Tensor]] = []

    def passing(self, pictures: Generator[DevicePicture]) -> Generator[DevicePicture]:
        """Hand pictures on, and copy those that are needed on the way; `passed` counts them all."""
        with contextlib.closing(pictures):
            for picture in pictures:
                self.passed += 1
                if picture.display_index in self._needed:
                    self._add(picture)
                yield picture

    def _add(self, picture: DevicePicture) -> None:
        """Copy a picture: its surface is free again afterwards."""
        luma, chroma = as_bits(picture.luma), as_bits(picture.chroma)
        if not len(self._luma):
            nbytes = luma.numel() * luma.element_size() * 3 // 2
            count = min(max(STACK_BYTES // nbytes, 1), MOST_STACKED, len(self._needed))
            self._luma = luma.new_empty((count, *luma.shape))
            self._chroma = chroma.new_empty((count, *chroma.shape))
        self._luma[self._stacked].copy_(luma)
        self._chroma[self._stacked].copy_(chroma)
        self._stacked += 1
        self._displays.append(picture.display_index)
        if self._stacked == len(self._luma):
            self._unstack()

    def levels(self) -> tuple[Levels, np.ndarray]:
        """Pyramids of all pictures held, at least one, and their display indices: int64 [n], ascending."""
        self._unstack()
        arrays = zip(*(levels.arrays for levels in self._levels), strict=True)
        held = Levels(self._config.input_size, tuple(torch.cat(parts) for parts in arrays))
        return held, np.array(self._displays)

    def cut(self, displays: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """Patches on the host: uint8 [n, 3, P, P], RGB.

        Args:
            displays: int64 [n], display index of the wanted picture that each patch is of.
            corners: int64 [n, 2], top and left in the crop, in model pixels.
        """
        side = self._config.patch_size
        if not self._pixels:
            return np.empty((0, 3, side, side), np.uint8)
        self._unstack()
        shown = np.array([display for display in self._displays if display in self._wanted])
        numbers = np.searchsorted(shown, displays)
        luma, chroma = (torch.cat(planes) for planes in zip(*self._crops, strict=True))
        of_luma, of_chroma = crop_taps(upright_layout(self._layout), self._config.input_size, side)
        patches = gather_patches(
            as_samples(luma),
            as_samples(chroma),
            ((-of_luma.top, -of_luma.left), (-of_chroma.top, -of_chroma.left)),
            of_luma.taps,
            of_chroma.taps,
            torch.from_numpy(corners.astype(np.int64)).to(self._device),
            torch.from_numpy(numbers.astype(np.int64)).to(self._device),
            side,
            self._depth,
            unused_bits(self._depth),
            colour_matrix(self._layout.matrix, self._layout.full_range),
        )
        return patches.cpu().numpy()

    def _unstack(self) -> None:
        """Turn what is stacked upright, make its pyramids, and keep the crops of what is wanted."""
        if not self._stacked:
            return
        luma, chroma = self._upright(self._luma, self._chroma)
        shown = upright_layout(self._layout)
        taps = luma_taps(shown, self._config.input_size)
        self._levels.append(model_levels(as_samples(luma), *shown.origins[0], *taps, 0 if self._depth == 8 else 8))
        if self._pixels:
            displays = self._displays[-self._stacked :]
            shown_here = [n for n, display in enumerate(displays) if display in self._wanted]
            numbers = torch.tensor(shown_here, dtype=torch.int64)
            of_planes = crop_taps(shown, self._config.input_size, self._config.patch_size)
            crops = []
            for planes, (y, x), of in zip((luma, chroma), shown.origins, of_planes, strict=True):
                part = planes[:, y + of.top : y + of.bottom, x + of.left : x + of.right]
                crops.append(part[numbers.to(self._device)].contiguous())
            self._crops.append((crops[0], crops[1]))
        self._stacked = 0

    def _upright(self, luma: torch.Tensor, chroma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The stacked planes as `upright.upright_planes` has them, chroma interleaved: [n, rows, columns, 2]."""
        luma, chroma = luma[: self._stacked], chroma[: self._stacked]
        turned = self._layout.orientation
        if not turned:
            return luma, chroma
        coded = coded_layout(self._layout)
        reversed_axes = [axis for axis, flip in ((1, turned.flip_y), (2, turned.flip_x)) if flip]
        upright = []
        for planes, (top, left), (rows, columns) in zip(
            (luma, chroma), coded.origins, ((coded.height, coded.width), coded.chroma_size), strict=True
        ):
            shown = planes[:, top : top + rows, left : left + columns]
            shown = shown.transpose(1, 2) if turned.transposed else shown
            upright.append(shown.flip(reversed_axes).contiguous())
        return upright[0], upright[1]
