"""Principal components of frozen features: a tenth of the numbers, for caches of millions of objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from astroanomaly.cache.file_digest import append_digest
from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_path
from astroanomaly.learn.features.row_file import RowFile, open_rows
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import Progress

__all__ = ["Projection", "plane", "principal_axes"]

_SAMPLE_SIZE = 10_000  # objects the axes are found on
_ROWS_PER_CHUNK = 8192  # rows projected together


def principal_axes(features: np.ndarray, count: int) -> np.ndarray:
    """Find the axes along which features vary most.

    Parameters
    ----------
    features
        ``(n, D)``, finite.
    count
        Number of axes wanted; at most ``min(n, D)`` are given.

    Returns
    -------
    numpy.ndarray
        ``(1 + k, D)`` float32: the mean, then the axes of length 1, each with its largest entry positive.
    """
    from scipy.linalg import eigh

    features = np.asarray(features, dtype=np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    wanted = min(count, *features.shape)
    if not wanted:
        return mean[None].astype(np.float32)
    few = len(features) < features.shape[1]  # then products of objects are fewer than those of features
    products = centred @ centred.T if few else centred.T @ centred
    chosen = (len(products) - wanted, len(products) - 1)
    # by bisection (evx): a third of the time of all axes, to the last digits the same
    _, vectors = eigh(products, subset_by_index=chosen, driver="evx", overwrite_a=True, check_finite=False)
    vectors = vectors[:, ::-1]
    axes = (np.linalg.qr(centred.T @ vectors)[0] if few else vectors).T
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1, 1)[:, None]  # eigenvectors have no sign of their own
    return np.concatenate([mean[None], axes]).astype(np.float32)


def plane(features: np.ndarray, method: str = "neighbours") -> np.ndarray:
    """Lay objects out on a plane so that those with like features lie near one another.

    Parameters
    ----------
    features
        ``(n, D)``, finite.
    method
        ``neighbours``: t-SNE (van der Maaten & Hinton 2008) of 50 principal components, which keeps neighbours together
        and gives no meaning to large distances. ``principal``: the first two principal components.

    Returns
    -------
    numpy.ndarray
        ``(n, 2)`` float32.

    Raises
    ------
    ConfigError
        For another method, or fewer than 5 objects.
    """
    if method not in ("neighbours", "principal"):
        raise ConfigError(f"there is no feature map {method!r} (known: neighbours, principal)")
    if len(features) < 5:
        raise ConfigError(f"a feature map of {len(features)} objects: expected at least 5")
    axes = principal_axes(features, 2 if method == "principal" else min(50, len(features)))
    points = (features - axes[0]) @ axes[1:].T
    if method == "principal":
        return points.astype(np.float32)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points).astype(np.float32)


class Projection:
    """Points of a whole cache, projected on principal axes and kept beside the features.

    The axes are found once, on a random sample, and kept with the features, so that all processes use the same ones;
    the scale of the points is kept with them.

    Parameters
    ----------
    store
        Features that are all computed.
    count
        Number of axes.
    scaler
        How features become points, unless axes were found before, which keep their own.
    """

    def __init__(self, store: FeatureStore, count: int, scaler: FeatureScaler) -> None:
        self._store = store
        self._given = scaler
        self._count = count
        self._rows: dict[str, RowFile] = {}
        self._name = f"pca{count}" + ("-plain" if scaler.is_plain else "")

    @property
    def axes(self) -> np.ndarray:
        """``(1 + k, D)`` float32: the mean, then the axes."""
        return self._kept[0 if self._given.is_plain else 2 :]

    @cached_property
    def scaler(self) -> FeatureScaler:
        """How features become the points that are projected."""
        return self._given if self._given.is_plain else FeatureScaler(*self._kept[:2])

    @cached_property
    def _kept(self) -> np.ndarray:
        """``(2 + 1 + k, D)`` float32: centre and scale of the points (none where they are plain), mean, axes."""
        found = self._load()
        return self._find() if found is None else found

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Project features ``(n, D)`` to ``(n, k)`` float32; NaN rows stay NaN."""
        return (self.scaler.transform(features) - self.axes[0]) @ self.axes[1:].T

    def compute(self) -> Iterator[Progress]:
        """Project what is not projected yet; one report per shard."""
        shards = self._store.cache.shards
        for number, shard in enumerate(shards):
            rows = self._open(shard.uuid, len(shard))
            if not rows.complete:
                rows.begin(len(self.axes) - 1)
                features = self._store.shard(shard.uuid)
                for start in range(0, len(shard), _ROWS_PER_CHUNK):
                    chunk = np.arange(start, min(start + _ROWS_PER_CHUNK, len(shard)))
                    rows.put(chunk, self.transform(features[chunk]))
                rows.finish()
            yield Progress("projection", number + 1, len(shards))

    def shard(self, uuid: str) -> np.ndarray:
        """``(n, k)`` float16 projected features of a shard, after `compute`."""
        array = self._rows[uuid].array
        if array is None:
            return np.empty((0, len(self.axes) - 1), np.float16)
        return array

    def _open(self, uuid: str, count: int) -> RowFile:
        if uuid not in self._rows:
            tag = hashlib.sha256(self._kept.tobytes()).hexdigest()[:8]  # rows on other axes are other rows
            folders = [folder / f"{self._name}-{tag}" for folder in self._store.folders(uuid)]
            self._rows[uuid] = open_rows(folders, uuid, count)
        return self._rows[uuid]

    def _files(self) -> list[Path]:
        shards = self._store.cache.shards
        return [folder / f"{self._name}-axes.npy" for folder in self._store.folders(shards[0].uuid)] if shards else []

    def _load(self) -> np.ndarray | None:
        """Read the axes that were found before; None where there are none of the right shape."""
        for path in self._files():
            try:
                axes = np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if axes.ndim == 2 and axes.dtype == np.float32 and np.isfinite(axes).all():
                return axes
        return None

    def _find(self) -> np.ndarray:
        """Find the axes on a random sample and keep them where possible."""
        ids = self._store.cache.sample(_SAMPLE_SIZE, np.random.default_rng(self._store.seed))
        axes = principal_axes(self._given.transform(self._store.get(ids)), self._count)
        axes = axes if self._given.is_plain else np.concatenate([self._given.rows, axes])
        for path in self._files():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(path, sync=False) as temporary:
                    np.save(temporary, axes)
                    append_digest(temporary)
            except OSError:  # cannot be kept here: the next place, or found again next time
                continue
            break
        return axes
