"""Read a table from a file of any format: FITS, VOTable, ECSV, CSV, SExtractor and other text."""

from __future__ import annotations

import bz2
import gzip
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import AstroAnomalyError, CatalogError, UnreadableError

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["read_table"]

_REFERENCE = re.compile(rb"<!ENTITY|<(\w+:)?STREAM\b[^>]*\bhref", re.IGNORECASE)
_CHUNK, _OVERLAP = 2**20, 2**16  # bytes; the start tag of a STREAM is far shorter than the overlap


def read_table(path: Path, wanted: Callable[[Table], bool], id_column: Callable[[list[str]], str | None]) -> Table:
    """Read a table of any format; its content, not its suffix, decides which.

    Parameters
    ----------
    wanted
        Says whether a table has what is looked for: of several tables in a file the first that has is taken, else the
        first.
    id_column
        Picks the name of the id column, whose values stay text in formats that have no types.

    Raises
    ------
    UnreadableError
        If the file is missing, empty or no table.
    CatalogError
        If it holds no table.
    """
    if not path.is_file():
        raise UnreadableError(f"the table {path} does not exist" if not path.exists() else f"{path} is no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy's warnings of units, headers and XML of files that are not ours
            return _parse(path, _sniff(path), wanted, id_column)
    except AstroAnomalyError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # the parsers of a dozen formats raise whatever they like on damaged input
        raise UnreadableError(
            f"the table {path} cannot be read: {str(error).strip().splitlines()[0] if str(error) else error!r}. "
            "Expected a FITS table, VOTable, ECSV, CSV or a text table"
        ) from error


def _sniff(path: Path) -> str:
    """Tell the format by the first bytes."""
    with path.open("rb") as handle:
        magic = handle.read(3)
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(path) as packed:
            start = packed.read(4096)
    elif magic == b"BZh":
        with bz2.open(path) as packed:
            start = packed.read(4096)
    else:
        with path.open("rb") as handle:
            start = handle.read(4096)
    if start.startswith(b"SIMPLE  ="):
        return "fits"
    if re.search(rb"<(\w+:)?VOTABLE", start) or start.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<?xml"):
        return "votable"
    if start.startswith(b"# %ECSV"):
        return "ascii.ecsv"
    if re.match(rb"#\s+1\s+\w+", start):
        return "ascii.sextractor"
    if not start.strip():
        raise UnreadableError(f"the table {path} is empty")
    if b"\0" in start:
        raise UnreadableError(f"{path} is no table that astropy reads: expected FITS, VOTable, ECSV, CSV or text")
    return "ascii.csv" if re.search(r"\.csv(\.gz|\.bz2)?$", path.name.lower()) else "ascii"


def _parse(
    path: Path, kind: str, wanted: Callable[[Table], bool], id_column: Callable[[list[str]], str | None]
) -> Table:
    from astropy.table import Table

    if kind == "votable":
        from astropy.io import votable

        _refuse_references(path)
        tables = list(votable.parse(path, verify="ignore").iter_tables())
        if not tables:
            raise CatalogError(f"{path} holds no table")
        filled = [found for found in tables if len(found.array)] or tables[:1]  # nrows is a claim
        candidates = [found.to_table(use_names_over_ids=True) for found in filled]
        return next((found for found in candidates if wanted(found)), candidates[0])
    if kind == "fits":
        return _read_fits(path, wanted)
    comment = {"comment": "#"} if kind == "ascii.csv" else {}
    table = Table.read(path, format=kind, **comment)
    name = id_column(table.colnames)
    if kind in ("ascii", "ascii.csv") and name and getattr(table[name], "dtype", np.dtype("O")).kind in "iuf":
        # ids are text: 007 must stay 007, and 19 digits must not pass through a float
        table[name] = Table.read(path, format=kind, converters={name: [str]}, **comment)[name]
    return table


def _refuse_references(path: Path) -> None:
    """Refuse a VOTable that would make the parser open other files or addresses, or that defines entities."""
    with path.open("rb") as handle:
        magic = handle.read(3)
    opener = gzip.open if magic[:2] == b"\x1f\x8b" else bz2.open if magic == b"BZh" else open
    with opener(path, "rb") as content:
        kept = b""
        while part := content.read(_CHUNK):
            if _REFERENCE.search(kept + part):
                raise UnreadableError(
                    f"the table {path} points to data outside the file (STREAM href) or defines XML entities: "
                    "save it as a VOTable that holds its own data"
                )
            kept = part[-_OVERLAP:]


def _read_fits(path: Path, wanted: Callable[[Table], bool]) -> Table:
    """Read the first table of a FITS file that is wanted, else the first; ``TUCDn`` and ``TCOMMn`` are read."""
    from astropy.io import fits
    from astropy.table import Table

    first: Table | None = None
    with fits.open(path) as hdulist:
        for hdu in hdulist:
            if not isinstance(hdu, fits.BinTableHDU | fits.TableHDU) or isinstance(hdu, fits.CompImageHDU):
                continue
            table = Table.read(hdu)
            for number, name in enumerate(table.colnames, 1):
                ucd, told = hdu.header.get(f"TUCD{number}"), hdu.header.get(f"TCOMM{number}")
                if ucd and hasattr(table[name], "meta"):
                    table[name].meta["ucd"] = ucd
                if told and not table[name].info.description:
                    table[name].info.description = str(told)
            if wanted(table):
                return table
            first = table if first is None else first
    if first is None:
        raise CatalogError(f"{path} holds no table (on the command line, images go before the catalogue)")
    return first
