"""Read a table from a file of any format: the one door, whoever asks."""

from __future__ import annotations

import contextlib
import csv
import re
import warnings
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import AstroAnomalyError, UnreadableError
from astroanomaly.parallel.watch import NO_MEMORY, is_watched, reading
from astroanomaly.parallel.watched import Watch
from astroanomaly.tables.content import is_packed, open_content, utf8_text
from astroanomaly.tables.fits import read_fits
from astroanomaly.tables.hats import is_hats, read_hats
from astroanomaly.tables.hdf5_tables import read_hdf5_table
from astroanomaly.tables.parquet import read_parquet
from astroanomaly.tables.regions import REGIONS_START, read_regions
from astroanomaly.tables.serialized import check_yaml
from astroanomaly.tables.several import one_table, split_place
from astroanomaly.tables.stated_frames import note_coosys
from astroanomaly.tables.text import TextTable, read_text
from astroanomaly.tables.votable import read_votable

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["column_numbers", "column_texts", "read_table", "read_texts"]

_HEAD_BYTES = 2**16
_FITS = b"SIMPLE  ="
_XML = re.compile(rb"<(\w+:)?VOTABLE|\A\s*<\?xml")
_LATEX = re.compile(rb"\s*(%[^\n]*\s*)*\\(begin|documentclass|documentstyle|startdata|tablehead|startlongtable)\b")
_MAX_MEMORY_RATIO = 64  # of a text table as arrays of one width to its bytes
_ALWAYS_MEMORY_BYTES = 2**30
_MAX_REGION_BYTES = 64 * 2**20
_EXPECTED = "Expected a FITS table, VOTable, ECSV, Parquet, HDF5, CSV or another text table"
_PARQUET, _HDF5 = b"PAR1", b"\x89HDF\r\n\x1a\n"
_OTHERS = (  # what begins like this is of a format that is not read
    (b"PK\x03\x04", "ZIP or a spreadsheet"), (b"%PDF", "PDF"),
    (b"SQLite format 3", "SQLite"), (b"\xd0\xcf\x11\xe0", "a spreadsheet"), (b"\x93NUMPY", "NumPy"),
    (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"#ASDF", "ASDF"), (b"\x89PNG", "PNG"),
    (b"ARROW1\0\0", "Feather (Arrow)"), (b"\x80\x04\x95", "a pickle"), (b"\x80\x05\x95", "a pickle"),
    (b"MATLAB 5", "MATLAB"), (b"SR\0\4", "IDL"), (b"RDX2\n", "R"), (b"RDX3\n", "R"), (b"7z\xbc\xaf", "7z"),
    (b"\xff\xd8\xff", "JPEG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
)  # fmt: skip
# Text formats that astropy reads, by what their first lines say; no others are tried, for to try is to hang
_SPECIAL = (
    (re.compile(rb"# %ECSV"), "ecsv"),
    (re.compile(rb"#\s+1\s+\w+"), "sextractor"),
    (re.compile(rb"(\\[^\n]*\n)+\||\|[^\n]*\|\s*\n(\|[^\n]*\|\s*\n)* "), "ipac"),
    (re.compile(rb"(?s)Title\s*:.*^Byte-by-byte Description of file:", re.MULTILINE), "mrt"),
    (re.compile(rb"(?s).*^Byte-by-byte Description of file:", re.MULTILINE), "cds"),
    (re.compile(rb"(?s)(#[^\n]*\n)*#N .*^#U .*^#F ", re.MULTILINE), "daophot"),
)


def read_table(
    path: Path,
    wanted: Callable[[Table], bool],
    id_column: Callable[[list[str]], str | None],
    *,
    texts: bool = False,
) -> Table:
    """Read a table of any format; its content, not its suffix, decides which.

    Nothing in the file makes this open another file or an address, and what it takes in memory is bounded by its size.
    Text tables without a format of their own, as CSV, are parsed by this package in this process. All others, and what
    is packed, are parsed by libraries: in a process that is watched, within `astroanomaly.ReadLimits`.

    Parameters
    ----------
    path
        The file, which may be packed with gzip or bzip2; ``FILE[TABLE]`` means one of its tables, by number or name.
    wanted
        Says whether a table has what is looked for, see `one_table`. It is called in the process that is watched, if it
        is importable by name.
    id_column
        Picks the name of the id column, whose values stay text in formats that have no types.
    texts
        Leave every column of such a format as text.

    Raises
    ------
    UnreadableError
        If the file is missing, empty or no table, or a trap; as `BudgetError`, if it hangs or crashes a library.
    CatalogError
        If it holds no table, several that differ, or rows that do not fit its names.
    """
    file, place = split_place(path)
    if is_hats(file):
        return read_hats(file)
    found = _read(file, str(file), wanted, place)
    if not isinstance(found, TextTable):
        return found
    name = id_column(found.names)
    return found.table(lambda column: texts or column == name)


def read_texts(content: Path | bytes, where: str, wanted: Callable[[Table], bool] | None = None) -> TextTable:
    """Read a table of any format, as `read_table`, and return all its values as text.

    Parameters
    ----------
    content
        The file, or its content.
    where
        How error messages call it.
    wanted
        As in `read_table`; None: the first table.
    """
    found = _read(content, where, wanted or _any)
    if isinstance(found, TextTable):
        return found
    columns = {name: found[name] for name in found.colnames if getattr(found[name], "ndim", 1) == 1}
    return TextTable(
        where,
        list(columns),
        [str(getattr(column, "unit", None) or "") for column in columns.values()],
        array("q", range(1, len(found) + 1)),
        ".",
        [["\0".join(column_texts(column))] if len(found) else [] for column in columns.values()],
    )


def column_texts(column: Any) -> list[str]:
    """Return the values of a column as text, empty where one is masked."""
    mask = getattr(column, "mask", None)
    values = np.ma.getdata(getattr(column, "value", column)).tolist()
    hidden = np.broadcast_to(False if mask is None else mask, len(values))
    texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
    return ["" if gone else text for text, gone in zip(texts, hidden, strict=True)]


def column_numbers(column: Any) -> np.ndarray:
    """Return the values of a column as float64, NaN where one is masked or the column holds no numbers."""
    values = np.ma.asarray(getattr(column, "value", column))
    if values.dtype.kind not in "biuf":
        return np.full(len(values), np.nan)
    return np.ma.filled(values.astype(np.float64), np.nan)


def _any(_: Table) -> bool:
    return True


_Given = tuple[Path | bytes, str, Callable[["Table"], bool], str]


class _ForLibraryError(Exception):
    """A library would parse this, which is for a process that is watched."""


def _read(content: Path | bytes, where: str, wanted: Callable[[Table], bool], place: str = "") -> Table | TextTable:
    """Read a table: text that is parsed here in this process, what a library parses in one that is watched.

    A library may hang on a damaged file, or crash. What is parsed here takes a time that goes with its size, and no
    process has to be started for it, which takes a second.
    """
    given = content, where, wanted, place
    if is_watched():
        return _parsed(given)
    if not is_packed(_head(content)):
        with contextlib.suppress(_ForLibraryError):
            return _parsed(given, here=True)
    found = Watch().call(_parsed_watched, given)
    return _parsed(given) if found is None else found


def _parsed_watched(given: _Given) -> Table | TextTable | None:
    """Read a table in a process that is watched; None for FITS, which is read again, and fast, by who wants it."""
    content, where, *_ = given
    with reading(where, nbytes=len(content) if isinstance(content, bytes) else None):
        found = _parsed(given)
    return None if _head(content) == _FITS else found


def _head(content: Path | bytes) -> bytes:
    if isinstance(content, bytes):
        return content[: len(_FITS)]
    if not content.is_file():
        return b""
    with content.open("rb") as file:
        return file.read(len(_FITS))


def _parsed(given: _Given, *, here: bool = False) -> Table | TextTable:
    """Parse a table; ``here``: only if no library is needed."""
    content, where, wanted, place = given
    try:
        if isinstance(content, Path) and _head(content).startswith((_PARQUET, _HDF5)):
            if here:
                raise _ForLibraryError
            parquet = _head(content).startswith(_PARQUET)
            return read_parquet(content) if parquet else read_hdf5_table(content, where, wanted, place)
        with warnings.catch_warnings(), open_content(content, where) as opened:
            warnings.simplefilter("ignore")  # astropy's warnings of units, headers and XML of files that are not ours
            return _parse(opened, where, wanted, place, here=here)
    except (AstroAnomalyError, _ForLibraryError):
        raise
    except MemoryError as error:
        raise UnreadableError(f"the table {where} cannot be read: {NO_MEMORY}") from error
    except Exception as error:  # the parsers of a dozen formats raise whatever they like on damaged input
        raise UnreadableError(
            f"the table {where} cannot be read: {str(error).strip().splitlines()[0] if str(error) else error!r}. "
            f"{_EXPECTED}"
        ) from error


def _parse(
    opened: IO[bytes], where: str, wanted: Callable[[Table], bool], place: str, *, here: bool
) -> Table | TextTable:
    head = opened.read(_HEAD_BYTES)
    if here and (head.startswith(_FITS) or _XML.search(head)):
        raise _ForLibraryError
    if head.startswith(_FITS):
        return read_fits(opened, where, wanted, place)
    if head.startswith((_PARQUET, _HDF5)):
        raise UnreadableError(f"{where} is Parquet or HDF5 inside another file: unpack it, and give the file")
    other = next((name for start, name in _OTHERS if head.startswith(start)), None)
    if other is not None:
        raise UnreadableError(f"{where} is {other}, which is not read as a table. {_EXPECTED}")
    text = utf8_text(opened, where)
    with text:
        head = text.read(_HEAD_BYTES)
        if not head.strip():
            raise UnreadableError(f"the table {where} is empty")
        text.seek(0)
        if _XML.search(head):
            if here:
                raise _ForLibraryError
            return _table_of_votable(text, where, wanted, place)
        if head.lstrip().startswith(b"<"):
            raise UnreadableError(f"{where} is a page, or XML that is no VOTable. {_EXPECTED}")
        if head.lstrip().startswith((b"{", b"[{")):
            raise UnreadableError(f"{where} is JSON, which is not read as a table. {_EXPECTED}")
        if REGIONS_START.match(head):
            if here:
                raise _ForLibraryError
            return read_regions(text.read(_MAX_REGION_BYTES).decode(), where)
        special = next((name for start, name in _SPECIAL if start.match(head)), None)
        if special is not None and here:
            raise _ForLibraryError
        if special is None and _LATEX.match(head):
            raise UnreadableError(f"{where} is LaTeX, which is not read as a table. {_EXPECTED}")
        return read_text(text, where) if special is None else _read_special(text, where, special)


def _table_of_votable(text: IO[bytes], where: str, wanted: Callable[[Table], bool], place: str) -> Table:
    document = read_votable(text, where)
    found = []
    elements = list(document.iter_tables())
    filled = [element for element in elements if len(element.array)] or elements[:1]  # nrows is a claim
    for element in filled:
        table = element.to_table(use_names_over_ids=True)
        note_coosys(table, element, document)
        names = [str(elements.index(element)), *(text for text in (element.name, element.ID) if text)]
        found.append((names, table))
    return one_table(found, place, wanted, where)


def _read_special(text: IO[bytes], where: str, kind: str) -> Table:
    """Read what has a format of its own, which astropy knows."""
    from astropy.io import ascii as text_tables

    rows = longest = size = 0
    header = []
    for line in text:
        rows, longest, size = rows + 1, max(longest, len(line)), size + len(line)
        if kind == "ecsv" and line.startswith(b"#"):
            header.append(line[2:])
    if rows * longest * 4 > max(_ALWAYS_MEMORY_BYTES, _MAX_MEMORY_RATIO * size):
        raise UnreadableError(
            f"{where} has a line of {longest} characters among {rows}: as a table it would be far larger than its size"
        )
    if kind == "ecsv":
        check_yaml(b"".join(header[1:]).decode(), where)
    text.seek(0)
    content = text.read().decode()
    limit = csv.field_size_limit()
    try:
        if "\n" not in content:  # astropy would take it for the name of a file, or for an address
            content += "\n"
        return text_tables.read(content, format=kind, guess=False)
    finally:
        csv.field_size_limit(limit)  # astropy raises it for everybody
