"""The models: tiny ones, random, for the demonstration; or any that are at hand, by folder or hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, ByT5Tokenizer, Qwen3Config, Qwen3ForCausalLM

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.encoder.tower import PlaceEmbedding, Projector, Standard, VisionTower
from codecsieve.pipelines.language.chat import Chat, Style
from codecsieve.pipelines.language.model import VideoLanguageModel
from codecsieve.pipelines.learn.frozen import fingerprint

_USER, _ASSISTANT, _END = "<|user|>", "<|assistant|>", "<|end|>"


@dataclass(frozen=True)
class Models:
    """What sees and answers, and how it is spoken to; end: the token that ends an answer."""

    model: VideoLanguageModel
    chat: Chat
    end: int


class TowerTokens:
    """A tower that stays as it is, as what makes a feature cache: see `TokenEncoder`."""

    def __init__(self, tower: VisionTower, name: str) -> None:
        """Take a tower around a `OneVisionEncoder`."""
        self.tower, self.name = tower.eval(), name
        assert isinstance(tower.encoder, OneVisionEncoder)
        self.fingerprint = f"{fingerprint(tower.encoder)} {tower.select_layer}"

    @torch.no_grad()
    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Patches uint8 [B, K, 3, P, P] and positions int64 [B, K, 3] -> tokens [B, K, C]."""
        return self.tower(patches=patches, positions=positions)


def tiny_tower(seed: int, image_size: int, patch_size: int) -> VisionTower:
    """An encoder of 0.5 M parameters, untrained."""
    torch.manual_seed(seed)
    return VisionTower(OneVisionEncoder(EncoderConfig(96, 384, 4, 3, image_size=image_size, patch_size=patch_size)))


def tiny_models(seed: int, seen: Tensor) -> Models:
    """A language model like Qwen3, of 0.4 M parameters, that reads bytes; it is given what a tower made before, of
    which `seen`, tokens [..., C], are some: by these all are standardised.
    """
    torch.manual_seed(seed)
    tokenizer = ByT5Tokenizer(extra_ids=0)
    tokenizer.add_special_tokens({"additional_special_tokens": [_USER, _ASSISTANT, _END]})
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=1024,
        tie_word_embeddings=True,
    )  # fmt: skip
    standard, places = Standard(seen.shape[-1]), PlaceEmbedding(config.hidden_size)
    standard.measure(seen)
    projector = nn.Sequential(standard, Projector(seen.shape[-1], config.hidden_size))
    model = VideoLanguageModel(Qwen3ForCausalLM(config), None, projector, places)
    chat = Chat(tokenizer, Style(user=_USER, assistant=_ASSISTANT, end=_END, between=""))
    return Models(model, chat, tokenizer.convert_tokens_to_ids(_END))


def load_models(language_model: str, encoder: str | Path) -> Models:
    """A language model that speaks ChatML, as Qwen's do, with an encoder of ours as its tower and a new projector.

    Both are taken from folders, or from the hub where they are not there; no code of a repository is run.
    """
    loaded = AutoModelForCausalLM.from_pretrained(language_model)
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    tower = VisionTower(OneVisionEncoder.from_pretrained(encoder))
    model = VideoLanguageModel(loaded, tower, Projector(tower.hidden_size, loaded.config.hidden_size))
    chat = Chat(tokenizer)
    return Models(model, chat, tokenizer.convert_tokens_to_ids(chat.style.end))
