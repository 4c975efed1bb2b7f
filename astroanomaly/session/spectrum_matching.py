"""Which object a spectrum is of, and the spectra that are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cache.object_tables import catalog_columns
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.learn.features.spectra import SpectrumGrid
from astroanomaly.session.spectrum_reading import SpectrumOnGrid
from astroanomaly.tables.matching import match_positions
from astroanomaly.tables.names import NameMatcher
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["RADIUS_ARCSEC", "KeptSpectra", "SpectrumMatcher"]

RADIUS_ARCSEC = 1.0  # between a spectrum and its object
_MOST_SPECTRA = 500_000  # 16 kB each


class SpectrumMatcher:
    """Finds the object of a spectrum: by what it is called, else by its position.

    Parameters
    ----------
    cache
        The objects.
    column
        Catalogue column of what spectra are called; empty: the ids of the objects, and their positions.
    name
        Of the block, for messages.
    """

    def __init__(self, cache: Cache, column: str, name: str) -> None:
        self._cache, self._block, self._by_position = cache, name, not column
        if column:
            texts = column_texts(catalog_columns(cache, [column])[column])
            self._ids = {
                text.strip(): object_id for text, object_id in zip(texts, cache.ids, strict=True) if text.strip()
            }
        else:
            self._ids = {object_id: object_id for object_id in cache.ids}
        self._names = NameMatcher(self._ids)

    def find(self, spectra: Sequence[SpectrumOnGrid]) -> list[str]:
        """Return the object id of each spectrum; empty where it is of none.

        Raises
        ------
        CatalogError
            If the name of a spectrum may be that of several objects.
        """
        objects = [self._by_name(one.names) for one in spectra]
        ra, dec = (np.array([getattr(one, axis) for one in spectra]) for axis in ("ra", "dec"))
        left = np.flatnonzero([not object_id for object_id in objects] & np.isfinite(ra) & np.isfinite(dec))
        if self._by_position and len(left):
            nearest, _ = match_positions(ra[left], dec[left], *self._cache.positions, RADIUS_ARCSEC)
            there = nearest >= 0
            for k, object_id in zip(left[there].tolist(), self._cache.ids_at(nearest[there]), strict=True):
                objects[k] = object_id
        return objects

    def _by_name(self, names: Sequence[str]) -> str:
        for name in names:
            found = self._names.find(name)
            if len(found) > 1:
                raise CatalogError(
                    f"block {self._block}: the spectrum {name!r} could be of {found[0]!r} or {found[1]!r}: give the "
                    "whole id"
                )
            if found:
                return self._ids[found[0]]
        return ""


class KeptSpectra:
    """The spectra of objects, in a temporary file; to be closed, and what `spectra` gave stays."""

    def __init__(self, grid: SpectrumGrid, name: str) -> None:
        self.grid, self.name = grid, name
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - see `close`
        self.rows: dict[str, int] = {}
        self.redshifts: list[float] = []
        self.seen = self.matched = 0
        self.unit = ""
        self._ratios: list[float] = []

    def take(self, spectra: Sequence[SpectrumOnGrid], objects: Sequence[str]) -> None:
        """Keep those that are of an object; of several of one, that with the highest signal over noise."""
        for one, object_id in zip(spectra, objects, strict=True):
            self.seen += 1
            if not object_id:
                continue
            self.matched += 1
            row = self.rows.setdefault(object_id, len(self.rows))
            if row == _MOST_SPECTRA:
                raise ConfigError(f"block {self.name}: more than {_MOST_SPECTRA:,} objects with spectra")
            if row == len(self._ratios):
                self._ratios.append(one.snr)
                self.redshifts.append(one.redshift)
            elif one.snr <= self._ratios[row]:
                continue
            self._ratios[row], self.redshifts[row] = one.snr, one.redshift
            self.unit = self.unit or one.unit
            values = one.values * np.float32(_factor(one.unit, self.unit, self.name))
            self.file.seek(row * values.nbytes)
            self.file.write(values.tobytes())

    def close(self) -> None:
        """Close the file; it is gone when nobody maps it any more."""
        self.file.close()

    def spectra(self) -> np.ndarray:
        """``(m, 2, n)`` float32 in the order of ``rows``, mapped from the file."""
        self.file.flush()
        return np.memmap(self.file, np.float32, "r", shape=(len(self.rows), 2, self.grid.bins))


def _factor(unit: str, wanted: str, name: str) -> float:
    """Return what fluxes in a unit are multiplied with."""
    if not unit or unit == wanted:
        return 1.0
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.Unit(wanted)))
    except (ValueError, TypeError, units.UnitsError) as error:
        raise CatalogError(
            f"block {name}: spectra in {wanted!r} and in {unit!r}: give those of one unit in a block"
        ) from error
