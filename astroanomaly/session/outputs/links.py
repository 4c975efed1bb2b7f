"""Links to other services for a position on the sky (Aladin Lite, SIMBAD, ...), opened by the user's browser."""

from __future__ import annotations

import math
from urllib.parse import quote, urlencode

__all__ = ["links"]


def links(ra: float, dec: float, size_arcsec: float = 60.0) -> list[tuple[str, str]]:
    """Names and addresses of external views.

    Parameters
    ----------
    ra, dec
        ICRS degrees.
    size_arcsec
        Field of view wanted.

    Returns
    -------
    list of (str, str)
        Empty for an object without a position.
    """
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return []
    place = f"{ra:.6f} {dec:+.6f}"
    fov = min(max(size_arcsec / 3600, 0.002), 60)
    legacy_zoom = max(4, min(17, round(math.log2(360 / fov))))
    return [
        ("Aladin Lite", f"https://aladin.cds.unistra.fr/AladinLite/?{_query(target=place, fov=f'{fov:.5f}')}"),
        ("ESASky", "https://sky.esa.int/esasky/?"
         + _query(target=place, fov=f"{fov:.5f}", cooframe="J2000", sci="true")),
        ("SIMBAD", "https://simbad.cds.unistra.fr/simbad/sim-coo?"
         + _query(**{"Coord": place, "CooFrame": "ICRS", "Radius": "10", "Radius.unit": "arcsec"})),
        ("NED", "https://ned.ipac.caltech.edu/conesearch?"
         + _query(search_type="Near Position Search", coordinates=f"{ra:.6f}d {dec:+.6f}d", radius="0.2")),
        ("Legacy Surveys", "https://www.legacysurvey.org/viewer?"
         + _query(ra=f"{ra:.6f}", dec=f"{dec:.6f}", layer="ls-dr10", zoom=str(legacy_zoom))),
    ]  # fmt: skip


def _query(**values: str) -> str:
    return urlencode(values, quote_via=quote)
