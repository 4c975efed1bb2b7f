"""Find the objects and the mosaics of a request: in which archive, of which release."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from astroanomaly import AstroAnomalyError, Fact, FetchError, FootprintError
from astroanomaly_plugins.euclid.datalabs import all_there
from astroanomaly_plugins.euclid.esa import EsaArchive
from astroanomaly_plugins.euclid.irsa import IrsaArchive
from astroanomaly_plugins.euclid.mer_catalog import from_cone, from_ids, read_cone
from astroanomaly_plugins.euclid.mosaics import Tile, areas, assign, make_tiles
from astroanomaly_plugins.euclid.options import EuclidOptions
from astroanomaly_plugins.euclid.releases import ChosenRelease
from astroanomaly_plugins.mosaics.objects import footprint
from astroanomaly_plugins.shared.positions import Positions, read_positions

__all__ = ["archive_of", "describe_releases", "find"]

_log = logging.getLogger(__name__)


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


def find(options: EuclidOptions, size: tuple[int, int]) -> tuple[str, Positions, list[Tile], Fact]:
    """Return archive, objects, tiles and release; in the mode ``auto`` from the first archive that answers."""
    if options.via != "auto":
        return options.via, *_ask(_asked(options.via, options), options, size)
    esa = _esa(options)
    try:
        positions, tiles, release = _ask(esa, options, size)
        if all_there(tiles):
            _log.info("all mosaics are on this computer: they are read in place (--via datalabs)")
            return "datalabs", positions, tiles, release
        _try(esa, positions, tiles, size)
    except FetchError as error:
        if options.login or options.environment != "PDR":
            raise
        _log.warning("ESA's Euclid archive cannot be used (%s): everything comes from IRSA (--via irsa)", error.reason)
        try:
            return "irsa", *_ask(_asked("irsa", options), options, size)
        except AstroAnomalyError as other:
            raise FetchError(
                f"neither archive can be used. ESA: {error.reason}. IRSA: {other}", retryable=error.retryable
            ) from error
    return "esa", positions, tiles, release


def _ask(
    archive: EsaArchive | IrsaArchive, options: EuclidOptions, size: tuple[int, int]
) -> tuple[Positions, list[Tile], Fact]:
    """Find the objects, and the mosaics of the release that show any of them."""
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
            f"release.{_others(archive.release)}{positions.remark}"
        )
    _log.info("%d objects, %d tiles at %s", len(positions), len(tiles), archive.name)
    return positions, tiles, _release_fact(archive)


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
