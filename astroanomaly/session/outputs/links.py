"""Links to other services for a position on the sky (Aladin Lite, SIMBAD, ...), opened by the user's browser."""

from __future__ import annotations

import math
import re
from urllib.parse import quote, urlencode

__all__ = ["entry_link", "links", "reference_link"]

_BIBCODE = re.compile(r"\d{4}[A-Za-z&.]{5}[A-Za-z0-9.]{4}[A-Za-z0-9.][0-9.]{4}[A-Z.:]", re.ASCII)
_DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/[^\s\"'<>]+)", re.ASCII | re.IGNORECASE)
_ARXIV = re.compile(r"arxiv:\s*(\d{4}\.\d{4,5}(?:v\d+)?)", re.ASCII | re.IGNORECASE)


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


def reference_link(reference: str) -> str:
    """Return the address of a bibcode at ADS, of a DOI or of an arXiv number; empty for any other text.

    An address that a catalogue gives is no link of ours: nobody here knows where it leads.
    """
    text = reference.strip()
    if _BIBCODE.fullmatch(text):
        return f"https://ui.adsabs.harvard.edu/abs/{quote(text, safe='')}/abstract"
    if doi := _DOI.fullmatch(text):
        return f"https://doi.org/{quote(doi[1], safe='/')}"
    if arxiv := _ARXIV.fullmatch(text):
        return f"https://arxiv.org/abs/{arxiv[1]}"
    return ""


def entry_link(catalog: str, name: str) -> str:
    """Return the address of an object at SIMBAD or NED, by its name there; empty for other catalogues."""
    if not name:
        return ""
    if catalog == "simbad":
        return f"https://simbad.cds.unistra.fr/simbad/sim-id?{_query(Ident=name)}"
    if catalog == "ned":
        return f"https://ned.ipac.caltech.edu/byname?{_query(objname=name)}"
    return ""


def _query(**values: str) -> str:
    return urlencode(values, quote_via=quote)
