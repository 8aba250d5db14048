"""The encoder under transformers' Auto classes (transformers >= 5).

    from codecsieve.encoder.auto import register

    register()
    model = AutoModel.from_pretrained("lmms-lab-encoder/onevision-encoder-large")

Nothing else of the encoder imports transformers. Class names are those that published checkpoints state.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from codecsieve.encoder.config import MODEL_TYPE, EncoderConfig
from codecsieve.encoder.model import SparseEncoder, init_weights

_FIELDS = [field.name for field in dataclasses.fields(EncoderConfig) if field.name != "other"]


class OneVisionEncoderConfig(PretrainedConfig):
    """`EncoderConfig`, as transformers wants a configuration; without arguments the published large one."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        """Take the fields of `EncoderConfig`, and those that every configuration of transformers has."""
        for name in _FIELDS:
            setattr(self, name, values.pop(name, getattr(EncoderConfig.preset("large"), name)))
        super().__init__(**values)

    def checked(self) -> EncoderConfig:
        """The encoder's part of it. Raises EncoderError for values that cannot work."""
        return EncoderConfig(**{name: getattr(self, name) for name in _FIELDS})


class OneVisionEncoderModel(SparseEncoder, PreTrainedModel):
    """`OneVisionEncoder`, as transformers wants a model: the same weights, names, arguments and numbers."""

    config: OneVisionEncoderConfig
    output_type = BaseModelOutputWithPooling
    config_class = OneVisionEncoderConfig
    base_model_prefix = MODEL_TYPE
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: OneVisionEncoderConfig) -> None:
        """An untrained encoder."""
        super().__init__(config)
        self.add_layers(config.checked())
        PreTrainedModel.post_init(self)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_weights(module, self.config.initializer_range)


def register() -> None:
    """Have AutoConfig and AutoModel take `onevision_encoder` for these classes. May be called again."""
    AutoConfig.register(MODEL_TYPE, OneVisionEncoderConfig, exist_ok=True)
    AutoModel.register(OneVisionEncoderConfig, OneVisionEncoderModel, exist_ok=True)
