"""Read caches: objects by id, shards one after another, random samples."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.arguments import as_ids, as_list, as_whole
from astroanomaly.cache import schema
from astroanomaly.cache.check import Integrity, cache_files, check_files
from astroanomaly.cache.cutout_files import write_cutouts
from astroanomaly.cache.cutouts import iter_cutouts
from astroanomaly.cache.digest import digest_steps
from astroanomaly.cache.ids import Ids
from astroanomaly.cache.index import Index, load_index
from astroanomaly.cache.layout import layout_from_plain
from astroanomaly.cache.lost_shard import LostShard
from astroanomaly.cache.object_tables import all_objects, columns_of, objects_near
from astroanomaly.cache.pictures import Pictures
from astroanomaly.cache.plan import read_description, read_facts
from astroanomaly.cache.shard import Shard
from astroanomaly.cache.showing import cache_html, with_pictures
from astroanomaly.cache.together import check_layouts, refuse_shared_ids
from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError, DamagedError, UnknownObjectError
from astroanomaly.files import as_path
from astroanomaly.records import Cutout, Fact, Failure, Layout, Progress, drain

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable
    from astropy.units import Quantity

__all__ = ["Cache"]

_log = logging.getLogger(__name__)
_IDS_TOGETHER = 2**16  # that are read where all are
_MAX_ID_SHARDS = 64  # shards whose ids are held in memory at once


class Cache:
    """Cutouts of one survey, or of several ingests together: a read-only mapping from object id to `Cutout`.

    Open one with `Cache.open`.
    """

    def __init__(self, folders: Sequence[tuple[Path, Layout, Index]]) -> None:
        known = dict.fromkeys(name for _, layout, _ in folders for name in layout.auxiliary)
        self.layout = replace(folders[0][1], auxiliary=tuple(known))
        self.folders = tuple(folder for folder, _, _ in folders)
        self._indices = [index for _, _, index in folders]
        self._homes = [(index, place) for index in self._indices for place in range(len(index.shards))]
        self._paths = [folder / schema.SHARD_FOLDER / name for folder, _, index in folders for name in index.shards]
        counts = np.concatenate([index.counts for index in self._indices])
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._shards: dict[int, Shard] = {}
        self._ids: OrderedDict[int, np.ndarray] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path, *more: str | Path) -> Cache:
        """Open a cache, or several as one.

        Bands are matched by name: the order of the first cache holds for all.

        Raises
        ------
        UnreadableError
            If there is no cache.
        CacheError
            If one is damaged, of a newer version, does not fit the first, or two share an id.
        BandError
            If a later cache lacks a band of the first.
        """
        folders = []
        for folder in (as_path(one, "the cache") for one in (path, *more)):
            content = read_description(folder)
            layout = layout_from_plain(content.get("layout"), folder / schema.CACHE_FILE)
            folders.append((folder, layout, load_index(folder)))
            check_layouts(folders[0][:2], folders[-1][:2])
        cache = cls(folders)
        if len(folders) > 1:
            refuse_shared_ids(cache.folders, cache._indices, cache.ids_at)
        return cache

    def __repr__(self) -> str:
        return (
            f"<Cache of {len(self)} cutouts, bands {', '.join(self.bands)}, "
            f"{self.layout.height} x {self.layout.width} pixels ({self.layout.pixel_kind}), "
            f"in {', '.join(map(str, self.folders))}>"
        )

    def _repr_html_(self) -> str:
        return cache_html(self)

    # ------------------------------------------------------------------------------------------------- what there is

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""
        return self.layout.bands

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards, in order."""
        return tuple(self.shard(number) for number in range(len(self._paths)))

    @property
    def uuids(self) -> tuple[str, ...]:
        """Uuids of the shards, which are not opened for it."""
        return tuple(path.stem for path in self._paths)

    def shard(self, number: int) -> Shard:
        """One of `shards`, by its index; where its file is damaged, one that knows the objects but has no pixels."""
        if number not in self._shards:
            try:
                self._shards[number] = Shard(self._paths[number], self.layout)
            except DamagedError as error:
                index, place = self._homes[number]
                ids = index.ids(place)
                if ids is None:
                    raise
                rows = slice(int(self._starts[number]), int(self._ends[number]))
                ra, dec = (values[rows] for values in self.positions)
                lost = LostShard(self._paths[number], self.layout, ids, ra, dec, str(error))
                _log.warning("%d objects cannot be read, %s among them: %s", len(lost), lost.ids[0], error)
                self._shards[number] = lost
        return self._shards[number]

    @property
    def damaged(self) -> tuple[Path, ...]:
        """Shards found so far that cannot be read; `check` looks at everything."""
        pairs = zip(self.folders, self._indices, strict=True)
        left_out = [folder / schema.SHARD_FOLDER / name for folder, index in pairs for name in index.damaged]
        return (*left_out, *(shard.path for shard in self._shards.values() if shard.damage or shard.damaged_rows))

    @property
    def ignored(self) -> tuple[Path, ...]:
        """Shards that do not count, since others hold their tasks; `astroanomaly info --repair` moves them aside."""
        pairs = zip(self.folders, self._indices, strict=True)
        return tuple(folder / schema.SHARD_FOLDER / name for folder, index in pairs for name in index.ignored)

    @property
    def ids(self) -> Sequence[str]:
        """All object ids, as a sequence that reads them when asked."""
        return Ids(self, self._read_ids)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many cutouts there are in each of `folders`."""
        return tuple(int(index.counts.sum()) for index in self._indices)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, object_id: object) -> bool:
        return isinstance(object_id, str) and self.find([object_id])[0] >= 0

    @cached_property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """``(N,)`` float64 right ascension and declination in ICRS degrees in the order of `ids`, NaN where unknown.

        Not to be written to: those of a single cache are memory-mapped.
        """
        if len(self._indices) == 1:
            return self._indices[0].ra, self._indices[0].dec
        return (
            np.concatenate([index.ra for index in self._indices]),
            np.concatenate([index.dec for index in self._indices]),
        )

    @cached_property
    def pictures(self) -> Pictures:
        """Pictures of the cutouts for the eye."""
        return Pictures(self)

    @property
    def failures(self) -> list[Failure]:
        """Objects that could not be cut; one that a later shard contains, or resolves, is no longer among them."""
        dated = sorted(
            ((*shard.failures(), number) for number, shard in enumerate(self.shards)),
            key=lambda item: (item[0], item[2]),
        )
        latest = {failure.object_id: failure for _, failures, _ in dated for failure in failures}
        rows = self.find(list(latest))
        pairs = zip(latest.values(), rows, strict=True)
        return [failure for failure, row in pairs if row < 0 and failure.kind != "resolved"]

    @property
    def request(self) -> dict[str, Any]:
        """What the first cache was made from: source, inputs and options."""
        return dict(read_description(self.folders[0]).get("request", {}))

    @property
    def facts(self) -> dict[str, Fact]:
        """What the source understood of the request of the first cache, by name: positions, bands, tiles, size ...

        Empty for caches that say nothing of it.
        """
        return {fact.name: fact for fact in read_facts(read_description(self.folders[0]))}

    # ---------------------------------------------------------------------------------------------------- reading

    def __getitem__(self, object_id: str) -> Cutout:
        return next(self.cutouts([object_id]))

    def cutouts(self, ids: Sequence[str]) -> Iterator[Cutout]:
        """Read cutouts one after another, in the order given.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches; then none is read.
        """
        found = iter_cutouts(self.shard, self.bands, self.layout.units, ids, *self.locate(ids))
        return (cutout.painted_by(partial(self._painted, cutout.object_id)) for cutout in found)

    def _painted(self, object_id: str) -> np.ndarray:
        return self.pictures.rgb([object_id])[0]

    def auxiliary_planes(self, object_id: str) -> dict[str, np.ndarray]:
        """Return the planes about the bands of an object that were kept beside them: weight, rms, mask ...

        Returns
        -------
        dict of numpy.ndarray
            ``(height, width)`` float32 by name, as in ``g:weight``; NaN where there is nothing. Empty where no such
            planes were asked for when the cache was made.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches.
        """
        (number,), (row,) = self.locate([object_id])
        shard = self.shard(int(number))
        return shard.auxiliary(int(row))

    def write_cutouts(
        self,
        ids: Sequence[str],
        path: str | Path,
        *,
        one_file: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[str]:
        """Write cutouts as FITS with their WCS, see `Cutout.to_hdulist`; return the name of each object's file.

        Parameters
        ----------
        path
            Folder to make, which gets a file for each object, ``objects.csv`` with the file of each id, and
            ``SHA256SUMS``; with ``one_file`` a FITS file, where ``EXTVER`` counts the objects.
        overwrite
            Replace the file, or a folder that was made so.
        progress
            Called with a `Progress` after each object.
        """
        place = as_path(path, "the folder of cutouts")
        return write_cutouts(self, as_ids(ids), place, one_file=one_file, overwrite=overwrite, progress=progress)

    def read(self, ids: Sequence[str]) -> np.ndarray:
        """Read the pixels of some objects, in the order given.

        Returns
        -------
        numpy.ndarray
            ``(n, bands, height, width)``: float32 flux with NaN where there is no data, or uint8 display pixels.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches.
        DamagedError
            If some are not as they were written; its ``ids`` names all of these.
        """
        rows = self.rows(ids)
        damages: list[DamagedError] = []
        numbers = np.searchsorted(self._ends, rows, "right")
        dtype = np.uint8 if self.layout.pixel_kind == "display" else np.float32
        images = np.empty((len(rows), len(self.bands), self.layout.height, self.layout.width), dtype)
        for number in _distinct(numbers):  # the disk may fetch them all while the first are copied
            self.shard(number).prefetch(rows[numbers == number] - self._starts[number])
        for number in _distinct(numbers):
            chosen = np.flatnonzero(numbers == number)
            in_shard = rows[chosen] - self._starts[number]
            order = np.argsort(in_shard)  # the disk likes to be read forwards
            try:
                images[chosen[order]] = self.shard(number).read_rows(in_shard[order])
            except DamagedError as error:
                damages.append(error)
        if damages:
            lost = set().union(*(error.ids for error in damages))
            raise DamagedError(str(damages[0]), ids=[object_id for object_id in ids if object_id in lost])
        return images

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` int64 rows of objects in `ids` and `positions`.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches.
        """
        found = self.find(ids)
        if (found < 0).any():
            unknown = ids[int(np.argmax(found < 0))]
            close = nearest(unknown, itertools.islice(self.ids, 10_000))
            raise UnknownObjectError(f"no object {unknown!r} in {', '.join(map(str, self.folders))}{close}")
        return found

    def ids_at(self, rows: np.ndarray) -> list[str]:
        """Ids of the objects at some rows, in the order given; the inverse of `rows`."""
        numbers = np.searchsorted(self._ends, rows, "right")
        found: list[str] = [""] * len(rows)
        for number in _distinct(numbers):
            ids = self._shard_ids(number)
            for k in np.flatnonzero(numbers == number):
                found[k] = schema.decode_text(ids[int(rows[k] - self._starts[number])])
        return found

    def prefetch(self, ids: Sequence[str]) -> None:
        """Ask the system to have the pixels of some objects at hand; returns at once.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches.
        """
        numbers, rows = self.locate(ids)
        for number in _distinct(numbers):
            self.shard(number).prefetch(rows[numbers == number])

    def locate(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Find where objects lie: ``(n,)`` indices of their shards in `shards`, ``(n,)`` their rows in the shard.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches.
        """
        rows = self.rows(ids)
        numbers = np.searchsorted(self._ends, rows, "right")
        return numbers, rows - self._starts[numbers]

    def columns(self, ids: Sequence[str]) -> dict[str, Any]:
        """Catalogue columns of some objects, in the order given, each an `astropy.table.Column`."""
        return columns_of(self, self.shard, ids)

    def table(self, columns: Iterable[str] | None = None) -> QTable:
        """Return all objects as a table, in the order of `ids`.

        It is held in memory: for each object 20 bytes, four for each character of the longest id, and its columns.

        Parameters
        ----------
        columns
            Names of the catalogue columns that are wanted; None: all. ``()``: none.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra`` and ``dec`` (ICRS, NaN where unknown), then the catalogue's columns with their units,
            masked where an object has none. One that is called as one of the first three becomes ``catalog_ra``.

        Raises
        ------
        CatalogError
            If there is no such column.
        """
        return all_objects(self, columns)

    def near(self, coord: SkyCoord | str, radius: Quantity | str) -> QTable:
        """Find the objects within a radius of a position, or of each of several, the nearest first.

        Parameters
        ----------
        coord
            `astropy.coordinates.SkyCoord` in any frame, one position or a list; or a position as text
            (``"150.1 +2.2"``).
        radius
            An angle with its unit: ``2 * u.arcsec`` or ``"2arcsec"``.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec`` and ``separation``; for a list of positions with ``coord_index`` before them,
            and in its order. In a notebook it shows pictures.

        Raises
        ------
        ConfigError
            If ``coord`` or ``radius`` is something else, or a position is unknown.
        """
        return with_pictures(self, objects_near(self, coord, radius))

    def sample(self, n: int, rng: np.random.Generator, exclude: Iterable[str] = ()) -> list[str]:
        """Draw ids at random, without repeats and without those in ``exclude``; at most as many as there are."""
        if not isinstance(rng, np.random.Generator):
            raise ConfigError(f"rng is {type(rng).__name__}: expected numpy.random.default_rng(...)")
        barred = self.find(as_list(exclude, "exclude", "object ids"))
        barred = barred[barred >= 0]
        left = len(self) - len(np.unique(barred))
        n = min(as_whole(n, "n"), left)
        if n * 2 > left:
            rows = rng.permutation(np.setdiff1d(np.arange(len(self)), barred))
        else:  # far more objects than wanted: draw with some to spare, drop repeats
            rows = np.zeros(0, np.int64)
            while len(rows) < n:
                drawn = np.concatenate([rows, rng.integers(0, len(self), 2 * n)])
                rows = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
                rows = rows[~np.isin(rows, barred)]
        return self.ids_at(rows[:n])

    def digest(self) -> str:
        """SHA-256 over (id, pixels, grid, position, columns) of all objects, whatever their order and sharding."""
        return drain(digest_steps(self))

    def check(self, progress: Callable[[Progress], None] | None = None) -> Integrity:
        """Read every file and compare it with the digest it was written with.

        Parameters
        ----------
        progress
            Called with a `Progress` after each file.

        Returns
        -------
        Integrity
            How many files were read, and those that are damaged, each with what is wrong and the way out.
        """
        files = itertools.chain.from_iterable(map(cache_files, self.folders))
        return drain(check_files(files), progress)

    # ------------------------------------------------------------------------------------------------------- inside

    def _read_ids(self) -> Iterator[str]:
        for number in range(len(self._paths)):
            stored = self._shard_ids(number)
            for start in range(0, len(stored), _IDS_TOGETHER):
                yield from map(schema.decode_text, stored[start : start + _IDS_TOGETHER].tolist())

    def _shard_ids(self, number: int) -> np.ndarray:
        """Ids of one shard as they are stored, bytes of one length: a fraction of the memory of texts."""
        index, place = self._homes[number]
        known = index.ids(place)
        if known is not None:
            return known
        if number not in self._ids:
            with schema.open_hdf5(self._paths[number]) as file:
                self._ids[number] = file["object_id"][...]
            if len(self._ids) > _MAX_ID_SHARDS:
                self._ids.popitem(last=False)
        self._ids.move_to_end(number)
        return self._ids[number]

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` int64 rows as `rows` gives them, -1 for ids that are not here."""
        ids = ids if isinstance(ids, list | tuple) else as_ids(ids)
        rows = np.full(len(ids), -1, np.int64)
        wrong = [one for one in ids if not isinstance(one, str)]
        if wrong:
            raise UnknownObjectError(f"{wrong[0]!r} ({type(wrong[0]).__name__}) is no object id: expected text")
        base = 0
        for folder, index in zip(self.folders, self._indices, strict=True):
            indices, candidates = index.candidates(ids)
            if len(candidates) and not 0 <= candidates.min() <= candidates.max() < len(index.hashes):
                raise DamagedError(
                    f"the index of the cache {folder} is damaged: remove its index.h5, and it is made again"
                )
            candidates = candidates + base
            numbers = np.searchsorted(self._ends, candidates, "right")
            for number in _distinct(numbers):
                stored, start = self._shard_ids(number), int(self._starts[number])
                chosen = np.flatnonzero(numbers == number)
                for k, row in zip(indices[chosen].tolist(), candidates[chosen].tolist(), strict=True):
                    if schema.decode_text(stored[row - start]) == ids[k]:
                        rows[k] = row
            base += len(index.hashes)
        return rows


def _distinct(numbers: np.ndarray) -> list[int]:
    """Return each number once, ascending; `numpy.unique` would import masked arrays for it."""
    return sorted(set(numbers.tolist()))
