"""What turning and mirroring objects changes in their features: measured once, and counted less by who learns."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cache.schema import atomic_path
from astroanomaly.errors import StorageError
from astroanomaly.learn.pipeline import ahead
from astroanomaly.records import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from astroanomaly.learn.batches import ModelInput
    from astroanomaly.learn.features import FeatureStore

__all__ = ["Invariance", "Turned"]

_SAMPLE = 256  # objects
_LEAST = 32  # of them: fewer say too little
_BATCH = 16
_LARGEST = 2**30  # bytes; a strange file must not fill the memory


@dataclass(frozen=True, eq=False)
class Invariance:
    """A change of coordinates in which what does not matter about an object is small.

    A linear function that is learnt there, with the usual penalty on its slope, prefers directions along which an
    object and its turned images agree: the slope ``w`` of a function of points pays ``w' (I + strength * S / s) w``,
    where ``S`` is the covariance of points around their object's mean, and ``s`` the mean of its eigenvalues. It is the
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
        if not mean > 0:
            return None
        return cls(np.linalg.cholesky(np.eye(dim) + strength / mean * within))

    def change(self, points: np.ndarray) -> np.ndarray:
        """Bring points ``(n, D)`` into these coordinates, float64."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self.factor, points.T.astype(np.float64), lower=True).T

    def slope(self, changed: np.ndarray) -> np.ndarray:
        """Bring the slope ``(D, classes)`` of a function learnt there back to points as they are."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self.factor, changed, lower=True, trans="T")


class Turned:
    """Features of some objects, as they are and turned or mirrored in all ways that their own features do not average.

    They are kept in memory, and with the features of the first shard, in ``turned.npz``. On the sky an object has four
    images where features are averaged over half turns (``input.turns`` 2), two over quarter turns, eight otherwise; a
    picture has its mirror image, or none where features are averaged over it.

    Parameters
    ----------
    store
        The features.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._known: dict[str, np.ndarray] | None = None  # (v, D) float16 by object
        self._measured: tuple[bytes, Invariance | None] | None = None

    def sample(self, exclude: Collection[str] = ()) -> list[str]:
        """Draw the objects that are looked at: nearly the same ones when a few more are excluded."""
        cache, barred = self._store.cache, set(exclude)
        drawn = [i for i in cache.sample(2 * _SAMPLE, np.random.default_rng(5)) if i not in barred]
        if len(drawn) < _SAMPLE:
            drawn = cache.sample(_SAMPLE, np.random.default_rng(5), barred)
        return drawn[:_SAMPLE]

    def compute(self, ids: Sequence[str]) -> Iterator[Progress]:
        """Compute what is missing of some objects, and keep it; one report per batch."""
        ways = _ways(self._store.model_input)
        known = self._load()
        missing = [i for i in ids if i not in known]
        if not ways or not missing:
            return
        store, cache, engine = self._store, self._store.cache, self._store.engine
        planes = store.model_input.check(cache)
        done, total = len(ids) - len(missing), len(ids)
        yield Progress("turned views", done, total)
        import torch

        batches = iter([missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)])
        for batch, block in ahead(cache.read, batches):
            with torch.inference_mode():
                seen = store.model_input.tensor(block, engine.device, planes)  # (n, 3, S, S)
                views = [store.look(way(seen)) for way in (_same, *ways)]
                features = torch.stack(views, 1).half().cpu().numpy()  # (n, v, D)
            known.update(zip(batch, np.nan_to_num(features), strict=True))
            done += len(batch)
            yield Progress("turned views", done, total)
        self._keep(known)

    def get(self, ids: Sequence[str]) -> np.ndarray | None:
        """``(n, v, D)`` float32 features of those objects that were computed; None where these are too few."""
        known = self._load()
        there = [i for i in ids if i in known]
        return None if len(there) < _LEAST else np.stack([known[i] for i in there]).astype(np.float32)

    def invariance(
        self, ids: Sequence[str], points: Callable[[np.ndarray], np.ndarray], strength: float
    ) -> Invariance | None:
        """Measure it, once for the same points; None where too few objects were computed or nothing differs.

        Parameters
        ----------
        ids
            The objects; those that were not computed are left out.
        points
            Maps features ``(n, D)`` to points ``(n, K)``.
        strength
            How much less counts what differs between views.
        """
        features = self.get(ids)
        if features is None or features.shape[1] < 2:
            return None
        n, v, dim = features.shape
        seen = points(features.reshape(n * v, dim))
        tag = hashlib.sha256(seen.tobytes() + repr(strength).encode()).digest()
        if self._measured is None or self._measured[0] != tag:
            self._measured = tag, Invariance.measure(seen.reshape(n, v, -1), strength)
        return self._measured[1]

    # ------------------------------------------------------------------------------------------------------ on disk

    def _files(self) -> list[Path]:
        shards = self._store.cache.shards
        return [folder / "turned.npz" for folder in self._store.folders(shards[0].uuid)] if shards else []

    def _load(self) -> dict[str, np.ndarray]:
        """Return what is known, from memory or, at first, from the disk; a damaged file counts as none."""
        if self._known:
            return self._known
        self._known = {}
        views = 1 + len(_ways(self._store.model_input))
        for path in self._files():
            try:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    if sum(member.file_size for member in file.zip.infolist()) > _LARGEST:
                        continue
                    ids, features = file["ids"], file["features"]
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
                continue
            right = features.ndim == 3 and features.shape[:2] == (len(ids), views) and features.dtype == np.float16
            if right and features.shape[2] == sum(self._store.widths) and np.isfinite(features).all():
                self._known = dict(zip(ids.tolist(), features, strict=True))
                break
        return self._known

    def _keep(self, known: dict[str, np.ndarray]) -> None:
        """Write it where possible; else it is computed again by the next process."""
        for path in self._files():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(path, sync=False) as temporary, temporary.open("wb") as file:
                    np.savez(file, ids=np.array(list(known)), features=np.stack(list(known.values())))
            except (OSError, StorageError):
                continue
            break


def _same(images: Tensor) -> Tensor:
    return images


def _ways(model_input: ModelInput) -> list[Callable[[Tensor], Tensor]]:
    """Give the ways to turn and mirror ``(n, 3, S, S)`` that features are not averaged over, apart from none at all."""

    def way(quarters: int, mirrored: bool) -> Callable[[Tensor], Tensor]:
        def turn(images: Tensor) -> Tensor:
            import torch

            turned = images.rot90(quarters, (2, 3))
            return (turned.flip(3) if mirrored else turned).contiguous(memory_format=torch.channels_last)

        return turn

    if model_input.views == "picture":
        return [way(0, True)] if model_input.turns == 1 else []
    quarters = range(4 // model_input.turns)  # half a turn or quarter turns are averaged over
    return [way(k, mirrored) for mirrored in (False, True) for k in quarters if k or mirrored]
