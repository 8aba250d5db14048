"""What the encoder makes of tokens, whatever its weights are."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from codecsieve.encoder import EncoderConfig, OneVisionEncoder, normalise, pack_clips, pad_clips, tokens_of_frames
from codecsieve.encoder.rope import rotate, rotation
from codecsieve.errors import EncoderError

Clips = list[tuple[Tensor, Tensor]]


def encode(model: OneVisionEncoder, clip: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Tokens [K, C] and pooled [C] of one clip by itself."""
    with torch.no_grad():
        output = model(patches=clip[0][None], positions=clip[1][None])
    return output.last_hidden_state[0], output.pooler_output[0]


def assert_same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_the_two_channels_of_a_pair_turn_by_different_angles() -> None:
    size, theta, position = 64, 10000.0, (5.0, 2.0, 11.0)
    frequencies = [p * theta ** (-i / n) for p, n in zip(position, (8, 12, 12), strict=True) for i in range(n)]
    angles = frequencies + frequencies
    x = torch.randn(size, generator=torch.Generator().manual_seed(0))
    wanted = []
    for i in range(0, size, 2):
        even, odd, first, second = x[i].item(), x[i + 1].item(), angles[i], angles[i + 1]
        wanted.append(even * math.cos(first) - odd * math.sin(first))
        wanted.append(odd * math.cos(second) + even * math.sin(second))
    found = rotate(x.view(1, 1, 1, size), *rotation(torch.tensor([[position]]), size, theta))
    assert_same(found.flatten(), torch.tensor(wanted))


def test_frames_with_indices_are_the_same_as_sparse_tokens(encoder: OneVisionEncoder) -> None:
    frames = torch.randn(2, 3, 6, 16, 20)
    indices = torch.stack([torch.randperm(6 * 20)[:30], torch.randperm(6 * 20)[:30]])
    patches = torch.stack(
        [
            torch.stack([frames[b, :, i // 20, i % 20 // 5 * 4 :, i % 5 * 4 :][:, :4, :4] for i in indices[b].tolist()])
            for b in range(2)
        ]
    )
    positions = torch.stack((indices // 20, indices % 20 // 5, indices % 5), dim=-1)
    with torch.no_grad():
        dense = encoder(frames, visible_indices=indices)
        sparse = encoder(patches=patches, positions=positions)
    assert_same(dense.last_hidden_state, sparse.last_hidden_state)
    assert_same(dense.pooler_output, sparse.pooler_output)


def test_frames_with_positions_are_the_same_as_frames_at_slots(encoder: OneVisionEncoder) -> None:
    frames = torch.randn(2, 3, 3, 16, 16)
    patches, positions = tokens_of_frames(frames.transpose(1, 2), frame_ids=[0, 31, 63], patch_size=4)
    indices = (torch.tensor([0, 31, 63])[:, None] * 16 + torch.arange(16)).view(1, -1)
    with torch.no_grad():
        wanted = encoder(patches=patches, positions=positions).last_hidden_state
        assert_same(encoder(frames, patch_positions=positions).last_hidden_state, wanted)
        assert_same(encoder(frames, visible_indices=indices).last_hidden_state, wanted)
        assert (encoder(frames).last_hidden_state - wanted).abs().max() > 1e-3


def test_a_picture_is_a_frame_at_slot_0(encoder: OneVisionEncoder) -> None:
    picture = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert_same(encoder(picture).pooler_output, encoder(picture[:, :, None]).pooler_output)


def test_permuted_tokens_give_permuted_output(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions = clips[1]
    order = torch.randperm(len(patches))
    hidden, pooled = encode(encoder, (patches, positions))
    permuted_hidden, permuted_pooled = encode(encoder, (patches[order], positions[order]))
    assert_same(permuted_hidden, hidden[order])
    assert_same(permuted_pooled, pooled)


def test_where_a_patch_is_matters_in_time_height_and_width(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions = clips[1]
    _, pooled = encode(encoder, (patches, positions))
    for axis in range(3):
        moved = positions.clone()
        moved[0, axis] += 3
        assert (encode(encoder, (patches, moved))[1] - pooled).abs().max() > 1e-4


def test_padding_changes_nothing_whatever_stands_there(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions, mask = pad_clips(clips)
    positions = positions.float()
    patches[~mask], positions[~mask] = math.nan, math.nan
    with torch.no_grad():
        output = encoder(patches=patches, positions=positions, mask=mask)
    for i, clip in enumerate(clips):
        hidden, pooled = encode(encoder, clip)
        assert_same(output.last_hidden_state[i, mask[i]], hidden)
        assert_same(output.pooler_output[i], pooled)
    assert not output.last_hidden_state[~mask].any()


def test_clips_end_to_end_are_the_same_as_one_by_one(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions, ends = pack_clips(clips)
    with torch.no_grad():
        output = encoder(patches=patches, positions=positions, cu_seqlens=ends)
    for i, clip in enumerate(clips):
        hidden, pooled = encode(encoder, clip)
        assert_same(output.last_hidden_state[ends[i] : ends[i + 1]], hidden)
        assert_same(output.pooler_output[i], pooled)


def test_positions_of_a_cache_are_taken_as_they_are(encoder: OneVisionEncoder, clips: Clips) -> None:
    small = [(patches, positions.to(torch.uint16)) for patches, positions in clips]
    patches, positions, mask = pad_clips(small)
    packed_patches, packed_positions, ends = pack_clips(small)
    with torch.no_grad():
        padded = encoder(patches=patches, positions=positions, mask=mask)
        packed = encoder(patches=packed_patches, positions=packed_positions, cu_seqlens=ends)
    wanted = torch.stack([encode(encoder, clip)[1] for clip in clips])
    assert_same(padded.pooler_output, wanted)
    assert_same(packed.pooler_output, wanted)


def test_colours_are_normalised_by_the_model(encoder: OneVisionEncoder) -> None:
    colours = torch.randint(0, 256, (1, 7, 3, 4, 4), dtype=torch.uint8)
    positions = torch.randint(0, 8, (1, 7, 3))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    by_hand = (colours / 255 - mean) / deviation
    torch.testing.assert_close(normalise(colours), by_hand, rtol=0, atol=1e-6)
    with torch.no_grad():
        found = encoder(patches=colours, positions=positions).pooler_output
        assert_same(found, encoder(patches=by_hand, positions=positions).pooler_output)


@pytest.mark.slow
def test_it_compiles_as_one_graph(encoder: OneVisionEncoder, clips: Clips) -> None:
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    patches, positions = clips[1]
    colours = torch.randint(0, 256, patches.shape, dtype=torch.uint8)
    with torch.no_grad():
        for tokens in (patches, colours):
            found = compiled(patches=tokens[None], positions=positions[None])
            hidden, pooled = encode(encoder, (tokens, positions))
            assert_same(found.last_hidden_state[0], hidden)
            assert_same(found.pooler_output[0], pooled)


@pytest.mark.slow
def test_it_compiles_as_one_graph_with_padding_and_gradients(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions, mask = pad_clips(clips)
    gradients = []
    for model in (encoder, torch.compile(encoder, fullgraph=True, backend="aot_eager")):
        encoder.zero_grad()
        model(patches=patches, positions=positions, mask=mask).pooler_output.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def test_checkpointing_gives_the_same_gradients(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions, ends = pack_clips(clips)
    kept, gradients = [], []
    for enable in (False, True):
        encoder.zero_grad()
        encoder.set_gradient_checkpointing(enable)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: (sizes.append(x.numel()), x)[1], lambda x: x
        ):
            output = encoder(patches=patches, positions=positions, cu_seqlens=ends)
        output.pooler_output.square().sum().backward()
        kept.append(sum(sizes))
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)
    assert kept[1] < kept[0]


def test_bfloat16_is_close(encoder: OneVisionEncoder, clips: Clips) -> None:
    patches, positions, ends = pack_clips(clips)
    with torch.no_grad():
        wanted = encoder(patches=patches, positions=positions, cu_seqlens=ends)
        found = encoder.bfloat16()(patches=patches, positions=positions, cu_seqlens=ends)
    assert found.last_hidden_state.dtype == found.pooler_output.dtype == torch.bfloat16
    for short, exact in (
        (found.last_hidden_state, wanted.last_hidden_state),
        (found.pooler_output, wanted.pooler_output),
    ):
        assert (short.float() - exact).norm() < 0.03 * exact.norm()


def test_dropout_of_attention_is_for_training_only(config: EncoderConfig, clips: Clips) -> None:
    model = OneVisionEncoder(dataclasses.replace(config, attention_dropout=0.5)).eval()
    patches, positions = clips[1][0][None], clips[1][1][None]
    assert torch.equal(*(model(patches=patches, positions=positions).last_hidden_state for _ in range(2)))
    model.train()
    assert not torch.equal(*(model(patches=patches, positions=positions).last_hidden_state for _ in range(2)))


@pytest.mark.parametrize("change", [{"layer_norm_type": "rms_norm"}, {"hidden_act": "gelu_pytorch_tanh"}])
def test_other_norms_and_activations(
    config: EncoderConfig, encoder: OneVisionEncoder, clips: Clips, change: dict[str, str]
) -> None:
    model = OneVisionEncoder(dataclasses.replace(config, **change)).eval()
    own = model.state_dict()
    model.load_state_dict({name: value for name, value in encoder.state_dict().items() if name in own})
    _, pooled = encode(model, clips[1])
    assert pooled.isfinite().all()
    assert (pooled - encode(encoder, clips[1])[1]).abs().max() > 1e-6
    rms = any(name == "layernorm_pre.bias" for name in own)
    assert rms == (change.get("layer_norm_type") != "rms_norm")


def test_without_a_head_nothing_is_pooled(config: EncoderConfig, clips: Clips) -> None:
    model = OneVisionEncoder(dataclasses.replace(config, use_head=False))
    output = model(patches=clips[1][0][None], positions=clips[1][1][None])
    assert output.pooler_output is None
    assert output.last_hidden_state.shape == (1, 12, 64)


def tokens(k: int = 5, **others: Tensor) -> dict[str, Tensor]:
    return {"patches": torch.zeros(2, k, 3, 4, 4), "positions": torch.zeros(2, k, 3), **others}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give patches and positions, or pixel_values"),
        ({"patches": torch.zeros(2, 5, 3, 4, 4)}, "give patches and positions, or pixel_values"),
        (tokens(patches=torch.zeros(2, 5, 3, 6, 6)), r"patches \(\[2, 5, 3, 6, 6\]\) must be \[B, K, 3, 4, 4\]"),
        (tokens(positions=torch.zeros(2, 4, 3)), r"positions \(\[2, 4, 3\]\) must be \[2, 5, 3\]"),
        (tokens(mask=torch.ones(2, 5)), r"mask \(torch.float32 \[2, 5\]\) must be torch.bool \[2, 5\]"),
        (tokens(visible_indices=torch.zeros(2, 5)), "visible_indices and patch_positions go with pixel_values"),
        (tokens(pixel_values=torch.zeros(2, 3, 8, 8)), "pixel_values go without patches"),
        (
            tokens(cu_seqlens=torch.tensor([0, 5]), mask=torch.ones(2, 5, dtype=torch.bool)),
            "mask and cu_seqlens say the same",
        ),
        *(
            (
                {"patches": torch.zeros(5, 3, 4, 4), "positions": torch.zeros(5, 3), "cu_seqlens": torch.tensor(ends)},
                "must rise from 0 to 5, the tokens",
            )
            for ends in ([0, 4], [1, 5], [0, 3, 3, 5], [0, 6, 5], [0])
        ),
    ],
)
def test_arguments_that_do_not_fit(encoder: OneVisionEncoder, arguments: dict[str, Tensor], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        encoder(**arguments)


@pytest.mark.slow
def test_transformers_is_not_imported() -> None:
    code = (
        "import sys, codecsieve.encoder; sys.exit(any(m in sys.modules for m in ('transformers', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
