"""Attention, whatever computes it: the same numbers, each clip by itself, and a word where it is not what was asked."""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codecsieve.encoder import EncoderConfig, EncoderOutput, OneVisionEncoder, attention, pack_clips, pad_clips
from codecsieve.encoder.attention import Attend, Pack, Reach, kernel_refusal
from codecsieve.errors import EncoderError

Clips = list[tuple[Tensor, Tensor]]
LAYERS = 2


def inputs(clips: Clips, form: str) -> dict[str, Tensor]:
    if form == "one":
        return {"patches": clips[1][0][None], "positions": clips[1][1][None]}
    names = ("mask", pad_clips) if form == "padded" else ("cu_seqlens", pack_clips)
    patches, positions, third = names[1](clips)
    return {"patches": patches, "positions": positions, names[0]: third}


def encode(model: OneVisionEncoder, tokens: dict[str, Tensor], **outputs: bool) -> EncoderOutput:
    with torch.no_grad():
        return model(**tokens, **outputs)


def assert_same(found: EncoderOutput, wanted: EncoderOutput) -> None:
    torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state, rtol=0, atol=2e-5)
    torch.testing.assert_close(found.pooler_output, wanted.pooler_output, rtol=0, atol=2e-5)


@pytest.mark.parametrize("made", [Attend, Reach, Pack])
def test_what_a_pass_calls_is_told_apart_before_it_has_its_fields(made: type) -> None:
    """torch.compile of torch 2.11 puts what it traces into a set while it is still empty."""
    assert len({made.__new__(made), made.__new__(made)}) == 2


@pytest.mark.parametrize("form", ["one", "padded", "packed"])
def test_eager_is_the_same_as_torchs(encoder: OneVisionEncoder, clips: Clips, form: str) -> None:
    tokens = inputs(clips, form)
    wanted = encode(encoder, tokens)
    encoder.set_attn_implementation("eager")
    assert_same(encode(encoder, tokens), wanted)


def test_gradients_are_the_same_too(encoder: OneVisionEncoder, clips: Clips) -> None:
    gradients = []
    for name in ("sdpa", "eager"):
        encoder.set_attn_implementation(name)
        encoder.zero_grad()
        encoder(**inputs(clips, "packed")).pooler_output.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["one", "padded", "packed"])
def test_hidden_states_lead_from_the_embedding_to_the_last_norm(
    encoder: OneVisionEncoder, clips: Clips, form: str
) -> None:
    tokens = inputs(clips, form)
    output = encode(encoder, tokens, output_hidden_states=True)
    assert output.attentions is None
    assert len(output.hidden_states) == 1 + LAYERS
    assert all(state.shape == output.last_hidden_state.shape for state in output.hidden_states)
    real = tokens["mask"] if form == "padded" else ...
    with torch.no_grad():
        first = encoder.layernorm_pre(
            encoder.embeddings(tokens["patches"][None] if form == "packed" else tokens["patches"])
        )
        last = encoder.layernorm_post(output.hidden_states[-1])
    first = first[0] if form == "packed" else first
    torch.testing.assert_close(output.hidden_states[0][real], first[real], rtol=0, atol=1e-6)
    torch.testing.assert_close(last[real], output.last_hidden_state[real], rtol=0, atol=1e-6)
    assert encode(encoder, tokens).hidden_states is None


@pytest.mark.parametrize("form", ["one", "padded", "packed"])
def test_weights_say_what_each_token_took_from_which(encoder: OneVisionEncoder, clips: Clips, form: str) -> None:
    encoder.set_attn_implementation("eager")
    tokens = inputs(clips, form)
    values: list[Tensor] = []
    encoder.encoder.layers[0].self_attn.v_proj.register_forward_hook(lambda *call: values.append(call[2]))
    attended: list[Tensor] = []
    encoder.encoder.layers[0].self_attn.out_proj.register_forward_pre_hook(lambda _, given: attended.append(given[0]))
    output = encode(encoder, tokens, output_attentions=True)
    assert output.hidden_states is None
    assert len(output.attentions) == LAYERS
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    weights = output.attentions[0]
    by_head = values[0].unflatten(-1, (2, 32)).transpose(1, 2)
    torch.testing.assert_close((weights @ by_head).transpose(1, 2).flatten(2), attended[0], rtol=0, atol=1e-5)
    if form == "padded":
        assert not weights[~tokens["mask"][:, None, None].expand_as(weights)].any()
    if form == "packed":
        clip = torch.repeat_interleave(torch.arange(3), tokens["cu_seqlens"].diff())
        assert weights.shape == (2, 18, 18)
        assert not weights[:, clip[:, None] != clip].any()


def test_weights_are_refused_where_they_are_not_kept(encoder: OneVisionEncoder, clips: Clips) -> None:
    with pytest.raises(EncoderError, match=r"output_attentions needs attn_implementation 'eager'; it is 'sdpa'"):
        encoder(**inputs(clips, "one"), output_attentions=True)


def test_a_name_that_there_is_not(config: EncoderConfig) -> None:
    with pytest.raises(EncoderError, match=r"\('flash'\) must be one of sdpa, flash_attention_2, eager"):
        OneVisionEncoder(config, attn_implementation="flash")


# Clips in one call


def packed(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Pack]:
    """Queries, keys and values [1, 2, N, 8], and where clips of such lengths lie in them."""
    q, k, v = (torch.randn(1, 2, sum(lengths), 8) for _ in range(3))
    ends = torch.tensor((0, *lengths)).cumsum(0, dtype=torch.int32)
    return q, k, v, Pack(lengths, ends)


def clip_by_clip(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Attention of every token, or of one query a clip, by hand."""
    outputs, start = [], 0
    for number, length in enumerate(lengths):
        own = slice(start, start + length)
        queries = q[:, :, own] if q.shape[2] == k.shape[2] else q[:, :, number : number + 1]
        weights = (queries @ k[:, :, own].transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        outputs.append(weights @ v[:, :, own])
        start += length
    return torch.cat(outputs, dim=2)


@pytest.mark.parametrize(
    ("lengths", "calls", "pooling_calls"),
    [
        ((5, 12, 1), 1, 1),
        ((7,), 1, 1),
        ((1, 1, 1), 1, 1),
        ((3, 40, 3, 80), 4, 1),  # a mask of 126 by 126 takes longer than four calls
        ((1, 2000), 2, 2),
    ],
)
def test_small_clips_are_one_call_and_large_ones_a_call_each(
    lengths: tuple[int, ...], calls: int, pooling_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    torchs = F.scaled_dot_product_attention

    def count(*arguments: Any, **options: Any) -> Tensor:
        counted.append(1)
        return torchs(*arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", count)
    q, k, v, pack = packed(lengths)
    for queries, wanted_calls in ((q, calls), (q[:, :, : len(lengths)], pooling_calls)):
        counted.clear()
        found, _ = Attend(Reach(pack=pack))(queries, k, v)
        assert len(counted) == wanted_calls
        torch.testing.assert_close(found, clip_by_clip(queries, k, v, lengths), rtol=0, atol=1e-5)


class Kernel:
    """What flash kernels for different lengths compute, by hand, and how often they were called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, query_ends: Tensor, ends: Tensor, most_q: int, most_k: int, **_: Any
    ) -> Tensor:
        self.calls += 1
        assert query_ends.dtype == ends.dtype == torch.int32
        assert (most_q, most_k) == (query_ends.diff().max(), ends.diff().max())
        outputs = []
        for clip in range(len(ends) - 1):
            own = q[query_ends[clip] : query_ends[clip + 1]]
            keys, values = (x[ends[clip] : ends[clip + 1]] for x in (k, v))
            weights = torch.einsum("qhd,khd->hqk", own, keys).div(own.shape[-1] ** 0.5).softmax(-1)
            outputs.append(torch.einsum("hqk,khd->qhd", weights, values))
        return torch.cat(outputs)


@pytest.fixture
def takes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash kernels that stand in for the hardware's take what they are given."""
    monkeypatch.setattr(attention, "kernel_refusal", lambda *_: None)
    monkeypatch.setattr("codecsieve.encoder.model.kernel_refusal", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def flash_attn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A flash-attn package that computes on a processor."""
    package: Any = ModuleType("flash_attn")
    package.flash_attn_varlen_func = Kernel()
    package.calls = []

    def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, dropout_p: float) -> Tensor:
        package.calls.append(dropout_p)
        return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)

    package.flash_attn_func = flash_attn_func
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    return package


@pytest.mark.usefixtures("takes_anything")
def test_a_pack_is_one_call_of_torchs_kernel_each_time(
    encoder: OneVisionEncoder, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [encode(encoder, {"patches": patches[None], "positions": places[None]}) for patches, places in clips]
    kernel = Kernel()
    monkeypatch.setattr(attention, "varlen_attn", kernel)
    output = encode(encoder, inputs(clips, "packed"))
    assert kernel.calls == LAYERS + 1  # the head's is one, too
    torch.testing.assert_close(
        output.last_hidden_state, torch.cat([clip.last_hidden_state[0] for clip in wanted]), rtol=0, atol=2e-5
    )
    torch.testing.assert_close(
        output.pooler_output, torch.cat([clip.pooler_output for clip in wanted]), rtol=0, atol=2e-5
    )


@pytest.mark.usefixtures("takes_anything")
@pytest.mark.parametrize("form", ["one", "packed"])
def test_flash_attention_is_called_where_it_can_run(
    encoder: OneVisionEncoder, clips: Clips, flash_attn: Any, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = inputs(clips, form)
    encoder.set_attn_implementation("eager")
    wanted = encode(encoder, tokens)
    encoder.set_attn_implementation("flash_attention_2")
    assert encoder.attn_implementation == "flash_attention_2"
    assert_same(encode(encoder, tokens), wanted)
    assert (len(flash_attn.calls), flash_attn.flash_attn_varlen_func.calls) == (
        (LAYERS + 1, 0) if form == "one" else (0, LAYERS + 1)
    )
    assert not caplog.records


@pytest.mark.usefixtures("takes_anything", "flash_attn")
def test_padding_has_torchs_attention_and_one_line_says_so(
    encoder: OneVisionEncoder, clips: Clips, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = inputs(clips, "padded")
    wanted = encode(encoder, tokens)
    encoder.set_attn_implementation("flash_attention_2")
    for _ in range(2):
        assert_same(encode(encoder, tokens), wanted)
    assert [record.getMessage() for record in caplog.records] == [
        "flash_attention_2 cannot run: it takes no mask; give clips of different length end to end (pack_clips); sdpa, "
        "torch's own attention, is used"
    ]


def test_without_a_cuda_device_one_line_says_so(
    config: EncoderConfig, clips: Clips, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = OneVisionEncoder(config, attn_implementation="flash_attention_2")
    assert model.attn_implementation == "sdpa"
    for _ in range(2):
        encode(model, inputs(clips, "one"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "flash_attention_2 cannot run: there is no CUDA device; sdpa, torch's own attention, is used"
    )


@pytest.mark.usefixtures("takes_anything")
def test_without_the_package_one_line_says_so(
    config: EncoderConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert OneVisionEncoder(config, attn_implementation="flash_attention_2").attn_implementation == "sdpa"
    (record,) = caplog.records
    assert "flash-attn cannot be imported" in record.getMessage()


def test_tokens_that_stay_on_the_processor_are_told_of_once(
    encoder: OneVisionEncoder,
    clips: Clips,
    flash_attn: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    tokens = inputs(clips, "packed")
    wanted = encode(encoder, tokens)
    encoder.set_attn_implementation("flash_attention_2")
    for _ in range(2):
        assert_same(encode(encoder, tokens), wanted)
    (record,) = caplog.records
    assert "the tokens are on cpu" in record.getMessage()
    assert flash_attn.flash_attn_varlen_func.calls == 0


@pytest.mark.parametrize(
    ("device", "dtype", "head", "capability", "reason"),
    [
        ("cpu", torch.bfloat16, 64, (9, 0), "the tokens are on cpu"),
        ("cuda", torch.float32, 64, (9, 0), "the tokens are float32, and it computes in float16 and bfloat16"),
        ("cuda", torch.bfloat16, 320, (9, 0), "a head has 320 channels, and it takes up to 256"),
        ("cuda", torch.float16, 64, (7, 5), "T4 is older than Ampere"),
        ("cuda", torch.float16, 64, (9, 0), None),
    ],
)
def test_what_flash_kernels_cannot_take(
    device: str,
    dtype: torch.dtype,
    head: int,
    capability: tuple[int, int],
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "T4")
    assert kernel_refusal(torch.device(device), dtype, head) == reason


# With an NVIDIA GPU: python -m pytest -m gpu


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sdpa", "flash_attention_2"])
def test_a_pack_on_a_gpu_is_the_same_as_clip_by_clip(encoder: OneVisionEncoder, clips: Clips, name: str) -> None:
    wanted = encode(encoder, inputs(clips, "packed"))
    encoder.set_attn_implementation(name)
    model = encoder.to("cuda", torch.bfloat16)
    pack = {key: value.cuda() for key, value in inputs(clips, "packed").items()}
    found = encode(model, pack)
    for ours, exact in (
        (found.last_hidden_state, wanted.last_hidden_state),
        (found.pooler_output, wanted.pooler_output),
    ):
        assert (ours.float().cpu() - exact).norm() < 0.03 * exact.norm()
    model(**pack).pooler_output.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.gpu
def test_float32_on_a_gpu_is_the_processors(encoder: OneVisionEncoder, clips: Clips) -> None:
    tokens = inputs(clips, "packed")
    wanted = encode(encoder, tokens)
    found = encode(encoder.cuda(), {key: value.cuda() for key, value in tokens.items()})
    torch.testing.assert_close(found.last_hidden_state.cpu(), wanted.last_hidden_state, rtol=0, atol=1e-3)
