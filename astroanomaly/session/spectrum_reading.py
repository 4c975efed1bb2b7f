"""Read the spectra of many files, each brought to one grid of wavelengths."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.errors import AstroAnomalyError, ConfigError, UnreadableError
from astroanomaly.files import as_path
from astroanomaly.learn.features.spectra import SpectrumGrid, choose_grid, noise_of, rebin
from astroanomaly.parallel.watch import reading
from astroanomaly.parallel.watched import each_watched
from astroanomaly.tables.spectra import read_spectra

__all__ = ["SpectrumOnGrid", "each_on_grid", "find_files", "grid_of"]

_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".ecsv", ".csv", ".vot")
_MOST_FILES = 1_000_000
_LOOKED_AT = 200  # files, for the range of wavelengths


def each_on_grid(grid: SpectrumGrid, files: Sequence[Path]) -> Iterator[list[SpectrumOnGrid] | AstroAnomalyError]:
    """Read files in a process that is watched; give the spectra of each, or why it cannot be read."""
    yield from each_watched(functools.partial(_on_grid, grid), files)


def find_files(given: Any, name: str) -> list[Path]:
    """Return the files that somebody names: by themselves, by a folder or by a pattern."""
    found: dict[Path, None] = {}
    for one in given if isinstance(given, list | tuple) else [given]:
        path = as_path(one, f"block {name}")
        if path.is_dir():
            some = sorted(p for p in path.rglob("*") if p.name.lower().endswith(_SUFFIXES) and p.is_file())
            if not some:
                raise UnreadableError(f"block {name}: {path} holds no spectra ({', '.join(_SUFFIXES)})")
        elif path.is_file() or not any(letter in str(path) for letter in "*?["):
            some = [path]
        else:
            base = Path(path.anchor) if path.is_absolute() else Path()
            some = sorted(p for p in base.glob(str(path.relative_to(base))) if p.is_file())
            if not some:
                raise UnreadableError(f"block {name}: no file is called as in {path}")
        found |= dict.fromkeys(file.absolute() for file in some)
        if len(found) > _MOST_FILES:
            raise ConfigError(f"block {name}: more than {_MOST_FILES:,} files of spectra")
    if not found:
        raise ConfigError(f"block {name}: nothing was given, expected files of spectra")
    return list(found)


def grid_of(files: Sequence[Path], name: str) -> SpectrumGrid:
    """Choose the grid of wavelengths by the first spectrum of some of the files, evenly spread."""
    places = np.unique(np.linspace(0, len(files) - 1, min(len(files), _LOOKED_AT)).round().astype(int))
    ranges, failed = [], ""
    for result in each_watched(_range, [files[k] for k in places]):
        if isinstance(result, AstroAnomalyError):
            failed = failed or str(result)
        else:
            ranges.append(result)
    if not ranges:
        raise UnreadableError(f"block {name}: {failed}")
    return choose_grid(ranges)


def _range(path: Path) -> tuple[float, float, int]:
    """Return shortest and longest wavelength of the first spectrum of a file, and how many pixels lie between."""
    with reading(path):
        found = next(read_spectra(path), None)
    if found is None:
        raise UnreadableError(f"{path} has no spectrum")
    axes = [piece.wavelength for piece in found.pieces]
    return min(float(axis[0]) for axis in axes), max(float(axis[-1]) for axis in axes), sum(map(len, axes))


@dataclass(frozen=True, eq=False)
class SpectrumOnGrid:
    """A spectrum on the grid: ``(2, n)`` float32 flux and error."""

    names: tuple[str, ...]
    ra: float
    dec: float
    redshift: float
    unit: str
    values: np.ndarray
    snr: float


def _on_grid(grid: SpectrumGrid, path: Path) -> list[SpectrumOnGrid]:
    """Read the spectra of a file, in the bins of a grid."""
    found = []
    with reading(path):
        for one in read_spectra(path):
            flux, weight = rebin(one.pieces, grid.edges)
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                if not one.has_errors:
                    weight = np.where(weight > 0, noise_of(flux[None])[0] ** -2.0, 0)
                noise = np.where((weight > 0) & np.isfinite(weight), weight**-0.5, np.nan)
                values = np.stack([np.where(np.isfinite(noise), flux, np.nan), noise]).astype(np.float32)
                ratio = np.abs(values[0]) / values[1]
            values[:, ~np.isfinite(values).all(axis=0)] = np.nan
            known = ratio[np.isfinite(ratio)]
            snr = float(np.median(known)) if len(known) else 0.0
            found.append(SpectrumOnGrid(one.names, one.ra, one.dec, one.redshift, one.unit, values, snr))
    return found
