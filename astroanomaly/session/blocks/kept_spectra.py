"""The spectra that are kept, one of each object."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.learn.features.spectra import SpectrumGrid
from astroanomaly.session.blocks.given_files import unit_factor
from astroanomaly.session.blocks.spectrum_reading import SpectrumOnGrid

__all__ = ["KeptSpectra"]

_MOST_SPECTRA = 500_000  # 16 kB each


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
        values = one.values * np.float32(unit_factor(one.unit, self.unit, f"block {self.name}: spectra"))
        self.file.seek(row * values.nbytes)
        self.file.write(values.tobytes())

    def close(self) -> None:
        """Close the file; it is gone when nobody maps it any more."""
        self.file.close()

    def spectra(self) -> np.ndarray:
        """``(m, 2, n)`` float32 in the order of ``rows``, mapped from the file."""
        self.file.flush()
        return np.memmap(self.file, np.float32, "r", shape=(len(self.rows), 2, self.grid.bins))
