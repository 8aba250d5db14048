"""The cache: a Zarr group of sparse clips with a Parquet index, and beside it `features`, what an encoder made of them.

Nothing else knows the formats.
"""

from codecsieve.errors import CacheError

from .clips import SparseBatch, SparseClip
from .index import IndexRecord
from .layout import ClipArrays, Layout, Store
from .reader import Condition, SparseCache, open_cache
from .repair import repair_cache
from .table import say_of_cache
from .verify import Verified, verify_cache
from .writer import CacheWriter, ShardWork

__all__ = [
    "CacheError",
    "CacheWriter",
    "ClipArrays",
    "Condition",
    "IndexRecord",
    "Layout",
    "ShardWork",
    "SparseBatch",
    "SparseCache",
    "SparseClip",
    "Store",
    "Verified",
    "open_cache",
    "repair_cache",
    "say_of_cache",
    "verify_cache",
]
