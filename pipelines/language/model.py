"""A language model that sees: tower, projector, and any causal language model of transformers', as one module.

    model = VideoLanguageModel(language_model, VisionTower(encoder), Projector(tower.hidden_size, hidden_size))
    model(**pad_samples(samples, chat)).loss.backward()

Training it in stages is left to `training`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codecsieve.encoder.tower import PlaceEmbedding, VisionTower
from codecsieve.errors import ConfigError


class VideoLanguageModel(nn.Module):
    """Batches as `collate` makes them in, what the language model makes of them out."""

    def __init__(
        self,
        language_model: Any,
        tower: VisionTower | None,
        projector: nn.Module,
        places: PlaceEmbedding | None = None,
    ) -> None:
        """Take the parts as they are. tower: None where batches hold features; projector: a `Projector`, or a
        `Standard` and one in a row; places: added to embeddings.
        """
        super().__init__()
        self.language_model = language_model
        self.tower = tower
        self.projector = projector
        self.places = places

    def embed(
        self,
        input_ids: Tensor,
        video_mask: Tensor,
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        patches: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """`inputs_embeds` [B, L, d]: of text the language model's own, of clips the projected tokens, in order.

        Raises ConfigError where a batch holds patches and there is no tower.
        """
        embeddings = self.language_model.get_input_embeddings()(input_ids)
        if positions is None:
            return embeddings
        if features is None:
            if self.tower is None:
                raise ConfigError("the batch holds patches, which need a tower; give one, or its features")
            features = self.tower(patches=patches, positions=positions, cu_seqlens=cu_seqlens)
        seen = self.projector(features.to(next(self.projector.parameters()).dtype))
        if self.places is not None:
            seen = seen + self.places(positions)
        return embeddings.masked_scatter(video_mask[..., None], seen.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor,
        video_mask: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **clips: Tensor,
    ) -> Any:
        """What the language model returns, its loss among it where there are labels; clips: see `embed`."""
        embeddings = self.embed(input_ids, video_mask, **clips)
        return self.language_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            use_cache=False,
        )

    @torch.no_grad()
    def answer(self, batch: dict[str, Tensor], end: int, most: int = 64) -> list[list[int]]:
        """Answers to conversations that end with a question, padded at the left: of each the tokens before `end`, at
        most so many, each the likeliest after those before it.
        """
        given = {name: value for name, value in batch.items() if name not in ("labels", "attention_mask")}
        made = self.language_model.generate(
            inputs_embeds=self.embed(**given),
            attention_mask=batch["attention_mask"],
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
        return [row[: row.index(end)] if end in row else row for row in made.tolist()]
