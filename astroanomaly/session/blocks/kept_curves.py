"""The measurements of light curves that are kept, sorted by object and time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from astroanomaly.errors import CatalogError, ConfigError, StorageError
from astroanomaly.learn.features.light_curve_files import POINT
from astroanomaly.session.blocks.given_files import unit_factor
from astroanomaly.tables.light_curves import MOST_BANDS, LightCurves

__all__ = ["KeptCurves"]

_ROW = np.dtype([("row", "<i4"), *((name, POINT[name]) for name in POINT.names or ())])
_MOST_POINTS = 500_000_000  # 17 bytes each
_ZEROS = 2**20  # bytes that are written together
_TOGETHER = 1_000_000  # that are sorted in memory


class KeptCurves:
    """The light curves of objects, in temporary files of a folder; to be closed, and what `sort` gave stays."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._file = self._temporary()
        self.rows: dict[str, int] = {}
        self.bands: list[str] = []
        self.points = self.seen = self.matched = self.without_unit = self.without_error = 0
        self.unit = ""
        self.is_magnitude = self.is_mjd = False

    def _temporary(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(dir=self._folder)
        except OSError as error:
            raise StorageError(
                f"block {self.name}: light curves cannot be put in {self._folder} meanwhile: {error.strerror}"
            ) from error

    def take(self, curves: LightCurves, objects: Sequence[Sequence[str]], where: Path) -> None:
        """Keep the measurements of a file that are of objects; several light curves of an object are joined.

        Parameters
        ----------
        curves, where
            Of the file.
        objects
            The object ids of each of its light curves.

        Raises
        ------
        CatalogError
            If its brightnesses or times cannot be joined with those of earlier files.
        """
        there = np.bincount(curves.curve, minlength=len(objects)) > 0
        self.seen += int(there.sum())
        wanted = [k for k, ids in enumerate(objects) if ids and there[k]]
        self.matched += len(wanted)
        if not wanted:
            return
        factor = self._fit(curves, where)
        ours = np.isin(curves.curve, wanted)
        number = np.zeros(len(curves.bands), np.uint8)
        for k in np.unique(curves.band[ours]).tolist():  # others are of no object
            number[k] = self._band(curves.bands[k], where)
        band = number[curves.band]
        longest = max(len(objects[k]) for k in wanted)
        for place in range(longest):  # an object more than one only where a catalogue gives several one name
            rows = np.full(len(objects), -1, np.int32)
            for k in wanted:
                if place < len(objects[k]):
                    rows[k] = self.rows.setdefault(objects[k][place], len(self.rows))
            row = rows[curves.curve]
            here = row >= 0
            some = np.zeros(int(here.sum()), _ROW)
            some["row"], some["time"], some["band"] = row[here], curves.time[here], band[here]
            with np.errstate(over="ignore"):
                some["value"], some["error"] = curves.value[here] * factor, curves.error[here] * factor
            some = some[np.isfinite(some["value"])]
            self.points += len(some)
            self.without_error += int(np.isnan(some["error"]).sum())
            if self.points > _MOST_POINTS:
                raise ConfigError(f"block {self.name}: more than {_MOST_POINTS:,} measurements of light curves")
            self._file.write(some.tobytes())

    def _fit(self, curves: LightCurves, where: Path) -> float:
        """Return what the values of a file are multiplied with to join the others."""
        if not self.rows:
            self.is_magnitude, self.is_mjd = curves.is_magnitude, curves.is_mjd
        if curves.is_magnitude != self.is_magnitude:
            raise CatalogError(
                f"block {self.name}: {where} has {_kind(curves.is_magnitude)}, and the others have "
                f"{_kind(self.is_magnitude)}: set blocks.brightness, or give them as two blocks"
            )
        if curves.is_mjd != self.is_mjd:
            raise CatalogError(
                f"block {self.name}: the times of {where} are {_times(curves.is_mjd)}, and those of the others "
                f"{_times(self.is_mjd)}: give them as two blocks"
            )
        self.unit = self.unit or curves.unit
        self.without_unit += not curves.unit
        if self.is_magnitude:  # zero points differ, and no factor mends that
            return 1.0
        return unit_factor(curves.unit, self.unit, f"block {self.name}: light curves")

    def _band(self, name: str, where: Path) -> int:
        if name not in self.bands:
            if len(self.bands) == MOST_BANDS:
                raise CatalogError(
                    f"block {self.name}: more than {MOST_BANDS} bands: {', '.join(self.bands[:8])} ..., and {name!r} "
                    f"in {where}"
                )
            self.bands.append(name)
        return self.bands.index(name)

    def sort(self) -> tuple[np.ndarray, np.ndarray]:
        """Sort the measurements by object and time.

        Returns
        -------
        starts, points
            ``(m + 1,)`` where the measurements of each object begin, in the order of ``rows``, and ``(N,)`` of the
            type `POINT`, mapped from a file.
        """
        self._file.flush()
        given = np.memmap(self._file, _ROW, "r", shape=(self.points,))
        parts = range(0, self.points, _TOGETHER)
        counts = np.zeros(len(self.rows), np.int64)
        for first in parts:
            counts += np.bincount(given["row"][first : first + _TOGETHER], minlength=len(counts))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        with self._temporary() as file:
            _allocate(file, self.points * POINT.itemsize)
            found = np.memmap(file, POINT, "r+", shape=(self.points,))
        free = starts[:-1].copy()
        for first in parts:
            some = np.array(given[first : first + _TOGETHER])
            some = some[np.argsort(some["row"], kind="stable")]
            rows, begin, count = np.unique(some["row"], return_index=True, return_counts=True)
            places = np.repeat(free[rows] - begin, count) + np.arange(len(some))
            for name in POINT.names or ():
                found[name][places] = some[name]
            free[rows] += count
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            found[start:end] = found[start:end][np.argsort(found["time"][start:end], kind="stable")]
        return starts, found

    def close(self) -> None:
        """Close the file; it is gone then."""
        self._file.close()


def _allocate(file: IO[bytes], size: int) -> None:
    """Write zeros, so that a full disk is an error here: it ends the process when a mapped file is written to."""
    for start in range(0, size, _ZEROS):
        file.write(bytes(min(_ZEROS, size - start)))
    file.flush()


def _kind(is_magnitude: bool) -> str:
    return "magnitudes" if is_magnitude else "fluxes"


def _times(is_mjd: bool) -> str:
    return "Julian dates" if is_mjd else "days from another start, as BTJD"
