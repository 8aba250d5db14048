"""The road of one clip on a GPU: `sieve` with NVDEC, the GPU kernels, and pixels that never leave the device.

Pictures are copied out of the decoder's surfaces into a small stack; a full stack becomes pyramids for block search
and the model's crops, for the whole stack at once. When the clip is through, its slots are searched and scored
together, their scores go to the host, where the selection is made, and only the kept patches follow. What cannot be
done here raises NvdecError; sending such a clip down the other road is left to `device_job`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch

from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.nvdec import DevicePicture, NvdecSession
from codecsieve.codec.nvdec_signals import STATISTICS_CODECS, DeviceSignals, statistics_signals
from codecsieve.codec.nvdec_support import check_supported, first_layout
from codecsieve.codec.picture import PictureFormat
from codecsieve.codec.search import luma_taps, with_previous
from codecsieve.codec.upright import coded_layout, upright_layout
from codecsieve.errors import VideoError
from codecsieve.kernels.cupy.gather import gather_patches
from codecsieve.kernels.cupy.resample import model_levels
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.gpu import difference_signals, score_slots, search_signals
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.kernels.resample import colour_matrix
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.crops import crop_taps
from codecsieve.pipelines.sieve import SievedClip, assemble_clip, select_from

STACK_BYTES = 64 << 20
"""Decoded pictures that are worked on together take about this much memory."""
MOST_STACKED = 32
_ANY_TIME = contextlib.nullcontext()


def sieve_clip_on_gpu(
    session: NvdecSession,
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None = None,
    end: float | None = None,
    pixels: bool = True,
    turn: contextlib.AbstractContextManager[object] = _ANY_TIME,
) -> SievedClip:
    """Sieve one clip down to its K patches, as `sieve.sieve_clip` does.

    With `search` and `difference` signals the result is the same, bit for bit. Others are read from decode statistics
    where the codec has them: `config.signals` must be one of those two where the driver gives none.

    Args:
        session: a decoder that nobody else uses.
        path: a video file.
        config: what to sample, score and keep.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        pixels: also cut out the patches.
        turn: entered for as long as pictures are decoded, so that no more clips are decoded at once than there are
            engines, while others are opened or finished.

    Raises:
        NvdecError: this GPU cannot decode the clip so that every bit is right.
        VideoError: the file cannot be used.
        torch.OutOfMemoryError: the clip does not fit the GPU's free memory.
    """
    compared = config.signals if config.signals in ("search", "difference") else ""
    with ClipDecoder(path, config.num_frames, compared or "search", start, end) as clip:
        facts = clip.source.facts
        reads_bitstream = not compared and facts.codec in STATISTICS_CODECS
        if config.signals == "bitstream" and not reads_bitstream:
            raise VideoError(f"{facts.path}: a GPU tells no motion for {facts.codec}; use --signals auto or search")
        wanted = np.unique(clip.sample.frame_ids)
        layout, interlaced = first_layout(clip.source, wanted)
        check_supported(clip.source, layout, interlaced, session.gpu)
        needed = wanted if reads_bitstream else with_previous(wanted)
        stack = PictureStack(layout, config, set(needed.tolist()), set(wanted.tolist()), session.device, pixels)
        decoded = session.pictures(clip.source, needed, layout, statistics=reads_bitstream)
        with turn, contextlib.closing(stack.passing(decoded)) as pictures:
            if reads_bitstream:
                clip.signals = "bitstream"
                scores = _bitstream_scores(pictures, set(wanted.tolist()), layout, config)
            else:
                for _ in pictures:
                    pass
        if not reads_bitstream:
            compare = difference_signals if compared == "difference" else search_signals
            scores = _compared_scores(stack, compare, config)
        clip.pictures_decoded = stack.passed
        ids = clip.nearest_decoded(list(scores))
        slot_scores = np.stack([scores[display] for display in ids.tolist()])
        indices = select_from(slot_scores, config)
        positions = np.stack(np.unravel_index(indices, slot_scores.shape), axis=1)
        patches = stack.cut(ids[positions[:, 0]], positions[:, 1:] * config.patch_size)
        size = upright_layout(layout)
        return assemble_clip(clip, ids, slot_scores, indices, patches, (size.height, size.width), "nvdec")


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
        luma, chroma = _as_bits(picture.luma), _as_bits(picture.chroma)
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
            _as_samples(luma),
            _as_samples(chroma),
            ((-of_luma.top, -of_luma.left), (-of_chroma.top, -of_chroma.left)),
            of_luma.taps,
            of_chroma.taps,
            torch.from_numpy(corners.astype(np.int64)).to(self._device),
            torch.from_numpy(numbers.astype(np.int64)).to(self._device),
            side,
            self._depth,
            self._unused_bits,
            colour_matrix(self._layout.matrix, self._layout.full_range),
        )
        return patches.cpu().numpy()

    @property
    def _unused_bits(self) -> int:
        """A surface of more than 8 bits holds its samples in the upper ones of 16."""
        return 0 if self._depth == 8 else 16 - self._depth

    def _unstack(self) -> None:
        """Turn what is stacked upright, make its pyramids, and keep the crops of what is wanted."""
        if not self._stacked:
            return
        luma, chroma = self._upright(self._luma, self._chroma)
        shown = upright_layout(self._layout)
        taps = luma_taps(shown, self._config.input_size)
        self._levels.append(model_levels(_as_samples(luma), *shown.origins[0], *taps, 0 if self._depth == 8 else 8))
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


def _compared_scores(
    stack: PictureStack,
    compare: Callable[[Levels, Levels], tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    config: SieveConfig,
) -> dict[int, np.ndarray]:
    """Scores of each picture that slots show, by display index: int64 [gh, gw]; 0 where it is the file's first."""
    levels, displays = stack.levels()
    follows = np.flatnonzero(displays[1:] == displays[:-1] + 1) + 1
    numbers = torch.from_numpy(follows).to(levels.arrays[0].device)
    scores = {display: np.zeros((config.grid, config.grid), np.int64) for display in displays.tolist()}
    if len(follows):
        signals = compare(levels.pictures(numbers), levels.pictures(numbers - 1))
        found = _score(*signals, config=config).cpu().numpy()
        scores |= dict(zip(displays[follows].tolist(), found, strict=True))
    return scores


def _bitstream_scores(
    pictures: Iterator[DevicePicture], wanted: set[int], layout: PictureFormat, config: SieveConfig
) -> dict[int, np.ndarray]:
    """The same from decode statistics; 0 where a picture has no prediction."""
    scores: dict[int, np.ndarray] = {}
    predicted: list[DeviceSignals] = []

    def score() -> None:
        motion = torch.stack([signals.motion for signals in predicted if signals.motion is not None])
        residual = torch.stack([signals.residual for signals in predicted if signals.residual is not None])
        found = _score(motion, residual, None, config=config).cpu().numpy()
        scores.update(zip((signals.display_index for signals in predicted), found, strict=True))
        predicted.clear()

    for signals in statistics_signals(pictures, wanted, layout):
        if signals.motion is None:
            scores[signals.display_index] = np.zeros((config.grid, config.grid), np.int64)
            continue
        predicted.append(signals)
        if len(predicted) == MOST_STACKED:
            score()
    if predicted:
        score()
    return scores


def _score(
    motion: torch.Tensor, residual: torch.Tensor, histograms: torch.Tensor | None, config: SieveConfig
) -> torch.Tensor:
    grids = geometry(*residual.shape[1:], config.input_size, config.patch_size)
    table = center_table(grids, config.center_prior, config.center_sigma)
    weights = fuse_weights(config.w_mv, config.w_res)
    return score_slots(motion, residual, grids, table, config.mv_compensate, config.fuse, weights, histograms)


def _as_bits(plane: torch.Tensor) -> torch.Tensor:
    """16-bit samples as int16, which torch copies, turns and indexes everywhere; the bits stay."""
    return plane.view(torch.int16) if plane.element_size() == 2 else plane


def _as_samples(planes: torch.Tensor) -> torch.Tensor:
    return planes.view(torch.uint16) if planes.element_size() == 2 else planes
