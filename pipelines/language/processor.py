"""`CodecProcessor`: messages in, what a vision language model takes out, as a processor of transformers'.

    import codecsieve.pipelines.language.processor       # makes it known to AutoProcessor

    processor = CodecProcessor(AutoTokenizer.from_pretrained("Qwen/Qwen3-4B"), sieve={"k_keep": 1024})
    inputs = processor(messages)    # input_ids, attention_mask, pixel_values, image_grid_thw, patch_positions

Videos are left to `messages`, text to `chat`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from transformers import AutoProcessor, BatchFeature
from transformers.processing_utils import ProcessorMixin

from codecsieve.encoder.auto import OneVisionEncoderConfig
from codecsieve.errors import ConfigError
from codecsieve.options import check_names
from codecsieve.pipelines.config import DEFAULT_PRESET, SieveConfig
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
        preset: str = DEFAULT_PRESET,
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
        self.sieve, self.style = dict(sieve or {}), dict(style or {})
        self.preset, self.merge_size, self.video_token = preset, merge_size, video_token
        check_names("sieve", self.sieve, SieveConfig)
        if "merge" in self.sieve:
            raise ConfigError("merge, among the sieve's options, is given by merge_size; give that")
        self._config = SieveConfig.preset(preset, **self.sieve, merge=merge_size)
        filler = tokenizer.convert_tokens_to_ids(video_token)
        if filler is None or filler == tokenizer.unk_token_id:
            raise ConfigError(f"video_token ({quoted(video_token)}) must be a token of the tokenizer; add it there")
        if tokenizer.pad_token_id is None:
            raise ConfigError("the tokenizer has no pad_token; set one, such as its eos_token")
        self._chat = Chat(tokenizer, Style(**self.style), filler)

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


def _conversations(messages: Messages | Sequence[Messages]) -> list[Messages]:
    """Several conversations, of which one alone may be given."""
    one = [message for message in messages if isinstance(message, Mapping)]
    return [one] if len(one) == len(messages) else [own for own in messages if not isinstance(own, Mapping)]


AutoProcessor.register(OneVisionEncoderConfig, CodecProcessor, exist_ok=True)
