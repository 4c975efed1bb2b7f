"""Units as the formats of tables spell them."""

from __future__ import annotations

import warnings
from typing import Any

from astroanomaly.tables.escape import ascii_text

__all__ = ["spell_unit"]


def spell_unit(unit: Any, unit_format: str) -> tuple[Any, str, str]:
    """Spell a unit for a format.

    Units that a standard discourages but knows (erg, Angstrom) are kept. One that VOUnits does not know but astropy
    does (electron, nmgy) is put between quotes, as VOUnits 1.0 has it. FITS has no such way.

    Parameters
    ----------
    unit
        An astropy unit, or None.
    unit_format
        ``vounit``, ``fits``, or ``generic``, which holds any.

    Returns
    -------
    unit
        What the format can hold as it is, or None.
    text
        Else its spelling, empty where there is none.
    note
        Words for the description of the column where the format has no way to say it.
    """
    from astropy.units import Unit

    if unit is None or unit_format == "generic":
        return unit, "", ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # discouraged, several slashes: the unit is what the catalogue says
        try:
            Unit(unit.to_string(unit_format), format=unit_format)
            known = unit_format != "vounit" or _is_standard(unit)
        except (ValueError, TypeError):
            known = False
        if known:
            return unit, "", ""
        text = _quoted(unit) if unit_format == "vounit" else ""
    return None, text, "" if text else f"[unit: {unit}]"


def _is_standard(unit: Any) -> bool:
    """Whether VOUnits knows all of a unit; astropy takes those it once read between quotes for known ever after."""
    from astropy.units.format import VOUnit

    read_before = getattr(VOUnit, "_custom_units", {})
    return not any(base.name in read_before for base in getattr(unit, "bases", ()))


def _quoted(unit: Any) -> str:
    """Spell a product of units of which VOUnits lacks some; empty for anything else."""
    from astropy.units import UnitBase, UnrecognizedUnit

    if not isinstance(unit, UnitBase) or isinstance(unit, UnrecognizedUnit) or unit.scale != 1:
        return ""
    parts = []
    for base, power in zip(unit.bases, unit.powers, strict=True):
        try:
            name = base.to_string("vounit") if _is_standard(base) else f"'{base.name}'"
        except ValueError:
            name = f"'{base.name}'"
        parts.append(name if power == 1 else f"{name}**{power}" if "/" not in str(power) else f"{name}**({power})")
    text = ".".join(parts)
    return text if text == ascii_text(text) else ""
