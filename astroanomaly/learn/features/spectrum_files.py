"""Spectra by object id, as a session keeps them beside the numbers made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache.file_digest import append_digest
from astroanomaly.errors import DamagedError
from astroanomaly.learn.features.block_files import (
    describe_block,
    find_rows,
    in_order,
    open_array,
    open_ids,
    start_array,
)
from astroanomaly.learn.features.spectra import MOST_BINS, SpectrumGrid

__all__ = ["SpectrumFile", "has_spectra", "open_spectra", "write_spectra"]

_SPECTRA, _REDSHIFTS = "spectra.npy", "redshifts.npy"
_MOST_LETTERS = 80  # of a unit
_REMEDY = "restore it from a copy, or start a new session with the spectra"
_ROWS = 256  # written together


@dataclass(frozen=True, eq=False)
class SpectrumFile:
    """Spectra by object id, memory-mapped.

    Parameters
    ----------
    ids
        ``(m,)`` object ids in UTF-8, rising.
    spectra
        ``(m, 2, n)`` float32 flux and its error (one standard deviation), NaN where unknown.
    redshifts
        ``(m,)`` float32, NaN where unknown.
    grid
        The wavelengths as observed.
    unit
        Of the flux, as its files state it; empty where they state none.
    """

    ids: np.ndarray
    spectra: np.ndarray
    redshifts: np.ndarray
    grid: SpectrumGrid
    unit: str

    def row(self, object_id: str) -> int:
        """Row of an object; -1 for one without a spectrum."""
        return int(find_rows(self.ids, [object_id])[0])


def has_spectra(folder: str | Path) -> bool:
    """Whether a block has spectra beside its numbers."""
    return bool(str(folder)) and (Path(folder) / _SPECTRA).is_file()


def write_spectra(folder: Path, ids: Sequence[str], spectra: np.ndarray, redshifts: np.ndarray) -> None:
    """Write spectra beside the numbers of a block, see `SpectrumFile`; its description has ``grid`` and ``unit``.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    _, order = in_order(ids)
    with start_array(folder / _SPECTRA, np.dtype("<f4"), spectra.shape) as file:
        for start in range(0, len(order), _ROWS):
            file.write(np.asarray(spectra[order[start : start + _ROWS]], "<f4").tobytes())
    np.save(folder / _REDSHIFTS, np.asarray(redshifts, np.float32)[order], allow_pickle=False)
    for name in (_SPECTRA, _REDSHIFTS):
        append_digest(folder / name)


def open_spectra(folder: Path) -> SpectrumFile:
    """Open the spectra of a block.

    Raises
    ------
    SessionError
        If they are of a newer version.
    DamagedError
        If they are not there, or not what they should be.
    """
    ids, about = open_ids(folder), describe_block(folder)
    spectra, redshifts = open_array(folder / _SPECTRA), open_array(folder / _REDSHIFTS)
    grid = _grid(about.get("grid"))
    if grid is None or spectra.shape != (len(ids), 2, grid.bins) or redshifts.shape != (len(ids),):
        raise DamagedError(f"{folder} is damaged: ids, spectra and their wavelengths do not fit together; {_REMEDY}")
    if spectra.dtype != np.float32 or redshifts.dtype != np.float32:
        raise DamagedError(f"{folder} is damaged: its spectra are no 32-bit floats; {_REMEDY}")
    return SpectrumFile(ids, spectra, redshifts, grid, str(about.get("unit", ""))[:_MOST_LETTERS])


def _grid(plain: Any) -> SpectrumGrid | None:
    """Return the grid that a description has, None for one that cannot be."""
    if not (isinstance(plain, list) and len(plain) == 3 and all(type(one) in (int, float) for one in plain)):
        return None
    shortest, longest, bins = plain
    if not (0 < shortest < longest < math.inf and type(bins) is int and 0 < bins <= MOST_BINS):
        return None
    return SpectrumGrid(float(shortest), float(longest), bins)
