"""Invariance to rotation and mirroring: how much features vary with them, and a penalty on directions that do."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cache.file_digest import append_digest
from astroanomaly.errors import StorageError
from astroanomaly.files import atomic_path
from astroanomaly.imaging.sampling import read_undamaged
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.parallel.threads import prefetch
from astroanomaly.records import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from astroanomaly.cache.model_input import ModelInput

__all__ = ["Invariance", "RotatedFeatures"]

_SAMPLE_SIZE = 256  # objects
_MIN_SAMPLE_SIZE = 32  # fewer objects say too little
_MAX_STORED_OBJECTS = 8192  # in a file; a strange one must not fill the memory
_OBJECTS_PER_BATCH = 16
_MIN_RELATIVE_VARIANCE = 1e-5  # of the variance between objects: below it views differ by rounding only
_latest: dict[bytes, tuple[Invariance | None]] = {}  # one entry: every verdict asks for the same points again
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Invariance:
    """A change of coordinates in which differences between views of the same object are small.

    A linear function that is learnt there, with the usual penalty on its weights, prefers directions along which an
    object and its rotated and mirrored images agree: the weights ``w`` pay ``w' (I + strength * S / s) w``, where ``S``
    is the covariance of points around their object's mean, and ``s`` the mean of its eigenvalues. It is the
    linear case of tangent propagation (Simard et al. 1991, NIPS 4), with the covariance of within-class normalisation
    (Hatch et al. 2006, Interspeech).

    Parameters
    ----------
    factor
        ``(D, D)`` float64, lower triangular: the Cholesky factor of that matrix.
    """

    factor: np.ndarray

    @classmethod
    def measure(cls, points: np.ndarray, strength: float) -> Invariance | None:
        """Measure it on points ``(n, v, D)`` of n objects in v views each; None where views do not differ."""
        n, v, dim = points.shape
        apart = (points - points.mean(axis=1, keepdims=True)).reshape(n * v, dim).astype(np.float32)
        within = (apart.T @ apart).astype(np.float64)
        mean = np.trace(within) / dim
        if not mean > _MIN_RELATIVE_VARIANCE * n * v * points.mean(axis=1).var(axis=0).mean():
            return None
        return cls(np.linalg.cholesky(np.eye(dim) + strength / mean * within))

    def transform(self, points: np.ndarray) -> np.ndarray:
        """Bring points ``(n, D)`` into these coordinates, float64."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self.factor, points.T.astype(np.float64), lower=True).T

    def original_weight(self, weight: np.ndarray) -> np.ndarray:
        """Bring the weights ``(D, classes)`` of a function learnt there back to points as they are."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self.factor, weight, lower=True, trans="T")


class RotatedFeatures:
    """Features of some objects in rotated and mirrored views: all those that their own features are not averaged over.

    They are kept in memory, and with the features of the first shard, in ``turned-<views>.npy``. On the sky an object
    has eight views, four where features are averaged over two views (``input.tta_views``), two where over four; a
    picture has itself and its mirror image, or itself only where features are averaged over both.

    Parameters
    ----------
    store
        The features.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._known: dict[bytes, np.ndarray] = {}  # (v, D) float16 by shard and row in it

    def sample(self, exclude: Collection[str] = ()) -> list[str]:
        """Draw the objects that are looked at: nearly the same ones when a few more are excluded."""
        cache, barred = self.store.cache, set(exclude)
        drawn = [i for i in cache.sample(2 * _SAMPLE_SIZE, np.random.default_rng(5)) if i not in barred]
        if len(drawn) < _SAMPLE_SIZE:
            drawn = cache.sample(_SAMPLE_SIZE, np.random.default_rng(5), barred)
        return drawn[:_SAMPLE_SIZE]

    def compute(self, ids: Sequence[str]) -> Iterator[Progress]:
        """Compute what is missing of some objects, and keep it; one report per batch. Too few are left alone."""
        views = _views(self.store.model_input)
        if len(views) < 2 or len(ids) < _MIN_SAMPLE_SIZE:
            return
        known = self._load()
        missing = [(i, row) for i, row in zip(ids, self._rows(ids), strict=True) if row not in known]
        if not missing:
            return
        import torch

        from astroanomaly.learn.preprocessing import to_tensor

        store, engine = self.store, self.store.engine
        planes = store.model_input.check(store.cache)
        done, total = len(ids) - len(missing), len(ids)
        yield Progress("rotated and mirrored views", done, total)
        store.expect(len(missing) * len(views))
        batches = iter(
            [missing[start : start + _OBJECTS_PER_BATCH] for start in range(0, len(missing), _OBJECTS_PER_BATCH)]
        )
        try:
            for batch, (block, places) in prefetch(
                lambda batch: read_undamaged(store.cache, [i for i, _ in batch]), batches
            ):
                with torch.inference_mode():
                    seen = to_tensor(block, store.model_input, engine.device, planes)  # (n, 3, S, S)
                    features = (
                        torch.stack([store.embed(view(seen)) for view in views], 1).half().cpu().numpy()
                    )  # (n, v, D)
                known.update(zip([batch[place][1] for place in places], np.nan_to_num(features), strict=True))
                done += len(batch)
                yield Progress("rotated and mirrored views", done, total)
        finally:
            self._keep(known)

    def get(self, ids: Sequence[str]) -> np.ndarray | None:
        """``(n, v, D)`` float32 features of those objects that were computed; None where these are too few."""
        known = self._load()
        there = [known[row] for row in self._rows(ids) if row in known]
        return None if len(there) < _MIN_SAMPLE_SIZE else np.stack(there).astype(np.float32)

    def invariance(
        self, ids: Sequence[str], points: Callable[[np.ndarray], np.ndarray], strength: float
    ) -> Invariance | None:
        """Measure it, once for the same points; None where too few objects were computed or nothing differs.

        Parameters
        ----------
        ids
            The objects; those that were not computed are left out.
        points
            Transforms features ``(n, D)`` to points ``(n, K)``.
        strength
            How much less counts what differs between views.
        """
        features = self.get(ids)
        if features is None or features.shape[1] < 2:
            return None
        n, v, dim = features.shape
        seen = points(features.reshape(n * v, dim))
        tag = hashlib.sha256(seen.tobytes() + repr(strength).encode()).digest()
        found = _latest.get(tag)
        if found is None:
            found = (Invariance.measure(seen.reshape(n, v, -1), strength),)
            _latest.clear()
            _latest[tag] = found
        return found[0]

    # ------------------------------------------------------------------------------------------------------ on disk

    def _rows(self, ids: Sequence[str]) -> list[bytes]:
        """Name objects by their shard and their row in it: other caches may have others of the same id."""
        numbers, rows = self.store.cache.locate(ids)
        uuids = [shard.uuid for shard in self.store.cache.shards]
        return [f"{uuids[number]}/{row}".encode() for number, row in zip(numbers, rows, strict=True)]

    @property
    def _count(self) -> int:
        """Views of an object."""
        return len(_views(self.store.model_input))

    def _files(self) -> list[Path]:
        shards = self.store.cache.shards
        name = f"turned-{self._count}.npy"  # what is on disk keeps its name, or it would be computed again
        return [folder / name for folder in self.store.folders(shards[0].uuid)] if shards else []

    def _type(self, dim: int) -> np.dtype:
        return np.dtype([("row", "S64"), ("features", "<f2", (self._count, dim))])

    def _load(self) -> dict[bytes, np.ndarray]:
        """Return what is known, from memory or, as long as that is nothing, from the disk; a damaged file is none."""
        if self._known:
            return self._known
        for path in self._files():
            if not path.is_file():
                continue
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                right = (
                    array.ndim == 1
                    and len(array) <= _MAX_STORED_OBJECTS
                    and array.dtype == self._type(sum(self.store.widths))
                )
            except Exception:  # noqa: BLE001 - a strange header can raise anything
                right = False
            if not right:
                _log.warning("%s is damaged or of something else: it is made again", path)
                continue
            features = np.array(array["features"])
            rows = zip(array["row"].tolist(), features, np.isfinite(features).all(axis=(1, 2)), strict=True)
            self._known |= {row: views for row, views, whole in rows if whole}
        return self._known

    def _keep(self, known: dict[bytes, np.ndarray]) -> None:
        """Write it where possible; else it is computed again by the next process."""
        if not known:
            return
        kept = list(known.items())[-_MAX_STORED_OBJECTS:]
        array = np.empty(len(kept), self._type(kept[0][1].shape[1]))
        array["row"], array["features"] = [row for row, _ in kept], [views for _, views in kept]
        for path in self._files():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(path, sync=False) as temporary:
                    with temporary.open("wb") as file:
                        np.save(file, array, allow_pickle=False)
                    append_digest(temporary)
            except (OSError, StorageError):
                continue
            break


def _views(model_input: ModelInput) -> list[Callable[[Tensor], Tensor]]:
    """List the views of ``(n, 3, S, S)`` that features are not averaged over: as it is, then rotated and mirrored."""

    def view(quarters: int, mirrored: bool) -> Callable[[Tensor], Tensor]:
        def rotate(images: Tensor) -> Tensor:
            import torch

            rotated = images.rot90(quarters, (2, 3))
            return (rotated.flip(3) if mirrored else rotated).contiguous(memory_format=torch.channels_last)

        return rotate

    if model_input.views == "picture":
        return [view(0, mirrored) for mirrored in ((False, True) if model_input.tta_views == 1 else (False,))]
    quarters = range(4 // model_input.tta_views)
    return [view(k, mirrored) for mirrored in (False, True) for k in quarters]
