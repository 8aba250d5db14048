"""Pictures, frame samples and codec selections as the same thing: patches and their positions.

patches: uint8 or float [B, K, 3, P, P]; positions: [B, K, 3], slot, row and column of each in the grid of patches.
uint8 is colour as decoded, normalised by the model on its device; float is taken to be normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from codecsieve.errors import EncoderError

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of red, green and blue, white being 1: CLIP's, which the published checkpoints are used with."""

STD = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation."""

Clip = tuple[Tensor, Tensor]
"""Patches [K, 3, P, P] and positions [K, 3] of one clip."""


def normalise(patches: Tensor) -> Tensor:
    """Colours 0..255 of patches [..., 3, P, P], uint8 or float, to float32 of mean 0 and deviation 1, by channel."""
    channels = zip(patches.float().unbind(-3), MEAN, STD, strict=True)
    return torch.stack([(channel - 255 * mean) / (255 * std) for channel, mean, std in channels], dim=-3)


def tokens_of_frames(
    frames: Tensor, frame_ids: Tensor | Sequence[int] | None = None, patch_size: int = 14
) -> tuple[Tensor, Tensor]:
    """All the patches of some frames, frame by frame, each frame row by row.

    Args:
        frames: [B, T, 3, H, W], H and W multiples of `patch_size`; a picture is T = 1.
        frame_ids: the slots that the frames are at, [T] or [B, T]; None: 0 to T - 1.
        patch_size: pixels.

    Returns:
        patches [B, K, 3, P, P] of the type of `frames`, positions int64 [B, K, 3], with K = T x H/P x W/P.

    Raises EncoderError for shapes that do not fit.
    """
    if frames.dim() != 5 or frames.shape[2] != 3:
        raise EncoderError(f"frames ({list(frames.shape)}) must be [B, T, 3, H, W]")
    batch, count, _, height, width = frames.shape
    if height % patch_size or width % patch_size:
        raise EncoderError(f"frames of {height}x{width} must be multiples of patch_size ({patch_size}); resize them")
    rows, columns = height // patch_size, width // patch_size
    patches = frames.unflatten(-1, (columns, patch_size)).unflatten(-3, (rows, patch_size))  # [B, T, 3, gh, P, gw, P]
    patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(1, 3)  # [B, K, 3, P, P]

    ids = torch.arange(count) if frame_ids is None else torch.as_tensor(frame_ids)
    if ids.shape not in ((count,), (batch, count)):
        raise EncoderError(f"frame_ids ({list(ids.shape)}) must be [{count}] or [{batch}, {count}], one a frame")
    slots = ids.to(frames.device, torch.int64).expand(batch, count)  # [B, T]
    slots = slots.repeat_interleave(rows * columns, dim=1)  # [B, K]
    places = torch.arange(rows * columns, device=frames.device).repeat(count).expand(batch, -1)  # [B, K]
    return patches, torch.stack((slots, places // columns, places % columns), dim=-1)


def tokens_of_pixels(
    pixel_values: Tensor,
    visible_indices: Tensor | None = None,
    patch_positions: Tensor | None = None,
    patch_size: int = 14,
    slots: int | None = None,
) -> tuple[Tensor, Tensor]:
    """What the published model is called with, as patches and positions.

    Args:
        pixel_values: [B, 3, H, W], a picture each, or [B, 3, T, H, W].
        visible_indices: [B, K] or, alike for all, [1, K]: slot * rows * columns + row * columns + column. With fewer
            than the frames have patches, those patches are taken out of the frames. With as many, the frames'
            i-th patch is at the i-th index: frames sampled from a longer clip, or patches packed into frames.
        patch_positions: instead, the position of every patch, [B, K, 3] or [1, K, 3].
        patch_size: pixels.
        slots: bound of what indices may count; None: none.

    Returns:
        patches [B, K, 3, P, P], positions int64 [B, K, 3].

    Raises EncoderError for shapes and indices that do not fit.
    """
    if pixel_values.dim() not in (4, 5) or pixel_values.shape[1] != 3:
        raise EncoderError(f"pixel_values ({list(pixel_values.shape)}) must be [B, 3, H, W] or [B, 3, T, H, W]")
    if visible_indices is not None and patch_positions is not None:
        raise EncoderError("visible_indices and patch_positions say the same; give one of them")
    frames = pixel_values.unsqueeze(2) if pixel_values.dim() == 4 else pixel_values
    patches, positions = tokens_of_frames(frames.transpose(1, 2), patch_size=patch_size)
    batch, count = patches.shape[:2]
    if patch_positions is not None:
        if patch_positions.shape not in ((batch, count, 3), (1, count, 3)):
            shape = list(patch_positions.shape)
            raise EncoderError(f"patch_positions ({shape}) must be [{batch}, {count}, 3], one for each patch")
        return patches, patch_positions.to(patches.device, torch.int64).expand(batch, -1, -1)
    if visible_indices is None:
        return patches, positions

    if visible_indices.dim() != 2 or visible_indices.shape[0] not in (1, batch) or visible_indices.shape[1] > count:
        shape = list(visible_indices.shape)
        raise EncoderError(f"visible_indices ({shape}) must be [{batch}, K] with K <= {count}, the frames' patches")
    rows, columns = (size // patch_size for size in pixel_values.shape[-2:])
    indices = visible_indices.to(patches.device, torch.int64).expand(batch, -1)  # [B, K]
    packed = indices.shape[1] == count
    _check_indices(indices, (slots and slots * rows * columns) if packed else count)
    if not packed:
        patches = patches[torch.arange(batch, device=patches.device).unsqueeze(1), indices]
    places = indices % (rows * columns)
    return patches, torch.stack((indices // (rows * columns), places // columns, places % columns), dim=-1)


def pad_clips(clips: Sequence[Clip]) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of different length as one batch: patches [B, K, 3, P, P], positions [B, K, 3], mask bool [B, K].

    K is the longest clip's; the mask is False where a shorter one is padded. Raises EncoderError for an empty clip.
    """
    patches, positions = _separate(clips)
    longest = max(len(clip) for clip in patches)
    mask = torch.stack([torch.arange(longest, device=clip.device) < len(clip) for clip in patches])
    return pad_sequence(patches, batch_first=True), pad_sequence(positions, batch_first=True), mask


def pack_clips(clips: Sequence[Clip]) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of different length end to end: patches [N, 3, P, P], positions [N, 3], cu_seqlens int32 [clips + 1].

    Clip i is tokens cu_seqlens[i] to cu_seqlens[i + 1]. Raises EncoderError for an empty clip.
    """
    patches, positions = _separate(clips)
    ends = torch.tensor([0, *(len(clip) for clip in patches)]).cumsum(0, dtype=torch.int32)
    return torch.cat(patches), torch.cat(positions), ends


def _separate(clips: Sequence[Clip]) -> tuple[list[Tensor], list[Tensor]]:
    lengths = [len(patches) for patches, _ in clips]
    if min(lengths, default=0) == 0:
        raise EncoderError(f"clips (of {lengths} tokens) must be one or more, each of at least one token")
    return [patches for patches, _ in clips], [positions for _, positions in clips]


def _check_indices(indices: Tensor, bound: int | None) -> None:
    if indices.numel() == 0:
        raise EncoderError("visible_indices must not be empty")
    least, most = (int(value) for value in indices.aminmax())
    if least < 0 or (bound is not None and most >= bound):
        value = least if least < 0 else most
        raise EncoderError(f"visible_indices ({value}) must be >= 0" + (f" and < {bound}" if bound else ""))
