"""The celestial frame that the axes of a WCS are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astroanomaly.errors import UnreadableError

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
    UnreadableError
        If the axes are not on the sky, or their frame is none that is known; it says which card says so.
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
        raise UnreadableError(
            f"the axes of its WCS are {', '.join(wcs.wcs.ctype)}, which are no positions on the sky: expected RA and "
            "DEC, GLON and GLAT, ELON and ELAT or SLON and SLAT (CTYPE1, CTYPE2)"
        )
    try:
        return wcs_to_celestial_frame(wcs)
    except ValueError as error:
        raise UnreadableError(
            f"the frame of its WCS is unknown: RADESYS is {wcs.wcs.radesys!r}, EQUINOX {float(wcs.wcs.equinox):g}; "
            "expected ICRS, FK5, FK4 or FK4-NO-E. If you know the frame, correct the card, as in "
            "astropy.io.fits.setval(FILE, 'RADESYS', value='FK5')"
        ) from error
