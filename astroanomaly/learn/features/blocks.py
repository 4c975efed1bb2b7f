"""Numbers beside the image: catalogue columns and values by object id, brought to the scale of the survey."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError
from astroanomaly.learn.features.block_files import BlockFile, open_block
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.records import FeatureBlock

if TYPE_CHECKING:
    from astroanomaly.cache import Cache, Shard
    from astroanomaly.hookspecs import RankerContext
    from astroanomaly.learn.features.store import FeatureStore

__all__ = ["SCATTER", "BlockPoints", "BlockScale", "block_points", "block_values", "column_numbers"]

_FARTHEST = 5.0  # robust deviations from the median: farther values count as these
SCATTER = 0.02  # of the products of two objects' points; the points of the image have length 1
_KEPT_BYTES = 2**28  # of points that are kept in memory
_PAIRED = 1000  # objects whose products are looked at
_LARGEST_SAMPLE = 2000  # of the objects of a block that few have
_FEW = 0.5  # of the sample of a survey: a block that fewer have is measured on its own objects
_NORMAL = 1.4826  # standard deviation of a normal distribution in units of its median absolute deviation


@dataclass(frozen=True, eq=False)
class BlockScale:
    """A map from the numbers of a block to points that say as much, or as little, as those of any other block.

    Each number is centred on its median and scaled by its median absolute deviation (by its standard deviation where
    that is 0), and bounded. One that is missing becomes 0, and for each set of columns that are missing together there
    is one more number that says so. Then all are centred and multiplied with one factor, so that the products of the
    points of two objects scatter by a given amount. What a linear function with few labels makes of chance goes with
    that scatter, however many numbers there are, and however much they say the same.

    Parameters
    ----------
    centre, scale
        ``(D,)`` what is subtracted, and what is multiplied with then.
    gaps
        ``(G,)`` a column of each set that is missing together.
    mean
        ``(D + G,)`` what is subtracted from all of them then.
    factor
        What all is multiplied with at last.
    neutral
        Whether the point of an object of which no number is known is 0, instead of that of missing numbers.
    """

    centre: np.ndarray
    scale: np.ndarray
    gaps: np.ndarray
    mean: np.ndarray
    factor: float = 1.0
    neutral: bool = False

    @classmethod
    def measure(cls, values: np.ndarray, scatter: float) -> BlockScale:
        """Measure it on the numbers ``(n, D)`` of a random sample.

        Parameters
        ----------
        values
            The numbers; NaN where unknown.
        scatter
            Root mean square of the product of the points of two objects.
        """
        values = np.asarray(values, np.float64)
        there = np.isfinite(values)
        columns = [column[known] for column, known in zip(values.T, there.T, strict=True)]
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest there are
            centre = np.array([np.median(column) if len(column) else 0.0 for column in columns])
            spread = [_spread(column, middle) for column, middle in zip(columns, centre.tolist(), strict=True)]
        scale = np.array([1 / one if one > 0 else 0.0 for one in spread])
        incomplete = np.flatnonzero(~there.all(axis=0) & there.any(axis=0))
        gaps = incomplete[np.sort(np.unique(~there[:, incomplete], axis=1, return_index=True)[1])]
        plain = cls(centre, scale, gaps, np.zeros(len(centre) + len(gaps)))
        points = plain.transform(values[:_PAIRED]).astype(np.float64)
        mean = points.mean(axis=0) if len(points) else plain.mean
        found = _scatter(points - mean)
        return cls(centre, scale, gaps, mean, (scatter / found) ** 0.5 if found > 0 else 0.0)

    @property
    def width(self) -> int:
        """How many numbers a point has."""
        return len(self.mean)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Turn numbers ``(n, D)`` into points ``(n, width)`` float32, finite."""
        there = np.isfinite(values)
        with np.errstate(invalid="ignore", over="ignore"):
            points = (values - self.centre) * self.scale
        points = np.where(there & (self.scale > 0), points.clip(-_FARTHEST, _FARTHEST), 0)
        found = ((np.hstack([points, ~there[:, self.gaps]]) - self.mean) * self.factor).astype(np.float32)
        if self.neutral:
            found[~there.any(axis=1)] = 0
        return found


def _scatter(points: np.ndarray) -> float:
    """Root mean square of the product of two of the points ``(n, K)``; 0 where there are not two."""
    if len(points) < 2:
        return 0.0
    products = points @ points.T
    return float(np.sqrt((np.square(products).sum() - np.square(products.diagonal()).sum()) / products.size))


class BlockPoints:
    """The blocks of a survey as points that stand beside those of the image.

    Parameters
    ----------
    cache
        The survey.
    blocks
        Which numbers.
    sample
        Objects that their scale is measured on. A block that less than half of them have is measured on a sample of
        those that have it, and an object without it is in their middle.
    scatter
        As in `BlockScale.measure`, of a block whose weight is 1.
    seed
        Draws that sample.
    exclude
        Objects that are not in it.

    Attributes
    ----------
    parts
        Which numbers of a point are those of each block, by its name.
    samples
        Objects that the scale of each block is measured on, by its name.
    """

    def __init__(
        self,
        cache: Cache,
        blocks: Sequence[FeatureBlock],
        sample: Sequence[str],
        scatter: float = SCATTER,
        *,
        seed: int = 0,
        exclude: frozenset[str] = frozenset(),
    ) -> None:
        self.blocks = tuple(blocks)
        self.samples: dict[str, list[str]] = {}
        self._kept: dict[str, np.ndarray] = {}  # by uuid of the shard: each verdict asks for the same again
        self._scales = []
        for block in self.blocks:
            chosen, values = list(sample), block_values(cache, block).get(sample)
            few = np.isfinite(values).any(axis=1).sum() < _FEW * len(values)
            if few:
                chosen = _of_block(cache, block, seed, exclude)
                values = block_values(cache, block).get(chosen)
            self.samples[block.name] = chosen
            self._scales.append(replace(BlockScale.measure(values, scatter * block.weight), neutral=few))
        ends = np.cumsum([0, *(scale.width for scale in self._scales)]).tolist()
        self.parts = {block.name: slice(*ends[k : k + 2]) for k, block in enumerate(self.blocks)}
        self.width = int(ends[-1])

    def get(self, cache: Cache, ids: Sequence[str]) -> np.ndarray:
        """``(n, width)`` float32 points of some objects of this or another cache."""
        return self._joined([block_values(cache, block).get(ids) for block in self.blocks])

    def shard(self, cache: Cache, uuid: str) -> np.ndarray:
        """``(n, width)`` float32 points of a shard of a cache, not to be written to; kept as far as there is room."""
        if uuid in self._kept:
            return self._kept[uuid]
        points = self._joined([block_values(cache, block).shard(uuid) for block in self.blocks])
        if sum(one.nbytes for one in self._kept.values()) + points.nbytes <= _KEPT_BYTES:
            self._kept[uuid] = points
        return points

    def of_shard(self, shard: Shard) -> np.ndarray:
        """``(n, width)`` float32 points of a shard that is in no cache."""
        return self._joined([_Rows.of(block, shard).take() for block in self.blocks])

    def _joined(self, values: Sequence[np.ndarray]) -> np.ndarray:
        return np.hstack([scale.transform(one) for scale, one in zip(self._scales, values, strict=True)])


def _of_block(cache: Cache, block: FeatureBlock, seed: int, exclude: frozenset[str]) -> list[str]:
    """Draw objects of a cache of which a block knows a number."""
    if block.folder:
        file = open_block(Path(block.folder), len(block.columns))
        known = np.flatnonzero(np.isfinite(file.values).any(axis=1))
        ids = [name.decode("utf-8", "surrogatepass") for name in file.ids[known].tolist()]
        ids = [name for name, row in zip(ids, cache.find(ids), strict=True) if row >= 0]
    else:
        values = block_values(cache, block)
        known = np.concatenate([np.isfinite(values.shard(shard.uuid)).any(axis=1) for shard in cache.shards])
        ids = cache.ids_at(np.flatnonzero(known))
    ids = [name for name in ids if name not in exclude]
    drawn = np.random.default_rng((seed, 3)).permutation(len(ids))[:_LARGEST_SAMPLE]
    return [ids[k] for k in drawn]


class _BlockValues:
    """The numbers of a block for the objects of a cache, read when first asked for.

    Parameters
    ----------
    cache, block
        The cache, and the block.
    """

    def __init__(self, cache: Cache, block: FeatureBlock) -> None:
        self._cache = weakref.ref(cache)
        self._block = block
        self._rows: dict[str, _Rows] = {}

    def shard(self, uuid: str, rows: np.ndarray | None = None) -> np.ndarray:
        """``(n, D)`` numbers of a shard, or of some rows of it; NaN where unknown."""
        if uuid not in self._rows:
            shards = {shard.uuid: shard for shard in self._there().shards}
            self._rows[uuid] = _Rows.of(self._block, shards[uuid])
        return self._rows[uuid].take(rows)

    def get(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, D)`` numbers of some objects, in the order given; NaN where unknown."""
        cache = self._there()
        numbers, rows = cache.locate(ids)
        found = np.full((len(ids), len(self._block.columns)), np.nan)
        for number in np.unique(numbers):
            chosen = numbers == number
            found[chosen] = self.shard(cache.shard(int(number)).uuid, rows[chosen])
        return found

    def _there(self) -> Cache:
        cache = self._cache()
        if cache is None:
            raise ReferenceError("the cache of these numbers is gone")
        return cache


_known: weakref.WeakKeyDictionary[Cache, dict[FeatureBlock, _BlockValues]] = weakref.WeakKeyDictionary()


def block_values(cache: Cache, block: FeatureBlock) -> _BlockValues:
    """Return the numbers of a block for the objects of a cache; they are read once."""
    found = _known.setdefault(cache, {})
    if block not in found:
        found[block] = _BlockValues(cache, block)
    return found[block]


def block_points(
    store: FeatureStore, context: RankerContext, exclude: frozenset[str] = frozenset(), scatter: float = SCATTER
) -> BlockPoints | None:
    """Return the points of the blocks of a ranker's context; None where it has none.

    Their scale is measured on the objects that the scale of the features is measured on, but see `BlockPoints`, and
    remembered.

    Parameters
    ----------
    store
        Features of the survey.
    context
        What the ranker is made with.
    exclude
        Objects not to look at.
    scatter
        As in `BlockPoints`.
    """
    if not context.blocks:
        return None
    latest = _latest.setdefault(store.cache, {})
    key = context.blocks, context.seed, exclude
    if scatter not in latest or latest[scatter][0] != key:
        sample = FeatureScaler.sample(store, context.seed, exclude)
        points = BlockPoints(store.cache, context.blocks, sample, scatter, seed=context.seed, exclude=exclude)
        latest[scatter] = key, points
    return latest[scatter][1]


_Key = tuple[tuple[FeatureBlock, ...], int, frozenset[str]]
_latest: weakref.WeakKeyDictionary[Cache, dict[float, tuple[_Key, BlockPoints]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class _Rows:
    """Numbers of the objects of a shard: rows of an array that may hold others, and be mapped from a file."""

    values: np.ndarray  # (m, D)
    places: np.ndarray  # (n,), -1: unknown

    @classmethod
    def of(cls, block: FeatureBlock, shard: Shard) -> _Rows:
        if block.folder:
            file: BlockFile = open_block(Path(block.folder), len(block.columns))
            return cls(file.values, file.rows(shard.ids))
        columns = shard.columns(block.columns)
        units = block.units or ("",) * len(block.columns)
        nothing = np.full(len(shard), np.nan)
        found = [
            column_numbers(columns[name], unit, f"{shard.path}: the column {name!r}") if name in columns else nothing
            for name, unit in zip(block.columns, units, strict=True)
        ]
        return cls(np.stack(found, axis=1), np.arange(len(shard)))

    def take(self, rows: np.ndarray | None = None) -> np.ndarray:
        """``(n, D)`` numbers, or those of some rows; NaN where unknown."""
        places = self.places if rows is None else self.places[rows]
        found = np.full((len(places), self.values.shape[1]), np.nan, self.values.dtype)
        there = places >= 0
        found[there] = self.values[places[there]]
        return found


def column_numbers(column: Any, unit: str, where: str) -> np.ndarray:
    """Return a column of a catalogue as ``(n,)`` float64, NaN where there is none.

    Parameters
    ----------
    column
        The column.
    unit
        What it is brought to; empty: as it is.
    where
        How messages call it.

    Raises
    ------
    CatalogError
        If it holds no numbers, or its unit cannot be converted.
    """
    from astropy.units import UnitsError

    values = np.asarray(np.ma.getdata(getattr(getattr(column, "unmasked", column), "value", column)))
    if values.dtype.kind not in "iufb" or values.ndim != 1:
        kind = "text" if values.dtype.kind in "USO" else f"of type {values.dtype} with {values.ndim} axes"
        raise CatalogError(f"{where} is {kind}: expected one number for each object")
    numbers, mask = values.astype(np.float64), getattr(column, "mask", None)
    if mask is not None:
        numbers[np.broadcast_to(mask, numbers.shape)] = np.nan
    own = getattr(column, "unit", None)
    if not unit or own is None or str(own) == unit:
        return numbers
    try:
        return numbers * float(own.to(unit))
    except (UnitsError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(
            f"{where} is in {own}, and in the caches that the session began with in {unit}: it cannot be converted"
        ) from error


def _spread(column: np.ndarray, middle: float) -> float:
    """Robust deviation of the numbers of a column, 0 where they are all alike."""
    if not len(column):
        return 0.0
    robust = _NORMAL * float(np.median(np.abs(column - middle)))
    spread = robust if robust > 0 else float(column.std())
    return spread if max(1e-12 * abs(middle), 1e-300) < spread < np.inf else 0.0
