"""Messages with videos as what a vision language model takes, and the processor under transformers' AutoProcessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from small_models import byte_tokenizer, small_model

from codecsieve import sieve
from codecsieve.encoder import normalise
from codecsieve.errors import ConfigError, OptionError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.language.chat import Chat, Conversation, Turn
from codecsieve.pipelines.language.collate import Sample, pad_samples
from codecsieve.pipelines.language.messages import VideoRequest, request_config
from codecsieve.pipelines.language.processor import CodecProcessor

OPTIONS = {"num_frames": 8, "input_size": 56, "patch_size": 14, "k_keep": 20}


@pytest.fixture(scope="module")
def video(make_video: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_video(tmp_path_factory.mktemp("processor") / "clip.mp4", frames=50))


def messages(video: str, **options: Any) -> list[dict[str, Any]]:
    content = [{"type": "video", "video": video, **options}, {"type": "text", "text": "What moves?"}]
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]


def test_patches_are_those_that_the_sieve_keeps(video: str) -> None:
    inputs = CodecProcessor(byte_tokenizer(), sieve=OPTIONS)(messages(video))
    kept = sieve(video, **OPTIONS)  # type: ignore[arg-type]
    assert torch.equal(inputs["patch_positions"], torch.from_numpy(kept.positions.astype(np.int64)))
    assert torch.equal(inputs["pixel_values"], normalise(torch.from_numpy(kept.patches)).flatten(1))
    assert inputs["image_grid_thw"].tolist() == [[1, 1, 20]]
    tokenizer = byte_tokenizer()
    filler = tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert (inputs["input_ids"] == filler).sum() == 20
    assert tokenizer.decode(inputs["input_ids"][0]).startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<|video_pad|><|video_pad|>"
    )


def test_frames_range_and_size_are_the_messages(video: str) -> None:
    options = {"video_start": 0.4, "video_end": 1.2, "nframes": 4, "max_pixels": 30 * 30}
    inputs = CodecProcessor(byte_tokenizer(), sieve=OPTIONS)(messages(f"file://{video}", **options))
    kept = sieve(video, start=0.4, end=1.2, num_frames=4, input_size=28, k_keep=16)
    assert torch.equal(inputs["patch_positions"], torch.from_numpy(kept.positions.astype(np.int64)))
    assert torch.equal(inputs["pixel_values"], normalise(torch.from_numpy(kept.patches)).flatten(1))


def test_a_video_at_a_size_of_its_own_has_as_many_pixels_as_its_message_says(video: str) -> None:
    options = {**OPTIONS, "fit": "native", "max_pixels": 56 * 56}
    inputs = CodecProcessor(byte_tokenizer(), sieve=options)(messages(video, nframes=2, max_pixels=1500))
    kept = sieve(video, fit="native", num_frames=2, input_size=56, max_pixels=1500, k_keep=14)
    assert torch.equal(inputs["patch_positions"], torch.from_numpy(kept.positions.astype(np.int64)))
    assert torch.equal(inputs["pixel_values"], normalise(torch.from_numpy(kept.patches)).flatten(1))


def test_fps_counts_the_frames_of_the_range(video: str) -> None:
    config = SieveConfig(**OPTIONS)  # type: ignore[arg-type]
    for fps, frames in ((2, 4), (0.1, 1), (1000, 50)):
        assert request_config(VideoRequest(video, fps=fps), config).num_frames == frames
    assert request_config(VideoRequest(video, 0.0, 1.0, fps=4), config).num_frames == 4


@pytest.mark.parametrize("policy", ["saliency", "sampling", "random"])
def test_patches_that_a_model_merges_are_kept_block_by_block(video: str, policy: str) -> None:
    options = {**OPTIONS, "policy": policy, "k_keep": 32}
    inputs = CodecProcessor(byte_tokenizer(), sieve=options, merge_size=2)(messages(video))
    kept = sieve(video, **options, merge=2)  # type: ignore[arg-type]
    assert torch.equal(inputs["patch_positions"], torch.from_numpy(kept.positions.astype(np.int64)))
    assert torch.equal(inputs["pixel_values"], normalise(torch.from_numpy(kept.patches)).flatten(1))
    assert inputs["image_grid_thw"].tolist() == [[1, 2, 16]]
    assert (inputs["input_ids"] == byte_tokenizer().convert_tokens_to_ids("<|video_pad|>")).sum() == 8
    blocks = inputs["patch_positions"].unflatten(0, (8, 4))
    corners = blocks[:, :1]
    assert not (corners[..., 1:] % 2).any()
    assert torch.equal(blocks - corners, torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]).expand_as(blocks))


def test_patches_are_chosen_by_the_preset_that_is_named(video: str, tmp_path: Path) -> None:
    processor = CodecProcessor(byte_tokenizer(), sieve=OPTIONS, preset="surprise")
    kept = sieve(video, preset="surprise", **OPTIONS)  # type: ignore[arg-type]
    found = processor(messages(video))["patch_positions"]
    assert torch.equal(found, torch.from_numpy(kept.positions.astype(np.int64)))
    assert not torch.equal(found, CodecProcessor(byte_tokenizer(), sieve=OPTIONS)(messages(video))["patch_positions"])
    processor.save_pretrained(tmp_path)
    assert transformers.AutoProcessor.from_pretrained(tmp_path).preset == "surprise"


def test_budgets_that_blocks_do_not_fill_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"k_keep \(18\) must be a multiple of 4"):
        CodecProcessor(byte_tokenizer(), sieve={**OPTIONS, "k_keep": 18}, merge_size=2)
    with pytest.raises(ConfigError, match="is given by merge_size"):
        CodecProcessor(byte_tokenizer(), sieve={**OPTIONS, "merge": 2})


def test_conversations_of_a_batch_have_their_own_videos(video: str) -> None:
    processor = CodecProcessor(byte_tokenizer(), sieve=OPTIONS)
    both = processor([messages(video, nframes=1), [{"role": "user", "content": "Hello"}], messages(video)])
    assert both["image_grid_thw"].tolist() == [[1, 1, 16], [1, 1, 20]]
    filler = processor.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert (both["input_ids"] == filler).sum(1).tolist() == [16, 0, 20]
    assert both["attention_mask"][:, -1].all()
    assert not both["attention_mask"][1, 0]
    alone = processor([{"role": "user", "content": "Hello"}])
    assert torch.equal(both["input_ids"][1, both["attention_mask"][1].bool()], alone["input_ids"][0])
    assert set(alone) == {"input_ids", "attention_mask"}


def test_what_is_saved_is_loaded_by_auto_processor(video: str, tmp_path: Path) -> None:
    style = {"user": "U:", "assistant": "A:"}
    processor = CodecProcessor(byte_tokenizer(), sieve={**OPTIONS, "k_keep": 12}, style=style)
    processor.save_pretrained(tmp_path)
    loaded = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, CodecProcessor)
    wanted, found = processor(messages(video)), loaded(messages(video))
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@torch.no_grad()
def test_messages_are_answered_as_conversations_with_the_same_clips_are(video: str) -> None:
    model = small_model(len(byte_tokenizer()), patch_size=14)
    processor = CodecProcessor(byte_tokenizer(), sieve=OPTIONS)
    batch = processor.model_batch(processor([messages(video), [{"role": "user", "content": "Hello"}]]))
    kept = sieve(video, **OPTIONS)  # type: ignore[arg-type]
    clip = torch.from_numpy(kept.patches), torch.from_numpy(kept.positions.astype(np.int64))
    said = (Turn("system", "Be brief."), Turn("user", "<video>\nWhat moves?"))
    samples = [Sample(Conversation(said), (clip,)), Sample(Conversation((Turn("user", "Hello"),)), ())]
    wanted = pad_samples(samples, Chat(byte_tokenizer()), "left")
    assert torch.equal(batch["cu_seqlens"], wanted["cu_seqlens"])
    assert model.answer(batch, 1, most=4) == model.answer(wanted, 1, most=4)
    alone = processor.model_batch(processor([{"role": "user", "content": "Hello"}]))
    assert model.answer(alone, 1, most=4) == model.answer(batch, 1, most=4)[1:]
    with pytest.raises(ConfigError, match=r"merge_size \(2\) must be 1"):
        CodecProcessor(byte_tokenizer(), sieve=OPTIONS, merge_size=2).model_batch({})


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (None, r"messages \(None\) must be a list of messages"),
        ({"role": "user", "content": "a"}, "must be a list of messages, or a list of such lists"),
        (["a"], r"message \('a'\) must be a dict with `role` and `content`"),
        ([{"role": "user", "content": "a"}, [{"role": "user", "content": "b"}]], "must be a dict with `role`"),
        ([{"role": "user", "content": ["a"]}], "must be a text, or a list of parts"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"text \(None\) of a part must be a text"),
        ([{"role": "user", "content": "what is <video>?"}], "must not hold <video>"),
        ([{"role": "assistant", "content": [{"type": "video", "video": "a.mp4"}]}], "in an assistant's message"),
    ],
)
def test_what_is_no_message_is_said(said: Any, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        CodecProcessor(byte_tokenizer(), sieve=OPTIONS)(said)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({"type": "audio"}, r"type \('audio'\) must be text or video"),
        ({"type": "video", "video": "https://example.org/a.mp4"}, "must be a file; fetch it first"),
        ({"type": "video", "video": ["a.png"]}, r"video \('list'\) must be a file's path"),
        ({"type": "video", "video": "a.mp4", "fps": 1, "nframes": 8}, "say the same; give one of them"),
        ({"type": "video", "video": "a.mp4", "fps": -1}, r"fps \(-1\) must be a number > 0"),
        ({"type": "video", "video": "a.mp4", "nframes": 2.5}, r"nframes \(2.5\) must be a whole number"),
        ({"type": "video", "video": "a.mp4", "total_pixels": 9}, "'total_pixels' of a video is not known"),
        ({"type": "video", "video": "a.mp4", "max_pixels": 100}, r"max_pixels \(100\) must be >= 196"),
    ],
)
def test_messages_that_cannot_be_understood(part: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        CodecProcessor(byte_tokenizer(), sieve=OPTIONS)([{"role": "user", "content": [part]}])


def test_a_range_of_a_message_is_in_seconds(video: str) -> None:
    with pytest.raises(ConfigError, match=r"start \('0:02'\) must be a number, of seconds"):
        CodecProcessor(byte_tokenizer(), sieve=OPTIONS)(messages(video, video_start="0:02"))


def test_a_processor_needs_options_and_a_token_that_there_are() -> None:
    with pytest.raises(OptionError, match="k_keeep"):
        CodecProcessor(byte_tokenizer(), sieve={"k_keeep": 3})
    unpadded = byte_tokenizer()
    unpadded.pad_token = None
    with pytest.raises(ConfigError, match="the tokenizer has no pad_token"):
        CodecProcessor(unpadded)
    with pytest.raises(ConfigError, match=r"video_token .* must be a token of the tokenizer"):
        CodecProcessor(byte_tokenizer(), video_token="<|seen|>")
    with pytest.raises(ConfigError, match=r"sieve \(3\) must be a dict of options"):
        CodecProcessor(byte_tokenizer(), sieve=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="style has no option users; did you mean user"):
        CodecProcessor(byte_tokenizer(), style={"users": ""})


def test_a_text_cannot_stand_for_a_video(video: str) -> None:
    processor = CodecProcessor(byte_tokenizer(), sieve=OPTIONS)
    said = messages(video)
    said[1]["content"].append({"type": "text", "text": "<|video_pad|>"})
    assert (processor(said)["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<|video_pad|>")).sum() == 20
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="a")
    tokenizer.add_tokens(["<|video_pad|>"])
    with pytest.raises(ConfigError, match="must be a special token; use add_special_tokens"):
        CodecProcessor(tokenizer)
