"""The road of one clip on a GPU: `clip` with NVDEC, the GPU kernels, and pixels that never leave the device.

Pictures are held in a `gpu_stack` as they are decoded. When the clip is through, its slots are searched and scored
together, their scores go to the host, where the selection is made, and only the kept patches follow. What cannot be
done here raises NvdecError; sending such a clip down the other road is left to `precompute`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.nvdec import DevicePicture, NvdecSession
from codecsieve.codec.nvdec_signals import STATISTICS_CODECS, DeviceSignals, statistics_signals
from codecsieve.codec.nvdec_support import check_supported, first_layout
from codecsieve.codec.picture import PictureFormat
from codecsieve.codec.search import with_previous
from codecsieve.codec.upright import upright_layout
from codecsieve.errors import ConfigError, VideoError
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.gpu import difference_signals, score_slots, search_signals
from codecsieve.kernels.levels import Levels
from codecsieve.kernels.reference.energy import fuse_weights
from codecsieve.machine import MAX_MEMORY
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.gpu_stack import MOST_STACKED, PictureStack
from codecsieve.pipelines.sieve.kept import SievedClip, assemble_clip, select_from, without_spare

_ANY_TIME = contextlib.nullcontext()


def sieve_clip_on_gpu(
    session: NvdecSession,
    path: str | os.PathLike[str],
    config: SieveConfig,
    start: float | None = None,
    end: float | None = None,
    pixels: bool = True,
    turn: contextlib.AbstractContextManager[object] = _ANY_TIME,
    max_memory: int = MAX_MEMORY,
) -> SievedClip:
    """Sieve one clip down to its K patches, as `clip.sieve_clip` does.

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
        max_memory: as for `clip.sieve_clip`, which refuses the same clips.

    Raises:
        ConfigError: what only the processor does is asked for.
        NvdecError: this GPU cannot decode the clip so that every bit is right.
        VideoError: the file cannot be used.
        torch.OutOfMemoryError: the clip does not fit the GPU's free memory.
    """
    if config.fit != "crop":
        raise ConfigError(f"fit ({config.fit!r}) is the processor's; use device cpu")
    compared = config.signals if config.signals in ("search", "difference") else ""
    decoder = ClipDecoder(
        path, config.num_frames, compared or "search", start, end, max_memory=max_memory, spread=config.spreading
    )
    with decoder as clip:
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
        slot_scores = without_spare(np.stack([scores[display] for display in ids.tolist()]), clip.sample)
        indices = select_from(slot_scores, config)
        positions = np.stack(np.unravel_index(indices, slot_scores.shape), axis=1)
        patches = stack.cut(ids[positions[:, 0]], positions[:, 1:] * config.patch_size)
        size = upright_layout(layout)
        return assemble_clip(clip, config, ids, slot_scores, indices, patches, (size.height, size.width), "nvdec")


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
    mode, measure = config.mv_compensate, config.measure
    return score_slots(motion, residual, grids, table, mode, config.fused, weights, histograms, measure)
