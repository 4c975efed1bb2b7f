"""One flux scale for bands: by their units, or by their zero points."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["AB_OF_MICROJANSKY", "FluxScale", "flux_scale", "microjansky", "needs_zero_point"]

_JANSKY_OF_AB_ZERO = 3631.0  # Oke & Gunn 1983, ApJ 266, 713
AB_OF_MICROJANSKY = 2.5 * math.log10(_JANSKY_OF_AB_ZERO * 1e6)  # magnitude of one microjansky
_COUNTS = re.compile(r"(adu|dn|counts?|cts?|electrons?|e-?|photons?|ph)(\s*[/ ]?\s*(s|sec|seconds?)(\^?-1|\*\*-1)?)?")
_SPELLINGS = {"nanomaggies": "nmgy", "nanomaggy": "nmgy", "nanomgy": "nmgy", "maggies": "mgy", "maggy": "mgy"}


@dataclass(frozen=True)
class FluxScale:
    """Factors that bring bands to one flux scale.

    Attributes
    ----------
    factors
        One per band: a stored value times its factor is in ``unit``.
    unit
        The common unit.
    """

    factors: tuple[float, ...]
    unit: str


def needs_zero_point(unit: str) -> bool:
    """Whether only a zero point says how much flux a value is: in counts, or without a unit."""
    plain = " ".join(unit.split()).lower()
    return not plain or _COUNTS.fullmatch(plain) is not None


def flux_scale(units: Sequence[str], zero_points: Sequence[float] = ()) -> FluxScale | None:
    """Find the flux scale that bands share.

    They do where they have one unit, units that can be converted into one another, or AB zero points: those of bands in
    counts (adu, electrons, per second or not) or without a unit are needed, those of bands in jansky or maggies are
    known. Counts of one kind without zero points are taken as one scale too, which is that of the detector.

    Parameters
    ----------
    units
        One FITS unit string per band, empty where unknown.
    zero_points
        AB magnitude of one stored unit for each band, NaN where unknown; empty: none is known.

    Returns
    -------
    FluxScale or None
        None where nothing says how the bands compare.
    """
    plain = [" ".join(unit.split()) for unit in units]
    same = bool(plain) and bool(plain[0]) and len({_known_spelling(unit) for unit in plain}) == 1
    counts = [needs_zero_point(unit) for unit in plain]
    if same and not any(counts):
        return FluxScale((1.0,) * len(plain), plain[0])
    factors = microjansky(plain, zero_points)
    if plain and all(map(math.isfinite, factors)):
        return FluxScale(factors, "uJy")
    if same:
        return FluxScale((1.0,) * len(plain), plain[0])
    converted = [_conversion(unit, plain[0]) for unit in plain] if all(plain) else []
    if converted and all(factor is not None for factor in converted):
        return FluxScale(tuple(factor or 0.0 for factor in converted), plain[0])
    return None


def microjansky(units: Sequence[str], zero_points: Sequence[float] = ()) -> tuple[float, ...]:
    """Return the microjansky of one stored unit of each band, NaN where nothing says it; parameters of `flux_scale`."""
    plain = [" ".join(unit.split()) for unit in units]
    given = list(zero_points) or [math.nan] * len(plain)
    found = [
        _microjansky_of_zero_point(given[k]) if needs_zero_point(unit) else _conversion(unit, "uJy")
        for k, unit in enumerate(plain)
    ]
    return tuple(math.nan if factor is None else factor for factor in found)


def _known_spelling(unit: str) -> str:
    lower = unit.lower()
    if _COUNTS.fullmatch(lower):
        return lower.replace(" ", "")
    return _SPELLINGS.get(lower, unit)


def _microjansky_of_zero_point(zero_point: float) -> float | None:
    """Microjansky of one stored unit whose AB magnitude is given; None for one that cannot be."""
    if not math.isfinite(zero_point) or abs(zero_point) > 100:
        return None
    return _JANSKY_OF_AB_ZERO * 1e6 * float(10 ** (-0.4 * zero_point))


def _conversion(unit: str, target: str) -> float | None:
    """Return the factor from one unit to another; None where there is none."""
    from astropy import units as u

    first, second = _parsed(unit), _parsed(target)
    if first is None or second is None:
        return None
    try:
        factor = float(first.to(second, equivalencies=u.zero_point_flux(_JANSKY_OF_AB_ZERO * u.Jy)))
    except (u.UnitConversionError, TypeError, ValueError):
        return None
    return factor if math.isfinite(factor) and factor > 0 else None


def _parsed(text: str) -> Any:
    """Return an astropy unit; None for text that is none, or no linear one."""
    from astropy import units as u

    unit = u.Unit(_SPELLINGS.get(text.lower(), text), parse_strict="silent")
    return unit if isinstance(unit, u.UnitBase) and not isinstance(unit, u.UnrecognizedUnit) else None
