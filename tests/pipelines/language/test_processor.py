"""Messages with videos as what a vision language model takes, and the processor under transformers' AutoProcessor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from small_models import byte_tokenizer

from codecsieve import sieve
from codecsieve.encoder import normalise
from codecsieve.errors import ConfigError, OptionError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.language.messages import VideoRequest, block_order, request_config, sieve_requests
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


def test_fps_counts_the_frames_of_the_range(video: str) -> None:
    config = SieveConfig(**OPTIONS)  # type: ignore[arg-type]
    for fps, frames in ((2, 4), (0.1, 1), (1000, 50)):
        assert request_config(VideoRequest(video, fps=fps), config, 1).num_frames == frames
    assert request_config(VideoRequest(video, 0.0, 1.0, fps=4), config, 1).num_frames == 4


def test_whole_frames_come_block_by_block(video: str) -> None:
    whole = SieveConfig(**{**OPTIONS, "policy": "sampling", "k_keep": 32})  # type: ignore[arg-type]
    made = sieve_requests([VideoRequest(video)], whole, merge_size=2)
    blocks = made["patch_positions"].unflatten(0, (8, 4))
    assert made["image_grid_thw"].tolist() == [[1, 2, 16]]
    assert blocks[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert blocks[1].tolist() == [[0, 0, 2], [0, 0, 3], [0, 1, 2], [0, 1, 3]]
    assert blocks[4, 0].tolist() == [7, 0, 0]
    assert (blocks[:, :1] // torch.tensor([1, 2, 2]) == blocks // torch.tensor([1, 2, 2])).all()
    raster = sieve_requests([VideoRequest(video)], whole)
    rows = {
        tuple(place): pixels
        for place, pixels in zip(raster["patch_positions"].tolist(), raster["pixel_values"], strict=True)
    }
    for place, pixels in zip(made["patch_positions"].tolist(), made["pixel_values"], strict=True):
        assert torch.equal(rows[tuple(place)], pixels)


def test_a_block_that_is_not_whole_is_refused(video: str) -> None:
    positions: NDArray[np.uint16] = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [3, 0, 0]], np.uint16)
    assert block_order(positions[[3, 1, 0, 2]], 2).tolist() == [2, 1, 3, 0]
    with pytest.raises(ConfigError, match=r"merge_size \(2\) needs whole blocks, and of 1 only a part is kept"):
        block_order(positions, 2)
    with pytest.raises(ConfigError, match=r"merge_size \(2\) needs whole blocks"):
        CodecProcessor(byte_tokenizer(), sieve={**OPTIONS, "k_keep": 19}, merge_size=2)(messages(video))


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


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({"type": "audio"}, r"type \('audio'\) must be text or video"),
        ({"type": "video", "video": "https://example.org/a.mp4"}, "must be a file; fetch it first"),
        ({"type": "video", "video": ["a.png"]}, r"video \('list'\) must be a file's path"),
        ({"type": "video", "video": "a.mp4", "fps": 1, "nframes": 8}, "say the same; give one of them"),
        ({"type": "video", "video": "a.mp4", "fps": -1}, r"fps \(-1\) must be a number > 0"),
        ({"type": "video", "video": "a.mp4", "total_pixels": 9}, "'total_pixels' of a video is not known"),
        ({"type": "video", "video": "a.mp4", "max_pixels": 100}, r"max_pixels \(100\) must be >= 196"),
    ],
)
def test_messages_that_cannot_be_understood(part: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        CodecProcessor(byte_tokenizer(), sieve=OPTIONS)([{"role": "user", "content": [part]}])


def test_a_processor_needs_options_and_a_token_that_there_are() -> None:
    with pytest.raises(OptionError, match="k_keeep"):
        CodecProcessor(byte_tokenizer(), sieve={"k_keeep": 3})
    unpadded = byte_tokenizer()
    unpadded.pad_token = None
    with pytest.raises(ConfigError, match="the tokenizer has no pad_token"):
        CodecProcessor(unpadded)
    with pytest.raises(ConfigError, match=r"video_token .* must be a token of the tokenizer"):
        CodecProcessor(byte_tokenizer(), video_token="<|seen|>")
