"""The cache: a folder of immutable HDF5 shards of cutouts. h5py is used here and nowhere else."""

from astroanomaly.cache.reader import Cache
from astroanomaly.cache.shard import Shard

__all__ = ["Cache", "Shard"]
