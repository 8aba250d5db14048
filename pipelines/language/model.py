"""A language model that sees: tower, projector, and any causal language model of transformers', as one module.

    model = VideoLanguageModel(language_model, VisionTower(encoder), Projector(tower.hidden_size, hidden_size))
    model(**pad_samples(samples, chat)).loss.backward()

Training it in stages is left to `training`. Any model will do that takes `inputs_embeds`, and nothing besides of what
its tokens are; what there is to look after with some of them is done here.
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
        self._keeps_apart = False
        self.register_state_dict_post_hook(_leave_out_tied)
        self.register_load_state_dict_pre_hook(_put_in_tied)

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
        # The number that stands for a video need not be one that the language model has an embedding of.
        embeddings = self.language_model.get_input_embeddings()(input_ids.masked_fill(video_mask, 0))
        if positions is None:  # none of the projector's tokens, and yet its: else the loss may have no gradient at all
            seen = next(self.projector.parameters()).flatten()[:0]
            return embeddings.masked_scatter(video_mask[..., None], seen.to(embeddings.dtype))
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
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        patches: Tensor | None = None,
        features: Tensor | None = None,
        **named: Any,
    ) -> Any:
        """What the language model returns, its loss among it where there are labels.

        Clips are as in `embed`; named: for the language model, such as the `num_items_in_batch` of transformers'
        Trainer. Raises ConfigError for conversations end to end where the language model does not keep them apart.
        """
        if attention_mask is None and position_ids is not None and not self._keeps_apart:
            self._check_apart()
        if attention_mask is not None and position_ids is None:  # learned ones would count padding at the left
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        return self.language_model(
            inputs_embeds=self.embed(input_ids, video_mask, positions, cu_seqlens, patches, features),
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            use_cache=False,
            **named,
        )

    @torch.no_grad()
    def answer(self, batch: dict[str, Tensor], end: int, most: int = 64) -> list[list[int]]:
        """Answers to conversations that end with a question, padded at the left: of each the tokens before `end`, at
        most so many, each the likeliest after those before it. Raises ConfigError for a batch padded otherwise.
        """
        if "attention_mask" not in batch or not batch["attention_mask"][:, -1].all():
            raise ConfigError("a batch to be answered must be padded at the left; give pad_samples side='left'")
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

    @torch.no_grad()
    def _check_apart(self) -> None:
        """Try once whether the language model keeps conversations end to end apart, by their position ids.

        Of two of two tokens each, the first one's are exchanged: the second one's numbers must not change by it, beyond
        rounding, as they do where a token of its own is.
        """
        device = next(self.projector.parameters()).device
        tried = torch.tensor([[1, 2, 3, 4], [5, 6, 3, 4], [1, 2, 7, 4]], device=device)
        places = torch.tensor([[0, 1, 0, 1]], device=device)
        training = self.language_model.training
        self.language_model.eval()
        embed = self.language_model.get_input_embeddings()
        last = [
            self.language_model(inputs_embeds=embed(ids[None]), position_ids=places, use_cache=False).logits[0, -1]
            for ids in tried
        ]
        self.language_model.train(training)
        others, own = ((last[0] - one).abs().max().float() for one in last[1:])
        if others > own / 50:
            name = type(self.language_model).__name__
            raise ConfigError(f"{name} does not keep conversations end to end apart by position_ids; use pad_samples")
        self._keeps_apart = True


def _tied(model: nn.Module) -> dict[str, str]:
    """Names of parameters that are another one, such as the embeddings as output layer, and the name of that."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    return {name: first[id(own)] for name, own in named if first.setdefault(id(own), name) != name}


def _leave_out_tied(model: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Safetensors, in which transformers' Trainer saves, have no two names of one tensor."""
    for name in _tied(model):
        state.pop(prefix + name, None)


def _put_in_tied(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name, other in _tied(model).items():
        if prefix + other in state:
            state.setdefault(prefix + name, state[prefix + other])
