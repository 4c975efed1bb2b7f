"""Units of spectra: of columns, of names of columns, and of headers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from astroanomaly.errors import UnreadableError
from astroanomaly.tables.column_names import split_unit

__all__ = ["clean_unit", "to_angstrom", "unit_of"]

_MOST_LETTERS = 60
_ANGSTROM = re.compile(r"(?<![a-z])ang(strom)?s?(?![a-z])", re.IGNORECASE)  # SDSS writes Ang


def unit_of(column: Any, name: str) -> str:
    """Return the unit of a column, which may stand behind its name as in ``wavelength (nm)``; empty without one."""
    return clean_unit(getattr(column, "unit", None)) or clean_unit(split_unit(name)[1])


def clean_unit(unit: Any) -> str:
    """Return a unit as astropy writes it; as it is, where astropy does not know it."""
    from astropy import units

    text = _ANGSTROM.sub("Angstrom", " ".join(str(unit or "").split())[:_MOST_LETTERS])
    try:
        return units.Unit(text).to_string() if text else ""
    except ValueError:
        return text


def to_angstrom(unit: str, path: Path) -> float:
    """Return how many Angstrom a unit of wavelengths is; ``A`` is one, not an ampere.

    Raises
    ------
    UnreadableError
        If it is no unit of length.
    """
    from astropy import units

    try:
        return 1.0 if unit == "A" else float(units.Unit(unit).to(units.AA))
    except (ValueError, TypeError, units.UnitsError) as error:
        raise UnreadableError(f"{path}: wavelengths in {unit!r}, expected a unit of length such as Angstrom") from error
