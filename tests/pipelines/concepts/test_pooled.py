"""Features: what a model makes of its tokens or frames, of length 1, of ours and of other projects' models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import ConfigError
from codecsieve.pipelines.concepts.config import ConceptsKeywords, ConceptsOptions
from codecsieve.pipelines.concepts.pooled import PooledEncoder, check_pooling
from codecsieve.pipelines.learn.baselines import load_encoder
from codecsieve.pipelines.learn.frozen import FrozenEncoder
from codecsieve.pipelines.learn.ranks import Ranks

SIDE, PATCH, FRAMES = 32, 8, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def clips() -> tuple[Tensor, Tensor, Tensor]:
    """Frames uint8 [2, 3, 3, 32, 32], and their patches and positions as a cache has them."""
    generator = torch.Generator().manual_seed(7)
    frames = torch.randint(0, 256, (2, FRAMES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    rows = SIDE // PATCH
    cut = frames.unflatten(3, (rows, PATCH)).unflatten(5, (rows, PATCH)).permute(0, 1, 3, 5, 2, 4, 6)
    places = torch.cartesian_prod(torch.arange(FRAMES), torch.arange(rows), torch.arange(rows))
    return frames, cut.flatten(1, 3), places.expand(2, -1, -1)


def ours(head: bool = True) -> FrozenEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(64, 96, 2, 2, image_size=SIDE, patch_size=PATCH, use_head=head)
    return FrozenEncoder(OneVisionEncoder(config), "ours")


def pooled(encoder: Any, **given: Any) -> Tensor:
    _, patches, positions = clips()
    made = PooledEncoder(encoder, ConceptsOptions(**given))(patches, positions)
    assert made.shape[:2] == (2, 1)
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(2, 1))
    return made[:, 0]


def test_of_ours_the_mean_or_the_pooling_of_a_clip() -> None:
    encoder = ours()
    _, patches, positions = clips()
    out = encoder.model(patches=patches, positions=positions)
    torch.testing.assert_close(pooled(encoder), F.normalize(out.last_hidden_state.mean(1), dim=1))
    torch.testing.assert_close(pooled(encoder, pool="pooler"), F.normalize(out.pooler_output, dim=1))
    first = F.normalize(out.last_hidden_state.mean(1)[:, :16], dim=1)
    torch.testing.assert_close(pooled(encoder, dims=16), first)


def test_frames_go_through_by_themselves_and_end_to_end() -> None:
    encoder = ours()
    _, patches, positions = clips()
    parts = []
    for frame in range(FRAMES):
        here = positions[:, :, 0] == frame
        places = positions[here].view(2, -1, 3) * torch.tensor([0, 1, 1])
        tokens = encoder(patches[here].view(2, -1, 3, PATCH, PATCH), places)
        parts.append(F.normalize(tokens.mean(1)[:, :16], dim=1))
    made = pooled(encoder, feature="frames", dims=16)
    torch.testing.assert_close(made, F.normalize(torch.cat(parts, 1), dim=1))


def test_of_another_project_s_model_its_own_tokens_and_pooling(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from foreign_models import save_foreign

    told = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "size": {"height": SIDE, "width": SIDE}}
    encoder = load_encoder(str(save_foreign(tmp_path, "dinov2", **told)), None, None, Ranks())
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    frames, _, _ = clips()
    mean, std = (torch.tensor(told[name])[:, None, None] for name in ("image_mean", "image_std"))
    with torch.no_grad():
        out = model(pixel_values=((frames / 255 - mean) / std).flatten(0, 1))
    means = out.last_hidden_state[:, 1:].mean(1).unflatten(0, (2, FRAMES))  # without the class token
    poolings = out.pooler_output.unflatten(0, (2, FRAMES))
    for given, wanted in (
        ({}, means.mean(1)),
        ({"pool": "pooler"}, poolings.mean(1)),
        ({"feature": "frames", "dims": 20}, F.normalize(means[..., :20], dim=-1).flatten(1)),
        ({"feature": "frames", "pool": "pooler"}, F.normalize(poolings, dim=-1).flatten(1)),
    ):
        torch.testing.assert_close(pooled(encoder, **given), F.normalize(wanted, dim=1), atol=1e-5, rtol=1e-4)


def test_of_a_model_of_clips_the_whole_clip(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from foreign_models import save_foreign

    encoder = load_encoder(
        str(save_foreign(tmp_path, "vivit", image_mean=[0.5] * 3, image_std=[0.5] * 3)), None, None, Ranks()
    )
    with pytest.raises(ConfigError, match=r"feature \(frames\) must be clip: .* takes clips, not single frames"):
        PooledEncoder(encoder, ConceptsOptions(feature="frames"))


def test_pooling_without_weights_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from foreign_models import VISION

    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    for name, pools in (("with", True), ("without", False)):
        model = transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=pools)
        model.save_pretrained(tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps(told))
        encoder = load_encoder(str(tmp_path / name), None, None, Ranks())
        if pools:
            check_pooling(str(tmp_path / name), encoder)
        else:
            with pytest.raises(ConfigError, match=r"must be mean: the weights of .*without lack pooler\.dense\."):
                check_pooling(str(tmp_path / name), encoder)


def test_what_a_model_does_not_have_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"pool \(pooler\) must be mean: ours has no pooling of its own"):
        pooled(ours(head=False), pool="pooler")
    with pytest.raises(ConfigError, match=r"dims \(65\) must be <= 64, the numbers of ours"):
        pooled(ours(), dims=65)


def test_features_of_other_options_are_other_features() -> None:
    encoder = ours()
    made = [{}, {"pool": "pooler"}, {"feature": "frames"}, {"dims": 8}]
    prints = {PooledEncoder(encoder, ConceptsOptions(**given)).fingerprint for given in made}  # type: ignore[arg-type]
    assert len({*prints, encoder.fingerprint}) == 5
    same = PooledEncoder(encoder, ConceptsOptions(centres=20, seed=3, metric="l2")).fingerprint
    assert same in prints


def test_options_are_typed_and_checked() -> None:
    assert list(ConceptsKeywords.__annotations__) == [field.name for field in fields(ConceptsOptions)]
    for given, says in (
        ({"centres": 0}, r"centres \(0\) must be > 0"),
        ({"centres": 5}, r"labels \(10\) must be <= 5, the centres"),
        ({"metric": "dot"}, r"metric \('dot'\) must be one of cosine, l2"),
        ({"max_memory": "1 MB"}, r"max_memory \('1 MB'\) must be a size >= 100 MB"),
        ({"dims": 0}, r"dims \(0\) must be > 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            ConceptsOptions(**given)  # type: ignore[arg-type]
