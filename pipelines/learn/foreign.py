"""Vision models of other projects, of transformers or timm, behind one face: normalised pixels to patch tokens.

    model = load_foreign("google/siglip-base-patch16-224", None, Ranks())
    model.tokens(pixels)                    # [B, 3, 224, 224] -> [B, 196, 768]

Only safetensors are read, and only the code of those two packages is run. How pictures are prepared is read by
`preprocessing`; what becomes of the tokens is left to `baselines`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codecsieve.encoder.weights import load_weights, locate
from codecsieve.errors import EncoderError
from codecsieve.pipelines.learn.families import BASELINES, Colours
from codecsieve.pipelines.learn.preprocessing import pictures_of, read_json
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.text import quoted, shortened

_CONFIG = "config.json"
_CLIPS_OF = ("videomae", "vivit", "timesformer")  # which take as many frames as their configuration says

_OUTPUTS = ("last_hidden_state", "pooler_output", "image_embeds")


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """A vision model, frozen, on its device."""

    network: nn.Module
    tokens: Callable[[Tensor], Tensor]
    """Normalised pixels float [B, 3, H, W], or, of a model of clips, [B, T, 3, H, W], -> patch tokens [B, N, D]: the
    last hidden state without class and register tokens; of a model that only pools, one token."""
    dim: int
    """Channels of a token."""
    size: tuple[int, int]
    """Height and width of its pictures, in pixels."""
    colours: Colours
    frames: range | None
    """The numbers of frames that its clips may have; None: it takes single pictures."""
    described: Mapping[str, Any]
    """Plain JSON: all but weights that its tokens depend on."""


def config_of(weights: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a model, downloaded where it is to be, and its `config.json`; empty where there is none.

    weights: a folder, a hub id, a name in `BASELINES`, or one of timm's. Raises EncoderError where it is none of them.
    """
    if Path(weights).is_dir() or "/" in weights:
        folder = locate(weights)
    elif weights in BASELINES:
        folder = locate(BASELINES[weights].weights)
    else:
        folder = locate(_hub_id_of_timm(weights))
    return folder, read_json(folder / _CONFIG)


def load_foreign(weights: str, family: str | None, ranks: Ranks) -> ForeignModel:
    """Load a model, in bfloat16 where the device has it.

    Args:
        weights: see `config_of`.
        family: a name in `BASELINES` that the model must be of; None: any.
        ranks: the process, whose device it is put on.

    Raises:
        EncoderError: there is no such model, its package is not installed, its weights are not safetensors or not
            those of its configuration, or it is of another family.
    """
    folder, config = config_of(weights)
    if not list(folder.glob("*.safetensors")):
        raise EncoderError(f"{weights}: holds no *.safetensors; other weights are not read, since they may run code")
    dtype = torch.bfloat16 if ranks.has_bf16 else torch.float32
    if "architecture" in config and "model_type" not in config:
        if family is not None:
            raise EncoderError(f"{weights}: is a model of timm, which names no families; use --model-family sampling")
        return _of_timm(weights, folder, config, dtype, ranks.device)
    kind = str(config.get("model_type")).removesuffix("_vision_model")
    if family is not None and kind not in BASELINES[family].types:
        raise EncoderError(f"{weights}: is a model of type {quoted(kind)}, and so none of family {family}")
    return _of_transformers(weights, folder, kind, dtype, ranks.device)


def _of_transformers(weights: str, folder: Path, kind: str, dtype: torch.dtype, device: torch.device) -> ForeignModel:
    try:
        from transformers import AutoModel
    except ImportError:
        raise EncoderError(f"{weights}: transformers is not installed; pip install 'codecsieve[baselines]'") from None
    try:
        with _without_bar():
            whole, found = AutoModel.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                dtype=dtype,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EncoderError(f"{weights}: transformers cannot load it ({shortened(str(error), 200)})") from error
    model = getattr(whole, "vision_model", whole)  # of a pair of picture and text
    if not model.main_input_name.startswith("pixel_values"):
        raise EncoderError(f"{weights}: is a model of type {quoted(kind)}, which takes no pictures")
    under = "" if model is whole else "vision_model."
    missing = sorted(key for key in found["missing_keys"] if key.startswith(under) and "pooler" not in key)
    if missing:
        raise EncoderError(f"{weights}: its weights lack {len(missing)} of the model's, such as {missing[0]}")
    config = model.config
    size, colours = pictures_of(folder, config, kind)
    if colours is None:
        raise EncoderError(
            f"{weights}: has no preprocessor_config.json, and how colours of type {quoted(kind)} are normalised is "
            "not known; put it there"
        )
    described = {
        name: value
        for name, value in config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version", "architectures", "dtype")
    }
    hidden = getattr(config, "hidden_size", None) or config.hidden_sizes[-1]
    network = model.eval().requires_grad_(False).to(device)
    return ForeignModel(
        network,
        lambda pixels: _tokens_of_transformers(network, kind, pixels),
        hidden,
        size,
        colours,
        _clip_lengths(config, kind),
        described,
    )


@contextlib.contextmanager
def _without_bar() -> Iterator[None]:
    """Have transformers show no bar of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _tokens_of_transformers(network: nn.Module, kind: str, pixels: Tensor) -> Tensor:
    *_, height, width = pixels.shape
    config: Any = network.config
    if kind == "siglip2":  # takes pictures cut into patches, a patch row by row, colours last
        side = config.patch_size
        rows, columns = height // side, width // side
        cut = pixels.unflatten(-2, (rows, side)).unflatten(-1, (columns, side))  # [B, 3, rows, side, columns, side]
        out = network(
            pixel_values=cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2),
            pixel_attention_mask=pixels.new_ones(len(pixels), rows * columns, dtype=torch.int64),
            spatial_shapes=torch.tensor([[rows, columns]] * len(pixels), device=pixels.device),
        )
    elif kind == "vjepa2":
        out = network(pixel_values_videos=pixels, skip_predictor=True)
    else:
        out = network(pixel_values=pixels)
    tokens = next((out[name] for name in _OUTPUTS if out.get(name) is not None), None)
    if tokens is None:
        raise EncoderError(f"a model of type {quoted(kind)} gives none of {', '.join(_OUTPUTS)}")
    if tokens.ndim == 2:
        return tokens[:, None]
    if tokens.ndim == 4:  # a map [B, D, rows, columns]
        return tokens.flatten(2).transpose(1, 2)
    return tokens[:, _others_first(config, kind, tokens.shape[1], pixels) :]


def _others_first(config: Any, kind: str, tokens: int, pixels: Tensor) -> int:
    """How many tokens, class and registers, are before those of patches. Raises EncoderError where that is unclear."""
    if kind == "dinov3_convnext":  # what is pooled goes before the map
        return 1
    side = getattr(config, "patch_size", None)
    if kind == "vivit":
        _, side, _ = config.tubelet_size
    if side is None:
        return 0
    high, wide = (side, side) if isinstance(side, int) else side
    patches = (pixels.shape[-2] // high) * (pixels.shape[-1] // wide)
    if pixels.ndim == 5:
        tubelet = getattr(config, "tubelet_size", 1)
        patches *= pixels.shape[1] // (tubelet if isinstance(tubelet, int) else tubelet[0])
    others = tokens - patches
    if others in (0, 1, 1 + (getattr(config, "num_register_tokens", None) or 0)):
        return others
    if patches % tokens == 0:  # they are merged on the way
        return 0
    raise EncoderError(f"{tokens} tokens of {patches} patches: which are the patches' is not known of {quoted(kind)}")


def _clip_lengths(config: Any, kind: str) -> range | None:
    if kind == "vjepa2":  # whose places are relative
        return range(config.tubelet_size, config.frames_per_clip + 1, config.tubelet_size)
    return range(config.num_frames, config.num_frames + 1) if kind in _CLIPS_OF else None


def _of_timm(
    weights: str, folder: Path, config: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> ForeignModel:
    timm = _timm(weights)
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=False)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise EncoderError(f"{weights}: timm cannot make it ({shortened(str(error), 200)})") from error
    load_weights(network, folder)
    network = network.eval().requires_grad_(False).to(device, dtype)
    made = network.pretrained_cfg

    def tokens(pixels: Tensor) -> Tensor:
        found = network.forward_features(pixels)
        if found.ndim == 4:  # a map, with colours first or last
            return found.flatten(2).transpose(1, 2) if found.shape[1] == network.num_features else found.flatten(1, 2)
        return found[:, None] if found.ndim == 2 else found[:, getattr(network, "num_prefix_tokens", 0) :]

    size = (made["input_size"][1], made["input_size"][2])
    colours = tuple(made["mean"]), tuple(made["std"])
    return ForeignModel(network, tokens, network.num_features, size, colours, None, config)


def _hub_id_of_timm(name: str) -> str:
    timm = _timm(name)
    try:
        hub_id = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
    except RuntimeError:  # the model is known, its weights are not
        hub_id = None
    if not hub_id:
        raise EncoderError(f"{name}: no such folder, no hub id, which is owner/name, and no model of timm with weights")
    return f"{hub_id}{name}" if hub_id.endswith("/") else str(hub_id)


def _timm(weights: str) -> Any:
    try:
        import timm
    except ImportError:
        raise EncoderError(
            f"{weights}: no such folder, and no hub id, which is owner/name; if it is one of timm's: pip install timm"
        ) from None
    return timm
