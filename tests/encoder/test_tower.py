"""The encoder as a vision tower: the layer that LLaVA-like code takes, of clips padded or packed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from codecsieve.encoder import OneVisionEncoder, pack_clips, pad_clips
from codecsieve.encoder.tower import PlaceEmbedding, Projector, Standard, VisionTower
from codecsieve.errors import EncoderError

Clips = list[tuple[Tensor, Tensor]]


@torch.no_grad()
def test_a_clip_has_the_same_tokens_alone_padded_and_packed(encoder: OneVisionEncoder, clips: Clips) -> None:
    tower = VisionTower(encoder)
    patches, positions, mask = pad_clips(clips)
    padded = tower(patches=patches, positions=positions, mask=mask)
    packed = tower(**dict(zip(("patches", "positions", "cu_seqlens"), pack_clips(clips), strict=True)))
    start = 0
    for row, (own, places) in enumerate(clips):
        alone = tower(patches=own[None], positions=places[None])[0]
        assert alone.shape == (len(own), tower.hidden_size)
        torch.testing.assert_close(padded[row, : len(own)], alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(packed[start : start + len(own)], alone, rtol=0, atol=1e-5)
        start += len(own)


@torch.no_grad()
def test_the_layer_selected_is_that_of_the_hidden_states(encoder: OneVisionEncoder, clips: Clips) -> None:
    given = {"patches": clips[0][0][None], "positions": clips[0][1][None]}
    states = encoder(**given, output_hidden_states=True).hidden_states
    for layer in (-2, -1, 0):
        assert torch.equal(VisionTower(encoder, layer)(**given), states[layer])
    with pytest.raises(EncoderError, match=r"select_layer \(3\) must be in -3\.\.2"):
        VisionTower(encoder, 3)


@torch.no_grad()
def test_llava_like_code_runs_as_it_is(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("codecsieve.encoder.auto")
    encoder.save_pretrained(tmp_path)
    tower = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="sdpa").requires_grad_(False)
    picture, places = torch.randn(2, 3, 16, 16), torch.randint(0, 64, (2, 16, 3))
    outputs = tower(picture, patch_positions=places, output_hidden_states=True, return_dict=True)
    selected = outputs.hidden_states[-2]
    assert selected.shape == (2, 16, tower.config.hidden_size)
    plain = tower(picture, patch_positions=places, output_hidden_states=True, return_dict=False)
    assert torch.equal(plain[2][-2], selected)
    assert torch.equal(VisionTower(tower)(picture, patch_positions=places), selected)
    assert Projector(tower.config.hidden_size, 8)(selected).shape == (2, 16, 8)


def test_a_projector_has_llavas_names() -> None:
    assert list(Projector(6, 8).state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@torch.no_grad()
def test_places_tell_slots_rows_and_columns_apart() -> None:
    places = PlaceEmbedding(8)
    grid = torch.cartesian_prod(*[torch.arange(size) for size in (64, 6, 6)]).to(torch.int32)
    embedded = places(grid)
    torch.testing.assert_close(places(grid[7]), embedded[7], rtol=0, atol=1e-5)
    assert len(embedded.unique(dim=0)) == len(grid)
    again = PlaceEmbedding(8)
    again.load_state_dict(places.state_dict())
    assert torch.equal(again(grid), embedded)


def test_channels_are_brought_to_one_mean_and_deviation() -> None:
    tokens = 0.01 * torch.randn(4, 50, 6) + torch.arange(6)
    standard = Standard(6)
    assert torch.equal(standard(tokens), tokens)
    standard.measure(tokens)
    brought = standard(tokens).flatten(0, 1)
    torch.testing.assert_close(brought.mean(0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(brought.std(0), torch.ones(6), rtol=0, atol=1e-3)
    assert not list(standard.parameters())
    again = Standard(6)
    again.load_state_dict(standard.state_dict())
    assert torch.equal(again(tokens), standard(tokens))
    with pytest.raises(EncoderError, match="differ in every channel"):
        standard.measure(torch.ones(4, 6))
