"""Files of spectra and light curves that a person names, and the units of their fluxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from astroanomaly.errors import CatalogError, ConfigError, UnreadableError
from astroanomaly.files import as_path
from astroanomaly.tables.hats import is_hats

__all__ = ["find_files", "unit_factor"]

_MOST_FILES = 1_000_000


def find_files(given: Any, name: str, what: str, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files that somebody names: by themselves, by a folder or by a pattern.

    Parameters
    ----------
    given
        File, folder or pattern, or a list of these. A folder gives its files with one of the suffixes, and those of its
        subfolders; a HATS catalogue counts as one file where Parquet is among them.
    name, what
        Of the block, and what files have, for messages.
    suffixes
        In lower case, with their dot.

    Raises
    ------
    ConfigError, UnreadableError
        If there is none, or too many.
    """
    found: dict[Path, None] = {}
    for one in given if isinstance(given, list | tuple) else [given]:
        path = as_path(one, f"block {name}")
        if ".parquet" in suffixes and is_hats(path):
            some = [path]
        elif path.is_dir():
            some = sorted(p for p in path.rglob("*") if p.name.lower().endswith(suffixes) and p.is_file())
            if not some:
                raise UnreadableError(f"block {name}: {path} holds no {what} ({', '.join(suffixes)})")
        elif path.is_file() or not any(letter in str(path) for letter in "*?["):
            some = [path]
        else:
            base = Path(path.anchor) if path.is_absolute() else Path()
            some = sorted(p for p in base.glob(str(path.relative_to(base))) if p.is_file())
            if not some:
                raise UnreadableError(f"block {name}: no file is called as in {path}")
        found |= dict.fromkeys(file.absolute() for file in some)
        if len(found) > _MOST_FILES:
            raise ConfigError(f"block {name}: more than {_MOST_FILES:,} files of {what}")
    if not found:
        raise ConfigError(f"block {name}: nothing was given, expected files of {what}")
    return list(found)


def unit_factor(unit: str, wanted: str, what: str) -> float:
    """Return what fluxes in a unit are multiplied with; 1 without one.

    Raises
    ------
    CatalogError
        If the units are of different things; ``what`` are the words it begins with.
    """
    if not unit or unit == wanted:
        return 1.0
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.Unit(wanted)))
    except (ValueError, TypeError, units.UnitsError) as error:
        raise CatalogError(f"{what} in {wanted!r} and in {unit!r}: give those of one unit in a block") from error
