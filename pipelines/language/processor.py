"""`CodecProcessor`: messages in, what a vision language model takes out, as a processor of transformers'.

    import codecsieve.pipelines.language.processor       # makes it known to AutoProcessor

    processor = CodecProcessor(AutoTokenizer.from_pretrained("Qwen/Qwen3-4B"), sieve={"k_keep": 1024})
    inputs = processor(messages)    # input_ids, attention_mask, pixel_values, image_grid_thw, patch_positions
    answers = model.answer(processor.model_batch(inputs), end)    # of a `VideoLanguageModel`

Videos are left to `messages`, text to `chat`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin

from codecsieve.encoder.auto import OneVisionEncoderConfig
from codecsieve.errors import ConfigError
from codecsieve.options import check_names
from codecsieve.pipelines.config import DEFAULT_PRESET, Preset, SieveConfig
from codecsieve.pipelines.language.chat import Chat, Style
from codecsieve.pipelines.language.collate import pad_rendered
from codecsieve.pipelines.language.messages import lengths_of, read_messages, sieve_requests
from codecsieve.text import quoted

Messages = Sequence[Mapping[str, Any]]


class CodecProcessor(ProcessorMixin):
    """Messages with videos as `input_ids`, and the patches that the sieve keeps of the videos in format B."""

    def __init__(
        self,
        tokenizer: Any = None,
        sieve: Mapping[str, Any] | None = None,
        preset: Preset = DEFAULT_PRESET,
        merge_size: int = 1,
        video_token: str = "<|video_pad|>",
        style: Mapping[str, str] | None = None,
    ) -> None:
        """Take a tokenizer, and what is saved with it.

        Args:
            tokenizer: of transformers'; it must know `video_token`.
            sieve: options of `SieveConfig`; `k_keep` is the most that is kept of a video.
            preset: those by one name, see `PRESETS`; `sieve` goes before it.
            merge_size: side of the block of patches that the model makes one token of; blocks are kept whole.
            video_token: stands where a video's tokens go.
            style: fields of `chat.Style`; None: ChatML.

        Raises ConfigError or OptionError for an option that cannot work, or a tokenizer without the token.
        """
        super().__init__(tokenizer)
        for name, given in (("sieve", sieve), ("style", style)):
            if given is not None and not isinstance(given, Mapping):
                raise ConfigError(f"{name} ({quoted(given)}) must be a dict of options")
        self.sieve, self.style = dict(sieve or {}), dict(style or {})
        self.preset, self.merge_size, self.video_token = preset, merge_size, video_token
        check_names("sieve", self.sieve, SieveConfig)
        check_names("style", self.style, Style)
        if "merge" in self.sieve:
            raise ConfigError("merge, among the sieve's options, is given by merge_size; give that")
        self._config = SieveConfig.preset(preset, **self.sieve, merge=merge_size)
        if tokenizer.pad_token_id is None:
            raise ConfigError("the tokenizer has no pad_token; set one, such as its eos_token")
        self._chat = Chat(tokenizer, Style(**self.style), _number_of(video_token, tokenizer))

    def __call__(self, messages: Messages | Sequence[Messages]) -> BatchFeature:
        """One conversation or several, to be answered, as tensors.

        Returns input_ids and attention_mask int64 [B, L], padded at the left, with `video_token` once for each token
        that the model makes of a video; and, where there are videos, what `messages.sieve_requests` makes of all of
        them. Raises ConfigError for messages that cannot be understood, VideoError for a video that cannot be used.
        """
        read = [read_messages(one) for one in _conversations(messages)]
        visual = sieve_requests([video for _, videos in read for video in videos], self._config)
        lengths = iter(lengths_of(visual["image_grid_thw"], self.merge_size) if visual else ())
        rendered = [self._chat.render(said, list(islice(lengths, len(videos)))) for said, videos in read]
        text = pad_rendered(rendered, self._chat.tokenizer.pad_token_id, "left")
        text.pop("video_mask")  # input_ids say the same by `video_token`
        return BatchFeature({**text, **visual})

    def model_batch(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `VideoLanguageModel` takes, of what a call gave; as of `pad_samples`, but that patches are float.

        Raises ConfigError for a merge_size that it does not have.
        """
        if self.merge_size != 1:
            raise ConfigError(f"merge_size ({self.merge_size}) must be 1: a VideoLanguageModel merges no patches")
        text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        video_mask = inputs["input_ids"] == self._chat.filler
        if "pixel_values" not in inputs:
            return {**text, "video_mask": video_mask}
        side = self._config.patch_size
        return {
            **text,
            "video_mask": video_mask,
            "patches": inputs["pixel_values"].unflatten(1, (3, side, side)),
            "positions": inputs["patch_positions"],
            "cu_seqlens": pad(inputs["image_grid_thw"].prod(1).cumsum(0, dtype=torch.int32), (1, 0)),
        }


def _number_of(video_token: str, tokenizer: Any) -> int:
    """Of a special token: another's name in what people wrote would stand for a video."""
    number = tokenizer.convert_tokens_to_ids(video_token) if isinstance(video_token, str) else None
    if number is None or number == tokenizer.unk_token_id:
        raise ConfigError(f"video_token ({quoted(video_token)}) must be a token of the tokenizer; add it there")
    if number in tokenizer(video_token, add_special_tokens=False, split_special_tokens=True)["input_ids"]:
        raise ConfigError(f"video_token ({quoted(video_token)}) must be a special token; use add_special_tokens")
    return int(number)


def _conversations(messages: Messages | Sequence[Messages]) -> list[Messages]:
    """Several conversations, of which one alone may be given."""
    if not isinstance(messages, list | tuple):
        raise ConfigError(f"messages ({quoted(messages)}) must be a list of messages, or a list of such lists")
    if all(isinstance(message, list | tuple) for message in messages):
        return list(messages) or [()]
    return [messages]


AutoProcessor.register(OneVisionEncoderConfig, CodecProcessor, exist_ok=True)
