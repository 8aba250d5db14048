"""The encoder's `config.json`: the numbers that say what a checkpoint's weights are.

Field names are those of the published checkpoints. What a `config.json` says besides is kept and written back.
Weights are left to `weights`, the network to `model`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from codecsieve.errors import EncoderError
from codecsieve.text import one_line, quoted

MODEL_TYPE = "onevision_encoder"
"""What a `config.json` must call itself."""

ACTIVATIONS = ("gelu", "gelu_pytorch_tanh")
NORMS = ("layer_norm", "rms_norm")

_HEAD_SHARES = 32  # RoPE cuts half of a head's channels into 16 shares: 4 for time, 6 for height, 6 for width
_PRESETS = {  # hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, image_size
    "tiny": (192, 768, 12, 3, 224),
    "small": (384, 1536, 12, 6, 224),
    "base": (768, 3072, 12, 12, 224),
    "large": (1024, 4096, 24, 16, 448),
    "huge": (1280, 5120, 32, 20, 448),
}


@dataclass(frozen=True)
class EncoderConfig:
    """What the encoder is made of. Raises EncoderError for values that cannot work."""

    hidden_size: int
    """Channels of a token."""
    intermediate_size: int
    """Channels inside an MLP."""
    num_hidden_layers: int
    """Transformer blocks."""
    num_attention_heads: int
    """Heads of every attention; each needs a multiple of 32 channels, which RoPE splits 4:6:6."""
    num_channels: int = 3
    """Colours of a patch: 3."""
    image_size: int = 224
    """Side of the pictures it was trained on, in pixels. Recorded only: any multiple of `patch_size` works."""
    patch_size: int = 14
    """Side of a patch, in pixels."""
    hidden_act: str = "gelu"
    """Activation of the MLPs: `gelu`, or `gelu_pytorch_tanh`, its approximation."""
    layer_norm_type: str = "layer_norm"
    """Norm of the blocks, before and after them: `layer_norm` or `rms_norm`. The head's is always an RMS norm."""
    layer_norm_eps: float = 1e-6
    """Added to the variance in every norm."""
    attention_dropout: float = 0.0
    """Chance of an attention weight to be dropped in training."""
    rope_theta: float = 10000.0
    """Base of RoPE's frequencies."""
    rope_temporal_size: int | None = 64
    """Slots of the grid that `visible_indices` count in; None: no bound."""
    initializer_range: float = 0.02
    """Standard deviation of untrained weights."""
    use_head: bool = True
    """Whether there is an attention-pooling head; without one `pooler_output` is None."""
    other: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Whatever else its `config.json` says."""

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        sizes = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels"]
        sizes += ["image_size", "patch_size"] + ["rope_temporal_size"] * (self.rope_temporal_size is not None)
        for name in sizes:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise EncoderError(f"{name} ({quoted(value)}) must be a whole number > 0")
        for name in ("layer_norm_eps", "attention_dropout", "rope_theta", "initializer_range"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
                raise EncoderError(f"{name} ({quoted(value)}) must be a number >= 0")
        for name, choices in (("hidden_act", ACTIVATIONS), ("layer_norm_type", NORMS), ("use_head", (True, False))):
            if getattr(self, name) not in choices:
                raise EncoderError(
                    f"{name} ({quoted(getattr(self, name))}) must be one of {', '.join(map(str, choices))}"
                )
        if self.hidden_size % (_HEAD_SHARES * self.num_attention_heads):
            raise EncoderError(
                f"hidden_size ({self.hidden_size}) must be a multiple of {_HEAD_SHARES} for each of the "
                f"num_attention_heads ({self.num_attention_heads}): RoPE splits a head's channels 4:6:6"
            )
        if self.num_channels != 3:
            raise EncoderError(f"num_channels ({self.num_channels}) must be 3")
        if self.attention_dropout >= 1:
            raise EncoderError(f"attention_dropout ({self.attention_dropout}) must be < 1")
        if self.rope_theta == 0:
            raise EncoderError("rope_theta (0) must be > 0")

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def preset(cls, name: str) -> Self:
        """`tiny`, `small`, `base`, `large`, `huge`: sizes of ViT, with patches of 14; `large` is the published one."""
        if name not in _PRESETS:
            raise EncoderError(f"preset ({quoted(name)}) must be one of {', '.join(_PRESETS)}")
        hidden, intermediate, layers, heads, image = _PRESETS[name]
        return cls(hidden, intermediate, layers, heads, image_size=image)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A configuration from what a `config.json` holds. Raises EncoderError for a wrong or a missing value."""
        if values.get("model_type", MODEL_TYPE) != MODEL_TYPE:
            raise EncoderError(f"model_type ({quoted(values['model_type'])}) must be {MODEL_TYPE!r}")
        fields = {own.name: own for own in dataclasses.fields(cls) if own.name != "other"}
        for name, own in fields.items():
            if name not in values and own.default is dataclasses.MISSING:
                raise EncoderError(f"{name} is not given, and must be")
        known = {name: value for name, value in values.items() if name in fields}
        other = {name: value for name, value in values.items() if name not in fields and name != "model_type"}
        return cls(**known, other=other)

    def to_dict(self) -> dict[str, Any]:
        """What a `config.json` holds, the other way round."""
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "other"}
        # `auto_map` names Python files of the repository that a checkpoint came from, which are not written here.
        other = {name: value for name, value in self.other.items() if name != "auto_map"}
        return {"architectures": ["OneVisionEncoderModel"]} | other | {"model_type": MODEL_TYPE} | own

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a `config.json`. Raises EncoderError, which names the file."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EncoderError(f"{path}: no such file; a checkpoint's folder must hold one") from None
        except (OSError, ValueError) as error:
            raise EncoderError(f"{path}: cannot be read as JSON ({one_line(str(error))})") from error
        if not isinstance(values, dict):
            raise EncoderError(f"{path}: must hold a JSON object")
        try:
            return cls.from_dict(values)
        except EncoderError as error:
            raise EncoderError(f"{path}: {error}") from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a `config.json`."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
