"""Which object a spectrum is of, and the spectra that are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cache.object_tables import catalog_columns
from astroanomaly.errors import CatalogError, ConfigError, StorageError
from astroanomaly.learn.features.spectra import SpectrumGrid
from astroanomaly.session.blocks.spectrum_reading import SpectrumOnGrid
from astroanomaly.tables.matching import match_positions
from astroanomaly.tables.names import NameMatcher
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["APART_ARCSEC", "RADIUS_ARCSEC", "KeptSpectra", "SpectrumMatcher"]

RADIUS_ARCSEC = 1.0  # between a spectrum and its object
APART_ARCSEC = 10.0  # no spectrum of this object, whatever it is called
_MOST_SPECTRA = 500_000  # 16 kB each


class SpectrumMatcher:
    """Finds the objects of a spectrum: by what it is called, else by its position.

    Objects that are more than 10 arcsec from where a spectrum was taken are not those that it is called by.

    Parameters
    ----------
    cache
        The objects.
    column
        Catalogue column of what spectra are called; empty: the ids of the objects, and their positions.
    name
        Of the block, for messages.

    Attributes
    ----------
    apart
        How many spectra are called as objects that are elsewhere.
    """

    def __init__(self, cache: Cache, column: str, name: str) -> None:
        self._cache, self._block, self._by_position = cache, name, not column
        self.apart = 0
        self._positions = cache.positions
        self._rows: dict[str, list[int]] = {}
        texts = column_texts(catalog_columns(cache, [column])[column]) if column else cache.ids
        for row, text in enumerate(texts):
            if text.strip():
                self._rows.setdefault(text.strip() if column else text, []).append(row)
        self._names = NameMatcher(self._rows)

    def find(self, spectra: Sequence[SpectrumOnGrid]) -> list[list[str]]:
        """Return the object ids of each spectrum: several where a catalogue calls it so, none where it is of none.

        Raises
        ------
        CatalogError
            If the name of a spectrum may be that of several objects.
        """
        objects = [self._cache.ids_at(np.array(self._near(one, self._by_name(one.names)), int)) for one in spectra]
        ra, dec = (np.array([getattr(one, axis) for one in spectra]) for axis in ("ra", "dec"))
        left = np.flatnonzero([not ids for ids in objects] & np.isfinite(ra) & np.isfinite(dec))
        if self._by_position and len(left):
            nearest, _ = match_positions(ra[left], dec[left], *self._positions, RADIUS_ARCSEC)
            there = nearest >= 0
            for k, object_id in zip(left[there].tolist(), self._cache.ids_at(nearest[there]), strict=True):
                objects[k] = [object_id]
        return [list(ids) for ids in objects]

    def _near(self, spectrum: SpectrumOnGrid, rows: list[int]) -> list[int]:
        """Leave out objects that are elsewhere than a spectrum."""
        from astropy.coordinates import angular_separation

        if not rows or not np.isfinite(spectrum.ra + spectrum.dec):
            return rows
        ra, dec = (np.radians(axis[rows]) for axis in self._positions)
        apart = angular_separation(np.radians(spectrum.ra), np.radians(spectrum.dec), ra, dec)  # NaN where unknown
        near = [
            row for row, angle in zip(rows, apart.tolist(), strict=True) if not angle > np.radians(APART_ARCSEC / 3600)
        ]
        self.apart += not near
        return near

    def _by_name(self, names: Sequence[str]) -> list[int]:
        for name in names:
            found = self._names.find(name)
            if len(found) > 1:
                raise CatalogError(
                    f"block {self._block}: the spectrum {name!r} could be of {found[0]!r} or {found[1]!r}: give the "
                    "whole id"
                )
            if found:
                return self._rows[found[0]]
        return []


class KeptSpectra:
    """The spectra of objects, in a temporary file of a folder; to be closed, and what `spectra` gave stays."""

    def __init__(self, grid: SpectrumGrid, name: str, folder: Path) -> None:
        self.grid, self.name = grid, name
        try:
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see `close`
        except OSError as error:
            raise StorageError(
                f"block {name}: spectra cannot be put in {folder} meanwhile: {error.strerror}"
            ) from error
        self.rows: dict[str, int] = {}
        self.redshifts: list[float] = []
        self.seen = self.matched = self.repeated = self.without_unit = 0
        self.unit = ""
        self._ratios: list[float] = []

    def take(self, spectra: Sequence[SpectrumOnGrid], objects: Sequence[Sequence[str]]) -> None:
        """Keep those that are of objects; of several of one, that with the highest signal over noise."""
        for one, ids in zip(spectra, objects, strict=True):
            self.seen += 1
            self.matched += bool(ids)
            for object_id in ids:
                self._put(one, object_id)

    def _put(self, one: SpectrumOnGrid, object_id: str) -> None:
        row = self.rows.setdefault(object_id, len(self.rows))
        if row == _MOST_SPECTRA:
            raise ConfigError(f"block {self.name}: more than {_MOST_SPECTRA:,} objects with spectra")
        if row == len(self._ratios):
            self._ratios.append(one.snr)
            self.redshifts.append(one.redshift)
        else:
            self.repeated += 1
            if one.snr <= self._ratios[row]:
                return
        self._ratios[row], self.redshifts[row] = one.snr, one.redshift
        self.unit = self.unit or one.unit
        self.without_unit += not one.unit
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
