"""SkyBoT as a crossmatch service: bodies of the solar system near a position when it was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.votable_answers import asked_table
from astroanomaly_plugins.shared.web import error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.table import Table

__all__ = ["SKYBOT", "SkyBot"]

_WHAT = "bodies in SkyBoT"
_JD_OF_MJD = 2400000.5
_NUMBERS = {"magV": "v_mag", "errpos": "position_error", "dracosdec": "_ra_rate", "ddec": "_dec_rate"}


class SkyBot:
    """SkyBoT (Berthier et al. 2006, ASP Conf. Ser. 351, 367) at IMCCE, by one cone for each position and time."""

    name = "skybot"
    summary = "SkyBoT (IMCCE): planets, asteroids and comets that were there when the image was taken"
    published = False
    batch = 1
    needs_time = True
    values: Mapping[str, tuple[str, str, str]] = {
        "v_mag": ("mag", "phot.mag;em.opt.V", "apparent magnitude in V"),
        "motion": ("arcsec/h", "pos.pm", "apparent motion on the sky"),
        "position_error": ("arcsec", "stat.error;pos", "error of its ephemeris"),
    }

    def __init__(self, address: str = "https://ssp.imcce.fr/webservices/skybot/api/conesearch.php") -> None:
        self.address = address

    def near(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float, mjd: np.ndarray) -> Table:
        """Return the bodies near some positions as seen from the centre of the Earth; see `MovingObjectService`."""
        from astropy.table import vstack

        cones = [self._cone(*one, radius_arcsec) for one in zip(ra.tolist(), dec.tolist(), mjd.tolist(), strict=True)]
        with ASTROPY:
            return vstack(cones, metadata_conflicts="silent")

    def _cone(self, ra: float, dec: float, mjd: float, radius_arcsec: float) -> Table:
        params = {
            "-ra": f"{ra:.8f}", "-dec": f"{dec:.8f}", "-rd": f"{radius_arcsec / 3600:.8f}",
            "-ep": f"{mjd + _JD_OF_MJD:.8f}", "-loc": "500", "-filter": "120", "-objFilter": "111",
            "-refsys": "EQJ2000", "-output": "all", "-mime": "votable",
        }  # fmt: skip
        answer, whole = asked_table(self.address, _WHAT, params=params)
        if not whole:
            raise error(_WHAT, "the service has more entries here than it gives: choose a smaller radius")
        with ASTROPY:
            return _bodies(answer)


def _bodies(answer: Table) -> Table:
    """Return the bodies of an answer with the columns of a service."""
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    missing = [name for name in ("name", "ra", "de", "class") if name not in answer.colnames]
    if missing:
        raise error(_WHAT, f"the answer has no column {missing[0]!r}: the service has changed")
    table = Table({"name": answer["name"].astype(str), "type": answer["class"].astype(str)})
    try:
        units = ("hourangle", "deg") if answer["ra"].dtype.kind in "SUO" else ("deg", "deg")
        places = SkyCoord(answer["ra"], answer["de"], unit=units) if len(answer) else None
    except (ValueError, TypeError) as problem:
        raise error(_WHAT, "the answer has positions that cannot be read") from problem
    table["ra"] = np.zeros(0) if places is None else places.ra.deg
    table["dec"] = np.zeros(0) if places is None else places.dec.deg
    number = {new: _numbers(answer, old.lower()) for old, new in _NUMBERS.items()}
    table["v_mag"], table["position_error"] = number["v_mag"], number["position_error"]
    table["motion"] = np.hypot(number["_ra_rate"], number["_dec_rate"])
    return table


def _numbers(table: Table, name: str) -> np.ndarray:
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    try:
        return np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan)
    except ValueError:
        return np.full(len(table), np.nan)


SKYBOT = SkyBot()
