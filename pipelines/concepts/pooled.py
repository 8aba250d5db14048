"""One vector a clip, or a frame, of whatever a frozen encoder makes of it.

    feature "clip"     mean of all tokens, or the model's own pooling -> its first `dims` numbers -> length 1
    feature "frames"   the same of each frame by itself -> end to end -> length 1, as published: 8 frames, 512 of 1024

It is a `TokenEncoder` that makes one token a clip, so `learn.frozen.cached_features` keeps what it makes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from torch import Tensor

from codecsieve.cache import SparseCache
from codecsieve.errors import ConfigError
from codecsieve.pipelines.learn.baselines import Baseline, frames_of, sinusoid
from codecsieve.pipelines.learn.foreign import config_of
from codecsieve.pipelines.learn.frozen import FrozenEncoder, TokenEncoder
from codecsieve.text import shortened

from .config import ConceptsOptions

_RECIPE = "mean in float32; without the frame's number; 1"
"""What features depend on besides encoder and options: changes with the code below."""


class PooledEncoder:
    """An encoder whose only token of a clip is its feature, float32 [B, 1, D], of length 1."""

    def __init__(self, encoder: TokenEncoder, options: ConceptsOptions) -> None:
        """Take an encoder as it is. Raises ConfigError where it does not go with the options."""
        self.name, self.encoder = encoder.name, encoder
        self.feature, self.pool, self.dims = options.feature, options.pool, options.dims
        if self.feature == "frames" and isinstance(encoder, Baseline) and encoder.model.frames is not None:
            raise ConfigError(f"feature (frames) must be clip: {self.name} takes clips, not single frames")
        recipe = [_RECIPE, self.feature, self.pool, self.dims, encoder.fingerprint]
        self.fingerprint = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()

    @torch.no_grad()
    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """See `TokenEncoder`. Raises ConfigError where the patches are not whole frames, as they must be for frames, or
        the encoder has no pooling or fewer numbers than `dims`.
        """
        if self.feature == "frames":
            frames = frames_of(patches, positions).shape[1]
            each = self._pooled(*_single_frames(patches, positions, frames))
            parts = F.normalize(self._first(each), dim=-1).unflatten(0, (-1, frames))  # [B, T, D]
            return F.normalize(parts.flatten(1), dim=-1)[:, None]
        return F.normalize(self._first(self._pooled(patches, positions)), dim=-1)[:, None]

    def _first(self, vectors: Tensor) -> Tensor:
        if self.dims is not None and self.dims > vectors.shape[1]:
            raise ConfigError(f"dims ({self.dims}) must be <= {vectors.shape[1]}, the numbers of {self.name}")
        return vectors[:, : self.dims]

    def _pooled(self, patches: Tensor, positions: Tensor) -> Tensor:
        """A vector a clip, float32 [B, D]."""
        if self.pool == "mean":
            return _mean(self.encoder, patches, positions)
        return _pooling(self.encoder, patches, positions)


def check_cache(cache: SparseCache, options: ConceptsOptions) -> None:
    """Raise ConfigError where a cache has not what the options ask for: pixels, and for frames whole ones."""
    cache.check_pixels()
    if options.feature == "frames" and (cache.config.get("policy") != "sampling" or not cache.grid):
        raise ConfigError(
            f"feature (frames) must be clip: cache {cache.location} keeps single patches; or make one of whole frames "
            "with precompute --policy sampling"
        )


def check_pooling(weights: str, encoder: TokenEncoder) -> None:
    """Raise ConfigError where a model of another project pools with weights that its files lack: they would be random.

    weights: what it was loaded from.
    """
    if not isinstance(encoder, Baseline):
        return
    folder, _ = config_of(weights)
    there: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            there |= set(file.keys())
    pooling = [name for name in encoder.model.network.state_dict() if "pooler" in name]
    for name in pooling:
        if not any(key.endswith(name) for key in there):
            raise ConfigError(f"pool (pooler) must be mean: the weights of {shortened(weights)} lack {name}")


def _mean(encoder: TokenEncoder, patches: Tensor, positions: Tensor) -> Tensor:
    tokens = encoder(patches, positions).float()
    if isinstance(encoder, Baseline) and encoder.model.frames is None:
        frames = frames_of(patches, positions).shape[1]
        # The number of each frame, which was added to its tokens, is the same in every clip.
        tokens = tokens - sinusoid(frames, tokens.shape[2]).to(tokens.device).repeat_interleave(
            tokens.shape[1] // frames, 0
        )
    return tokens.mean(1)


def _pooling(encoder: TokenEncoder, patches: Tensor, positions: Tensor) -> Tensor:
    """What the model itself makes of its tokens; of a model of pictures, its mean over the clip's frames."""
    found: Any = None
    if isinstance(encoder, FrozenEncoder):
        device = next(encoder.model.parameters()).device
        found = encoder.model(patches=patches.to(device), positions=positions.to(device)).pooler_output
    elif isinstance(encoder, Baseline):
        kept: list[Any] = []
        hook = encoder.model.network.register_forward_hook(lambda module, given, out: kept.append(out))
        try:
            encoder(patches, positions)
        finally:
            hook.remove()
        outputs = kept[-1] if kept and hasattr(kept[-1], "get") else {}
        found = next(
            (outputs[name] for name in ("pooler_output", "image_embeds") if outputs.get(name) is not None), None
        )
    if found is None:
        raise ConfigError(f"pool (pooler) must be mean: {shortened(encoder.name)} has no pooling of its own")
    return found.float().flatten(1).unflatten(0, (len(patches), -1)).mean(1)


def _single_frames(patches: Tensor, positions: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Each of a clip's whole frames as a clip of its own, at time 0: [B, T * N, ...] -> [B * T, N, ...]."""
    single = positions.unflatten(1, (frames, -1)).flatten(0, 1).clone()
    single[..., 0] = 0
    return patches.unflatten(1, (frames, -1)).flatten(0, 1), single
