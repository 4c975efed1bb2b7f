"""The cache: a folder of immutable HDF5 shards of cutouts. h5py is used here and nowhere else."""

from astroanomaly.cache.reader import Cache, Shard

__all__ = ["Cache", "Shard"]
