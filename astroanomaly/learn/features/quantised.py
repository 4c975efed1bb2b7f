"""Frozen features at 8 bits on fewer axes, small enough to be kept of every object of a survey, to compare them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly.errors import CheckpointError
from astroanomaly.files import atomic_path
from astroanomaly.learn.features.scaling import FeatureScaler

__all__ = ["ABSENT", "PointQuantiser", "products"]

ABSENT = -128  # first number of an object without features; no other has it
_AXES = 256  # of nearest galaxies .96 stay the nearest, see the benchmarks
_LARGEST = 127
_ROWS_PER_CHUNK = 512  # multiplied together: half a megabyte, which stays in the cache of the processor


@dataclass(frozen=True, eq=False)
class PointQuantiser:
    """A map from frozen features to whole numbers of 8 bits.

    Features become points of length 1 on the scale of the session (`FeatureScaler`). Of their principal axes the widest
    are kept, and each axis is rounded in steps of its own. Products of such points are nearly those of the points.

    Parameters
    ----------
    scaler
        Scale of the features.
    axes
        ``(D, K)`` float32 principal axes, the widest first.
    step
        ``(K,)`` float32 size of one step.
    key
        Of the features, see `FeatureStore.key`: others cannot be compared.
    """

    scaler: FeatureScaler
    axes: np.ndarray
    step: np.ndarray
    key: str

    @classmethod
    def measure(cls, scaler: FeatureScaler, features: np.ndarray, key: str) -> PointQuantiser:
        """Measure axes and steps on features ``(n, D)`` of a random sample; rows with NaN are left out."""
        points = scaler.transform(features[np.isfinite(features).all(axis=1)])
        spread, axes = np.linalg.eigh(points.T.astype(np.float64) @ points)
        axes = axes[:, ::-1][:, : min(_AXES, max(1, len(points)), int(np.count_nonzero(spread > 0)) or 1)]
        kept = axes.astype(np.float32)
        largest = np.abs(points @ kept).max(axis=0, initial=0)
        return cls(scaler, kept, np.maximum(largest / _LARGEST, np.float32(1e-9)).astype(np.float32), key)

    def quantise(self, features: np.ndarray) -> np.ndarray:
        """Round features.

        Returns
        -------
        numpy.ndarray
            ``(n, K)`` int8 of features ``(n, D)``: -127 to 127; the first number of a row with NaN is `ABSENT`.
        """
        points = self.scaler.transform(features) @ self.axes / self.step
        rounded = np.clip(np.round(np.nan_to_num(points)), -_LARGEST, _LARGEST).astype(np.int8)
        rounded[~np.isfinite(points).all(axis=1), 0] = ABSENT
        return rounded

    def query(self, quantised: np.ndarray) -> np.ndarray:
        """``(n, K)`` float32 of quantised points ``(n, K)``, to be compared with others by `products`."""
        points = quantised * self.step
        length = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
        return (points / np.where(length == 0, 1, length) * self.step).astype(np.float32)

    # ------------------------------------------------------------------------------------------------------ as a file

    def save(self, path: Path) -> None:
        """Write it in one step, as arrays of numpy (``.npz``)."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, scaler=self.scaler.rows, axes=self.axes, step=self.step, key=np.array(self.key))

    @classmethod
    def load(cls, path: Path) -> PointQuantiser:
        """Read it.

        Raises
        ------
        CheckpointError
            If it is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                (centre, scale), axes, step, key = file["scaler"], file["axes"], file["step"], str(file["key"])
            if axes.shape != (len(centre), len(step)) or not (np.isfinite(axes).all() and (step > 0).all()):
                raise ValueError(f"axes of shape {axes.shape}, {len(step)} steps")
        except Exception as error:  # whatever numpy and zipfile make of a damaged file
            raise CheckpointError(
                f"{path} is missing or damaged ({error}): remove its folder, and give the command "
                "`astroanomaly score SESSION --source ... --keep-features` again"
            ) from error
        return cls(FeatureScaler(centre, scale), axes, step, key)


def products(stored: np.ndarray, queries: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return the highest cosine of each quantised point with one of the queries.

    Parameters
    ----------
    stored
        ``(n, K)`` int8, which may be memory-mapped.
    queries
        ``(q, K)`` float32, see `PointQuantiser.query`; at least one.
    step
        ``(K,)`` float32, of `PointQuantiser`.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` float32, higher is more alike; minus infinity for objects without features.
    """
    found = np.empty(len(stored), np.float32)
    room = np.empty((min(_ROWS_PER_CHUNK, len(stored)), stored.shape[1]), np.float32)
    columns, squares = np.ascontiguousarray(queries.T), np.square(step)
    for start in range(0, len(stored), _ROWS_PER_CHUNK):
        some = stored[start : start + _ROWS_PER_CHUNK]
        np.copyto(room[: len(some)], some)
        here = found[start : start + len(some)]
        np.max(room[: len(some)] @ columns, axis=1, out=here)
        np.square(room[: len(some)], out=room[: len(some)])
        here /= np.sqrt(np.maximum(room[: len(some)] @ squares, np.finfo(np.float32).tiny))
        here[some[:, 0] == ABSENT] = -np.inf
    return found
