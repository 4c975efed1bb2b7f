"""Objects of the MER catalogue: by their ids, or those in a part of the sky."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from astroanomaly import CatalogError, ConfigError, FetchError
from astroanomaly_plugins.euclid.releases import ChosenRelease, Holding
from astroanomaly_plugins.shared.client_answers import understood
from astroanomaly_plugins.shared.columns import carried
from astroanomaly_plugins.shared.positions import Positions
from astroanomaly_plugins.shared.sky_area import SkyArea
from astroanomaly_plugins.shared.tap_objects import rows_in_area

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["MerCatalogue", "from_area", "from_ids"]

_log = logging.getLogger(__name__)
_IDS_PER_QUERY = 500
_USUAL_COLUMNS = (  # kept where nothing else is asked for
    "flux_detection_total",
    "fluxerr_detection_total",
    "flux_vis_psf",
    "fluxerr_vis_psf",
    "vis_det",
    "point_like_prob",
    "spurious_prob",
    "segmentation_area",
    "semimajor_axis",
    "ellipticity",
    "mumax_minus_mag",
)
_MICROJANSKY_MAG = 23.9  # AB magnitude of one microjansky
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class MerCatalogue(Protocol):
    """An archive that holds the MER catalogue."""

    name: str

    @property
    def release(self) -> ChosenRelease:
        """What is taken of it."""
        ...

    def query(self, adql: str, what: str) -> Table:
        """Run a query."""
        ...


def from_area(
    archive: MerCatalogue,
    area: SkyArea,
    columns: Sequence[str],
    magnitude_limit: float | None = None,
    flux_column: str = "flux_detection_total",
    where: str = "",
) -> Positions:
    """Take the objects of the MER catalogue in a part of the sky, down to a magnitude.

    Parameters
    ----------
    where
        A further condition in ADQL.

    Raises
    ------
    CatalogError
        If there is none.
    FetchError
        If the archive gives fewer rows than it counts.
    """
    holding = _catalogue(archive)
    names = _names(archive, columns)
    conditions = [where] if where else []
    if magnitude_limit is not None:
        conditions.append(f"{_checked(flux_column)} >= {10 ** ((_MICROJANSKY_MAG - magnitude_limit) / 2.5)!r}")
    condition = " AND ".join(f"({one})" if len(conditions) > 1 else one for one in conditions)
    position = (holding.ra_column, holding.dec_column)
    tables = [
        rows
        for table in holding.catalogues
        for rows in rows_in_area(archive.query, table, names, position, area, condition)
    ]
    if not tables:
        limit = "" if magnitude_limit is None else f" brighter than magnitude {magnitude_limit:g}"
        raise CatalogError(
            f"the MER catalogue at {archive.name} has no object{limit} in {area.words}: has Euclid seen this place? "
            "See the maps of the release, or ask for a larger area"
        )
    found = _positions(archive, tables)
    _log.info("%d objects of the MER catalogue in %s", len(found), area.words)
    return found


def from_ids(archive: MerCatalogue, ids: Sequence[str], columns: Sequence[str]) -> Positions:
    """Take objects of the MER catalogue by their ids; those it does not know are left out.

    Raises
    ------
    ConfigError
        If an id is no whole number, or is given twice.
    CatalogError
        If it knows none.
    """
    for text in ids:
        if not re.fullmatch(r"-?\d+", text):
            raise ConfigError(f"--mer-id {text!r}: ids of the MER catalogue are whole numbers")
    wanted = [str(int(text)) for text in ids]
    if len(set(wanted)) < len(wanted):
        twice = next(text for text in wanted if wanted.count(text) > 1)
        raise ConfigError(f"--mer-id {twice} is given twice")
    holding = _catalogue(archive)
    names = _names(archive, columns)
    tables = []
    for table in holding.catalogues:
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            part = ", ".join(wanted[start : start + _IDS_PER_QUERY])
            adql = f"SELECT {names} FROM {table} WHERE {holding.id_column} IN ({part})"
            tables.append(archive.query(adql, "objects by their ids"))
    found = _positions(archive, tables)
    if not len(found):
        raise CatalogError(f"the MER catalogue at {archive.name} knows none of the {len(wanted)} ids, as {wanted[0]}")
    return found


def _names(archive: MerCatalogue, columns: Sequence[str]) -> str:
    """List the columns to ask for; of the usual ones, those that all tables of the catalogue have."""
    holding = _catalogue(archive)
    if "*" in columns:
        return "*"
    wanted = [_checked(name) for name in columns if name not in ("usual", "none")]
    usual = _USUAL_COLUMNS if "usual" in columns else ()
    if wanted or usual:
        parts = []
        for table in holding.catalogues:
            adql = f"SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = '{table}'"
            parts.append({str(row[0]).lower() for row in archive.query(adql, "columns of the MER catalogue")})
        there = set.intersection(*parts)
        missing = [name for name in wanted if name.lower() not in there]
        if missing:
            raise CatalogError(
                f"the MER catalogue at {archive.name} has no column {missing[0]!r}. It has {', '.join(sorted(there))}"
            )
        wanted += [name for name in usual if name in there]
    return ", ".join(dict.fromkeys([holding.id_column, holding.ra_column, holding.dec_column, *wanted]))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a column of the MER catalogue")
    return name


def _catalogue(archive: MerCatalogue) -> Holding:
    """Return the tables of the catalogue.

    Raises
    ------
    CatalogError
        If the archive has none of this release.
    """
    chosen = archive.release
    if not chosen.holding.catalogues:
        raise CatalogError(
            f"{archive.name} has mosaics of the release {chosen.name}, and no MER catalogue under a name that is known "
            "here: cut positions of your own with --catalog, or write its name into a file and give it with --releases"
        )
    return chosen.holding


def _positions(archive: MerCatalogue, tables: Sequence[Table]) -> Positions:
    """Put the rows of all tables together; of an object in several of them the first counts."""
    from astropy.table import vstack

    holding, what = _catalogue(archive), f"the MER catalogue at {archive.name}"
    table = vstack(list(tables), join_type="outer", metadata_conflicts="silent")
    lower = {name.lower(): name for name in table.colnames}
    named = [name.lower() for name in (holding.id_column, holding.ra_column, holding.dec_column)]
    missing = [name for name in named if name not in lower]
    if missing:
        raise FetchError(f"{what}: its answer has no column {missing[0]!r}, only {', '.join(table.colnames)}")
    ids, ra, dec = (lower[name] for name in named)
    with understood(what):
        table = table[np.unique(np.asarray(table[ids]), return_index=True)[1]]
        columns = {name: column for name, column in carried(table, ("*",)).items() if name not in (ids, ra, dec)}
        degrees = [np.ma.filled(np.ma.asarray(table[name], np.float64), np.nan) for name in (ra, dec)]
    return Positions(np.array([str(one) for one in table[ids]]), degrees[0], degrees[1], columns)
