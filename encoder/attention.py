"""How tokens attend to each other: which of them may, and what computes it.

`sdpa` is torch's attention, `flash_attention_2` the flash-attn package's, `eager` two products and a softmax, which
alone can tell the weights. All give the same numbers, up to rounding. Projections are left to `layers`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codecsieve.errors import EncoderError

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # an older torch
    varlen_attn = None  # type: ignore[assignment]

IMPLEMENTATIONS = ("sdpa", "flash_attention_2", "eager")
"""Names of transformers', which is where users know them from."""

PAIRS_A_CALL = 3500
"""Where no kernel takes clips of different length: how many pairs of query and key cost a processor what a call costs.

A mask that keeps clips apart has all pairs computed, and all but a clip's own thrown away; with more than this for each
clip, clip by clip is faster. Measured with 3 and 12 heads of 64 channels, clips of 4 to 96 tokens and their pooling.
"""

PAIRS_A_GPU_CALL = 1_000_000
"""The same for a GPU in float32: 25 us of a launch, at 10e12 operations a second. Reckoned, not measured."""

_KERNEL_HEAD = 256  # channels of a head that flash kernels take
_KERNEL_TYPES = (torch.float16, torch.bfloat16)
_log = logging.getLogger(__name__)


# Told apart by identity, all three: tensors have no equality that is one bool, and torch.compile asks for the hash of
# what a forward pass calls before it has its fields.
@dataclass(frozen=True, eq=False)
class Pack:
    """Clips that lie end to end: the tokens of each, and where they do so, int32 [clips + 1], as kernels want it."""

    lengths: tuple[int, ...]
    ends: Tensor


@dataclass(frozen=True, eq=False)
class Reach:
    """Which tokens an attention reaches; without either, a clip's tokens reach all of that clip.

    mask: bool [B, 1, 1, K], False for padding. pack: clips in one row of tokens, B = 1.
    """

    mask: Tensor | None = None
    pack: Pack | None = None


@dataclass(frozen=True, eq=False)
class Attend:
    """Scaled dot-product attention as one forward pass does it."""

    reach: Reach
    implementation: str = "sdpa"
    keep_weights: bool = False

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor | None]:
        """Queries q [B, heads, Q, D], k and v [B, heads, K, D] -> [B, heads, Q, D]; weights [B, heads, Q, K] if kept.

        Where clips lie end to end, Q is K, or one query a clip; no clip then reaches another.
        """
        if self.implementation == "eager":
            return _eager(q, k, v, self.reach, dropout, self.keep_weights)
        by = _flash if self.implementation == "flash_attention_2" else _sdpa
        return by(q, k, v, self.reach, dropout), None


def check_implementation(name: str) -> str:
    """The name. Raises EncoderError for one that there is not."""
    if name not in IMPLEMENTATIONS:
        raise EncoderError(f"attn_implementation ({name!r}) must be one of {', '.join(IMPLEMENTATIONS)}")
    return name


def choose_implementation(name: str) -> str:
    """The implementation of a name; `sdpa`, and a warning, where this machine cannot run flash-attn.

    Raises EncoderError for names that there are not.
    """
    if check_implementation(name) != "flash_attention_2":
        return name
    missing = None if torch.cuda.is_available() else "there is no CUDA device"
    try:
        import flash_attn  # noqa: F401
    except ImportError as error:  # it is not there, or was built for another torch
        missing = missing or f"flash-attn cannot be imported ({error})"
    if missing is None:
        return name
    tell_refusal(missing)
    return "sdpa"


def tell_refusal(reason: str) -> None:
    """Warn that flash attention was asked for and is not what runs."""
    _log.warning("flash_attention_2 cannot run: %s; sdpa, torch's own attention, is used", reason)


def kernel_refusal(device: torch.device, dtype: torch.dtype, head_size: int) -> str | None:
    """Why flash kernels, torch's or flash-attn's, cannot take such tokens; None: they can."""
    if device.type != "cuda":
        return f"the tokens are on {device.type}"
    if dtype not in _KERNEL_TYPES:
        return f"the tokens are {str(dtype).removeprefix('torch.')}, and it computes in float16 and bfloat16"
    if head_size > _KERNEL_HEAD:
        return f"a head has {head_size} channels, and it takes up to {_KERNEL_HEAD}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than Ampere"
    return None


def _sdpa(q: Tensor, k: Tensor, v: Tensor, reach: Reach, dropout: float) -> Tensor:
    pack = reach.pack
    if pack is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=reach.mask, dropout_p=dropout)
    if varlen_attn is not None and dropout == 0 and kernel_refusal(q.device, q.dtype, q.shape[-1]) is None:
        return call_kernel(varlen_attn, q, k, v, pack)
    pairs = q.shape[1] * q.shape[2] * k.shape[2]
    if pairs <= len(pack.lengths) * (PAIRS_A_CALL if q.device.type == "cpu" else PAIRS_A_GPU_CALL):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=block_mask(q, k, pack), dropout_p=dropout)
    clips = [F.scaled_dot_product_attention(*clip, dropout_p=dropout) for clip in _clips(q, k, v, pack)]
    return torch.cat(clips, dim=2)


def _flash(q: Tensor, k: Tensor, v: Tensor, reach: Reach, dropout: float) -> Tensor:
    from flash_attn import flash_attn_func, flash_attn_varlen_func

    if reach.pack is None:
        turned = (x.transpose(1, 2) for x in (q, k, v))  # [B, K, heads, D]
        return flash_attn_func(*turned, dropout_p=dropout).transpose(1, 2)
    return call_kernel(partial(flash_attn_varlen_func, dropout_p=dropout), q, k, v, reach.pack)


def _eager(
    q: Tensor, k: Tensor, v: Tensor, reach: Reach, dropout: float, keep_weights: bool
) -> tuple[Tensor, Tensor | None]:
    outputs, kept = [], []
    for own_q, own_k, own_v in [(q, k, v)] if reach.pack is None else _clips(q, k, v, reach.pack):
        scores = own_q @ own_k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # [B, heads, Q, K]
        if reach.mask is not None:
            scores = scores.masked_fill(~reach.mask, -math.inf)
        weights = scores.softmax(dim=-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype)
        outputs.append((F.dropout(weights, dropout) if dropout else weights) @ own_v)
        if keep_weights:
            kept.append(weights)
    if reach.pack is not None and keep_weights:
        kept = [torch.stack([torch.block_diag(*head) for head in zip(*(clip[0] for clip in kept), strict=True)])[None]]
    return torch.cat(outputs, dim=2), kept[0] if keep_weights else None


def block_mask(q: Tensor, k: Tensor, pack: Pack) -> Tensor:
    """Bool [Q, K]: whether query and key belong to the same clip."""
    numbers = torch.arange(len(pack.lengths), device=k.device)
    of_key = numbers.repeat_interleave(pack.ends.diff(), output_size=k.shape[2])
    of_query = of_key if q.shape[2] == k.shape[2] else numbers
    return of_query[:, None] == of_key


def call_kernel(kernel: Callable[..., Any], q: Tensor, k: Tensor, v: Tensor, pack: Pack) -> Tensor:
    """All clips in one call of a kernel for different lengths: q [1, heads, Q, D] -> [1, heads, Q, D]."""
    ends, longest = pack.ends, max(pack.lengths)
    if q.shape[2] == k.shape[2]:
        query_ends, longest_query = ends, longest
    else:
        query_ends, longest_query = torch.arange(len(ends), device=ends.device, dtype=ends.dtype), 1
    packed = (x[0].transpose(0, 1).contiguous() for x in (q, k, v))  # [tokens, heads, D]; a probe's queries are one
    return kernel(*packed, query_ends, ends, longest_query, longest).transpose(0, 1)[None]


def _clips(q: Tensor, k: Tensor, v: Tensor, pack: Pack) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Queries, keys and values of each clip."""
    sizes = list(pack.lengths)
    queries = q.split(sizes if q.shape[2] == k.shape[2] else 1, dim=2)
    return list(zip(queries, k.split(sizes, dim=2), v.split(sizes, dim=2), strict=True))
