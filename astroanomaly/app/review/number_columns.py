"""Columns of numbers of the catalogue, one value for each object: to order by, and to plot."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property

import numpy as np

from astroanomaly.cache.object_tables import catalog_columns
from astroanomaly.cache.reader import Cache
from astroanomaly.errors import ConfigError

__all__ = ["NumberColumns"]

_MAX_SHARDS = 100  # shards in which names are looked up
_MAX_KEPT_BYTES = 400_000_000  # bytes of values that are kept, beside those asked for last
_EXACT_BYTES = 2  # bytes of whole numbers that 32 bits hold exactly


class NumberColumns:
    """The catalogue columns of a session that hold numbers. Only those that are asked for are read.

    Parameters
    ----------
    cache
        The cutouts of the session.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._units: dict[str, str] = {}
        self._lock = threading.Lock()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order of the catalogue; found in 100 shards, evenly chosen where there are more."""
        shards = self._cache.shards
        chosen = np.unique(np.linspace(0, len(shards) - 1, min(len(shards), _MAX_SHARDS)).astype(int))
        return tuple(dict.fromkeys(name for number in chosen for name in shards[number].number_columns()))

    def values(self, name: str) -> np.ndarray:
        """Return the values of a column; may be called from any thread.

        Returns
        -------
        numpy.ndarray
            ``(N,)`` float64 (float32 where it holds them exactly) in the order of the cache, NaN where an object has
            no finite value; not to be changed.

        Raises
        ------
        CatalogError
            If there is no such column.
        ConfigError
            If it does not hold one number for each object.
        """
        with self._lock:
            if name not in self._kept:
                self._kept[name] = self._read(name)
                while len(self._kept) > 1 and sum(values.nbytes for values in self._kept.values()) > _MAX_KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(name)
            return self._kept[name]

    def unit(self, name: str) -> str:
        """Return the unit of a column whose values were read; empty where it has none."""
        return self._units.get(name, "")

    def _read(self, name: str) -> np.ndarray:
        column = catalog_columns(self._cache, [name])[name]
        data, absent = np.ma.getdata(np.ma.asarray(column)), np.ma.getmaskarray(np.ma.asarray(column))
        if data.dtype.kind not in "biuf" or data.ndim != 1:
            raise ConfigError(f"the column {name!r} does not hold one number for each object")
        short = data.dtype == np.float32 or data.dtype.itemsize <= _EXACT_BYTES
        values = data.astype(np.float32 if short else np.float64)
        values[absent | ~np.isfinite(values)] = np.nan
        values.flags.writeable = False
        self._units[name] = str(column.unit or "")
        return values
