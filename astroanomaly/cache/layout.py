"""The layout of a cache as JSON: in its description, and in each shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from astroanomaly.errors import DamagedError
from astroanomaly.files import parse_json
from astroanomaly.records import Layout

__all__ = ["layout_from_plain", "layout_to_plain", "stored_layout"]

_CUT_ANEW = "Move it away and run the same ingest again: what it held is cut anew"
_MAX_LAYOUT_LETTERS = 65_536  # HDF5 holds no longer attribute


def layout_to_plain(layout: Layout) -> dict[str, Any]:
    """Turn a layout into JSON values."""
    plain = {**asdict(layout), "bands": list(layout.bands), "units": list(layout.units)}
    return {**plain, "auxiliary": list(layout.auxiliary)} if plain.pop("auxiliary") else plain


def layout_from_plain(values: Any, path: Path) -> Layout:
    """Make a layout from JSON values.

    Raises
    ------
    CacheError
        If anything is missing, of the wrong kind, or does not fit together.
    """
    try:
        if not isinstance(values, dict):
            raise TypeError("it is no object")
        about = values.get("auxiliary", [])
        if not all(isinstance(item, list) for item in (values["bands"], values["units"], about)):
            raise TypeError("its bands, units and auxiliary planes are no lists")
        if type(values["height"]) is not int or type(values["width"]) is not int:
            raise TypeError("its height and width are no whole numbers")
        return Layout(
            bands=tuple(str(band) for band in values["bands"]),
            height=values["height"],
            width=values["width"],
            dtype=str(values["dtype"]),
            pixel_kind=values["pixel_kind"],
            units=tuple(str(unit) for unit in values["units"]),
            stretch=str(values["stretch"]),
            auxiliary=tuple(map(str, about)),
        )
    except (KeyError, TypeError, ValueError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedError(f"{path}: its layout is damaged ({why}); restore it from a copy") from error


def stored_layout(attributes: Mapping[str, Any], path: Path) -> Layout:
    """Read the layout that a shard has as one of its attributes.

    Raises
    ------
    DamagedError
        If it is missing or damaged.
    """
    text = attributes.get("layout")
    if not isinstance(text, str | bytes) or len(text) > _MAX_LAYOUT_LETTERS:
        raise DamagedError(f"{path}: its layout is missing or damaged; {_CUT_ANEW}")
    where = f"{path}, attribute layout,"
    return layout_from_plain(parse_json(text, where, kind=dict, error=DamagedError, remedy=_CUT_ANEW), path)
