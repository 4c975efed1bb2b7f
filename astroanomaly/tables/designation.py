"""Names of objects by their positions, as the IAU asks for them."""

from __future__ import annotations

import math

import numpy as np

from astroanomaly.errors import ConfigError

__all__ = ["check_acronym", "designations"]

_TINY = 1e-6  # of the last digit: a position that was given to just that digit is not cut below it
_MAX_ACRONYM = 20


def check_acronym(acronym: str) -> str:
    """Return an acronym that may stand before a position: empty, or printable ASCII without blanks at the ends.

    Raises
    ------
    ConfigError
        If it cannot be one.
    """
    plain = acronym.isascii() and acronym.isprintable() and acronym == acronym.strip()
    if not plain or len(acronym) > _MAX_ACRONYM:
        raise ConfigError(
            f"acronym={acronym!r}: expected at most {_MAX_ACRONYM} letters, digits and hyphens, such as AA or AA-DR1"
        )
    return acronym


def designations(ra: np.ndarray, dec: np.ndarray, acronym: str = "") -> list[str]:
    """Name objects ``ACRONYM Jhhmmss.ss+ddmmss.s`` by their ICRS positions.

    Digits are cut off and not rounded, as the IAU's rules for designations ask: a truncated position names the field
    that the object is in (https://cds.unistra.fr/Dic/iau-spec.html).

    Parameters
    ----------
    ra, dec
        ``(n,)`` degrees; NaN where there is no position.
    acronym
        What stands before it; empty: nothing.

    Returns
    -------
    list of str
        Empty for objects without a position.
    """
    before = f"{acronym} J" if acronym else "J"
    return [
        f"{before}{_hours(x)}{_degrees(y)}" if math.isfinite(x) and math.isfinite(y) else ""
        for x, y in zip(np.asarray(ra, float).tolist(), np.asarray(dec, float).tolist(), strict=True)
    ]


def _hours(degrees: float) -> str:
    hundredths = math.floor(degrees % 360 * 24000 + _TINY) % (24 * 360000)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60:02d}{minutes % 60:02d}{rest // 100:02d}.{rest % 100:02d}"


def _degrees(degrees: float) -> str:
    tenths = math.floor(abs(degrees) * 36000 + _TINY)
    minutes, rest = divmod(tenths, 600)
    return f"{'-' if degrees < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}{rest // 10:02d}.{rest % 10:d}"
