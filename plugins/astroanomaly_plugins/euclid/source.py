"""Source ``euclid``: cutouts from the mosaics of the Euclid survey, by position.

* **Archives.** ``esa``: the server cuts. ``irsa``: only the pixels needed are read from the public cloud.
  ``datalabs``: mosaics are read in place, memory-mapped. ``auto`` takes the first that works: in place if all mosaics
  are there, ESA, else IRSA. The archive is chosen before the first cutout, stored in the plan and never changed.
* **Objects.** Those of a catalogue, of ids of the MER catalogue, or of a cone in it down to a magnitude.
* **Mosaics** are found by position, grouped by tile, and matched to bands by name (`band_name`). Each object is cut
  from the tile that shows most of it.
* **Grids.** All bands of a tile share one grid, and cutouts are crops of it; where they do not, bands are resampled to
  an explicit TAN grid.
* **Failures.** A band that cannot be fetched makes the object a failure, which ``--retry-failed`` repeats. A place that
  no mosaic shows has no coverage. A band that a tile does not have is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from astroanomaly import (
    ConfigError,
    CutoutBlock,
    Download,
    Fact,
    Failure,
    FootprintError,
    Layout,
    Plan,
    Request,
    Task,
    hookimpl,
)
from astroanomaly.sky import size_in_pixels
from astroanomaly_plugins.euclid.cutouts import read_cutouts
from astroanomaly_plugins.euclid.datalabs import plan_local
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Tile, assign
from astroanomaly_plugins.euclid.options import EuclidOptions
from astroanomaly_plugins.euclid.search import archive_of, describe_releases, find
from astroanomaly_plugins.mosaics.objects import footprint
from astroanomaly_plugins.mosaics.reading import read_tile
from astroanomaly_plugins.shared.facts import band_fact, count_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import NO_POSITION, failure_tasks, read_failures
from astroanomaly_plugins.shared.positions import Positions

__all__ = ["EuclidOptions", "EuclidSource", "register_sources"]

_OBJECTS_PER_TASK = 250  # fetched one by one: what a kill can cost is only reading again what is kept
_OWN_COLUMNS = ("tile", "archive")


class EuclidSource:
    """Euclid's mosaics at ESA, IRSA or on ESA Datalabs; see the module."""

    name = "euclid"
    summary = "the Euclid survey: ESA's archive, IRSA, or mosaics in place on ESA Datalabs"
    Options = EuclidOptions
    fetches = True

    def plan(self, request: Request, options: EuclidOptions) -> Plan:
        """Find positions, mosaics and the tile of every object; in the mode ``auto`` try one cutout.

        Raises
        ------
        ConfigError, CatalogError, BandError, FootprintError, FetchError
            If nothing sensible can be cut; the message says what there is and what to give.
        """
        if request.inputs:
            raise ConfigError(
                f"the source euclid takes no files ({request.inputs[0]}): give a table with --catalog, or say --mer-id "
                "or --cone"
            )
        if not options.size:
            raise ConfigError("the size of the cutouts is missing: --size 10arcsec or --size 64 (pixels of 0.1 arcsec)")
        size = size_in_pixels(options.size, PIXEL_ARCSEC)
        _check_choice(options)
        via, positions, tiles, release = find(options, size)
        payload = {
            "via": via,
            "bands": list(options.names),
            "size": list(size),
            "nodata": None,
            "min_coverage": options.min_coverage,
            "environment": options.environment,
            "login": options.login,
        }
        tasks, downloads, units = _tasks(via, positions, tiles, payload)
        known = set(positions.ids.tolist())
        unknown = [text for text in (str(int(text)) for text in options.mer_id) if text not in known]
        tasks += failure_tasks("unknown", unknown, np.nan, np.nan, "not in the MER catalogue", "failed")
        layout = Layout(bands=options.names, height=size[0], width=size[1], dtype=options.dtype, units=units)
        facts = [*_facts(via, positions, tiles, tasks, layout), release]
        return Plan(tasks, layout, downloads, facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        kind = task.payload["kind"]
        if kind in ("failures", "outside"):  # the latter in plans of version 0.1.0
            return read_failures(task)
        if kind == "tile":
            return read_tile(task)
        return read_cutouts(archive_of(task.payload["via"], task.payload["environment"], task.payload["login"]), task)

    def describe(self, options: EuclidOptions) -> list[Fact]:
        """Say which releases each archive has, and which one would be taken.

        Raises
        ------
        FetchError
            If no archive answers.
        """
        return describe_releases(options)


def _check_choice(options: EuclidOptions) -> None:
    choices = {"--catalog": options.catalog, "--mer-id": options.mer_id, "--cone": options.cone}
    given = [flag for flag, value in choices.items() if value]
    if len(given) != 1:
        named = " and ".join(given) or "nothing"
        raise ConfigError(f"which objects to cut is said by one of {', '.join(choices)}; {named} was given")
    if not options.cone and (options.radius or options.magnitude_limit is not None):
        raise ConfigError("--radius and --magnitude-limit belong to --cone")


# -------------------------------------------------------------------------------------------------------------- tasks


def _tasks(
    via: str, positions: Positions, tiles: Sequence[Tile], payload: dict[str, Any]
) -> tuple[list[Task], list[Download], tuple[str, ...]]:
    bands, size = payload["bands"], (payload["size"][0], payload["size"][1])
    positions = _apart(positions, bands)
    units = dict.fromkeys(bands, "")
    downloads: list[Download] = []
    if via == "datalabs":
        tasks, outside, known = plan_local(tiles, positions, payload)
        units |= known
    else:
        assigned = assign(tiles, positions.ra, positions.dec, size)
        outside = assigned.tile < 0
        tasks = []
        archive = archive_of(via, payload["environment"], payload["login"])
        for number, tile in enumerate(tiles):
            rows = np.flatnonzero(assigned.tile == number)
            if not len(rows):
                continue
            rows = rows[np.lexsort((assigned.x[rows], assigned.y[rows]))]  # in the order of the file
            downloads += [
                Download(mosaic.name, len(rows), len(rows) * archive.nbytes(size)) for mosaic in tile.mosaics.values()
            ]
            tasks += _cutout_tasks(tile, rows, positions, payload)
    if not tasks:
        raise FootprintError(
            f"none of the {len(positions)} positions lies on a mosaic: {footprint(positions.ra, positions.dec)} (ICRS)."
            f"{positions.remark}"
        )
    return [*tasks, *_lost(positions, outside)], downloads, tuple(units[band] for band in bands)


def _facts(via: str, positions: Positions, tiles: Sequence[Tile], tasks: Sequence[Task], layout: Layout) -> list[Fact]:
    """Say where positions and bands come from, and how many objects lie on each tile."""
    names = [tile.number for tile in tiles]
    counts = dict.fromkeys(names, 0)
    for task in tasks:
        number = task.key.removeprefix("tile-").partition("-")[0]
        if task.payload["kind"] != "failures" and number in counts:
            counts[number] += len(task)
    outside = len(positions.placed) - sum(counts.values())
    mosaics = {band: [tile.mosaics[band].name for tile in tiles if band in tile.mosaics] for band in layout.bands}
    return [
        *positions.facts(outside_all_mosaics=outside),
        band_fact(mosaics, dict(zip(layout.bands, layout.units, strict=True)), f"from {via}"),
        count_fact("tiles", names, list(counts.values())),
        scale_fact([PIXEL_ARCSEC]),
        size_fact((layout.height, layout.width), PIXEL_ARCSEC),
    ]


def _cutout_tasks(tile: Tile, rows: np.ndarray, positions: Positions, payload: dict[str, Any]) -> list[Task]:
    mosaics = {band: mosaic.plain for band, mosaic in tile.mosaics.items()}
    content = {**payload, "kind": "cutouts", "tile": tile.number, "mosaics": mosaics}
    tasks = []
    for start in range(0, len(rows), _OBJECTS_PER_TASK):
        part = rows[start : start + _OBJECTS_PER_TASK]
        tasks.append(Task(f"tile-{tile.number}-{start:06d}", content, positions.table(part)))
    return tasks


def _apart(positions: Positions, bands: Sequence[str]) -> Positions:
    """Rename catalogue columns that have the names of columns of the source."""
    kinds = ("product", "filter", "unit", "zero_point")
    own = {*_OWN_COLUMNS, *(f"{kind}_{band}" for kind in kinds for band in bands)}
    columns = {f"{name}_catalog" if name in own else name: values for name, values in positions.columns.items()}
    return replace(positions, columns=columns)


def _lost(positions: Positions, outside: np.ndarray) -> list[Task]:
    """Make the task of the objects that no mosaic shows or that have no position."""
    rows = np.flatnonzero(outside)
    known = np.isfinite(positions.ra[rows]) & np.isfinite(positions.dec[rows])
    reasons = np.where(known, "outside all Euclid mosaics", NO_POSITION).tolist()
    return positions.failures("outside", rows, reasons, np.where(known, "no coverage", "no position").tolist())


@hookimpl
def register_sources(register: Callable[[EuclidSource], None]) -> None:
    """Register the source ``euclid``."""
    register(EuclidSource())
