"""Coordinates and angles that are given as astropy objects, checked: as plain ICRS degrees and arcsec."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.sky import read_angle, read_position

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.units import Quantity

__all__ = ["angle_arcsec", "icrs_degrees", "is_coordinates", "plain_icrs"]

_MAX_ARCSEC = 180 * 3600.0


def angle_arcsec(value: Quantity | str, name: str) -> float:
    """Return an angle in arcsec.

    Parameters
    ----------
    value
        A scalar `astropy.units.Quantity` of an angle, or text with a unit (``1arcsec``). A bare number is refused: it
        could be degrees as well.
    name
        What the angle is, for the message.

    Returns
    -------
    float
        0 to 648000, which is half around the sky.

    Raises
    ------
    ConfigError
        For anything else.
    """
    from astropy.units import Quantity, UnitConversionError

    expected = f"expected an angle with its unit, as in {name}=1*u.arcsec or {name}='1arcsec'"
    if isinstance(value, str):
        angle = read_angle(value, "arcsec", name=name)
    elif not isinstance(value, Quantity):
        raise ConfigError(f"{name}={value!r}: {expected}")
    elif not value.isscalar:
        raise ConfigError(f"{name} has shape {value.shape}: expected one angle for all positions")
    else:
        try:
            angle = float(value.to_value("arcsec"))
        except (UnitConversionError, TypeError, ValueError):
            raise ConfigError(f"{name}={value} is no angle: {expected}") from None
    if not (math.isfinite(angle) and 0 <= angle <= _MAX_ARCSEC):
        raise ConfigError(f"{name}={value}: expected 0 to 180 degrees")
    return angle


def is_coordinates(value: object) -> bool:
    """Whether something is a `SkyCoord`, or coordinates in a frame of astropy such as ``ICRS(...)``."""
    from astropy.coordinates import BaseCoordinateFrame, SkyCoord

    return isinstance(value, SkyCoord | BaseCoordinateFrame)


def icrs_degrees(value: SkyCoord | str, name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return coordinates of any frame as ICRS degrees.

    Parameters
    ----------
    value
        `SkyCoord`, or coordinates in a frame of astropy: one position or a list of them; or one position as text, as
        `astroanomaly.sky.read_position` reads it.
    name
        What the coordinates are, for the message.

    Returns
    -------
    ra, dec
        ``(n,)`` float64; a position that is masked is NaN.
    scalar
        Whether it was one position and no list.

    Raises
    ------
    ConfigError
        For anything else, for a frame that cannot be turned into ICRS, and for coordinates of more than one axis.
    """
    from astropy.coordinates import BaseCoordinateFrame, SkyCoord

    if isinstance(value, str):
        place = read_position(value)
        return np.array([place[0]]), np.array([place[1]]), True
    if not is_coordinates(value):
        raise ConfigError(
            f"{name} is {type(value).__name__}: expected astropy coordinates, as in SkyCoord(150.1, 2.2, unit='deg'), "
            "or a position as text, as in '150.1 +2.2'"
        )
    try:
        if isinstance(value, BaseCoordinateFrame):
            value = SkyCoord(value)
        ra, dec = plain_icrs(value)
    except Exception as error:  # every frame has its own way of saying that it needs more than two angles
        raise ConfigError(f"{name} cannot be turned into ICRS: {type(error).__name__}: {error}") from error
    if ra.ndim > 1:
        raise ConfigError(f"{name} has shape {ra.shape}: expected one position, or a list of them ({name}.ravel())")
    return np.atleast_1d(ra), np.atleast_1d(dec), ra.ndim == 0


def plain_icrs(coords: SkyCoord) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination in ICRS degrees, of the shape of the coordinates; NaN where masked.

    Nothing is fetched: frames that turn with the Earth are known as far as the tables that came with astropy go.
    """
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False):
        icrs = coords.icrs
    ra: np.ndarray
    dec: np.ndarray
    ra, dec = (np.array(np.ma.filled(np.ma.asarray(part.deg, dtype=float), np.nan)) for part in (icrs.ra, icrs.dec))
    for part in (icrs.ra, icrs.dec):
        mask = getattr(part, "mask", None)
        if mask is not None and np.any(mask):
            ra[np.asarray(mask)] = dec[np.asarray(mask)] = np.nan
    return ra, dec
