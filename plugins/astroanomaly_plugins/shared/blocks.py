"""The objects of a request, block by block: those of a HATS catalogue partition by partition, others at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import (
    Area,
    Catalog,
    CatalogError,
    ConfigError,
    Download,
    Fact,
    HatsPart,
    Layout,
    Plan,
    Task,
    hats_parts,
    is_hats,
    read_catalog,
)
from astroanomaly.sky import cells, unit_vectors
from astroanomaly_plugins.shared.facts import object_fact, uneven_facts
from astroanomaly_plugins.shared.failures import NO_POSITION
from astroanomaly_plugins.shared.options import ArchiveOptions
from astroanomaly_plugins.shared.positions import Positions, positions_of
from astroanomaly_plugins.shared.sky_area import SkyArea, read_area
from astroanomaly_plugins.shared.tap_objects import objects_of_tap

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Blocks", "read_blocks"]

_ROWS = 2**17  # of a block
_FIRST_ROWS = 100  # by which columns are chosen


class Blocks:
    """Objects, in blocks that memory holds, those of one part of the sky after one another.

    Parameters
    ----------
    blocks
        Number of the part of the sky, and objects; taken once. Numbers rise.
    areas
        A circle around each part; empty where there is one part.
    nothing
        The message of the error that there is no object.

    Attributes
    ----------
    first
        The first block.
    total, unplaced, outside
        Objects that were taken so far, those of them without a position, and rows left out for their place.
    uneven
        Columns that are left out since not every part has them.

    Raises
    ------
    CatalogError
        If there is no object.
    """

    def __init__(
        self, blocks: Iterator[tuple[int, Positions]], areas: Sequence[Area] = (), nothing: str = "no object"
    ) -> None:
        self.total = self.unplaced = self.outside = 0
        self.uneven: list[str] = []
        self._areas = list(areas)
        self._middles = np.array([area.center for area in self._areas]).reshape(-1, 3)
        self._chords = np.array([area.chord for area in self._areas])
        self._blocks = iter(blocks)
        self._waiting = list(itertools.islice(self._blocks, 1))
        if not self._waiting:
            raise CatalogError(nothing)
        self.first = self._waiting[0][1]
        if self.whole:
            self._count(self.first)

    @classmethod
    def of(cls, positions: Positions) -> Blocks:
        """Take objects that are in memory as one block."""
        return cls(iter([(0, positions)]))

    def __iter__(self) -> Iterator[tuple[int, Positions]]:
        for number, positions in itertools.chain(self._waiting, self._blocks):
            if not self.whole:
                self._count(positions)
            yield number, positions

    def _count(self, positions: Positions) -> None:
        self.total += len(positions)
        self.unplaced += len(positions.unplaced)

    @property
    def whole(self) -> bool:
        """Whether the first block has all objects."""
        return not self._areas

    def last_part(self, ra: float, dec: float, radius_deg: float) -> int:
        """Return the number of the last part that touches a circle, in ICRS degrees."""
        if not self._areas:
            return 0
        middle = unit_vectors(np.array([ra]), np.array([dec]))
        chord = 2 * np.sin(np.radians(min(radius_deg, 90)) / 2)
        near = np.linalg.norm(self._middles - middle, axis=1) <= self._chords + chord
        return int(np.flatnonzero(near).max(initial=0))

    def facts(self, **counts: int) -> list[Fact]:
        """Say where the positions come from and how many were taken so far; counts as `object_fact` takes them."""
        known = {**counts, "without_a_valid_position": self.unplaced, "rows_outside_the_area": self.outside}
        if not self.outside:
            del known["rows_outside_the_area"]
        uneven = uneven_facts(self.uneven)
        return [*self.first.origin, *uneven, object_fact(self.total, **known)]

    def plan(
        self,
        tasks: Iterable[Task],
        layout: Layout,
        each: Mapping[str, tuple[int, int]],
        facts: Sequence[Fact],
        **counts: int,
    ) -> Plan:
        """Make a plan that says how many objects there are, once all tasks are taken.

        Parameters
        ----------
        each
            For every product, the requests and bytes of an object.
        facts
            What else is said.
        **counts
            As `object_fact` takes them.
        """
        said: list[Fact] = []
        downloads: list[Download] = []

        def count() -> None:
            placed = self.total - self.unplaced
            said[:] = [*self.facts(**counts), *facts]
            downloads[:] = [Download(name, placed * n, placed * nbytes) for name, (n, nbytes) in each.items()]

        def counted() -> Iterator[Task]:
            yield from tasks
            count()

        count()
        return Plan(list(tasks) if self.whole else counted(), layout, downloads, said)

    def tasks(self, name: str, payload: dict[str, Any], cell_deg: float, most: int) -> Iterator[Task]:
        """Make tasks of the objects, neighbours after one another, and of those without a position."""
        start = 0
        for number, (_, positions) in enumerate(self):
            found = cells(positions.ra, positions.dec, cell_deg)
            rows = np.concatenate(found) if found else np.zeros(0, np.int64)
            for first in range(0, len(rows), most):
                yield Task(f"{name}-{start + first:08d}", payload, positions.table(rows[first : first + most]))
            start += len(rows)
            key = "no position" if not number else f"no position {number}"
            yield from positions.failures(key, positions.unplaced, NO_POSITION, "no position")


def read_blocks(options: ArchiveOptions, login: tuple[str, ...] = ()) -> Blocks:
    """Read the objects of a request.

    Parameters
    ----------
    login
        Hosts that a TAP service is asked at with the user's account.

    Raises
    ------
    ConfigError
        If no objects were named.
    CatalogError, UnreadableError, FetchError
        If there are none, or they cannot be read.
    """
    area = read_area(options.cone, options.radius, options.region, options.moc)
    if isinstance(options.catalog, Path) and is_hats(options.catalog):
        return _of_hats(options, options.catalog, area)
    if options.tap:
        found = _catalog(objects_of_tap(options, area, login), options)
        positions, origin = positions_of(found, options, options.tap), options.table or "a query"
        words = f"{origin} at {options.tap}" + (f", in {area.words}" if area else "")
        facts = [replace(fact, text=f"{fact.text}; of {words}") if fact.name == "positions" else fact
                 for fact in positions.origin]  # fmt: skip
        positions = replace(positions, origin=facts)
    elif options.adql or options.where:
        raise ConfigError("--adql and --where are for a TAP service, which is missing: --tap URL")
    elif options.catalog is None:
        raise ConfigError(
            "the positions are missing: give a table of them with --catalog FILE (in Python also an astropy table or a "
            "SkyCoord), or a TAP service that has them with --tap URL"
        )
    else:
        positions = positions_of(_catalog(options.catalog, options), options, options.catalog)
    if area is None:
        return Blocks.of(positions)
    inside = np.flatnonzero(area.inside(positions.ra, positions.dec))
    if not len(inside):
        raise CatalogError(f"none of the {len(positions)} objects lies in {area.words}{positions.remark}")
    blocks = Blocks.of(positions.some(inside))
    blocks.outside = len(positions) - len(inside)
    return blocks


def _catalog(given: Any, options: ArchiveOptions) -> Catalog:
    return read_catalog(
        given,
        ra=options.ra or None,
        dec=options.dec or None,
        id=options.id or None,
        frame=options.frame or None,
        unit=options.unit or None,
    )


# --------------------------------------------------------------------------------------------------------------- HATS


def _of_hats(options: ArchiveOptions, path: Path, area: SkyArea | None) -> Blocks:
    parts = hats_parts(path, None if area is None else [Area(*circle) for circle in area.circles])
    where = f" in {area.words}" if area is not None else ""
    reader = _HatsReader(options, path, parts, area)
    blocks = Blocks(reader.blocks(), [part.area for part in parts], f"{path} has no row{where}")
    blocks.outside, blocks.uneven = reader.outside, reader.uneven  # of the first block, which is read already
    reader.count = lambda outside: setattr(blocks, "outside", outside)
    return blocks


class _HatsReader:
    """Reads a HATS catalogue; ids are compared by 8 bytes each, and by themselves where those are equal."""

    def __init__(self, options: ArchiveOptions, path: Path, parts: list[HatsPart], area: SkyArea | None) -> None:
        self.options, self.path, self.parts, self.area = options, path, parts, area
        self.count: Callable[[int], None] = lambda outside: None
        self.outside = 0  # rows left out for their place
        self.uneven: list[str] = []  # columns that not every partition has
        self._columns: list[str] = []  # that are read, of every partition
        self._hashes: list[np.ndarray] = []

    def blocks(self) -> Iterator[tuple[int, Positions]]:
        numbered = False
        for number, part in enumerate(self.parts):
            rows = 0
            self._columns = self._columns or self._choose(part)
            for table in part.blocks(self._columns, _ROWS):
                catalog = _catalog(table, self.options)
                numbered = "id" not in catalog.found
                if numbered:
                    first = f"row-{part.order}-{part.cell}"
                    ids = np.array([f"{first}-{rows + k + 1:06d}" for k in range(len(catalog))])
                    catalog = replace(catalog, ids=ids)
                rows += len(catalog)
                positions = positions_of(catalog, self.options, self.path, empty=True)
                if self.area is not None:
                    inside = np.flatnonzero(self.area.inside(positions.ra, positions.dec))
                    self.outside += len(positions) - len(inside)
                    self.count(self.outside)
                    positions = positions.some(inside)
                if not numbered:
                    self._hashes.append(np.fromiter(map(hash, positions.ids.tolist()), np.int64, len(positions)))
                if len(positions):
                    yield number, positions
        self._refuse_doubles()

    def _choose(self, part: HatsPart) -> list[str]:
        """Return the columns to read: all, or those that are carried and that of the ids."""
        names = part.columns
        if "*" in self.options.carry:
            others = [set(one.columns) for one in self.parts]
            common = set.intersection(*others)
            self.uneven = sorted(set.union(*others) - common - set(self.options.carry))
            return [name for name in names if name in common or name in self.options.carry]
        first: Table | None = next(part.blocks(names, _FIRST_ROWS), None)
        if first is None:
            return []
        catalog = _catalog(first, self.options)
        wanted = [catalog.found.get("id", ""), *(catalog.sky.columns if catalog.sky else ()), *self.options.carry]
        return [name for name in names if name in wanted] or list(part.positions)

    def _refuse_doubles(self) -> None:
        hashes = np.concatenate(self._hashes or [np.zeros(0, np.int64)])
        self._hashes.clear()
        hashes.sort()
        twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        seen: set[str] = set()
        for part in self.parts if twice else ():
            for table in part.blocks(self._columns, _ROWS):
                found = [one for one in _catalog(table, self.options).ids.tolist() if hash(one) in twice]
                doubled = [one for one in found if one in seen]
                if doubled:
                    raise CatalogError(
                        f"{self.path}: the id {doubled[0]!r} occurs in several partitions. Remove the duplicates, or "
                        "name another column with --id"
                    )
                seen |= set(found)
