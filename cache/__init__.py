"""The cache: a Zarr group of sparse clips with a Parquet index, and beside it `features`, what an encoder made of them.

Nothing else knows the formats.
"""

from codecsieve.errors import CacheError

from .clips import SparseBatch, SparseClip
from .compact import Compacted, compact_cache
from .drop import Dropped, drop_clips, to_drop, unfinished_drop, unmade_clips
from .index import IndexRecord
from .layout import ClipArrays, Layout, Store
from .location import Location
from .made import MadeShard, ShardTask, can_see, make_shard
from .merge import Merged, merge_caches
from .part import ALL, Part
from .reader import Condition, SparseCache, open_cache
from .repair import repair_cache
from .table import say_of_cache
from .verify import Verified, verify_cache
from .writer import CacheWriter, ShardWork

__all__ = [
    "ALL",
    "CacheError",
    "CacheWriter",
    "ClipArrays",
    "Compacted",
    "Condition",
    "Dropped",
    "IndexRecord",
    "Layout",
    "Location",
    "MadeShard",
    "Merged",
    "Part",
    "ShardTask",
    "ShardWork",
    "SparseBatch",
    "SparseCache",
    "SparseClip",
    "Store",
    "Verified",
    "can_see",
    "compact_cache",
    "drop_clips",
    "make_shard",
    "merge_caches",
    "open_cache",
    "repair_cache",
    "say_of_cache",
    "to_drop",
    "unfinished_drop",
    "unmade_clips",
    "verify_cache",
]
