"""Arrays as bytes: Arrow, npz or safetensors, whichever a request accepts. Nothing is ever pickled.

Arrow has a row a patch (or a clip, of embeddings), with arrays as `arrow.fixed_shape_tensor`; what is known of the clip
is JSON: in the schema's metadata under `codecsieve`, in the metadata of safetensors under `codecsieve`, and in npz an
array of text of that name.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save

from codecsieve.pipelines.sieve.kept import SievedClip
from codecsieve.text import quoted

from .refusal import RefusedError

ARROW = "application/vnd.apache.arrow.stream"
NPZ = "application/x-npz"
SAFETENSORS = "application/vnd.safetensors"
FACTS = "codecsieve"
NAMES = {"arrow": ARROW, "npz": NPZ, "safetensors": SAFETENSORS}
"""What a `format` field may say in place of `Accept`."""


def choose(accept: str | None, name: str | None = None) -> str:
    """The media type that an `Accept` header, or a name of `NAMES` before it, asks for: Arrow where it says nothing.

    Raises RefusedError 406 where it asks for another.
    """
    if name is not None:
        if name not in NAMES:
            raise RefusedError(406, f"format ({quoted(name)}) must be one of {', '.join(NAMES)}")
        return NAMES[name]
    wanted: list[tuple[float, str]] = []
    for part in (accept or "*/*").split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        told = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            wanted.append((-float(told), kind))
        except ValueError:
            continue
    for weight, kind in sorted(wanted, key=lambda pair: pair[0]):
        if weight < 0:
            for known in NAMES.values():
                if kind in (known, "*/*", "application/*") or (kind == "application/octet-stream" and known == NPZ):
                    return known
    raise RefusedError(406, f"Accept ({quoted(accept)}) must be one of {', '.join(NAMES.values())}; or say format="
                            f"{'|'.join(NAMES)} in the query, which goes before it")  # fmt: skip


def facts_of(sieved: SievedClip) -> dict[str, Any]:
    """What is known of a clip besides its arrays."""
    names = ("codec", "width", "height", "fps", "frames", "distinct_frames", "filled", "order", "signals", "decoder")
    return {name: getattr(sieved, name) for name in names}


def encode(
    kind: str, rows: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> bytes:
    """Arrays as bytes of a media type.

    rows: arrays that have a row each of the same things, patches or clips: the columns of Arrow. whole: others, which
    Arrow has in its JSON; facts: JSON values.
    """
    return _ENCODERS[kind](rows, whole, facts)


def _arrow(rows: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    told = {**facts, **{name: array.tolist() for name, array in whole.items()}}
    table = pa.table({name: _column(array) for name, array in rows.items()})
    table = table.replace_schema_metadata({FACTS: json.dumps(told)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _column(array: np.ndarray) -> Any:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _npz(rows: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **rows, **whole, **{FACTS: np.array(json.dumps(facts))})
    return data.getvalue()


def _safetensors(rows: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    arrays = {**rows, **whole}
    texts = {name: array.tolist() for name, array in arrays.items() if array.dtype.kind not in "buif"}
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items() if name not in texts}
    return save(tensors, {FACTS: json.dumps({**facts, **texts})})


_ENCODERS: dict[str, Callable[..., bytes]] = {ARROW: _arrow, NPZ: _npz, SAFETENSORS: _safetensors}
