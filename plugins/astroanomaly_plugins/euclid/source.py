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

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from astroanomaly import (
    AstroAnomalyError,
    ConfigError,
    CutoutBlock,
    Download,
    Fact,
    Failure,
    FetchError,
    FootprintError,
    Layout,
    Plan,
    Request,
    Task,
    hookimpl,
    option,
)
from astroanomaly.sky import angle_text, position_text, size_in_pixels, size_text
from astroanomaly_plugins.euclid.bands import band_name
from astroanomaly_plugins.euclid.cutouts import read_cutouts
from astroanomaly_plugins.euclid.datalabs import all_there, plan_local
from astroanomaly_plugins.euclid.esa import EsaArchive
from astroanomaly_plugins.euclid.irsa import IrsaArchive
from astroanomaly_plugins.euclid.mer_catalog import from_cone, from_ids, read_cone
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Tile, areas, assign, make_tiles
from astroanomaly_plugins.mosaics.objects import footprint
from astroanomaly_plugins.mosaics.reading import read_tile
from astroanomaly_plugins.shared.facts import band_fact, count_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import NO_POSITION, failure_tasks, read_failures
from astroanomaly_plugins.shared.options import PositionOptions
from astroanomaly_plugins.shared.positions import Positions, read_positions

__all__ = ["EuclidOptions", "EuclidSource", "register_sources"]

_log = logging.getLogger(__name__)
_OBJECTS_PER_TASK = 250  # fetched one by one: what a kill can cost is only reading again what is kept
_OWN_COLUMNS = ("tile", "archive")


@dataclass(frozen=True)
class EuclidOptions(PositionOptions):
    """Options of the source ``euclid``."""

    size: str = option(
        "",
        "size of a cutout: an angle (10arcsec) or pixels of 0.1 arcsec (64, or 64x48)",
        metavar="SIZE",
        convert=size_text,
    )
    bands: tuple[str, ...] = option(
        ("VIS", "Y", "J", "H"),
        "bands: VIS, Y, J, H, DECAM_g, MEGACAM_u, HSC_z ..., or u, g, r, i, z for whatever instrument on the ground",
    )
    via: Literal["auto", "esa", "irsa", "datalabs"] = option(
        "auto",
        "the archive: ESA cuts on its server, IRSA is read in the public cloud, datalabs reads mosaics in place; auto "
        "takes the first that works",
    )
    id: str = option("", "catalogue column of the object id", formerly=("id_column",))
    mer_id: tuple[str, ...] = option((), "ids of the MER catalogue to cut, in place of a table", formerly=("id",))
    cone: str = option(
        "",
        "cut the objects of the MER catalogue around this position, as in '269.7 66.0'",
        metavar="POS",
        convert=position_text,
    )
    radius: str = option("", "radius of the cone, as in 0.1deg or 5arcmin", metavar="ANGLE", convert=angle_text)
    magnitude_limit: float | None = option(None, "faintest AB magnitude of the objects in the cone", metavar="MAG")
    flux_column: str = option("flux_detection_total", "MER column, in microjansky, that the magnitude is taken from")
    columns: tuple[str, ...] = option(
        ("usual",),
        "MER columns to keep with objects of a cone or by id; usual: fluxes, shape and flags; * for all, none for none",
    )
    login: bool = option(
        False, "log in at ESA, with EUCLID_USER and EUCLID_PASSWORD or the file EUCLID_CREDENTIALS of the environment"
    )
    environment: Literal["PDR", "IDR", "OTF", "REG"] = option(
        "PDR", "which of ESA's archives: PDR is public, the others are for members of the consortium"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if re.fullmatch(r"[-+\s\d,]+", self.id):
            raise ConfigError(
                f"--id {self.id}: ids of the MER catalogue are given with --mer-id now; --id names the column of ids "
                "in a table"
            )
        if self.login and self.via == "irsa":
            raise ConfigError("--login is for ESA's archive; IRSA has no accounts")
        doubled = [name for name in self.names if self.names.count(name) > 1]
        if doubled or not self.names:
            raise ConfigError(f"bands={','.join(self.bands)}: expected bands, each once")

    @property
    def names(self) -> tuple[str, ...]:
        """Bands as a cache calls them."""
        return tuple(band_name(text) for text in self.bands)


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
        via, positions, tiles = _find(options, size)
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
        facts = _facts(via, positions, tiles, tasks, layout)
        return Plan(tasks, layout, downloads, facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        kind = task.payload["kind"]
        if kind in ("failures", "outside"):  # the latter in plans of version 0.1.0
            return read_failures(task)
        if kind == "tile":
            return read_tile(task)
        return read_cutouts(_archive(task.payload["via"], task.payload["environment"], task.payload["login"]), task)


def _check_choice(options: EuclidOptions) -> None:
    choices = {"--catalog": options.catalog, "--mer-id": options.mer_id, "--cone": options.cone}
    given = [flag for flag, value in choices.items() if value]
    if len(given) != 1:
        named = " and ".join(given) or "nothing"
        raise ConfigError(f"which objects to cut is said by one of {', '.join(choices)}; {named} was given")
    if not options.cone and (options.radius or options.magnitude_limit is not None):
        raise ConfigError("--radius and --magnitude-limit belong to --cone")


def _archive(via: str, environment: str, login: bool) -> EsaArchive | IrsaArchive:
    return IrsaArchive() if via == "irsa" else EsaArchive(environment, login)


# ------------------------------------------------------------------------------------------------- choose the archive


def _find(options: EuclidOptions, size: tuple[int, int]) -> tuple[str, Positions, list[Tile]]:
    """Return the archive, the objects and the tiles; in the mode ``auto`` from the first archive that answers."""
    if options.via != "auto":
        archive = _archive(options.via, options.environment, options.login)
        return options.via, *_ask(archive, options, size)
    esa = EsaArchive(options.environment, options.login)
    try:
        positions, tiles = _ask(esa, options, size)
        if all_there(tiles):
            _log.info("all mosaics are on this computer: they are read in place (--via datalabs)")
            return "datalabs", positions, tiles
        _try(esa, positions, tiles, size)
    except FetchError as error:
        if options.login or options.environment != "PDR":
            raise
        _log.warning("ESA's Euclid archive cannot be used (%s): everything comes from IRSA (--via irsa)", error.reason)
        try:
            return "irsa", *_ask(IrsaArchive(), options, size)
        except AstroAnomalyError as other:
            raise FetchError(
                f"neither archive can be used. ESA: {error.reason}. IRSA: {other}", retryable=error.retryable
            ) from error
    return "esa", positions, tiles


def _ask(
    archive: EsaArchive | IrsaArchive, options: EuclidOptions, size: tuple[int, int]
) -> tuple[Positions, list[Tile]]:
    """Find the objects, and the mosaics that show any of them."""
    if options.catalog is not None:
        positions = read_positions(options)
    elif options.cone:
        cone = read_cone(options.cone, options.radius)
        positions = from_cone(archive, cone, options.columns, options.magnitude_limit, options.flux_column)
        positions = replace(positions, origin=_of_catalogue(archive, f"a cone of {options.radius} at {options.cone}"))
    else:
        positions = from_ids(archive, options.mer_id, options.columns)
        positions = replace(positions, origin=_of_catalogue(archive, f"{len(options.mer_id)} ids"))
    margin = archive.radius_deg(size) * np.sqrt(2)
    mosaics = [
        mosaic for circle in areas(positions.ra, positions.dec, float(margin)) for mosaic in archive.mosaics(*circle)
    ]
    tiles = make_tiles(mosaics, options.names)
    if not tiles:
        raise FootprintError(
            f"no Euclid mosaic at {archive.name} shows any of the {len(positions)} positions "
            f"({footprint(positions.ra, positions.dec)}, ICRS): has Euclid seen this place? See the maps of the "
            f"release.{positions.remark}"
        )
    _log.info("%d objects, %d tiles at %s", len(positions), len(tiles), archive.name)
    return positions, tiles


def _of_catalogue(archive: EsaArchive | IrsaArchive, what: str) -> list[Fact]:
    """Say that positions and ids are those of the MER catalogue."""
    columns = [archive.ra_column, archive.dec_column]
    value = {"columns": columns, "kind": "sky", "frame": "icrs", "unit": "deg", "origin": None}
    words = f"{', '.join(columns)} of {archive.catalogue} at {archive.name}, {what}; frame icrs; in deg"
    ids = Fact("ids", f"column {archive.id_column}", {"column": archive.id_column})
    return [Fact("positions", words, value), ids]


def _try(archive: EsaArchive, positions: Positions, tiles: Sequence[Tile], size: tuple[int, int]) -> None:
    """Fetch one cutout: it is kept, so that it is not fetched again."""
    assigned = assign(tiles, positions.ra, positions.dec, size)
    rows = np.flatnonzero(assigned.tile >= 0)
    if len(rows):
        tile = tiles[int(assigned.tile[rows[0]])]
        archive.cutout(tile.first, float(positions.ra[rows[0]]), float(positions.dec[rows[0]]), size)


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
        archive = _archive(via, payload["environment"], payload["login"])
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
    return positions.failures("outside", rows, reasons, np.where(known, "no coverage", "failed").tolist())


@hookimpl
def register_sources(register: Callable[[EuclidSource], None]) -> None:
    """Register the source ``euclid``."""
    register(EuclidSource())
