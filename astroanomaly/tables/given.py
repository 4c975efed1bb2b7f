"""Catalogues given in memory, as astropy tables or positions, in place of a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError, ConfigError

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["GivenTable", "given_catalog"]

_COLUMN_OF_POSITIONS = "coord"
_DIGEST_LETTERS = 16


@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table given in memory.

    Parameters
    ----------
    table
        The table.
    kind
        What it was given as: ``QTable``, ``Table`` or ``SkyCoord``.
    """

    table: Table
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} of {len(self.table)} rows, SHA-256 {self.digest}"

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over names, units and values: the same table has the same."""
        found = hashlib.sha256()
        for name in self.table.colnames:
            found.update(repr((name, str(getattr(self.table[name], "unit", None) or ""))).encode())
            for values in _arrays(self.table[name]):
                found.update(f"{values.dtype.str}{values.shape}".encode())
                found.update(np.ascontiguousarray(values).data if values.size else b"")
        return found.hexdigest()[:_DIGEST_LETTERS]


def given_catalog(value: Any, name: str = "catalog") -> Path | GivenTable | None:
    """Bring what somebody gives as a catalogue to a path or a `GivenTable`; for `astroanomaly.option`.

    Parameters
    ----------
    value
        Path as text or `pathlib.Path`, `astropy.table.Table` or `~astropy.table.QTable`,
        `astropy.coordinates.SkyCoord` of one position or of a list of them; None stays None.
    name
        How error messages call it.

    Raises
    ------
    ConfigError
        If it is anything else.
    CatalogError
        If a SkyCoord has more than one axis.
    """
    if value is None or isinstance(value, Path | GivenTable):
        return value
    if isinstance(value, str):
        return Path(value)
    from astropy.coordinates import SkyCoord
    from astropy.table import QTable, Row, Table

    if isinstance(value, Table):
        return GivenTable(value, type(value).__name__)
    if isinstance(value, Row):
        return GivenTable(value.table[[value.index]], f"row of a {type(value.table).__name__}")
    if isinstance(value, SkyCoord):
        if len(value.shape) > 1:
            raise CatalogError(
                f"{name}: a SkyCoord of shape {value.shape} was given, expected one position or a list of them: "
                f"use {name}=coords.ravel()"
            )
        coords = value.reshape(1) if value.isscalar else value
        return GivenTable(QTable([coords], names=[_COLUMN_OF_POSITIONS]), "SkyCoord")
    raise ConfigError(
        f"{name}: {type(value).__name__} cannot be taken as a catalogue: expected the path of a table (text or "
        "pathlib.Path), an astropy Table or QTable, or a SkyCoord"
    )


def _arrays(column: Any) -> list[np.ndarray]:
    """Return the numbers and texts of a column as plain arrays, its mask among them."""
    from astropy.coordinates import SkyCoord

    if isinstance(column, SkyCoord):
        parts = [column.spherical.lon.deg, column.spherical.lat.deg, [str(column.frame)[:40]]]
        return [np.ma.getdata(np.ma.asarray(part)) for part in parts]
    mask = getattr(column, "mask", None)
    masks = [] if mask is None or not np.any(mask) else [np.asarray(mask)]
    values = np.asarray(np.ma.getdata(getattr(column, "value", column)))
    if values.dtype.kind not in "iufbcSU":
        values = np.array([str(value) for value in np.ravel(values)])
    return [values, *masks]
