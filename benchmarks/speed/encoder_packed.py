"""Clips of different K: end to end in one pass, padded with a mask, and one pass each.

What attention alone takes stands beside it: as the encoder does it (by a kernel for different lengths on a GPU; on a
processor by one masked call, or a call a clip), as a call a clip, and as one call with a mask of all tokens by all.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.common import show
from benchmarks.speed.encoder_models import make_encoder
from benchmarks.speed.turns import Bench
from codecsieve.encoder import EncoderConfig, pack_clips, pad_clips
from codecsieve.encoder.attention import Attend, Pack, Reach, block_mask

MIXES = ((4, 8), (32, 8), (16, 32), (8, 128), (4, 512))
GPU_MIXES = (*MIXES, (16, 512), (16, 2048))
"""Clips, and their mean K; each clip has half of it to one and a half."""
PRESET = {"cpu": "tiny", "cuda": "large"}


def packed(bench: Bench) -> list[dict[str, Any]]:
    """The section; ms."""
    rows = [_mix(bench, *mix) for mix in (GPU_MIXES if bench.device.type == "cuda" else MIXES)]
    columns = ["clips", "K", "tokens", "packed", "padded", "one by one", "attention", "call a clip", "block mask"]
    title = f"Clips of different K, {PRESET[bench.device.type]} encoder, forward, ms"
    show(title, columns, [[row["clips"], f"{row['least']}-{row['most']}", *list(row.values())[3:]] for row in rows])
    return rows


def _mix(bench: Bench, clips: int, mean: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(mean // 2, mean * 3 // 2 + 1, (clips,), generator=random).tolist()
    preset = PRESET[bench.device.type]
    encoder = make_encoder(preset, bench)
    own = [
        (
            torch.randn(k, 3, 14, 14, generator=random).to(bench.device, bench.dtype),
            torch.randint(0, 16, (k, 3), generator=random).to(bench.device),
        )
        for k in lengths
    ]
    pack = dict(zip(("patches", "positions", "cu_seqlens"), pack_clips(own), strict=True))
    padded = dict(zip(("patches", "positions", "mask"), pad_clips(own), strict=True))
    alone = [{"patches": patches[None], "positions": positions[None]} for patches, positions in own]
    config = EncoderConfig.preset(preset)
    shape = (1, sum(lengths), config.num_attention_heads, config.head_size)
    q, k, v = (torch.randn(shape, generator=random).to(bench.device, bench.dtype).transpose(1, 2) for _ in range(3))
    each = list(zip(*(x.split(lengths, dim=2) for x in (q, k, v)), strict=True))
    ends = Pack(tuple(lengths), pack["cu_seqlens"].to(bench.device))
    with torch.inference_mode():
        median = bench.medians(
            {
                "packed_ms": lambda: encoder(**pack),
                "padded_ms": lambda: encoder(**padded),
                "one_by_one_ms": lambda: [encoder(**clip) for clip in alone],
            }
        )
        median |= bench.medians(  # in turns of their own: behind a whole pass, the first would find the caches cold
            {
                "attention_packed_ms": lambda: Attend(Reach(pack=ends))(q, k, v),
                "attention_a_call_a_clip_ms": lambda: torch.cat(
                    [F.scaled_dot_product_attention(*clip) for clip in each], dim=2
                ),
                "attention_block_mask_ms": lambda: F.scaled_dot_product_attention(
                    q, k, v, attn_mask=block_mask(q, k, ends)
                ),
            }
        )
    return {"clips": clips, "least": min(lengths), "most": max(lengths), "tokens": sum(lengths), **median}
