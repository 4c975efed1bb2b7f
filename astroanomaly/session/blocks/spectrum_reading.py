"""Read the spectra of many files, each brought to one grid of wavelengths."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly.errors import AstroAnomalyError, ConfigError, UnreadableError
from astroanomaly.learn.features.spectra import SpectrumGrid, choose_grid, noise_of, rebin
from astroanomaly.parallel.watch import reading
from astroanomaly.parallel.watched import each_watched
from astroanomaly.tables.spectra import Spectrum, read_spectra

__all__ = ["SUFFIXES", "SpectrumOnGrid", "each_on_grid", "grid_of"]

SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".ecsv", ".csv", ".vot")
_LOOKED_AT = 200  # files, and spectra of each, for the range of wavelengths
_FILES_TOGETHER = 1  # that their spectra are in memory of: a file of DESI has thousands


def each_on_grid(grid: SpectrumGrid, files: Sequence[Path]) -> Iterator[list[SpectrumOnGrid] | AstroAnomalyError]:
    """Read files in a process that is watched; give the spectra of each, or why it cannot be read."""
    yield from each_watched(functools.partial(_on_grid, grid), files, together=_FILES_TOGETHER)


def grid_of(files: Sequence[Path], name: str) -> SpectrumGrid:
    """Choose the grid of wavelengths by the first spectra of some of the files, evenly spread."""
    places = np.unique(np.linspace(0, len(files) - 1, min(len(files), _LOOKED_AT)).round().astype(int))
    ranges, failed = [], ""
    for result in each_watched(_range, [files[k] for k in places]):
        if isinstance(result, AstroAnomalyError):
            failed = failed or str(result)
        else:
            ranges.append(result)
    if not ranges:
        raise UnreadableError(f"block {name}: {failed}")
    try:
        return choose_grid([found for _, found in ranges])
    except ConfigError as error:
        low, high = min(ranges, key=lambda one: one[1][0])[0], max(ranges, key=lambda one: one[1][1])[0]
        raise ConfigError(f"block {name}: {error} (the shortest in {low}, the longest in {high})") from error


def _range(path: Path) -> tuple[Path, tuple[float, float, int]]:
    """Return a file, shortest and longest wavelength that its first spectra know, and how many pixels lie between.

    How many is by the median of these spectra.
    """
    with reading(path):
        found = [_known(one) for one in itertools.islice(read_spectra(path), _LOOKED_AT)]
    ranges = np.array([one for one in found if one is not None], np.float64).reshape(-1, 3)
    if not len(ranges):
        raise UnreadableError(f"{path} has no spectrum with pixels that count")
    shortest, longest = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    step = float(np.median(np.log(ranges[:, 1] / ranges[:, 0]) / (ranges[:, 2] - 1)))
    return path, (shortest, longest, 1 + max(1, round(float(np.log(longest / shortest)) / step)))


def _known(spectrum: Spectrum) -> tuple[float, float, int] | None:
    """Return shortest and longest wavelength of the pixels that count, and how many lie between; None without any."""
    axis = np.concatenate([piece.wavelength[piece.weight > 0] for piece in spectrum.pieces])
    if len(axis) < 2 or axis.min() == axis.max():
        return None
    pixels = sum(int(((p.wavelength >= axis.min()) & (p.wavelength <= axis.max())).sum()) for p in spectrum.pieces)
    return float(axis.min()), float(axis.max()), pixels


def _noise_of(spectrum: Spectrum) -> np.float64:
    """Noise of a pixel of a spectrum without errors, 0 where it has too few."""
    flux = np.concatenate([np.where(piece.weight > 0, piece.flux, np.nan) for piece in spectrum.pieces])
    return np.float64(noise_of(flux[None])[0])


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
                    weight = weight * _noise_of(one) ** -2.0  # a weight of 1 is one pixel
                noise = np.where((weight > 0) & np.isfinite(weight), weight**-0.5, np.nan)
                values = np.stack([np.where(np.isfinite(noise), flux, np.nan), noise]).astype(np.float32)
                ratio = np.abs(values[0]) / values[1]
            values[:, ~np.isfinite(values).all(axis=0)] = np.nan
            known = ratio[np.isfinite(ratio)]
            snr = float(np.median(known)) if len(known) else 0.0
            found.append(SpectrumOnGrid(one.names, one.ra, one.dec, one.redshift, one.unit, values, snr))
    return found
