"""Light curves by object id, as a session keeps them beside the numbers made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

__all__ = ["POINT", "LightCurveFile", "has_light_curves", "open_light_curves", "write_light_curves"]

POINT = np.dtype([("time", "<f8"), ("value", "<f4"), ("error", "<f4"), ("band", "u1")])
_TIMES, _VALUES, _BANDS, _STARTS = "curve_times.npy", "curve_values.npy", "curve_bands.npy", "curve_starts.npy"
_MOST_BANDS, _MOST_LETTERS = 256, 80
_REMEDY = "restore it from a copy, or start a new session with the light curves"


@dataclass(frozen=True, eq=False)
class LightCurveFile:
    """Light curves by object id, memory-mapped.

    Parameters
    ----------
    ids
        ``(m,)`` object ids in UTF-8, rising.
    starts
        ``(m + 1,)`` int64: the measurements of each object are from its start to the next.
    times
        ``(N,)`` float64 days, rising within an object.
    values
        ``(N, 2)`` float32 flux or magnitude and its error (one standard deviation), NaN where unknown.
    band
        ``(N,)`` uint8, which of ``bands``.
    bands
        Their names.
    is_magnitude
        What values are.
    unit
        Of the values, as their files state it; empty where they state none.
    is_mjd
        Whether times are modified Julian dates.
    """

    ids: np.ndarray
    starts: np.ndarray
    times: np.ndarray
    values: np.ndarray
    band: np.ndarray
    bands: tuple[str, ...]
    is_magnitude: bool
    unit: str
    is_mjd: bool

    def points(self, object_id: str) -> np.ndarray | None:
        """``(n,)`` measurements of an object, of the type `POINT`; None for one without a light curve."""
        row = int(find_rows(self.ids, [object_id])[0])
        if row < 0:
            return None
        start, end = (int(one) for one in self.starts[row : row + 2])
        if not 0 <= start <= end <= len(self.times):
            raise DamagedError(f"a light curve of {object_id} is damaged: it has no place in its file; {_REMEDY}")
        found = np.zeros(end - start, POINT)
        found["time"], found["band"] = self.times[start:end], self.band[start:end]
        found["value"], found["error"] = self.values[start:end].T
        return found[found["band"] < len(self.bands)]


def has_light_curves(folder: str | Path) -> bool:
    """Whether a block has light curves beside its numbers."""
    return bool(str(folder)) and (Path(folder) / _STARTS).is_file()


def write_light_curves(folder: Path, ids: Sequence[str], starts: np.ndarray, points: np.ndarray) -> None:
    """Write light curves beside the numbers of a block, see `LightCurveFile`.

    Parameters
    ----------
    folder
        Of the block, whose description has ``bands``, ``magnitudes``, ``unit`` and ``mjd``.
    ids
        ``(m,)`` object ids.
    starts
        ``(m + 1,)`` where the measurements of each begin.
    points
        ``(N,)`` of the type `POINT`.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    _, order = in_order(ids)
    counts = np.diff(starts)[order]
    written = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    count = len(points)
    with (
        start_array(folder / _TIMES, np.dtype("<f8"), (count,)) as times,
        start_array(folder / _VALUES, np.dtype("<f4"), (count, 2)) as values,
        start_array(folder / _BANDS, np.dtype("u1"), (count,)) as bands,
    ):
        for k in order:
            some = points[starts[k] : starts[k + 1]]
            times.write(some["time"].tobytes())
            values.write(np.stack([some["value"], some["error"]], axis=1).tobytes())
            bands.write(some["band"].tobytes())
    np.save(folder / _STARTS, written, allow_pickle=False)
    for name in (_TIMES, _VALUES, _BANDS, _STARTS):
        append_digest(folder / name)


def open_light_curves(folder: Path) -> LightCurveFile:
    """Open the light curves of a block.

    Raises
    ------
    SessionError
        If they are of a newer version.
    DamagedError
        If they are not there, or not what they should be.
    """
    ids, about = open_ids(folder), describe_block(folder)
    times, values, band, starts = (open_array(folder / name) for name in (_TIMES, _VALUES, _BANDS, _STARTS))
    count = len(times) if times.ndim == 1 else -1
    fit = (times.shape, values.shape, band.shape) == ((count,), (count, 2), (count,)) and starts.shape == (
        len(ids) + 1,
    )
    kinds = tuple(str(one.dtype) for one in (times, values, band, starts))
    if not fit or kinds != ("float64", "float32", "uint8", "int64"):
        raise DamagedError(f"{folder} is damaged: ids and measurements of its light curves do not fit; {_REMEDY}")
    bands = about.get("bands")
    if not isinstance(bands, list) or not 0 < len(bands) <= _MOST_BANDS or not all(isinstance(b, str) for b in bands):
        raise DamagedError(f"{folder} is damaged: the bands of its light curves are none; {_REMEDY}")
    names = tuple(name[:_MOST_LETTERS] for name in bands)
    return LightCurveFile(
        ids, starts, times, values, band, names,
        about.get("magnitudes") is True, str(about.get("unit", ""))[:_MOST_LETTERS], about.get("mjd") is True,
    )  # fmt: skip
