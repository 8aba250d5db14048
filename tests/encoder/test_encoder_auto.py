"""The encoder under transformers' Auto classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from codecsieve.encoder import OneVisionEncoder
from codecsieve.errors import EncoderError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(autouse=True)
def registered() -> None:
    from codecsieve.encoder.auto import register

    register()
    register()


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


def test_published_folders_name_code_that_is_not_needed(encoder: OneVisionEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["auto_map"] = {"AutoConfig": "absent.OneVisionEncoderConfig", "AutoModel": "absent.OneVisionEncoderModel"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert_equal(transformers.AutoModel.from_pretrained(tmp_path), encoder)


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
