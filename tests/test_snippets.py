"""The Python of the documents runs as it stands, on small videos made on the spot."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import codecsieve as cs
from codecsieve.cache.concepts import write_concepts
from codecsieve.pipelines.train.config import TrainConfig, read_toml

ROOT = Path(__file__).resolve().parents[1]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_PYTHON = {
    "README.md": 3, "docs/concepts.md": 2, "docs/language-models.md": 3, "docs/loading.md": 6, "docs/quickstart.md": 3,
    "docs/service.md": 4, "docs/streaming.md": 2, "docs/training.md": 1,
}  # fmt: skip
"""How many snippets each document has. Those of docs/service.md and docs/streaming.md run in
tests/pipelines/serve/test_docs.py."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """A user's folder: twelve videos of two classes, a video more, a manifest of all, and a checkpoint."""
    from codecsieve.encoder import EncoderConfig, OneVisionEncoder

    folder = tmp_path_factory.mktemp("desk")
    (folder / "videos").mkdir()
    for seed in range(12):
        moving = "pan" if seed % 2 else "square"
        make_video(folder / "videos" / f"{moving}{seed}.mp4", frames=12, seed=seed, moving=moving)
    make_video(folder / "video.mp4", frames=24)
    make_video(folder / "videos" / "holiday.mp4", frames=12, seed=99)
    torch.manual_seed(0)
    config = EncoderConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    OneVisionEncoder(config).save_pretrained(folder / "FOLDER_OR_HUB_ID")
    return folder


def snippets(document: str) -> list[str]:
    return PYTHON.findall((ROOT / document).read_text())


def run(document: str, names: dict[str, Any]) -> None:
    """Run a document's snippets one after the other, as one program."""
    for number, code in enumerate(snippets(document), 1):
        exec(compile(code, f"{document}, snippet {number}", "exec"), names)


def test_every_document_with_python_is_tested() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]
    found = {str(path.relative_to(ROOT)): len(snippets(str(path.relative_to(ROOT)))) for path in documents}
    assert {name: count for name, count in found.items() if count} == WITH_PYTHON


@pytest.mark.slow
def test_the_readme(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(desk)
    names: dict[str, Any] = {"__name__": "readme", "FOLDER_OR_HUB_ID": "FOLDER_OR_HUB_ID"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that flash-attn is not installed
        run("README.md", names)
    assert "(2048, 3, 14, 14) (2048, 3)" in capsys.readouterr().out
    assert (desk / "kept.png").stat().st_size
    assert names["tokens"].shape[1:] == (2048, 32)
    assert names["one"].patches.shape == (1024, 3, 14, 14)


@pytest.mark.slow
def test_the_quick_start(tmp_path: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    for seed, name in enumerate(("clip", "other")):
        make_video(tmp_path / "videos" / f"{name}.mp4", frames=24, seed=seed)
    monkeypatch.chdir(tmp_path)
    cs.precompute("videos", "cache", num_frames=16, k_keep=512, workers=0)  # its commands run in tests/test_commands.py
    names: dict[str, Any] = {"__name__": "quickstart"}
    run("docs/quickstart.md", names)
    assert names["patches"].shape == (2, 512, 3, 14, 14)
    assert (tmp_path / "clip.png").stat().st_size


@pytest.mark.slow
def test_the_concepts(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'codecsieve[train]'")
    monkeypatch.chdir(desk)
    if not (desk / "cache").exists():
        cs.precompute("videos", "cache", workers=0)
    names: dict[str, Any] = {"__name__": "concepts"}
    run("docs/concepts.md", names)
    assert names["made"].page.is_file()
    assert names["bank"].centres().shape == (10, 32)


@pytest.mark.slow
def test_the_training(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    if not (desk / "cache").exists():
        cs.precompute("videos", "cache", workers=0)
    ids = cs.open_cache("cache").clip_ids
    write_concepts("concepts", np.eye(20, dtype=np.float32), ids, np.arange(10) + np.arange(len(ids))[:, None] % 10, {})
    names: dict[str, Any] = {"__name__": "training"}
    run("docs/training.md", names)
    assert cs.load_encoder(names["trained"].encoder).config.hidden_size == 32


def test_the_options_of_a_training(tmp_path: Path) -> None:
    whole, heads = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/training.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "train.toml").write_text(f"{whole}\n{heads}")
    values = read_toml(tmp_path / "train.toml")
    assert [head.name for head in values["heads"]] == ["photos", "ocr"]
    TrainConfig(**{name: values[name] for name in values if name in TrainConfig.__dataclass_fields__})


@pytest.mark.slow
def test_the_recipes_for_training(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a plain DataLoader, its workers, ConcatDataset, transformers' Trainer and Lightning."""
    pytest.importorskip("lightning", reason="Lightning is installed with [dev]")
    monkeypatch.chdir(desk)
    rows = [f"{path},{path.stem.rstrip('0123456789')}" for path in sorted((desk / "videos").glob("[ps]*.mp4"))]
    (desk / "labelled.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    cs.precompute("labelled.csv", "small", workers=0, num_frames=4, k_keep=32)
    names: dict[str, Any] = {"__name__": "recipes"}
    text = "\n".join(snippets("docs/loading.md")).replace('"cache"', '"small"')
    exec(compile(text, "docs/loading.md", "exec"), names)
    assert names["dataset"].classes == ("pan", "square")
    assert isinstance(names["batch"], cs.Batch)
    assert names["trainer"].global_step == 2


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_tokens_into_language_models(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With models of the documents' names that are small, and stages that are short."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    monkeypatch.chdir(desk)
    shutil.copytree("FOLDER_OR_HUB_ID", "lmms-lab-encoder/onevision-encoder-large", dirs_exist_ok=True)
    tokenizer = transformers.ByT5Tokenizer(extra_ids=0)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|video_pad|>"]})
    tokenizer.save_pretrained("Qwen/Qwen3-0.6B")
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=32,
    )  # fmt: skip
    transformers.Qwen3ForCausalLM(config).save_pretrained("Qwen/Qwen3-0.6B")
    cs.precompute("videos", "few", workers=0, num_frames=4, k_keep=32)
    said = '{"id": "1", "video": "%s", "conversations": [%s]}\n'
    turns = '{"from": "human", "value": "<video>\\nWhat moves?"}, {"from": "gpt", "value": "It all"}'
    Path("train.jsonl").write_text("".join(said % (name, turns) for name in ("pan1.mp4", "square2.mp4")))
    pixels, places = torch.zeros(1, 3, 28, 28), torch.zeros(1, 4, 3, dtype=torch.int64)
    names: dict[str, Any] = {"__name__": "language", "pixel_values": pixels, "positions": places}
    text = "\n".join(snippets("docs/language-models.md")).replace('"cache"', '"few"')
    for long, short in (("Stage(500", "Stage(1"), ("Stage(2000", "Stage(1"), ("2.0", "0.2")):
        text = text.replace(long, short)
    exec(compile(text, "docs/language-models.md", "exec"), names)
    assert names["features"].shape == (1, 4, 32)
    assert names["inputs"]["patch_positions"].shape == (1024, 3)
