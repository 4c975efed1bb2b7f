"""Read FITS tables whose headers have been looked at: numbers that cannot be true never reach the library."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cutting.fits_headers import check_fits_stream
from astroanomaly.errors import AstroAnomalyError, UnreadableError
from astroanomaly.parallel.watch import reading
from astroanomaly.tables.byte_columns import decode_columns
from astroanomaly.tables.serialized import check_yaml, serialized_columns
from astroanomaly.tables.several import one_table
from astroanomaly.tables.stated_frames import frame_of_cards, note_frame

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["fits_blocks", "read_fits"]

_BLOCK_BYTES = 2**25  # of a table that is read block by block
_MAX_FIELDS = 999  # FITS standard 4.0, 7.3.1
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_WIDTHS = {
    "L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16,
}  # fmt: skip


def read_fits(content: IO[bytes], where: str, wanted: Callable[[Table], bool], place: str = "") -> Table:
    """Read the table of a FITS file that is wanted, see `one_table`; ``TUCDn``, ``TCOMMn`` and the frame are read.

    Raises
    ------
    CatalogError
        If it holds no table, or several that differ.
    UnreadableError
        If a header is too long or says what cannot be.
    """
    from astropy.io import fits
    from astropy.table import Table

    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    check_fits_stream(content, size, where)
    content.seek(0)
    found = []
    with fits.open(content) as hdulist:
        for number, hdu in enumerate(hdulist):
            if not isinstance(hdu, fits.BinTableHDU | fits.TableHDU) or isinstance(hdu, fits.CompImageHDU):
                continue
            _check_table(hdu.header, size - int(hdu.fileinfo()["datLoc"]), f"{where}[{number}]")
            table = _described(decode_columns(Table.read(hdu)), hdu.header)
            found.append(([str(number), *([hdu.name] if hdu.name else [])], table))
    return one_table(found, place, wanted, where)


def fits_blocks(path: Path, most_rows: int) -> Iterator[Table] | None:
    """Read the only table of a FITS file a block of rows at a time, in memory of one block.

    Parameters
    ----------
    path
        The file.
    most_rows
        Rows of a block, at most; rows that are long make smaller ones.

    Returns
    -------
    iterator of astropy.table.Table, or None
        None for a file that has to be read whole: several tables, texts as tables, columns of arrays of varying length
        or columns that astropy puts together.

    Raises
    ------
    UnreadableError
        As `read_fits`.
    """
    try:
        number = _only_table(path)
    except AstroAnomalyError:
        raise
    except Exception:  # noqa: BLE001 - astropy raises whatever it likes; the one who reads it whole says what is wrong
        return None
    return None if number is None else _blocks(path, number, most_rows)


def _only_table(path: Path) -> int | None:
    """Return the number of the HDU with the only table of a file, checked; None if it cannot be read in blocks."""
    from astropy.io import fits

    where, size = str(path), path.stat().st_size
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's words on headers of files that are not ours
        with path.open("rb") as content:
            check_fits_stream(content, size, where)
        with fits.open(path, memmap=True) as hdulist:
            tables = [(k, hdu) for k, hdu in enumerate(hdulist) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
            if len(tables) != 1 or not isinstance(tables[0][1], fits.BinTableHDU):
                return None
            number, hdu = tables[0]
            if isinstance(hdu, fits.CompImageHDU) or hdu.header.get("PCOUNT", 0):
                return None
            if serialized_columns(map(str, hdu.header.get("COMMENT", ()))):
                return None
            _check_table(hdu.header, size - int(hdu.fileinfo()["datLoc"]), f"{where}[{number}]")
            return number


def _blocks(path: Path, number: int, most_rows: int) -> Iterator[Table]:
    from astropy.io import fits
    from astropy.table import Table

    with reading(path), fits.open(path, memmap=True) as hdulist:
        hdu = hdulist[number]
        rows = int(np.clip(_BLOCK_BYTES // max(1, hdu.header["NAXIS1"]), 1, most_rows))
        for start in range(0, max(1, hdu.header["NAXIS2"]), rows):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # astropy's words on units and headers of files that are not ours
                    part = fits.BinTableHDU(hdu.data[start : start + rows], hdu.header)
                    table = _described(decode_columns(Table.read(part)), hdu.header)
            except Exception as error:  # astropy raises whatever it likes on damaged input
                raise UnreadableError(f"the table {path} cannot be read: {error}") from error
            yield table


def _described(table: Table, header: Any) -> Table:
    """Note the UCDs, descriptions and frame that a header states."""
    for k, name in enumerate(table.colnames, 1):
        ucd, told = header.get(f"TUCD{k}"), header.get(f"TCOMM{k}")
        if ucd and hasattr(table[name], "meta"):
            table[name].meta["ucd"] = ucd
        if told and not table[name].info.description:
            table[name].info.description = str(told)
    note_frame(table, frame_of_cards(header))
    return table


def _check_table(header: Any, left: int, where: str) -> None:
    """Compare what a header says of its table with itself, and with the bytes that are left in the file."""
    numbers = {key: header.get(key, 0) for key in ("NAXIS1", "NAXIS2", "PCOUNT", "TFIELDS")}
    for key, value in numbers.items():
        if not isinstance(value, int) or value < 0:
            raise UnreadableError(f"{where}: {key} is {value!r}, expected a whole number")
    if numbers["TFIELDS"] > _MAX_FIELDS:
        raise UnreadableError(f"{where}: TFIELDS is {numbers['TFIELDS']}, and a FITS table has at most {_MAX_FIELDS}")
    if numbers["NAXIS1"] * numbers["NAXIS2"] + numbers["PCOUNT"] > left:
        raise UnreadableError(
            f"{where} cannot be read as a table: {numbers['NAXIS2']} rows of {numbers['NAXIS1']} bytes and "
            f"{numbers['PCOUNT']} more are announced, and {left} bytes are there: the file is cut short or damaged"
        )
    if header["XTENSION"].strip() == "BINTABLE":
        width = sum(_width(str(header.get(f"TFORM{k}", "")), where) for k in range(1, numbers["TFIELDS"] + 1))
        if width > numbers["NAXIS1"]:
            raise UnreadableError(f"{where}: its columns (TFORMn) take {width} bytes of a row of {numbers['NAXIS1']}")
    check_yaml(serialized_columns(map(str, header.get("COMMENT", ()))), where)


def _width(form: str, where: str) -> int:
    """Bytes of a column in a row."""
    found = _FORM.match(form)
    if found is None:
        raise UnreadableError(f"{where}: TFORM {form!r} is none of the standard")
    repeat = int(found.group(1) or 1)
    return -(-repeat // 8) if found.group(2) == "X" else repeat * _WIDTHS[found.group(2)]
