"""OneVision-Encoder (arXiv 2602.08683): a vision transformer on sparse tokens, patches that have a place and a time.

    model = OneVisionEncoder.from_pretrained("lmms-lab-encoder/onevision-encoder-large")
    output = model(patches=patches, positions=positions)      # [B, K, 3, P, P], [B, K, 3]
    output.last_hidden_state, output.pooler_output            # [B, K, C], [B, C]

How frames become tokens is left to `tokens`, attention to `attention`, files to `weights` and `preprocessor`,
transformers' Auto classes to `auto`.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from codecsieve.encoder.attention import (
    Attend,
    Pack,
    Reach,
    check_implementation,
    choose_implementation,
    kernel_refusal,
    tell_refusal,
)
from codecsieve.encoder.config import EncoderConfig
from codecsieve.encoder.layers import BlockStack, PatchEmbedding, PoolingHead, make_norm
from codecsieve.encoder.preprocessor import write_preprocessor
from codecsieve.encoder.rope import rotation
from codecsieve.encoder.tokens import tokens_of_pixels
from codecsieve.encoder.weights import load_weights, locate, save_weights
from codecsieve.errors import EncoderError


@dataclass(frozen=True)
class EncoderOutput:
    """last_hidden_state: [B, K, C], 0 at padding, or [N, C] of clips end to end; pooler_output: [B, C], or None.

    Where they were asked for: hidden_states, tokens before the first block and after each, without the last norm,
    [B, K, C] (anything at padding) or [N, C]; attentions, the weights of each block, [B, heads, K, K] or [heads, N, N].
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class SparseEncoder(nn.Module):
    """Layers and forward pass, which `OneVisionEncoder` and the class that transformers knows have in common."""

    output_type: type[Any] = EncoderOutput

    def add_layers(self, config: EncoderConfig) -> None:
        """Make the layers; their weights hold nothing of use yet."""
        self.encoder_config = config
        self._told: set[str] = set()
        self.embeddings = PatchEmbedding(config)
        self.layernorm_pre = make_norm(config)
        self.encoder = BlockStack(config)
        self.layernorm_post = make_norm(config)
        self.head = PoolingHead(config) if config.use_head else None

    @property
    def attn_implementation(self) -> str:
        """What computes attention: one of `attention.IMPLEMENTATIONS`."""
        raise NotImplementedError

    def encode(
        self, patches: Tensor, positions: Tensor, reach: Reach, keep_states: bool, keep_weights: bool
    ) -> EncoderOutput:
        """What `forward` returns, of patches [B, K, 3, P, P] and positions [B, K, 3] that fit each other."""
        config = self.encoder_config
        x = self.embeddings(patches)  # [B, K, C]
        attend = Attend(reach, self._runnable_implementation(x, reach), keep_weights)
        padding = None if reach.mask is None else ~reach.mask[:, 0, 0, :, None]  # [B, K, 1]
        if padding is not None:  # a NaN there would get through an attention weight of 0
            x, positions = x.masked_fill(padding, 0), positions.float().masked_fill(padding, 0)
        rope = rotation(positions, config.head_size, config.rope_theta)
        x, states, weights = self.encoder(self.layernorm_pre(x), rope, attend, keep_states)
        x = self.layernorm_post(x)
        pooled = None if self.head is None else self.head(x, attend)
        x = x if padding is None else x.masked_fill(padding, 0)
        if reach.pack is not None:
            x = x[0]
            states, weights = (given and tuple(layer[0] for layer in given) for given in (states, weights))
        return self.output_type(last_hidden_state=x, pooler_output=pooled, hidden_states=states, attentions=weights)

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
    ) -> EncoderOutput:
        """Encode sparse tokens, or what the published model is called with.

        Args:
            pixel_values: frames instead of patches, with visible_indices or patch_positions: see `tokens_of_pixels`.
            visible_indices: which of the frames' patches.
            patch_positions: where the frames' patches are.
            patches: [B, K, 3, P, P], uint8 (colour as decoded: normalised here) or float (normalised before).
            positions: [B, K, 3], any number type: slot, row and column of each patch.
            mask: bool [B, K], False where a clip is padded (`pad_clips`); what stands there changes nothing.
            cu_seqlens: whole numbers [B + 1]: clips of different length lie end to end (`pack_clips`), patches are
                [N, 3, P, P] and positions [N, 3], and clip i is tokens cu_seqlens[i] to cu_seqlens[i + 1].
            output_hidden_states: whether to return what tokens are before and after each block.
            output_attentions: whether to return every block's weights, which only `eager` attention can.

        Returns:
            EncoderOutput.

        Raises EncoderError for arguments that do not fit each other.
        """
        if output_attentions and self.attn_implementation != "eager":
            name = self.attn_implementation
            raise EncoderError(f"output_attentions needs attn_implementation 'eager'; it is {name!r}, which keeps none")
        if pixel_values is not None:
            if any(given is not None for given in (patches, positions, mask, cu_seqlens)):
                raise EncoderError("pixel_values go without patches, positions, mask and cu_seqlens")
            size, slots = self.encoder_config.patch_size, self.encoder_config.rope_temporal_size
            patches, positions = tokens_of_pixels(pixel_values, visible_indices, patch_positions, size, slots)
        elif patches is None or positions is None:
            raise EncoderError("give patches and positions, or pixel_values")
        elif visible_indices is not None or patch_positions is not None:
            raise EncoderError("visible_indices and patch_positions go with pixel_values; patches have positions")
        keep = bool(output_hidden_states), bool(output_attentions)
        if cu_seqlens is None:
            self._check_shapes(patches, positions, mask)
            return self.encode(patches, positions, Reach(None if mask is None else mask[:, None, None]), *keep)

        if mask is not None:
            raise EncoderError("mask and cu_seqlens say the same; give one of them")
        self._check_shapes(patches[None], positions[None], None)
        ends = cu_seqlens.tolist()
        lengths = tuple(end - start for start, end in itertools.pairwise(ends))
        if not lengths or ends[0] != 0 or ends[-1] != len(patches) or min(lengths) <= 0:
            raise EncoderError(f"cu_seqlens ({ends}) must rise from 0 to {len(patches)}, the tokens")
        pack = Pack(lengths, cu_seqlens.to(patches.device, torch.int32))
        return self.encode(patches[None], positions[None], Reach(pack=pack), *keep)

    def _runnable_implementation(self, x: Tensor, reach: Reach) -> str:
        """What computes attention of tokens x; instead of a flash kernel that cannot, `sdpa`, saying why once."""
        implementation = check_implementation(self.attn_implementation)
        if implementation != "flash_attention_2":
            return implementation
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        refusal = kernel_refusal(x.device, dtype, self.encoder_config.head_size)
        if reach.mask is not None:
            refusal = refusal or "it takes no mask; give clips of different length end to end (pack_clips)"
        if refusal is None:
            return implementation
        if refusal not in self._told:
            self._told.add(refusal)
            tell_refusal(refusal)
        return "sdpa"

    def _check_shapes(self, patches: Tensor, positions: Tensor, mask: Tensor | None) -> None:
        size = self.encoder_config.patch_size
        if patches.dim() != 5 or patches.shape[2:] != (3, size, size):
            raise EncoderError(f"patches ({list(patches.shape)}) must be [B, K, 3, {size}, {size}]")
        if positions.shape != (*patches.shape[:2], 3):
            wanted = [*patches.shape[:2], 3]
            raise EncoderError(f"positions ({list(positions.shape)}) must be {wanted}, one for each patch")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != patches.shape[:2]):
            wanted = list(patches.shape[:2])
            raise EncoderError(f"mask ({mask.dtype} {list(mask.shape)}) must be torch.bool {wanted}, True for a token")


class OneVisionEncoder(SparseEncoder):
    """The encoder, as a torch Module."""

    def __init__(self, config: EncoderConfig, attn_implementation: str = "sdpa") -> None:
        """An untrained encoder, in torch's default type and on its default device."""
        super().__init__()
        self.config = config
        self.set_attn_implementation(attn_implementation)
        self.add_layers(config)
        self.apply(lambda module: init_weights(module, config.initializer_range))

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        attn_implementation: str = "sdpa",
    ) -> Self:
        """Load a published or a saved checkpoint, ready for inference (`eval`).

        Args:
            name: a folder with `config.json` and `model.safetensors`, or a hub id, which needs huggingface_hub.
            dtype: of the weights; None: as they are stored.
            device: where they go.
            revision: branch, tag or commit on the hub.
            attn_implementation: see `set_attn_implementation`.

        Raises EncoderError: one line that names the file and what is wrong with it.
        """
        folder = locate(name, revision)
        config = EncoderConfig.read(folder / "config.json")
        with torch.device("meta"):
            model = cls(config, attn_implementation)
        load_weights(model, folder, dtype, device)
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` into a folder, which is made where there is none.

        Also `preprocessor_config.json`, unless there is one: what transformers' AutoImageProcessor is made of.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        dtype = str(next(self.parameters()).dtype).removeprefix("torch.")
        save_weights(self, path)
        dataclasses.replace(self.config, other={**self.config.other, "dtype": dtype}).write(path / "config.json")
        write_preprocessor(path, self.config.image_size)

    @property
    def attn_implementation(self) -> str:
        """What computes attention: one of `attention.IMPLEMENTATIONS`."""
        return self._attn_implementation

    def set_attn_implementation(self, name: str) -> None:
        """Have attention computed by `sdpa` (torch's), `flash_attention_2` (the flash-attn package's) or `eager`.

        Where flash attention cannot run, here or later, a warning says why and `sdpa` is used. Raises EncoderError for
        other names.
        """
        self._attn_implementation = choose_implementation(name)

    def set_gradient_checkpointing(self, enable: bool = True) -> None:
        """Keep activations between blocks only, and compute those inside again in the backward pass."""
        self.encoder.gradient_checkpointing = enable


@torch.no_grad()
def init_weights(module: nn.Module, deviation: float) -> None:
    """Untrained weights of one module, its children left to themselves: normal, biases 0, norms 1."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=deviation)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        nn.init.ones_(module.weight)
        if isinstance(module, nn.LayerNorm):
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=deviation)
        nn.init.zeros_(module.in_proj_bias)
    elif isinstance(module, PoolingHead):
        nn.init.normal_(module.probe, std=deviation)
