"""Other projects' vision models as baselines: tokens of whole frames, as the published probe makes them.

A cache of whole frames (`--model-family sampling`) is put together to frames again. Each goes through the model by
itself, and its patch tokens get the frame's number as a sinusoid; a model of clips gets all frames at once, and nothing
is added. The models are left to `foreign`, where tokens are kept to `cache.features`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codecsieve.encoder.config import MODEL_TYPE
from codecsieve.errors import ConfigError, EncoderError
from codecsieve.pipelines.learn.foreign import ForeignModel, config_of, load_foreign
from codecsieve.pipelines.learn.frozen import FrozenEncoder, digest_of
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.text import shortened

_RECIPE = "bicubic, antialiased, to whole 0..255; sinusoid of the frame's number, base 10000; 1"
"""What tokens depend on besides the model: changes with the code below, so that features made before are not used."""


class Baseline:
    """A `ForeignModel` as a `TokenEncoder`."""

    def __init__(self, model: ForeignModel, name: str) -> None:
        """Take a model as it is."""
        self.name = name
        self.model = model
        self.dim = model.dim
        described = {"recipe": _RECIPE, "size": model.size, "colours": model.colours, "model": model.described}
        self.fingerprint = digest_of(described, model.network)

    @torch.no_grad()
    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Tokens float32 [B, T * N, D] of clips of T whole frames, N a frame; of a model of clips [B, N, D]. See
        `TokenEncoder`.

        Raises ConfigError where the patches are not whole frames, or too many or few; EncoderError where the model does
        not take their size.
        """
        frames = frames_of(patches, positions)
        self.check_frames(frames.shape[1])
        weight = next(self.model.network.parameters())
        pixels = self._normalised(frames.to(weight.device)).to(weight.dtype)
        try:
            if self.model.frames is not None:
                return self.model.tokens(pixels).float()
            tokens = self.model.tokens(pixels.flatten(0, 1)).float().unflatten(0, frames.shape[:2])  # [B, T, N, D]
        except ValueError as error:
            raise EncoderError(f"{self.name}: {shortened(str(error), 200)}") from error
        return (tokens + sinusoid(frames.shape[1], tokens.shape[3]).to(tokens.device)[:, None]).flatten(1, 2)

    def check_frames(self, frames: int) -> None:
        """Raise ConfigError where the model does not take clips of so many frames."""
        taken = self.model.frames
        if taken is not None and frames not in taken:
            some = ", ".join(map(str, taken[:2]))
            wanted = f"{some}, ..., {taken[-1]}" if len(taken) > 3 else " or ".join(map(str, taken))
            raise ConfigError(f"num_frames ({frames}) must be {wanted}: {self.name} takes clips of so many")

    @torch.no_grad()
    def frame_tokens(self) -> int:
        """How many tokens it gives of one frame; of a model of clips, of a shortest clip."""
        shape = (3, *self.model.size) if self.model.frames is None else (self.model.frames[0], 3, *self.model.size)
        weight = next(self.model.network.parameters())
        return self.model.tokens(torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device)).shape[1]

    def _normalised(self, frames: Tensor) -> Tensor:
        """Frames uint8 [B, T, 3, H, W] -> float32 [B, T, 3, *size]."""
        pixels = frames.float()
        if frames.shape[-2:] != self.model.size:
            resized = F.interpolate(pixels.flatten(0, 1), self.model.size, mode="bicubic", antialias=True)
            pixels = resized.round().clamp(0, 255).unflatten(0, frames.shape[:2])
        mean, std = (torch.tensor(of, device=frames.device)[:, None, None] for of in self.model.colours)
        return (pixels / 255 - mean) / std


def load_encoder(weights: str, name: str | None, family: str | None, ranks: Ranks) -> FrozenEncoder | Baseline:
    """Our encoder or a baseline, whichever the weights are of.

    Args:
        weights: a folder or a hub id; of a baseline also a name in `BASELINES`, or one of timm's.
        name: what it is called; None: the last part of `weights`.
        family: a name in `BASELINES` that the model must be of; None: any, ours included.
        ranks: the process that it is loaded for.

    Raises EncoderError, see `FrozenEncoder.load` and `load_foreign`.
    """
    _, config = config_of(weights)
    foreign = "architecture" in config or config.get("model_type", MODEL_TYPE) != MODEL_TYPE
    if family is None and not foreign:
        return FrozenEncoder.load(weights, name, ranks)
    return Baseline(load_foreign(weights, family, ranks), name or _last_part(weights))


def frames_of(patches: Tensor, positions: Tensor) -> Tensor:
    """Patches uint8 [B, T * rows * columns, 3, P, P], slot by slot and row by row, -> frames uint8 [B, T, 3, H, W].

    positions: int [B, K, 3], of which the first number is not read: slots of a short clip may be at the same place.
    Raises ConfigError where they are not those of whole frames.
    """
    clips, kept = positions.shape[:2]
    rows, columns = (int(positions[..., axis].max()) + 1 for axis in (1, 2))
    frame = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(positions)
    if kept % len(frame) or not bool((positions[..., 1:].unflatten(1, (-1, len(frame))) == frame).all()):
        raise ConfigError(
            "a baseline takes whole frames, and the cache holds single patches; use one of --model-family sampling"
        )
    grid = patches.reshape(clips, -1, rows, columns, *patches.shape[2:])  # [B, T, rows, columns, 3, P, P]
    return grid.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


def sinusoid(frames: int, dim: int) -> Tensor:
    """The number 0..T-1 of each frame: float32 [T, D], sines and cosines in turn, of base 10000."""
    rates = 10000 ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.arange(frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


def _last_part(weights: str) -> str:
    return weights.rstrip("/").rpartition("/")[2]
