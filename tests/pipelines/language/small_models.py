"""A language model and a tower small enough for a test, a tokenizer of bytes, and clips of different length."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.encoder.tower import PlaceEmbedding, Projector, VisionTower
from codecsieve.pipelines.language.chat import Chat, Conversation, Turn
from codecsieve.pipelines.language.collate import Sample
from codecsieve.pipelines.language.model import VideoLanguageModel

PATCH = 4


def byte_tokenizer() -> Any:
    tokenizer = transformers.ByT5Tokenizer(extra_ids=0)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|video_pad|>"]})
    return tokenizer


def small_model(vocabulary: int, family: str = "Qwen2", patch_size: int = PATCH) -> VideoLanguageModel:
    """family: of transformers' models, by the beginning of its classes' names."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, initializer_range=0.2, pad_token_id=0,
        bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    language_model = transformers.AutoModelForCausalLM.from_config(config)
    encoder = OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=4 * patch_size, patch_size=patch_size))
    return VideoLanguageModel(language_model, VisionTower(encoder), Projector(64, 32), PlaceEmbedding(32)).eval()


def small_samples() -> list[Sample]:
    """Of 5 tokens; of 12 and 1, two videos; of none; of 3, with two answers."""
    random = torch.Generator().manual_seed(1)

    def clip(k: int) -> tuple[torch.Tensor, torch.Tensor]:
        patches = torch.randint(0, 256, (k, 3, PATCH, PATCH), dtype=torch.uint8, generator=random)
        return patches, torch.randint(0, 4, (k, 3), generator=random)

    def said(*texts: str) -> Conversation:
        return Conversation(
            tuple(Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)), id=texts[0]
        )

    return [
        Sample(said("<video>\nWhat?", "A cat"), (clip(5),)),
        Sample(said("<video>\nor <video>\n?", "The first"), (clip(12), clip(1))),
        Sample(said("Hello", "Hi"), ()),
        Sample(said("Look: <video>", "Yes", "Sure?", "No"), (clip(3),)),
    ]


def small_chat() -> Chat:
    return Chat(byte_tokenizer())
