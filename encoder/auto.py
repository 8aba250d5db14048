"""The encoder under transformers' Auto classes (transformers >= 5), which importing this makes known to them.

    import codecsieve.encoder.auto

    model = AutoModel.from_pretrained("lmms-lab-encoder/onevision-encoder-large", trust_remote_code=True)

Class names are those that published checkpoints state. Where a checkpoint's `auto_map` names code of its repository,
these classes are taken all the same, `trust_remote_code` or not: nothing of it is fetched or run. Nothing else of the
encoder imports transformers.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from codecsieve.encoder.attention import choose_implementation
from codecsieve.encoder.config import MODEL_TYPE, EncoderConfig
from codecsieve.encoder.model import SparseEncoder, init_weights
from codecsieve.encoder.preprocessor import write_preprocessor

_FIELDS = [field.name for field in dataclasses.fields(EncoderConfig) if field.name != "other"]


class OneVisionEncoderConfig(PretrainedConfig):
    """`EncoderConfig`, as transformers wants a configuration; without arguments the published large one."""

    model_type = MODEL_TYPE

    def __init__(self, **values: Any) -> None:
        """Take the fields of `EncoderConfig`, and those that every configuration of transformers has."""
        for name in _FIELDS:
            setattr(self, name, values.pop(name, getattr(EncoderConfig.preset("large"), name)))
        values.pop("auto_map", None)  # names files that are neither run here nor written
        super().__init__(**values)

    def checked(self) -> EncoderConfig:
        """The encoder's part of it. Raises EncoderError for values that cannot work."""
        return EncoderConfig(**{name: getattr(self, name) for name in _FIELDS})

    def save_pretrained(self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any) -> None:
        """Write `config.json` and, unless there is one, the `preprocessor_config.json` of AutoImageProcessor."""
        super().save_pretrained(save_directory, *arguments, **options)
        write_preprocessor(Path(save_directory), self.image_size)


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

    @property
    def attn_implementation(self) -> str:
        """What computes attention; changed by `set_attn_implementation`."""
        return self.config._attn_implementation

    def get_correct_attn_implementation(self, requested_attention: str | None, is_init_check: bool = False) -> str:
        """What transformers asks before it takes an implementation; where it would refuse a flash kernel, `sdpa`."""
        return choose_implementation(requested_attention or "sdpa")

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        visible_indices: Tensor | None = None,
        patch_positions: Tensor | None = None,
        *,
        patches: Tensor | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> Any:
        """As `SparseEncoder.forward`, in a BaseModelOutputWithPooling; an output's None is as the configuration says.

        Also takes return_dict: with False, here or in the configuration, a tuple without what is None.
        """
        given = (
            (output_hidden_states, self.config.output_hidden_states),
            (output_attentions, self.config.output_attentions),
        )
        hidden_states, attentions = (default if own is None else own for own, default in given)
        return super().forward(
            pixel_values,
            visible_indices,
            patch_positions,
            patches=patches,
            positions=positions,
            mask=mask,
            cu_seqlens=cu_seqlens,
            output_hidden_states=hidden_states,
            output_attentions=attentions,
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_weights(module, self.config.initializer_range)


def register() -> None:
    """Have AutoConfig and AutoModel take `onevision_encoder` for these classes, as importing this module does."""
    AutoConfig.register(MODEL_TYPE, OneVisionEncoderConfig, exist_ok=True)
    AutoModel.register(OneVisionEncoderConfig, OneVisionEncoderModel, exist_ok=True)


register()
