"""What the server of `forked` has done when it forks: imports, and what numba does before its first kernel."""

import hypothesis  # noqa: F401
import pandas  # noqa: F401  # pyarrow imports it where it is
import pytest  # noqa: F401
import torch  # noqa: F401
import zarr  # noqa: F401

import codecsieve.cache
import codecsieve.encoder
import codecsieve.pipelines.concepts.make
import codecsieve.pipelines.exchange.export  # noqa: F401
from codecsieve.codec.fields.proof import STREAMS
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip

sieve_clip(STREAMS / "h264.264", SieveConfig(num_frames=8, input_size=56, k_keep=16))
