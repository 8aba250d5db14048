"""Checkpoints and their `config.json`: written, read, and refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.errors import EncoderError

PUBLISHED = {
    "architectures": ["OneVisionEncoderModel"],
    "attention_dropout": 0.0,
    "dtype": "bfloat16",
    "hidden_act": "gelu",
    "hidden_size": 1024,
    "image_size": 448,
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-06,
    "layer_norm_type": "layer_norm",
    "model_type": "onevision_encoder",
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "rope_theta": 10000.0,
    "rope_temporal_size": 64,
    "transformers_version": "4.57.1",
    "use_head": True,
    "auto_map": {"AutoModel": "modeling_onevision_encoder.OneVisionEncoderModel"},
}


@pytest.fixture
def folder(encoder: OneVisionEncoder, tmp_path: Path) -> Path:
    encoder.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def test_what_is_saved_is_what_is_loaded(encoder: OneVisionEncoder, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    loaded = OneVisionEncoder.from_pretrained(folder)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert dataclasses.replace(loaded.config, other={}) == encoder.config
    wanted = encoder.state_dict()
    assert list(loaded.state_dict()) == list(wanted)
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())
    picture = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        outputs = loaded(picture).pooler_output, encoder(picture).pooler_output
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


def test_the_type_of_weights_is_kept_or_chosen(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.bfloat16().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert OneVisionEncoder.from_pretrained(tmp_path).head.probe.dtype == torch.bfloat16
    assert OneVisionEncoder.from_pretrained(tmp_path, dtype=torch.float32).head.probe.dtype == torch.float32


def test_shards(encoder: OneVisionEncoder, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shard_of = {name: f"model-{i % 2 + 1:05}-of-00002.safetensors" for i, name in enumerate(weights)}
    for shard in set(shard_of.values()):
        save_file({name: value for name, value in weights.items() if shard_of[name] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shard_of}))
    loaded = OneVisionEncoder.from_pretrained(folder).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in encoder.state_dict().items())

    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"model-00002-of-00002.safetensors: cannot be read"):
        OneVisionEncoder.from_pretrained(folder)
    index.write_text(json.dumps({"weight_map": {"head.probe": "../elsewhere.safetensors"}}))
    with pytest.raises(EncoderError, match=r"a shard \('../elsewhere.safetensors'\) must be a file beside it"):
        OneVisionEncoder.from_pretrained(folder)
    index.write_text("[]")
    with pytest.raises(EncoderError, match="is not an index of shards"):
        OneVisionEncoder.from_pretrained(folder)


def test_missing_unknown_and_misshapen_weights_are_named(folder: Path) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        del weights["head.probe"]
        weights["video_rope.inv_freq"] = torch.zeros(3)
        weights["layernorm_pre.weight"] = torch.zeros(65)

    edit_weights(folder, spoil)
    with pytest.raises(EncoderError) as caught:
        OneVisionEncoder.from_pretrained(folder)
    assert str(caught.value) == (
        f"{folder}: the weights are not those of its config.json; missing: head.probe; not known: video_rope.inv_freq; "
        "of another shape: layernorm_pre.weight is [65] and must be [64]"
    )


def test_of_many_missing_weights_a_few_are_named(folder: Path) -> None:
    edit_weights(folder, dict.clear)
    with pytest.raises(EncoderError, match=r"missing: embeddings.patch_embedding.weight, .* and \d+ more$"):
        OneVisionEncoder.from_pretrained(folder)


def test_folders_without_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"absent: no such folder, and not a hub id"):
        OneVisionEncoder.from_pretrained(tmp_path / "absent")
    with pytest.raises(EncoderError, match=r"config.json: no such file"):
        OneVisionEncoder.from_pretrained(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not it")
    with pytest.raises(EncoderError, match=r"model.safetensors: cannot be read \(.*\); get the file again"):
        OneVisionEncoder.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"holds neither model.safetensors nor model.safetensors.index.json"):
        OneVisionEncoder.from_pretrained(folder)


def test_a_hub_id_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub: Any = ModuleType("huggingface_hub")
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        if name == "owner/absent":
            raise RuntimeError("404\nNot Found")
        return str(folder)

    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert OneVisionEncoder.from_pretrained("owner/name-1.0", revision="main").config.hidden_size == 64
    assert asked == [("owner/name-1.0", "main")]
    with pytest.raises(EncoderError, match=r"^owner/absent: no such folder, and the hub does not .*\(404 Not Found\)$"):
        OneVisionEncoder.from_pretrained("owner/absent")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EncoderError, match="pip install huggingface_hub"):
        OneVisionEncoder.from_pretrained("owner/name")


@pytest.mark.slow
def test_presets_are_the_sizes_of_vision_transformers() -> None:
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in OneVisionEncoder(EncoderConfig.preset(name)).parameters()) / 1e6
            for name in ("tiny", "small", "base", "large", "huge")
        }
    assert {name: round(size, 1) for name, size in sizes.items()} == {
        "tiny": 5.9, "small": 23.3, "base": 92.6, "large": 315.5, "huge": 650.1
    }  # fmt: skip
    with pytest.raises(EncoderError, match=r"preset \('giant'\) must be one of tiny, small, base, large, huge"):
        EncoderConfig.preset("giant")


def test_the_published_configuration_is_the_large_preset_and_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | {"new_key": [1]}))
    config = EncoderConfig.read(tmp_path / "config.json")
    assert dataclasses.replace(config, other={}) == EncoderConfig.preset("large")
    config.write(tmp_path / "config.json")
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {name: value for name, value in PUBLISHED.items() if name != "auto_map"} | {"new_key": [1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, r"model_type \('vit'\) must be 'onevision_encoder'"),
        ({"hidden_size": 1000}, r"hidden_size \(1000\) must be a multiple of 32 for each .* \(16\)"),
        ({"hidden_size": None}, r"hidden_size \(None\) must be a whole number > 0"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers \(0\) must be a whole number > 0"),
        ({"patch_size": 14.0}, r"patch_size \(14.0\) must be a whole number > 0"),
        ({"rope_temporal_size": True}, r"rope_temporal_size \(True\) must be a whole number > 0"),
        ({"num_channels": 1}, r"num_channels \(1\) must be 3"),
        ({"hidden_act": "relu"}, r"hidden_act \('relu'\) must be one of gelu, gelu_pytorch_tanh"),
        ({"layer_norm_type": "batch"}, r"layer_norm_type \('batch'\) must be one of layer_norm, rms_norm"),
        ({"use_head": "yes"}, r"use_head \('yes'\) must be one of True, False"),
        ({"layer_norm_eps": "1e-6"}, r"layer_norm_eps \('1e-6'\) must be a number >= 0"),
        ({"attention_dropout": 1.0}, r"attention_dropout \(1.0\) must be < 1"),
        ({"rope_theta": 0}, r"rope_theta \(0\) must be > 0"),
    ],
)
def test_values_that_cannot_work(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PUBLISHED | change))
    with pytest.raises(EncoderError, match=f"^{path}: {message}"):
        EncoderConfig.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as JSON"), ("[]", "must hold a JSON object"), ("{}", "hidden_size is not given")],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(EncoderError, match=f"^{path}: {message}"):
        EncoderConfig.read(path)
