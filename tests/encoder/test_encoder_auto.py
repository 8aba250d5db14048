"""The encoder under transformers' Auto classes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codecsieve.encoder import EncoderConfig, OneVisionEncoder, normalise, pack_clips, tokens_of_frames
from codecsieve.errors import EncoderError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


auto = pytest.importorskip("codecsieve.encoder.auto")  # importing it is what makes the classes known


def assert_equal(found: torch.nn.Module, wanted: torch.nn.Module) -> None:
    weights = wanted.state_dict()
    assert list(found.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[name]) for name, value in found.state_dict().items())
    picture = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        outputs = found(picture), wanted(picture)
    torch.testing.assert_close(outputs[0].last_hidden_state, outputs[1].last_hidden_state, rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs[0].pooler_output, outputs[1].pooler_output, rtol=0, atol=1e-5)


def test_each_loads_what_the_other_saves(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "ours")
    model = transformers.AutoModel.from_pretrained(tmp_path / "ours")
    assert_equal(model, encoder)
    assert not list(model.buffers()), "what is not in a checkpoint is lost on the meta device"
    model.save_pretrained(tmp_path / "theirs")
    assert_equal(OneVisionEncoder.from_pretrained(tmp_path / "theirs"), encoder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    assert_equal(OneVisionEncoder.from_pretrained(tmp_path / "shards"), encoder)


def test_published_folders_name_code_that_is_neither_needed_nor_run(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "published")
    values = json.loads((tmp_path / "published" / "config.json").read_text())
    values["auto_map"] = {"AutoConfig": "theirs.OneVisionEncoderConfig", "AutoModel": "theirs.OneVisionEncoderModel"}
    (tmp_path / "published" / "config.json").write_text(json.dumps(values))
    (tmp_path / "published" / "theirs.py").write_text("raise AssertionError('this must not be run')\n")
    for trust in (None, False, True):
        model = transformers.AutoModel.from_pretrained(tmp_path / "published", trust_remote_code=trust)
        assert_equal(model, encoder)
    model.save_pretrained(tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_untrained_from_a_configuration(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    model = transformers.AutoModel.from_config(config)
    assert list(model.state_dict()) == list(encoder.state_dict())
    assert 0.01 < model.head.probe.std() < 0.03
    assert 0.01 < model.embeddings.patch_embedding.weight.std() < 0.03
    config.hidden_size = 60
    with pytest.raises(EncoderError, match=r"hidden_size \(60\) must be a multiple of 32"):
        transformers.AutoModel.from_config(config)


def test_checkpointing_is_switched_as_in_any_model(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    model = transformers.AutoModel.from_pretrained(tmp_path)
    picture = torch.randn(2, 3, 16, 16)
    gradients = []
    for switch in (model.gradient_checkpointing_disable, model.gradient_checkpointing_enable):
        switch()
        model.zero_grad()
        model(picture).pooler_output.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert model.encoder.gradient_checkpointing
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)


def test_registering_again_does_no_harm() -> None:
    auto.register()
    assert transformers.AutoConfig.for_model("onevision_encoder").hidden_size == 1024


def test_the_classes_by_themselves(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    model = auto.OneVisionEncoderModel.from_pretrained(tmp_path, trust_remote_code=True, attn_implementation="sdpa")
    assert isinstance(model.config, auto.OneVisionEncoderConfig)
    assert_equal(model, encoder)


# Outputs


@pytest.fixture
def folder(encoder: OneVisionEncoder, tmp_path: Path) -> Path:
    encoder.save_pretrained(tmp_path)
    return tmp_path


def encode(model: Any, **arguments: Any) -> Any:
    with torch.no_grad():
        return model(torch.ones(2, 3, 16, 16).cumsum(-1), **arguments)


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_attention_is_chosen_as_in_any_model(encoder: OneVisionEncoder, folder: Path, name: str) -> None:
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation=name)
    assert model.attn_implementation == model.config._attn_implementation == name
    assert_equal(model, encoder)
    model.set_attn_implementation("eager")
    assert model.attn_implementation == "eager"
    assert_equal(model, encoder)


def test_attention_that_this_encoder_does_not_have(folder: Path) -> None:
    for name in ("flex_attention", "flash_attention_4"):
        with pytest.raises(EncoderError, match=r"must be one of sdpa, flash_attention_2, eager"):
            transformers.AutoModel.from_pretrained(folder, attn_implementation=name)
    model = transformers.AutoModel.from_pretrained(folder)
    model.config._attn_implementation = "another"
    with pytest.raises(EncoderError, match=r"attn_implementation \('another'\) must be one of"):
        encode(model)


def test_where_flash_attention_cannot_run_one_line_says_so(
    encoder: OneVisionEncoder, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="flash_attention_2")
    assert model.attn_implementation == "sdpa"
    assert_equal(model, encoder)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.getMessage().startswith("flash_attention_2 cannot run: there is no CUDA device; sdpa")


def test_hidden_states_and_attentions_by_argument_and_by_configuration(encoder: OneVisionEncoder, folder: Path) -> None:
    encoder.set_attn_implementation("eager")
    wanted = encode(encoder, output_hidden_states=True, output_attentions=True)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager")
    by_argument = encode(model, output_hidden_states=True, output_attentions=True)
    chatty = transformers.AutoModel.from_pretrained(
        folder, attn_implementation="eager", output_hidden_states=True, output_attentions=True
    )
    for found in (by_argument, encode(chatty)):
        assert list(found) == ["last_hidden_state", "pooler_output", "hidden_states", "attentions"]
        torch.testing.assert_close(found.hidden_states, wanted.hidden_states, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.attentions, wanted.attentions, rtol=0, atol=1e-5)
    for silent in (encode(model), encode(chatty, output_hidden_states=False, output_attentions=False)):
        assert list(silent) == ["last_hidden_state", "pooler_output"]


def test_attentions_need_eager(folder: Path) -> None:
    model = transformers.AutoModel.from_pretrained(folder)
    with pytest.raises(EncoderError, match=r"output_attentions needs attn_implementation 'eager'; it is 'sdpa'"):
        encode(model, output_attentions=True)


def test_a_tuple_by_argument_and_by_configuration(folder: Path) -> None:
    model = transformers.AutoModel.from_pretrained(folder)
    wanted = encode(model, output_hidden_states=True)
    terse = transformers.AutoModel.from_pretrained(folder, return_dict=False)
    for found in (
        encode(model, output_hidden_states=True, return_dict=False),
        encode(terse, output_hidden_states=True),
    ):
        assert isinstance(found, tuple)
        torch.testing.assert_close(found, (wanted.last_hidden_state, wanted.pooler_output, wanted.hidden_states))
    assert encode(terse, return_dict=True).keys() == {"last_hidden_state", "pooler_output"}


def test_clips_end_to_end(
    encoder: OneVisionEncoder, folder: Path, clips: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    model = transformers.AutoModel.from_pretrained(folder)
    patches, positions, ends = pack_clips(clips)
    with torch.no_grad():
        found, wanted = (m(patches=patches, positions=positions, cu_seqlens=ends) for m in (model, encoder))
    torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooler_output, wanted.pooler_output, rtol=0, atol=1e-5)


# Pictures


def saved_by(saver: str, encoder: OneVisionEncoder, folder: Path) -> Path:
    encoder.save_pretrained(folder / "ours")
    if saver == "ours":
        return folder / "ours"
    transformers.AutoModel.from_pretrained(folder / "ours").save_pretrained(folder / "theirs")
    return folder / "theirs"


@pytest.mark.parametrize("saver", ["ours", "theirs"])
def test_a_saved_folder_says_how_pictures_are_prepared(encoder: OneVisionEncoder, tmp_path: Path, saver: str) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(saved_by(saver, encoder, tmp_path))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    found = processor(images=picture, return_tensors="pt")["pixel_values"]
    by_hand = picture.resize((24, 16), Image.Resampling.BICUBIC).crop((4, 0, 20, 16))
    wanted = normalise(torch.from_numpy(np.array(by_hand)).permute(2, 0, 1))[None]
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)  # a level of 255 is 0.015


def test_a_processor_of_ones_own_is_left_in_its_place(encoder: OneVisionEncoder, folder: Path) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, do_center_crop=False)
    processor.save_pretrained(folder)
    encoder.save_pretrained(folder)
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    assert not transformers.AutoImageProcessor.from_pretrained(folder).do_center_crop


# The published quick start, as its users type it

QUICK_START = """
from transformers import AutoModel, AutoImageProcessor
from PIL import Image
import torch

model = AutoModel.from_pretrained(
    "lmms-lab-encoder/onevision-encoder-large",
    trust_remote_code=True,
    attn_implementation="flash_attention_2"
).to("cuda").eval()

preprocessor = AutoImageProcessor.from_pretrained(
    "lmms-lab-encoder/onevision-encoder-large",
    trust_remote_code=True
)

image = Image.open("path/to/your/image.jpg")
pixel_values = preprocessor(images=image, return_tensors="pt")["pixel_values"].to("cuda")
with torch.no_grad():
    outputs = model(pixel_values)
image_outputs = outputs

num_frames, frame_tokens, target_frames = 16, 256, 64
frames = [Image.open(f"path/to/frame_{i}.jpg") for i in range(num_frames)]
video_pixel_values = preprocessor(images=frames, return_tensors="pt")["pixel_values"]
video = video_pixel_values.unsqueeze(0).permute(0, 2, 1, 3, 4).to("cuda")
frame_pos = torch.linspace(0, target_frames - 1, num_frames).long().cuda()
visible_indices = (frame_pos.unsqueeze(-1) * frame_tokens + torch.arange(frame_tokens).cuda()).reshape(1, -1)
with torch.no_grad():
    outputs = model(video, visible_indices=visible_indices)
"""


def run_quick_start(folder: Path, frame_tokens: int, pictures: Path) -> dict[str, Any]:
    """Its names after it has run, with a folder for the hub's id, on a processor."""
    pictures.mkdir()
    random = np.random.default_rng(0)
    for name in ("your/image", *(f"frame_{i}" for i in range(16))):
        (pictures / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (64, 90, 3), dtype=np.uint8)).save(pictures / f"{name}.jpg")
    text = QUICK_START.replace("lmms-lab-encoder/onevision-encoder-large", str(folder)).replace(
        "path/to", str(pictures)
    )
    text = text.replace('"cuda"', '"cpu"').replace(".cuda()", "").replace("16, 256, 64", f"16, {frame_tokens}, 64")
    names: dict[str, Any] = {}
    exec(text, names)
    return names


def assert_quick_start(names: dict[str, Any], encoder: OneVisionEncoder) -> None:
    frames = names["video"].transpose(1, 2)
    patches, positions = tokens_of_frames(frames, torch.linspace(0, 63, 16).long())
    with torch.no_grad():
        wanted = encoder(names["pixel_values"]), encoder(patches=patches, positions=positions)
    for found, own in zip((names["image_outputs"], names["outputs"]), wanted, strict=True):
        assert found.last_hidden_state.shape[:2] == (1, own.last_hidden_state.shape[1])
        torch.testing.assert_close(found.last_hidden_state, own.last_hidden_state, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.pooler_output, own.pooler_output, rtol=0, atol=1e-5)


def test_the_quick_start_runs_as_published(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = OneVisionEncoder(EncoderConfig(64, 96, 1, 1, image_size=224)).eval()
    encoder.save_pretrained(tmp_path / "saved")
    assert_quick_start(run_quick_start(tmp_path / "saved", 256, tmp_path / "pictures"), encoder)


def test_the_quick_start_runs_on_weights_of_the_published_code(shared: Path, tmp_path: Path) -> None:
    encoder = OneVisionEncoder.from_pretrained(shared / "golden" / "encoder_tiny")
    encoder.save_pretrained(tmp_path / "saved")  # that folder does not say how pictures are prepared
    assert_quick_start(run_quick_start(tmp_path / "saved", 16, tmp_path / "pictures"), encoder)


@pytest.mark.slow
def test_one_import_makes_the_classes_known(folder: Path) -> None:
    code = (
        "import codecsieve.encoder.auto; from transformers import AutoModel; "
        f"print(type(AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True)).__name__)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "OneVisionEncoderModel\n"
