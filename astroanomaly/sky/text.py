"""What people give for angles, positions and sizes: text, and objects of astropy."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from astroanomaly.errors import ConfigError

__all__ = [
    "angle_text",
    "arcsec_number",
    "position_text",
    "read_angle",
    "read_position",
    "size_in_pixels",
    "size_or_angle",
    "size_text",
]

_MAX_PIXELS = 16384  # side of a cutout
_MAX_ANGLE_ARCSEC = 90 * 3600
_NUMBER_AND_UNIT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\W\d_]+)")
_SEXAGESIMAL = re.compile(r"[-+\d.:\shdms°'\"′″]+")


def read_angle(text: str, unit: str, *, plain: str = "", name: str = "") -> float:
    """Read an angle: a number and a unit (``10arcsec``, ``0.5 arcmin``) or sexagesimal (``1d30m``, ``02:12:00``).

    Parameters
    ----------
    text
        The angle.
    unit
        Unit of the result, as astropy calls it.
    plain
        Unit of a number without one, and of sexagesimal numbers without marks; empty: these are refused.
    name
        What the angle is, for the message: a setting or a flag.

    Returns
    -------
    float
        In ``unit``; finite, of any sign and size.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    text = text.strip()
    number = _NUMBER_AND_UNIT.fullmatch(text)  # never Quantity(text): it calculates what a text says, however long
    digits, given = (number[1], number[2]) if number is not None else (text, plain)
    with contextlib.suppress(ValueError):
        if given == unit and math.isfinite(float(digits)):  # without astropy, which takes a second to import
            return float(digits)

    from astropy.units import Quantity, UnitsError

    def angle(*given: str) -> Quantity:
        from astropy.coordinates import Angle  # slow to import, and seldom needed

        return Angle(*given)

    readings: list[Callable[[], Quantity]] = [lambda: Quantity(float(text), plain)]
    if number is not None:
        readings.append(lambda: Quantity(float(number[1]), number[2]))
    if number is not None or _SEXAGESIMAL.fullmatch(text):
        readings += [lambda: angle(text), lambda: angle(text, plain)]  # a unit of its own counts
    for reading in readings:
        with contextlib.suppress(TypeError, ValueError, UnitsError):
            value = float(reading().to_value(unit))
            if math.isfinite(value):
                return value
    where = f"{name}={text!r}" if name else repr(text)
    raise ConfigError(f"{where}: expected an angle with its unit, as in 30arcsec or 0.5arcmin")


def read_position(text: str) -> tuple[float, float]:
    """Read a position: degrees (``150.1 +2.2``) or sexagesimal hours and degrees (``10:00:24 +02:12:00``).

    Parameters
    ----------
    text
        Right ascension and declination, separated by blanks or a comma. A right ascension with colons, blanks, or the
        marks h, m and s is in hours; any other number is in degrees.

    Returns
    -------
    tuple of float
        Right ascension from 0 to 360 and declination, degrees.

    Raises
    ------
    ConfigError
        If it cannot be read, or is no place on the sky.
    """
    from astropy.coordinates import SkyCoord

    words = text.replace(",", " ").split()
    half = len(words) // 2
    first, second = " ".join(words[:half]), " ".join(words[half:])
    try:
        if first:
            hours = any(mark in first for mark in ":hms ")
            lon = read_angle(first, "deg", plain="hourangle" if hours else "deg")
            place = SkyCoord(lon, read_angle(second, "deg", plain="deg"), unit="deg")
        else:  # one word, as in 17h58m48s+66d00m00s
            place = SkyCoord(second, unit=("hourangle", "deg"))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{text!r}: expected a position, as in '150.1 +2.2' (degrees) or '10:00:24 +02:12:00'"
        ) from error
    return float(place.ra.deg), float(place.dec.deg)


def size_or_angle(text: str) -> tuple[int | None, float | None]:
    """Read the side of a cutout: pixels (``64``) or an angle (``10arcsec``).

    Returns
    -------
    pixels : int or None
        1 to 16384.
    angle : float or None
        Arcseconds, more than 0 and less than 90 degrees. One of both is None.

    Raises
    ------
    ConfigError
        For anything else.
    """
    pixels, angle = _length(text.strip())
    if (pixels is not None and 1 <= pixels <= _MAX_PIXELS) or (angle is not None and 0 < angle < _MAX_ANGLE_ARCSEC):
        return pixels, angle
    raise ConfigError(f"size={text!r}: expected pixels (64) or an angle (10arcsec, 0.5arcmin)")


def size_in_pixels(text: str, scale: float | tuple[float, float] | None) -> tuple[int, int]:
    """Read the size of a cutout: pixels (``64``, ``64x48`` as width x height) or an angle (``10arcsec x 5arcsec``).

    Parameters
    ----------
    text
        One length for a square, or width and height.
    scale
        Pixel scale in arcsec, or the sides of a pixel along x and y; None without a WCS.

    Returns
    -------
    tuple of int
        ``(height, width)``, 1 to 16384 each.

    Raises
    ------
    ConfigError
        For anything else, or an angle without a WCS.
    """
    lengths = []
    parts = re.split(r"\s*[x,]\s*", text.strip(), maxsplit=1)
    sides = scale if isinstance(scale, tuple) else (scale, scale)
    for part, side in zip(parts if len(parts) == 2 else parts * 2, sides, strict=True):
        pixels, angle = _length(part)
        if pixels is None and angle is None:
            raise ConfigError(
                f"size={text!r}: expected pixels (64, or 64x48 as width x height) or an angle (10arcsec, 0.5arcmin)"
            )
        if pixels is None and scale is None:
            raise ConfigError(f"size={text!r} is an angle, but the images have no WCS: give the size in pixels")
        lengths.append(pixels if pixels is not None else round((angle or 0.0) / (side or 1.0)))
    width, height = lengths
    if not (1 <= width <= _MAX_PIXELS and 1 <= height <= _MAX_PIXELS):
        raise ConfigError(f"size={text!r} is {width} x {height} pixels: expected 1 to {_MAX_PIXELS}")
    return height, width


def _length(text: str) -> tuple[int | None, float | None]:
    """Read pixels or arcseconds; None for both where it is neither."""
    if re.fullmatch(r"\d+", text):
        return int(text), None
    try:
        return None, read_angle(text, "arcsec")
    except ConfigError:
        return None, None


# ----------------------------------------------------------------------------------------------- from astropy's objects
# For `astroanomaly.option(convert=...)`: the same request is the same text, whether it was typed or given in Python.


def size_text(value: Any, name: str = "size") -> Any:
    """Turn the size of a cutout into what `size_in_pixels` reads; text stays, None is empty.

    Parameters
    ----------
    value
        Pixels as a whole number, an angle as `astropy.units.Quantity`, or ``(height, width)`` of either, the order of
        arrays and of `astropy.nddata.Cutout2D`.
    name
        What it is, for the message.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if value is None or isinstance(value, str):
        return value or ""
    from astropy.units import Quantity

    single = isinstance(value, numbers.Integral) or (isinstance(value, Quantity) and value.isscalar)
    parts = [value] if single else list(value) if isinstance(value, tuple | list | Quantity | np.ndarray) else []
    lengths = [_length_text(part) for part in parts]
    if len(lengths) not in (1, 2) or not all(lengths):
        raise ConfigError(
            f"{name}: {_shown(value)} cannot be taken as a size: expected pixels (64, a whole number), an angle "
            "(5 * u.arcsec, or text as 10arcsec), or (height, width) of either"
        )
    return lengths[0] if len(set(lengths)) == 1 else f"{lengths[1]} x {lengths[0]}"


def _length_text(value: Any) -> str:
    """Spell pixels or an angle; empty for anything else."""
    from astropy import units as u

    if isinstance(value, u.Quantity) and value.isscalar:
        if value.unit == u.pix:
            value = int(value.value) if float(value.value).is_integer() else ""
        else:
            return _arcsec_text(value)
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    return str(int(value)) if whole and value > 0 else ""


def _arcsec_text(value: Any) -> str:
    """Spell an angle in arcseconds; empty for what is no finite angle."""
    from astropy import units as u

    with contextlib.suppress(u.UnitsError, TypeError):
        number = float(value.to_value(u.arcsec))
        if math.isfinite(number):
            return f"{number:.15g}arcsec"
    return ""


def angle_text(value: Any, name: str = "angle") -> Any:
    """Turn an angle given as `astropy.units.Quantity` into what `read_angle` reads; text stays.

    Anything else is a `ConfigError`.
    """
    if isinstance(value, str):
        return value
    from astropy.units import Quantity

    text = _arcsec_text(value) if isinstance(value, Quantity) and value.isscalar else ""
    if not text:
        raise ConfigError(
            f"{name}: {_shown(value)} cannot be taken as an angle: expected a Quantity (30 * u.arcsec) or text "
            "(30arcsec)"
        )
    return text


def arcsec_number(value: Any, name: str = "pixel_scale") -> Any:
    """Turn an angle, or an angle per pixel, given as `astropy.units.Quantity` into arcseconds; other values stay.

    A quantity of another kind is a `ConfigError`.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    from astropy import units as u

    if not isinstance(value, u.Quantity):
        return value
    for unit in (u.arcsec, u.arcsec / u.pix):
        with contextlib.suppress(u.UnitsError, TypeError):
            return float(value.to_value(unit))
    raise ConfigError(f"{name}: {_shown(value)} cannot be taken: expected an angle, as in 0.2 * u.arcsec")


def position_text(value: Any, name: str = "position") -> Any:
    """Turn a `astropy.coordinates.SkyCoord` of one position into what `read_position` reads, ICRS degrees; text stays.

    Anything else is a `ConfigError`.
    """
    if isinstance(value, str):
        return value
    from astropy.coordinates import SkyCoord

    if isinstance(value, SkyCoord) and value.isscalar:
        place = value.icrs
        return f"{float(place.ra.deg)!r} {float(place.dec.deg)!r}"
    raise ConfigError(
        f"{name}: {_shown(value)} cannot be taken as a position: expected a SkyCoord of one position, or text as in "
        "'150.1 +2.2'"
    )


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value}"
    return text if len(text) <= 80 and "\n" not in text else type(value).__name__
