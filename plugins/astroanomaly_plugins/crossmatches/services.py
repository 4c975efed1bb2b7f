"""SIMBAD, NED and Gaia DR3 as crossmatch services, by the TAP service of each; all services are registered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly import CrossmatchService, MovingObjectService, hookimpl
from astroanomaly_plugins.crossmatches.skybot import SKYBOT
from astroanomaly_plugins.crossmatches.tap import UPLOADED, uploaded_positions, within_most_rows
from astroanomaly_plugins.shared.web import error

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["GAIA", "NED", "SIMBAD", "Gaia", "Ned", "Simbad", "register_crossmatches"]

_Values = Mapping[str, tuple[str, str, str]]
_SIGNIFICANT = 5.0  # sigma of a parallax or of a proper motion: a star
_BATCH = 500
_NED_VALUES: _Values = {"redshift": ("", "src.redshift", "redshift")}
_GAIA_VALUES: _Values = {
    "parallax": ("mas", "pos.parallax.trig", "parallax"),
    "parallax_error": ("mas", "stat.error;pos.parallax.trig", "standard error of the parallax"),
    "proper_motion": ("mas/yr", "pos.pm", "total proper motion"),
    "proper_motion_error": ("mas/yr", "stat.error;pos.pm", "standard error along the proper motion"),
    "g_mag": ("mag", "phot.mag;em.opt", "mean magnitude in the G band"),
}
_SIMBAD_VALUES: _Values = {
    "redshift": ("", "src.redshift", "redshift"),
    "references": ("", "meta.bib;meta.number", "number of papers on the object"),
}


class Simbad:
    """SIMBAD (Wenger et al. 2000, A&AS 143, 9), by an upload of positions."""

    name = "simbad"
    summary = "SIMBAD (CDS): name, type, reference of the position, redshift, number of references"
    published = True
    batch = _BATCH
    values = _SIMBAD_VALUES

    def __init__(self, address: str = "https://simbad.cds.unistra.fr/simbad/sim-tap") -> None:
        self.address = address

    def near(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> Table:
        """Return the objects near some positions; see `CrossmatchService`."""
        columns = {
            "main_id": "name", "ra": "ra", "dec": "dec", "otype": "type", "coo_bibcode": "reference",
            "rvz_redshift": "redshift", "nbref": "references",
        }  # fmt: skip
        return _uploaded(self.address, "basic", columns, ra, dec, radius_arcsec, "objects in SIMBAD")


class Gaia:
    """Gaia DR3 (Gaia Collaboration, Vallenari et al. 2023, A&A 674, A1) at ESA, by an upload of positions."""

    name = "gaia"
    summary = "Gaia DR3 (ESA): is it a star, by a parallax or a proper motion of 5 sigma"
    published = False
    batch = _BATCH
    values = _GAIA_VALUES

    def __init__(self, address: str = "https://gea.esac.esa.int/tap-server/tap") -> None:
        self.address = address

    def near(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> Table:
        """Return the sources near some positions, at epoch J2016.0; see `CrossmatchService`."""
        same = ("ra", "dec", "parallax", "parallax_error", "pmra", "pmra_error", "pmdec", "pmdec_error")
        columns = {name: name for name in same} | {"designation": "name", "phot_g_mean_mag": "g_mag"}
        table = _uploaded(self.address, "gaiadr3.gaia_source", columns, ra, dec, radius_arcsec, "sources of Gaia DR3")
        number = {name: _numbers(table, name) for name in columns.values() if name != "name"}
        total = np.hypot(number["pmra"], number["pmdec"])
        with np.errstate(divide="ignore", invalid="ignore"):
            along = np.hypot(number["pmra"] * number["pmra_error"], number["pmdec"] * number["pmdec_error"]) / total
            is_star = (number["parallax"] > _SIGNIFICANT * number["parallax_error"]) | (total > _SIGNIFICANT * along)
        table["proper_motion"], table["proper_motion_error"] = total, along
        table["type"] = np.where(is_star, "star", "source")
        return table


class Ned:
    """The object directory of the NASA/IPAC Extragalactic Database, by one query with a circle for each position."""

    name = "ned"
    summary = "NED (IPAC): preferred name, type, redshift"
    published = True
    batch = 50  # a circle for each: it takes no uploads, and answers within a minute or not at all
    values = _NED_VALUES

    def __init__(self, address: str = "https://ned.ipac.caltech.edu/tap") -> None:
        self.address = address

    def near(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> Table:
        """Return the objects near some positions; see `CrossmatchService`."""
        columns = {"prefname": "name", "ra": "ra", "dec": "dec", "prefphytype": "type", "z": "redshift"}
        radius = _degrees(radius_arcsec / 3600)

        def form(ra: np.ndarray, dec: np.ndarray) -> dict[str, str | bytes]:
            circles = [
                f"CONTAINS(POINT('J2000', ra, dec), CIRCLE('J2000', {_degrees(x)}, {_degrees(y)}, {radius}))=1"
                for x, y in zip(ra.tolist(), dec.tolist(), strict=True)
            ]
            return {"QUERY": f"SELECT {', '.join(columns)} FROM NEDTAP.objdir WHERE {' OR '.join(circles)}"}

        return _renamed(within_most_rows(self.address, form, ra, dec, "objects in NED"), columns, "objects in NED")


SIMBAD = Simbad()
NED = Ned()
GAIA = Gaia()


@hookimpl
def register_crossmatches(register: Callable[[CrossmatchService | MovingObjectService], None]) -> None:
    """Register SIMBAD, NED, Gaia and SkyBoT; nothing is asked yet."""
    for service in (SIMBAD, NED, GAIA, SKYBOT):
        register(service)


def _uploaded(
    address: str,
    table: str,
    columns: Mapping[str, str],
    ra: np.ndarray,
    dec: np.ndarray,
    radius_arcsec: float,
    what: str,
) -> Table:
    """Return columns of a table of a TAP service near positions that are uploaded."""
    wanted = ", ".join(f"db.{name}" for name in columns)
    query = (
        f"SELECT {wanted} FROM {table} AS db JOIN TAP_UPLOAD.{UPLOADED} AS up ON 1 = CONTAINS("
        f"POINT('ICRS', db.ra, db.dec), CIRCLE('ICRS', up.lon, up.lat, {_degrees(radius_arcsec / 3600)}))"
    )

    def form(ra: np.ndarray, dec: np.ndarray) -> dict[str, str | bytes]:
        upload = f"{UPLOADED},param:{UPLOADED}"
        return {"QUERY": query, "UPLOAD": upload, UPLOADED: uploaded_positions(ra, dec)}

    return _renamed(within_most_rows(address, form, ra, dec, what), columns, what)


def _renamed(table: Table, columns: Mapping[str, str], what: str) -> Table:
    missing = [name for name in columns if name not in table.colnames]
    if missing:
        raise error(what, f"the answer has no column {missing[0]!r}: the service has changed")
    chosen: Sequence[str] = list(columns)
    kept = table[chosen]
    kept.rename_columns(chosen, [f"_{number}" for number in range(len(chosen))])  # a new name may be another's old one
    kept.rename_columns(kept.colnames, list(columns.values()))
    return kept


def _numbers(table: Table, name: str) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)


def _degrees(angle: float) -> str:
    return f"{angle:.9f}"
