"""The published code's own numbers, for its own weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from codecsieve.encoder import OneVisionEncoder, tokens_of_pixels

CASES = ["image", "video", "packed"]


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "golden" / "encoder_tiny"


def load_case(folder: Path, case: str) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Pixels, visible indices, hidden state, pooled."""
    with np.load(folder / "cases.npz") as cases:
        arrays = {name: torch.from_numpy(cases[name]) for name in cases.files}
    hidden, pooled = arrays[f"{case}_hidden"], arrays[f"{case}_pooled"]
    return arrays[case], arrays.get(f"{case}_visible_indices"), hidden, pooled


@pytest.mark.parametrize("case", CASES)
def test_frames_with_indices(folder: Path, case: str) -> None:
    pixels, indices, hidden, pooled = load_case(folder, case)
    with torch.no_grad():
        output = OneVisionEncoder.from_pretrained(folder)(pixels, visible_indices=indices)
    torch.testing.assert_close(output.last_hidden_state, hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.pooler_output, pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_sparse_tokens(folder: Path, case: str) -> None:
    pixels, indices, hidden, pooled = load_case(folder, case)
    patches, positions = tokens_of_pixels(pixels, indices)
    with torch.no_grad():
        output = OneVisionEncoder.from_pretrained(folder)(patches=patches, positions=positions)
    torch.testing.assert_close(output.last_hidden_state, hidden, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.pooler_output, pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_under_auto_classes(folder: Path, case: str, attention: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("codecsieve.encoder.auto")
    pixels, indices, hidden, pooled = load_case(folder, case)
    model = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True, attn_implementation=attention)
    patches, positions = tokens_of_pixels(pixels, indices)
    with torch.no_grad():
        outputs = model(pixels, visible_indices=indices), model(patches=patches, positions=positions)
    for output in outputs:
        torch.testing.assert_close(output.last_hidden_state, hidden, rtol=0, atol=1e-5)
        torch.testing.assert_close(output.pooler_output, pooled, rtol=0, atol=1e-5)
