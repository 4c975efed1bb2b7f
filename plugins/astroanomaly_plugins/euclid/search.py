"""Find the objects and the mosaics of a request: in which archive, of which release."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from astroanomaly import AstroAnomalyError, CatalogError, Fact, FetchError, FootprintError, read_catalog
from astroanomaly_plugins.euclid.datalabs import all_there
from astroanomaly_plugins.euclid.esa import EsaArchive
from astroanomaly_plugins.euclid.irsa import IrsaArchive
from astroanomaly_plugins.euclid.mer_catalog import from_area, from_ids
from astroanomaly_plugins.euclid.mosaics import Tile, areas, assign, make_tiles
from astroanomaly_plugins.euclid.options import EuclidOptions
from astroanomaly_plugins.euclid.releases import ChosenRelease
from astroanomaly_plugins.mosaics.objects import footprint
from astroanomaly_plugins.shared.blocks import Blocks, read_blocks
from astroanomaly_plugins.shared.positions import Positions, positions_of
from astroanomaly_plugins.shared.sky_area import SkyArea, read_area, whole_sky

__all__ = ["Found", "archive_of", "describe_releases", "find"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Found:
    """Objects, and the archive that has their mosaics.

    Attributes
    ----------
    via
        The archive.
    blocks
        The objects.
    tiles
        Tiles at the first block of objects.
    tiles_of
        Finds those at other objects.
    release
        What is taken.
    """

    via: str
    blocks: Blocks
    tiles: list[Tile]
    tiles_of: Callable[[Positions], list[Tile]]
    release: Fact


def archive_of(via: str, environment: str, login: bool) -> EsaArchive | IrsaArchive:
    """Return the archive to fetch cutouts from, whatever their release."""
    return IrsaArchive() if via == "irsa" else EsaArchive(environment, login)


def _asked(via: str, options: EuclidOptions) -> EsaArchive | IrsaArchive:
    """Return the archive to ask for objects and mosaics."""
    if via == "irsa":
        return IrsaArchive(options.release, options.releases)
    return _esa(options)


def _esa(options: EuclidOptions) -> EsaArchive:
    return EsaArchive(options.environment, options.login, options.release, options.releases)


def describe_releases(options: EuclidOptions) -> list[Fact]:
    """Say which releases each archive has, and which one would be taken.

    Raises
    ------
    FetchError
        If no archive answers.
    """
    facts, errors = [], []
    for via in ("irsa",) if options.via == "irsa" else ("esa",) if options.via != "auto" else ("esa", "irsa"):
        archive = _asked(via, options)
        try:
            chosen = archive.release
        except FetchError as error:
            errors.append(error)
            facts.append(Fact(f"releases at {archive.name}", f"not known: {error.reason}", {}))
            continue
        taken = {chosen.name: " (taken)"}
        words = [f"{name}{taken.get(name, '')}: {holding.words}" for name, holding in chosen.all.items()]
        held = {name: asdict(holding) for name, holding in chosen.all.items()}
        facts.append(Fact(f"releases at {archive.name}", "; ".join(words), {"taken": chosen.name, "all": held}))
    if len(errors) == len(facts):
        raise errors[0]
    return facts


def find(options: EuclidOptions, size: tuple[int, int]) -> Found:
    """Find objects, tiles and release; in the mode ``auto`` at the first archive that answers."""
    if options.via != "auto":
        return _ask(options.via, options, size)
    try:
        found = _ask("esa", options, size)
        if all_there(found.tiles):
            _log.info("all mosaics are on this computer: they are read in place (--via datalabs)")
            return replace(found, via="datalabs")
        _try(_esa(options), found.blocks.first, found.tiles, size)
    except FetchError as error:
        if options.login or options.environment != "PDR":
            raise
        _log.warning("ESA's Euclid archive cannot be used (%s): everything comes from IRSA (--via irsa)", error.reason)
        try:
            return _ask("irsa", options, size)
        except AstroAnomalyError as other:
            raise FetchError(
                f"neither archive can be used. ESA: {error.reason}. IRSA: {other}", retryable=error.retryable
            ) from error
    return found


def _ask(via: str, options: EuclidOptions, size: tuple[int, int]) -> Found:
    """Find the objects, and the mosaics of the release that show any of the first of them."""
    archive = _asked(via, options)
    blocks = _objects(archive, options)
    positions = blocks.first
    margin = float(archive.radius_deg(size) * np.sqrt(2))

    def tiles_of(positions: Positions, strict: bool = False) -> list[Tile]:
        circles = areas(positions.ra, positions.dec, margin)
        return make_tiles([one for circle in circles for one in archive.mosaics(*circle)], options.names, strict=strict)

    tiles = tiles_of(positions, blocks.whole)
    if not tiles and blocks.whole:
        raise FootprintError(
            f"no Euclid mosaic at {archive.name} shows any of the {len(positions)} positions "
            f"({footprint(positions.ra, positions.dec)}, ICRS): has Euclid seen this place? See the maps of the "
            f"release.{_others(archive.release)}{positions.remark}"
        )
    _log.info("%d objects, %d tiles at %s", len(positions), len(tiles), archive.name)
    return Found(via, blocks, tiles, tiles_of, _release_fact(archive))


def _objects(archive: EsaArchive | IrsaArchive, options: EuclidOptions) -> Blocks:
    """Find the objects: of a table or a service, or of the MER catalogue by ids, a part of the sky or a query."""
    if options.catalog is not None or options.tap:
        return read_blocks(options)
    if options.mer_id:
        positions = from_ids(archive, options.mer_id, options.columns)
        origin = _of_catalogue(archive, f"{len(options.mer_id)} ids")
        return Blocks.of(replace(positions, origin=origin))
    area = read_area(options.cone, options.radius, options.region, options.moc)
    if options.adql:
        return Blocks.of(_of_query(archive, options, area))
    limit, flux = options.magnitude_limit, options.flux_column
    positions = from_area(archive, area or whole_sky(), options.columns, limit, flux, options.where)
    return Blocks.of(replace(positions, origin=_of_catalogue(archive, area.words if area else "the whole sky")))


def _of_query(archive: EsaArchive | IrsaArchive, options: EuclidOptions, area: SkyArea | None) -> Positions:
    """Take the objects that a query to the archive gives, those in a part of the sky alone."""
    table = archive.query(options.adql, "objects of the query")
    if not len(table):
        raise CatalogError(f"{archive.name}: the query of --adql gives no object")
    named = [name or None for name in (options.ra, options.dec, options.id)]
    holding = archive.release.holding
    usual = (holding.ra_column, holding.dec_column, holding.id_column)
    lower = {name.lower(): name for name in table.colnames}
    ra, dec, ids = (one or lower.get(name.lower()) for one, name in zip(named, usual, strict=True))
    found = read_catalog(table, ra=ra if dec else None, dec=dec if ra else None, id=ids, frame=options.frame or None)
    positions = positions_of(found, options, f"the answer of {archive.name}")
    if area is not None:
        positions = positions.some(np.flatnonzero(area.inside(positions.ra, positions.dec)))
        if not len(positions):
            raise CatalogError(f"{archive.name}: none of the {len(table)} objects of the query lies in {area.words}")
    return positions


def _release_fact(archive: EsaArchive | IrsaArchive) -> Fact:
    chosen = archive.release
    words = f"{chosen.name} at {archive.name}: {chosen.holding.words}"
    if not any(chosen.name in table for table in (chosen.holding.mosaics, *chosen.holding.catalogues)):
        words += f" (their names do not say the release; it is {chosen.name} as far as is known)"
    return Fact("release", words, {"name": chosen.name, "archive": archive.name, **asdict(chosen.holding)})


def _others(chosen: ChosenRelease) -> str:
    """Name the releases that were not asked for."""
    others = [name for name in chosen.all if name != chosen.name]
    return (
        f" The release {chosen.name} was asked for; there are also {', '.join(others)} (--release)." if others else ""
    )


def _of_catalogue(archive: EsaArchive | IrsaArchive, what: str) -> list[Fact]:
    """Say that positions and ids are those of the MER catalogue."""
    holding = archive.release.holding
    columns = [holding.ra_column, holding.dec_column]
    value = {"columns": columns, "kind": "sky", "frame": "icrs", "unit": "deg", "origin": None}
    words = f"{', '.join(columns)} of {holding.catalogue} at {archive.name}, {what}; frame icrs; in deg"
    ids = Fact("ids", f"column {holding.id_column}", {"column": holding.id_column})
    return [Fact("positions", words, value), ids]


def _try(archive: EsaArchive, positions: Positions, tiles: Sequence[Tile], size: tuple[int, int]) -> None:
    """Fetch one cutout: it is kept, so that it is not fetched again."""
    assigned = assign(tiles, positions.ra, positions.dec, size)
    rows = np.flatnonzero(assigned.tile >= 0)
    if len(rows):
        tile = tiles[int(assigned.tile[rows[0]])]
        archive.cutout(tile.first, float(positions.ra[rows[0]]), float(positions.dec[rows[0]]), size)
