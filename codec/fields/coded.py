"""How a picture was coded, as its decoder tells it: plain data between the readers and the kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codecsieve.kernels.reference.compensate import Weights
from codecsieve.kernels.reference.units import BOTTOM, FRAME, TOP, H264Motion, HevcMotion

__all__ = ["BOTTOM", "FRAME", "TOP", "CodedBlocks", "CodedPicture", "Prediction"]


class Prediction(NamedTuple):
    """How a picture, or a field of it, is predicted: arguments of `kernels.reference.compensate`."""

    rows: int
    """FRAME, TOP or BOTTOM."""
    picture: np.ndarray
    """uint8 or uint16 [rows, stride], luma of the picture or the field, in the decoder's memory."""
    references: tuple[np.ndarray, ...]
    """Luma of the pictures or fields that it refers to, likewise."""
    plane_of: np.ndarray
    """int32 [n]: which of the references an entry is."""
    motion: HevcMotion | H264Motion
    """Vectors and entries of its blocks, as the decoder keeps them: arguments of `kernels.reference.units`."""
    weights: Weights | None
    """None where both lists count alike everywhere."""


class CodedBlocks(NamedTuple):
    """What the encoder spent on a picture's luma, beside prediction; of units of 4x4 samples."""

    coefficients: np.ndarray
    """uint8 [Hu, Wu]: of H.264 how many coefficients are not zero; of HEVC 1 where any in its block is not."""
    quantiser: np.ndarray
    """int8 [Hu, Wu]: QP of luma."""


class CodedPicture(NamedTuple):
    """A picture that has just been decoded. Its arrays are good until the decoder is sent its next packet."""

    predictions: tuple[Prediction, ...]
    """One; three of an H.264 frame that mixes frame and field macroblocks, two of a pair of fields."""
    width: int
    """Luma samples a row as coded."""
    height: int
    crop: tuple[int, int, int, int]
    """Rows of it above and below what the stream says is shown, columns left and right of it."""
    bit_depth: int
    filter: int
    """Taps of the interpolation filter: see `kernels.reference.compensate`."""
