"""Samples as a batch that a causal language model learns from: text, labels, and the clips of all of it end to end.

Two forms, as for the encoder's clips: `pad_samples` makes a row a conversation, `pack_samples` one row of all, with
positions that begin again, by which transformers' models keep them apart. Clips may differ in length in both. What the
clips become is left to `model`, so that a batch can be made in a worker process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from codecsieve.encoder.tokens import Clip
from codecsieve.errors import ConfigError
from codecsieve.pipelines.language.chat import Chat, Conversation, Rendered

NOT_LEARNED = -100
"""The label of what is no answer: what torch's losses leave out."""


@dataclass(frozen=True)
class Sample:
    """A conversation and its clips, in order: of each the patches uint8 [K, 3, P, P], or the tokens float [K, C] that a
    frozen tower made of them, and the positions [K, 3].
    """

    conversation: Conversation
    clips: tuple[Clip, ...]


def pad_samples(samples: Sequence[Sample], chat: Chat, side: str = "right") -> dict[str, Tensor]:
    """Samples as rows of one length, padded at a side, `left` or `right`: what `VideoLanguageModel` takes.

    Returns what `pad_rendered` does, labels int64 [B, L], `NOT_LEARNED` outside of answers, and the clips, see
    `_clips`. Raises ConfigError for a conversation that does not fit its clips, or is too long.
    """
    rendered = _rendered(samples, chat)
    labels = pad_rows([_labels(one) for one in rendered], NOT_LEARNED, side)
    return {**pad_rendered(rendered, chat.filler, side), "labels": labels, **_clips(samples)}


def pad_rendered(rendered: Sequence[Rendered], filler: int, side: str) -> dict[str, Tensor]:
    """Conversations as rows: input_ids int64 [B, L]; attention_mask int64 [B, L], 0 at padding; video_mask bool [B, L],
    where the clips' tokens go.
    """
    return {
        "input_ids": pad_rows([one.ids for one in rendered], filler, side),
        "attention_mask": pad_rows([torch.ones_like(one.ids) for one in rendered], 0, side),
        "video_mask": pad_rows([one.video for one in rendered], False, side),
    }


def pad_rows(rows: Sequence[Tensor], value: float, side: str) -> Tensor:
    """Rows [L] of different length as [B, longest], padded at a side, `left` or `right`."""
    if side not in ("left", "right"):
        raise ConfigError(f"side ({side!r}) must be left or right")
    return pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)


def pack_samples(samples: Sequence[Sample], chat: Chat) -> dict[str, Tensor]:
    """Samples end to end, without padding.

    Returns as `pad_samples` does, B being 1, but position_ids int64 [1, N] in place of a mask: from 0 for each sample.
    A sample's first token is not learned, as nothing of its own is before it.
    """
    rendered = _rendered(samples, chat)
    return {
        "input_ids": torch.cat([one.ids for one in rendered])[None],
        "labels": torch.cat([_labels(one) for one in rendered])[None],
        "position_ids": torch.cat([torch.arange(len(one.ids)) for one in rendered])[None],
        "video_mask": torch.cat([one.video for one in rendered])[None],
        **_clips(samples),
    }


def _rendered(samples: Sequence[Sample], chat: Chat) -> list[Rendered]:
    if not samples:
        raise ConfigError("samples (none) must be one or more")
    return [chat.render(one.conversation, [len(values) for values, _ in one.clips]) for one in samples]


def _labels(rendered: Rendered) -> Tensor:
    labels = rendered.ids.masked_fill(~rendered.answer, NOT_LEARNED)
    labels[:1] = NOT_LEARNED
    return labels


def _clips(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """All clips end to end: positions int64 [N, 3], cu_seqlens int32 [clips + 1], and patches [N, 3, P, P], or features
    [N, C] where a tower made them before. Nothing where there are no clips.
    """
    clips = [clip for sample in samples for clip in sample.clips]
    if not clips:
        return {}
    values, positions = zip(*clips, strict=True)
    if len({tuple(one.shape[1:]) for one in values}) > 1:
        raise ConfigError("clips of one batch must all be patches of one size, or all tokens of one tower")
    name = "features" if values[0].dim() == 2 else "patches"
    ends = torch.tensor([0, *(len(one) for one in values)]).cumsum(0, dtype=torch.int32)
    return {name: torch.cat(values), "positions": torch.cat(positions).long(), "cu_seqlens": ends}
