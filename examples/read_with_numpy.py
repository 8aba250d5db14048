"""A cache read with numpy and a Parquet reader alone, by docs/format.md: what a reader in another language comes to.

    python examples/read_with_numpy.py [CACHE]        # pip install numpy pyarrow: codecsieve is not needed

A local cache, complete or still being written, of format 1 or 2. Checksums are computed byte by byte here, which takes
a third of a second a clip; whoever has a library's CRC-32C should use that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

SHARD_CLIPS, FOOTER = 64, 64 * 16
ARRAYS = ("patches", "positions", "scores", "frame_ids")  # in the order that a clip's checksum covers


def read_index(cache: Path) -> list[dict[str, Any]]:
    """The rows of the clips that are in. What a part says of a shard goes before what a pack says of it."""
    shards: dict[int, list[dict[str, Any]]] = {}
    for path in cache.glob("index/pack-*.parquet"):
        for row in pq.ParquetFile(path).read().to_pylist():
            shards.setdefault(row.pop("shard"), []).append(row)
    for path in cache.glob("index/part-*.parquet"):
        shards[int(path.stem.removeprefix("part-"))] = pq.ParquetFile(path).read().to_pylist()
    rows = [row for shard in sorted(shards) for row in shards[shard] if row["status"] == "ok"]
    table = cache / "table.parquet"
    said = {row["id"]: row for row in pq.ParquetFile(table).read().to_pylist()} if table.exists() else {}
    for row in rows:
        newer = said.get(row["id"], row)
        row.update(label=newer["label"], uri=newer["uri"] or row["uri"])
    return rows


def read_clip(cache: Path, row: int) -> dict[str, np.ndarray]:
    """A clip's arrays by name, of its row; of a cache of indices without `patches`."""
    shard, slot = divmod(row, SHARD_CLIPS)
    arrays = {}
    for name in ARRAYS:
        if not (cache / name).exists():
            continue
        metadata = json.loads((cache / name / "zarr.json").read_text())
        shape, dtype = metadata["shape"][1:], np.dtype(metadata["data_type"]).newbyteorder("<")
        data = np.fromfile(cache / name / ".".join(["c", str(shard), *"0" * len(shape)]), np.uint8)
        index, checksum = data[-FOOTER - 4 : -4], data[-4:].view("<u4")[0]
        if crc32c(index) != checksum:
            raise ValueError(f"{cache}/{name}: shard {shard} is damaged")
        offset, size = index.view("<u8").reshape(SHARD_CLIPS, 2)[slot].tolist()
        arrays[name] = data[offset : offset + size].view(dtype).reshape(shape)
    return arrays


def crc32c(*values: np.ndarray) -> int:
    """CRC-32C (RFC 3720) of the bytes of arrays, one behind the other."""
    remainder = 0xFFFFFFFF
    for byte in b"".join(value.tobytes() for value in values):
        remainder = TABLE[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
    return remainder ^ 0xFFFFFFFF


def crc_table() -> Iterable[int]:
    """What each byte makes of the remainder."""
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = tuple(crc_table())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", nargs="?", default="cache", type=Path)
    cache = parser.parse_args().cache

    made = json.loads((cache / "zarr.json").read_text())["attributes"]["codecsieve"]
    print(f"format {made['format']}, made with k_keep {made['config']['k_keep']}, signals {made['config']['signals']}")
    for row in read_index(cache):
        arrays = read_clip(cache, row["row"])
        right = "as it was written" if crc32c(*arrays.values()) == row["crc32c"] else "DAMAGED"
        shapes = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in arrays.items())
        print(f"{row['id']}  {row['label']}  {shapes}: {right}")


if __name__ == "__main__":
    main()
