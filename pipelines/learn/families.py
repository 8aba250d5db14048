"""The published baselines by name: which weights a bare name stands for, which models are of a family, their colours.

Plain data: the command line reads it, too. Loading models is left to `foreign`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Colours = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of red, green and blue, of 0..1, that pictures are normalised by."""

CLIP: Colours = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: Colours = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET: Colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class BaselineFamily:
    """weights: the hub id that the bare name stands for, of ViT-L's size; types: the `model_type` of its models, as
    transformers has them, without `_vision_model`; colours: of those without a preprocessor's configuration.
    """

    weights: str
    types: tuple[str, ...]
    colours: Colours


BASELINES: Mapping[str, BaselineFamily] = {
    "clip": BaselineFamily("openai/clip-vit-large-patch14", ("clip",), CLIP),
    "siglip": BaselineFamily("google/siglip-large-patch16-256", ("siglip",), HALF),
    # SigLIP 2 of one resolution has SigLIP's architecture; that of all resolutions has one of its own.
    "siglip2": BaselineFamily("google/siglip2-large-patch16-256", ("siglip", "siglip2"), HALF),
    "dinov2": BaselineFamily("facebook/dinov2-large", ("dinov2", "dinov2_with_registers"), IMAGENET),
    "dinov3": BaselineFamily("facebook/dinov3-vitl16-pretrain-lvd1689m", ("dinov3_vit", "dinov3_convnext"), IMAGENET),
    "metaclip": BaselineFamily("facebook/metaclip-l14-fullcc2.5b", ("clip", "metaclip_2"), CLIP),
    "aimv2": BaselineFamily("apple/aimv2-large-patch14-224-lit", ("aimv2",), CLIP),
}
"""The families of the published probe."""

COLOURS: Mapping[str, Colours] = {kind: family.colours for family in BASELINES.values() for kind in family.types}
"""By `model_type`."""
