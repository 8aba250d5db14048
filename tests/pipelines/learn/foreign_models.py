"""Models of other projects to test with: of transformers, tiny, with weights made at random, in folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf

SIDE, PATCH = 32, 8
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SIZES, "image_size": SIDE, "patch_size": PATCH}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 8, "projection_dim": 32, "eos_token_id": 2}


def _pair(model: Any, config: Any, **vision: Any) -> Callable[[], Any]:
    return lambda: model(config(text_config=TEXT, vision_config={**VISION, "projection_dim": 32, **vision}))


_CLIPS = {**VISION, "num_frames": 4}

MODELS: dict[str, Callable[[], Any]] = {
    "clip": _pair(tf.CLIPModel, tf.CLIPConfig),
    "metaclip_2": _pair(tf.MetaClip2Model, tf.MetaClip2Config),
    "siglip": _pair(tf.SiglipModel, tf.SiglipConfig),
    "siglip_vision_model": lambda: tf.SiglipVisionModel(tf.SiglipVisionConfig(**VISION)),
    "siglip2": _pair(tf.Siglip2Model, tf.Siglip2Config, num_patches=16),
    "aimv2": _pair(tf.Aimv2Model, tf.Aimv2Config),
    "dinov2": lambda: tf.Dinov2Model(tf.Dinov2Config(**VISION)),
    "dinov2_with_registers": lambda: tf.Dinov2WithRegistersModel(
        tf.Dinov2WithRegistersConfig(**VISION, num_register_tokens=3)
    ),
    "dinov3_vit": lambda: tf.DINOv3ViTModel(tf.DINOv3ViTConfig(**VISION, num_register_tokens=4)),
    "dinov3_convnext": lambda: tf.DINOv3ConvNextModel(
        tf.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1])
    ),
    "vit": lambda: tf.ViTModel(tf.ViTConfig(**VISION)),
    "convnextv2": lambda: tf.ConvNextV2Model(tf.ConvNextV2Config(hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1])),
    "vit_mae": lambda: tf.ViTMAEModel(tf.ViTMAEConfig(**VISION)),
    "videomae": lambda: tf.VideoMAEModel(tf.VideoMAEConfig(**_CLIPS)),
    "vivit": lambda: tf.VivitModel(tf.VivitConfig(**_CLIPS, tubelet_size=[2, PATCH, PATCH])),
    "timesformer": lambda: tf.TimesformerModel(tf.TimesformerConfig(**_CLIPS)),
    "vjepa2": lambda: tf.VJEPA2Model(
        tf.VJEPA2Config(
            **SIZES, crop_size=SIDE, patch_size=PATCH, frames_per_clip=8, mlp_ratio=2.0, pred_hidden_size=48,
            pred_num_attention_heads=2, pred_num_hidden_layers=1,
        )
    ),
    "bert": lambda: tf.BertModel(tf.BertConfig(**SIZES, vocab_size=50)),
}  # fmt: skip


def save_foreign(folder: Path, kind: str, **processor: Any) -> Path:
    """Write a model into a folder; processor: what its preprocessor_config.json says, if it has one."""
    torch.manual_seed(0)
    MODELS[kind]().save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
