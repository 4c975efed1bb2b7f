"""Which band an image of an ObsCore table is: by the name of its filter, its wavelengths or a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from astroanomaly import BandError, wavelength_nm
from astroanomaly_plugins.mosaics.files import clean

__all__ = ["BandChoice"]

_WAVELENGTH_RANGE = re.compile(r"\s*([\d.eE+-]+)\s*\.\.\s*([\d.eE+-]+)\s*([a-zA-Z]+)\s*")
_SEARCHED_COLUMNS = (
    "filter",
    "obs_id",
    "obs_publisher_did",
    "obs_title",
    "obs_collection",
    "instrument_name",
    "access_url",
)


@dataclass(frozen=True)
class _Rule:
    name: str
    pattern: str = ""
    low_nm: float = 0.0
    high_nm: float = 0.0


class BandChoice:
    """The entries of ``--bands``, checked: ``NAME``, ``NAME=PATTERN`` or ``NAME=400..550nm``.

    Parameters
    ----------
    entries
        As given; empty takes every image, under the name of its filter.

    Raises
    ------
    BandError
        For an entry that cannot be understood, or a band named twice.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._rules = [_rule(entry) for entry in entries]
        names = [rule.name for rule in self._rules]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise BandError(f"--bands names {doubled!r} twice")

    @property
    def names(self) -> tuple[str, ...]:
        """Bands in the order given."""
        return tuple(rule.name for rule in self._rules)

    def name_of(self, values: Mapping[str, str], low_nm: float | None, high_nm: float | None) -> str:
        """Return the band of an image, empty if it is none of those wanted.

        Parameters
        ----------
        values
            What the table says of it: ``filter`` and ObsCore's columns.
        low_nm, high_nm
            Its wavelengths, None where unknown.
        """
        known = low_nm is not None and high_nm is not None and 0 < low_nm <= high_nm
        middle = (low_nm + high_nm) / 2 if known and low_nm is not None and high_nm is not None else None
        if not self._rules:
            return clean(values.get("filter", "")) or (f"{middle:.0f}nm" if middle else "image")
        return next((rule.name for rule in self._rules if _fits(rule, values, low_nm, high_nm, middle)), "")


def _rule(entry: str) -> _Rule:
    name, equals, pattern = (part.strip() for part in entry.partition("="))
    if not name or name != clean(name) or (equals and not pattern):
        raise BandError(
            f"--bands {entry!r}: expected NAME, NAME=PATTERN or NAME=LOW..HIGH with a unit, as in g=400..550nm"
        )
    match = _WAVELENGTH_RANGE.fullmatch(pattern)
    if not match:
        return _Rule(name, pattern)
    from astropy.units import Quantity, UnitsError

    try:
        low, high = (float(Quantity(float(match[k]), match[3]).to_value("nm")) for k in (1, 2))
    except (TypeError, ValueError, UnitsError):
        raise BandError(f"--bands {entry!r}: {match[3]!r} is no unit of length") from None
    if not 0 < low < high:
        raise BandError(f"--bands {entry!r}: expected the shorter wavelength first")
    return _Rule(name, low_nm=low, high_nm=high)


def _fits(rule: _Rule, values: Mapping[str, str], low: float | None, high: float | None, middle: float | None) -> bool:
    if rule.high_nm:
        return middle is not None and rule.low_nm <= middle <= rule.high_nm
    if rule.pattern:
        texts = [values[key] for key in _SEARCHED_COLUMNS if values.get(key)]
        return any(fnmatchcase(text.lower(), rule.pattern.lower()) for text in texts)
    named = values.get("filter", "")
    if named:
        words = re.split(r"[^0-9A-Za-z]+", named)
        cased = rule.name in (named, *words)
        return cased or (len(rule.name) > 1 and rule.name.lower() in (named.lower(), *(word.lower() for word in words)))
    wave = wavelength_nm(rule.name)
    return wave is not None and low is not None and high is not None and low <= wave <= high
