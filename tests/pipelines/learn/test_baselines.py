"""Other projects' models as baselines: their own tokens of whole frames and nothing else, from safetensors alone."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import ConfigError, EncoderError
from codecsieve.pipelines.learn.baselines import Baseline, frames_of, load_encoder, sinusoid
from codecsieve.pipelines.learn.families import BASELINES, CLIP, HALF, IMAGENET
from codecsieve.pipelines.learn.foreign import load_foreign
from codecsieve.pipelines.learn.frozen import FrozenEncoder
from codecsieve.pipelines.learn.ranks import Ranks

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from foreign_models import PATCH, SIDE, save_foreign  # noqa: E402  # which needs transformers

pytestmark = pytest.mark.usefixtures("one_thread")

CLIPS, FRAMES = 2, 4
NORMALISED = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


def load(folder: Path, family: str | None = None) -> Baseline:
    encoder = load_encoder(str(folder), None, family, Ranks())
    assert isinstance(encoder, Baseline)
    return encoder


def some_frames(side: int = SIDE, frames: int = FRAMES) -> Tensor:
    shape = (CLIPS, frames, 3, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def cut(frames: Tensor, patch: int = PATCH) -> tuple[Tensor, Tensor]:
    """Patches and positions of frames uint8 [B, T, 3, H, W], as a cache has them, one after the other."""
    places = [
        (slot, row, column)
        for slot in range(frames.shape[1])
        for row in range(frames.shape[3] // patch)
        for column in range(frames.shape[4] // patch)
    ]
    patches = [frames[:, t, :, y * patch : (y + 1) * patch, x * patch : (x + 1) * patch] for t, y, x in places]
    return torch.stack(patches, dim=1), torch.tensor(places).expand(len(frames), -1, -1)


def test_patches_of_whole_frames_become_the_frames_again() -> None:
    frames = torch.randint(0, 256, (CLIPS, 3, 3, 24, 40), dtype=torch.uint8)
    patches, positions = cut(frames)
    assert torch.equal(frames_of(patches, positions), frames)
    at_places = positions * torch.tensor([9, 1, 1])  # slots at their places in the clip
    assert torch.equal(frames_of(patches, at_places), frames)
    at_places[:, :, 0] = 63  # and those of a clip with one frame
    assert torch.equal(frames_of(patches, at_places), frames)


def test_single_patches_are_no_frames() -> None:
    patches, positions = cut(some_frames())
    swapped = positions.clone()
    swapped[0, [1, 2]] = positions[0, [2, 1]]
    for wrong_patches, wrong in ((patches, swapped), (patches[:, 1:], positions[:, 1:])):
        with pytest.raises(ConfigError, match=r"whole frames, and the cache holds single patches; use .* sampling"):
            frames_of(wrong_patches, wrong)


@pytest.mark.parametrize("dim", [64, 7])
def test_a_frame_s_number_is_sines_and_cosines_in_turn(dim: int) -> None:
    made = sinusoid(5, dim)
    for frame in range(5):
        for channel in range(dim):
            angle = frame / 10000 ** (2 * (channel // 2) / dim)
            wanted = math.cos(angle) if channel % 2 else math.sin(angle)
            assert made[frame, channel] == pytest.approx(wanted, abs=1e-6)


OTHERS_FIRST = {
    "clip": 1, "metaclip_2": 1, "siglip": 0, "siglip_vision_model": 0, "siglip2": 0, "aimv2": 0, "dinov2": 1,
    "dinov2_with_registers": 1 + 3, "dinov3_vit": 1 + 4, "dinov3_convnext": 1, "vit": 1,
}  # fmt: skip
"""Class and register tokens before the patches'."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS_FIRST)
def test_tokens_are_the_model_s_own_of_each_frame_and_the_frame_s_number(kind: str, tmp_path: Path) -> None:
    save_foreign(tmp_path, kind, **NORMALISED, size={"height": SIDE, "width": SIDE})
    frames = some_frames()
    tokens = load(tmp_path)(*cut(frames)).unflatten(1, (FRAMES, -1))
    model = transformers.AutoModel.from_pretrained(tmp_path)
    model = getattr(model, "vision_model", model).eval()
    mean, std = (torch.tensor(NORMALISED[name])[:, None, None] for name in ("image_mean", "image_std"))
    for clip in range(CLIPS):
        for number in range(FRAMES):
            pixels = (frames[clip, number] / 255 - mean) / std
            inputs: dict[str, Any] = {"pixel_values": pixels[None]}
            if kind == "siglip2":
                grid = [(y, x) for y in range(0, SIDE, PATCH) for x in range(0, SIDE, PATCH)]
                cut_up = [pixels[:, y : y + PATCH, x : x + PATCH].permute(1, 2, 0).flatten() for y, x in grid]
                inputs = {
                    "pixel_values": torch.stack(cut_up)[None],
                    "pixel_attention_mask": torch.ones(1, len(grid), dtype=torch.int64),
                    "spatial_shapes": torch.tensor([[SIDE // PATCH] * 2]),
                }
            with torch.no_grad():
                whole = model(**inputs).last_hidden_state[0]
            wanted = whole[OTHERS_FIRST[kind] :] + sinusoid(FRAMES, 64)[number]
            torch.testing.assert_close(tokens[clip, number], wanted, rtol=1e-4, atol=1e-5)


def test_a_map_is_read_row_by_row_and_a_pooled_vector_is_one_token(tmp_path: Path) -> None:
    save_foreign(tmp_path, "convnextv2", **NORMALISED, size={"shortest_edge": 64})
    baseline = load(tmp_path)
    frames = some_frames(64, frames=1)
    tokens = baseline(*cut(frames)) - sinusoid(1, 64)
    with torch.no_grad():
        found = baseline.model.network(pixel_values=baseline._normalised(frames)[:, 0]).last_hidden_state
    assert tokens.shape == (CLIPS, 4, 64)
    torch.testing.assert_close(tokens[:, 1], found[:, :, 0, 1])


@pytest.mark.parametrize(("kind", "others"), [("videomae", 0), ("vivit", 1), ("timesformer", 1)])
def test_a_model_of_clips_gets_whole_clips_of_its_length(kind: str, others: int, tmp_path: Path) -> None:
    save_foreign(tmp_path, kind, **NORMALISED)
    baseline, frames = load(tmp_path), some_frames()
    mean, std = (torch.tensor(NORMALISED[name])[:, None, None] for name in ("image_mean", "image_std"))
    with torch.no_grad():
        whole = transformers.AutoModel.from_pretrained(tmp_path).eval()((frames / 255 - mean) / std)
    torch.testing.assert_close(baseline(*cut(frames)), whole.last_hidden_state[:, others:], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"num_frames \(2\) must be 4: .* takes clips of so many"):
        baseline(*cut(frames[:, :2]))


def test_v_jepa_takes_clips_of_several_lengths(tmp_path: Path) -> None:
    save_foreign(tmp_path, "vjepa2", **NORMALISED, crop_size=SIDE)
    baseline = load(tmp_path)
    for count in (2, 4):
        assert baseline(*cut(some_frames(frames=count))).shape == (CLIPS, count // 2 * 16, 64)
    with pytest.raises(ConfigError, match=r"num_frames \(3\) must be 2, 4, ..., 8: .* takes clips of so many"):
        baseline(*cut(some_frames(frames=3)))


def test_frames_of_another_size_are_resized_as_pillow_would(tmp_path: Path) -> None:
    save_foreign(tmp_path, "clip")
    for side in (24, 48):
        smooth = torch.linspace(20, 220, side).outer(torch.linspace(0.5, 1.0, side))
        frame = torch.stack([smooth, smooth.T, 255 - smooth]).to(torch.uint8)
        made = load(tmp_path)._normalised(frame[None, None])[0, 0]
        picture = Image.fromarray(frame.permute(1, 2, 0).numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        mean, std = (np.array(of)[:, None, None] for of in CLIP)
        wanted = (np.asarray(picture).transpose(2, 0, 1) / 255 - mean) / std
        assert np.abs(made.numpy() - wanted).max() < 1.01 / 255 / std.min()


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        ({"size": {"height": 48, "width": 40}}, (48, 40)),
        ({"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}, (48, 48)),
        ({"size": {"shortest_edge": 56}, "crop_size": 48, "do_center_crop": False}, (56, 56)),
        ({"size": 40}, (40, 40)),
        ({}, (SIDE, SIDE)),
    ],
)
def test_the_preprocessor_says_the_size(processor: dict[str, Any], size: tuple[int, int], tmp_path: Path) -> None:
    save_foreign(tmp_path, "dinov2", **processor)
    assert load(tmp_path).model.size == size


@pytest.mark.parametrize(
    ("kind", "processor", "colours"),
    [
        ("clip", {}, CLIP),
        ("siglip", {"size": 32}, HALF),
        ("siglip2", {}, HALF),
        ("dinov2", {}, IMAGENET),
        ("dinov3_vit", {}, IMAGENET),
        ("aimv2", {}, CLIP),
        ("vit", NORMALISED, (NORMALISED["image_mean"], NORMALISED["image_std"])),
        ("clip", {"image_processor": NORMALISED}, (NORMALISED["image_mean"], NORMALISED["image_std"])),
        ("clip", {**NORMALISED, "do_normalize": False}, ((0, 0, 0), (1, 1, 1))),
        # ViViT's: pixels to -1..1, and then 0.5 off and through 0.5.
        ("vivit", {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5, "offset": True},
         ((0.75,) * 3, (0.25,) * 3)),
    ],
)  # fmt: skip
def test_colours_are_those_of_the_preprocessor_else_of_the_family(
    kind: str, processor: dict[str, Any], colours: Any, tmp_path: Path
) -> None:
    save_foreign(tmp_path, kind, **processor)
    for made, wanted in zip(load(tmp_path).model.colours, colours, strict=True):
        assert made == pytest.approx(tuple(wanted))


@pytest.mark.parametrize(
    "processor",
    [
        {"size": "big"},
        {"size": [32, 32, 32]},
        {"size": {"longest_edge": 32}},
        {"size": -32},
        {"image_mean": 0.5, "image_std": 0.5},
        {"image_mean": [0.5], "image_std": [0.5]},
        {"image_mean": [0.5] * 3, "image_std": [0.5, 0, 0.5]},
        {"image_mean": ["a"] * 3, "image_std": [0.5] * 3},
    ],
)
def test_a_preprocessor_that_makes_no_pictures_is_refused(processor: dict[str, Any], tmp_path: Path) -> None:
    save_foreign(tmp_path, "dinov2", **processor)
    with pytest.raises(EncoderError, match="the preprocessor's size or colours cannot be a picture's"):
        load(tmp_path)


@pytest.mark.slow
def test_each_published_family_takes_its_own_models_and_no_others(tmp_path: Path) -> None:
    kinds = ("clip", "metaclip_2", "siglip", "siglip2", "dinov2", "dinov2_with_registers", "dinov3_vit", "aimv2")
    taken = {
        "clip": {"clip"}, "metaclip": {"clip", "metaclip_2"}, "siglip": {"siglip"}, "siglip2": {"siglip", "siglip2"},
        "dinov2": {"dinov2", "dinov2_with_registers"}, "dinov3": {"dinov3_vit"}, "aimv2": {"aimv2"},
    }  # fmt: skip
    for kind in kinds:
        save_foreign(tmp_path / kind, kind)
        for family in BASELINES:
            if kind in taken[family]:
                load(tmp_path / kind, family)
            else:
                with pytest.raises(EncoderError, match=f"of type '{kind}', and so none of family {family}"):
                    load(tmp_path / kind, family)


def test_our_encoder_is_known_by_its_configuration(tmp_path: Path) -> None:
    OneVisionEncoder(EncoderConfig(64, 96, 1, 2, patch_size=PATCH)).save_pretrained(tmp_path)
    assert isinstance(load_encoder(str(tmp_path), None, None, Ranks()), FrozenEncoder)
    with pytest.raises(EncoderError, match="of type 'onevision_encoder', and so none of family clip"):
        load_encoder(str(tmp_path), None, "clip", Ranks())


def test_tokens_are_kept_by_all_that_they_depend_on(tmp_path: Path) -> None:
    folder = save_foreign(tmp_path / "one", "clip", **NORMALISED)
    prints = [load(folder).fingerprint]
    assert load(save_foreign(tmp_path / "two", "clip", **NORMALISED)).fingerprint == prints[0]
    weights = load_file(folder / "model.safetensors")
    weights["vision_model.embeddings.class_embedding"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    prints.append(load(folder).fingerprint)
    for processor in ({**NORMALISED, "size": 64}, {**NORMALISED, "image_std": [1, 1, 1]}):
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        prints.append(load(folder).fingerprint)
    assert len(set(prints)) == len(prints)


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    save_foreign(tmp_path, "clip")
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"holds no \*.safetensors; other weights are not read, since they may run"):
        load(tmp_path)


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    save_foreign(tmp_path, "clip")
    ran = tmp_path / "ran"
    (tmp_path / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: ...\n")
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.Own", "AutoModel": "modeling_own.Own"}
    for kind in ("own", "clip"):
        (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": kind, "auto_map": own}))
        if kind == "own":
            with pytest.raises(EncoderError, match="transformers cannot load it"):
                load(tmp_path)
        else:
            load(tmp_path)
        assert not ran.exists()


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    save_foreign(tmp_path, "dinov2")
    weights = load_file(tmp_path / "model.safetensors")
    lost = sorted(weights)[3]
    save_file({name: value for name, value in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderError, match="its weights lack 1 of the model's, such as "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bert", "is a model of type 'bert', which takes no pictures"),
        ("vit", "has no preprocessor_config.json, and how colours of type 'vit' are normalised is not known"),
    ],
)
def test_what_cannot_be_a_baseline_is_told_in_one_line(kind: str, message: str, tmp_path: Path) -> None:
    save_foreign(tmp_path, kind)
    with pytest.raises(EncoderError, match=message):
        load(tmp_path)


def test_a_model_that_takes_no_other_size_says_so(tmp_path: Path) -> None:
    save_foreign(tmp_path, "clip", size=48)
    with pytest.raises(EncoderError, match=r"48\*48"):
        load(tmp_path)(*cut(some_frames()))


def test_tokens_that_are_not_known_to_be_patches_are_refused(tmp_path: Path) -> None:
    """Such as those of a masked autoencoder, which leaves out three quarters at random."""
    save_foreign(tmp_path, "vit_mae", **NORMALISED)
    with pytest.raises(EncoderError, match="5 tokens of 16 patches: which are the patches' is not known of 'vit_mae'"):
        load(tmp_path)(*cut(some_frames()))


def test_a_name_that_is_nothing_is_told_with_what_it_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderError, match=r"vit_tiny: no such folder, and no hub id.*one of timm's: pip install timm"):
        load_encoder("vit_tiny", None, None, Ranks())


@pytest.mark.parametrize("name", ["vit_of_nobody", "vit_tiny_patch16_224.nobody_s"])
def test_a_name_that_timm_does_not_know_is_told(name: str) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(EncoderError, match=f"{name}: no such folder, no hub id.*and no model of timm with weights"):
        load_encoder(name, None, None, Ranks())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "resnet10t", "swin_tiny"])
def test_models_of_timm_give_their_patches_tokens(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    small = {
        "vit": {"depth": 1},
        "res": {},
        "swi": {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 1, 1)},
    }
    name = {"swin_tiny": "swin_tiny_patch4_window7_224"}.get(name, name)
    model = timm.create_model(name, **small[name[:3]]).eval()
    timm.models.save_for_hf(model, tmp_path, model_args=small[name[:3]], safe_serialization=True)
    with pytest.raises(EncoderError, match="is a model of timm, which names no families; use --model-family sampling"):
        load(tmp_path, "clip")
    baseline, frames = load(tmp_path), some_frames(224, frames=2)
    tokens = baseline(*cut(frames)).unflatten(1, (2, -1)) - sinusoid(2, model.num_features)[:, None]
    mean, std = (torch.tensor(model.pretrained_cfg[of])[:, None, None] for of in ("mean", "std"))
    pixels = (frames[1, 1] / 255 - mean) / std
    if model.pretrained_cfg["input_size"][1] != 224:
        pixels = baseline._normalised(frames)[1, 1]
    with torch.no_grad():
        found = model.forward_features(pixels[None])[0]
    if name.startswith("vit"):
        found = found[1:]
    elif name.startswith("res"):
        found = found.flatten(1).T
    torch.testing.assert_close(tokens[1, 1], found.reshape(-1, model.num_features), rtol=1e-3, atol=1e-4)


def test_a_gpu_s_type_is_the_model_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_foreign(tmp_path, "siglip")
    monkeypatch.setattr(Ranks, "has_bf16", True)
    model = load_foreign(str(tmp_path), "siglip", Ranks())
    assert next(model.network.parameters()).dtype == torch.bfloat16
    assert Baseline(model, "siglip")(*cut(some_frames())).dtype == torch.float32
