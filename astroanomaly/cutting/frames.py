"""The celestial frame that the axes of a WCS are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["celestial_frame"]

_EQUINOX = 2000.0  # of the ecliptic where the header has none


def celestial_frame(wcs: WCS) -> Any:
    """Return the `astropy.coordinates` frame of a WCS.

    The names of the axes decide: galactic axes are galactic whatever RADESYS and EQUINOX are beside them, which belong
    to equatorial and ecliptic axes alone (Calabretta & Greisen 2002, A&A 395, 1077, section 3.1).

    Raises
    ------
    ValueError
        If the axes are not on the sky, or there is no way from their frame to ICRS.
    """
    from astropy.coordinates import BarycentricMeanEcliptic, Galactic, Supergalactic
    from astropy.time import Time
    from astropy.wcs.utils import wcs_to_celestial_frame

    axes = wcs.wcs.lngtyp
    if axes == "GLON":
        return Galactic()
    if axes == "SLON":
        return Supergalactic()
    if axes == "ELON":
        equinox = float(wcs.wcs.equinox)
        return BarycentricMeanEcliptic(equinox=Time(equinox if equinox == equinox else _EQUINOX, format="jyear"))
    if axes != "RA":
        raise ValueError(f"the axes {', '.join(wcs.wcs.ctype)} are no positions on the sky")
    return wcs_to_celestial_frame(wcs)
