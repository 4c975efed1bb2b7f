"""Read VOTables, after looking at every element: one that points elsewhere, or is a trap, never reaches the parser."""

from __future__ import annotations

import math
import re
import warnings
import xml.parsers.expat
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from astroanomaly.errors import UnreadableError
from astroanomaly.tables.content import open_content, utf8_text

if TYPE_CHECKING:
    from astropy.io.votable.tree import VOTableFile

__all__ = ["check_xml", "read_votable"]

_CHUNK_BYTES = 2**20
_DECLARATION = re.compile(rb"\s*<\?xml\b[^>]*\?>")
_MAX_DECLARATION_BYTES = 4096
_MAX_FIELDS = 10_000
_MAX_CELL_BYTES = 2**24
_MAX_MEMORY_RATIO = 64  # of what its rows take in memory to its bytes: wide cells that are nearly empty
_ALWAYS_MEMORY_BYTES = 2**28
_BYTES = {  # of one value, by datatype
    "boolean": 1, "bit": 1, "unsignedbyte": 1, "short": 2, "int": 4, "long": 8, "char": 1, "unicodechar": 4, "float": 4,
    "double": 8, "floatcomplex": 8, "doublecomplex": 16,
}  # fmt: skip
_POINTER_BYTES = 8  # of a cell whose length differs from row to row


def read_votable(content: Path | bytes | IO[bytes], where: str | None = None) -> VOTableFile:
    """Read a VOTable that holds its own data.

    Parameters
    ----------
    content
        The file, which may be packed with gzip or bzip2, or its content; or text that `utf8_text` has returned.
    where
        How error messages call it; by default its path.

    Returns
    -------
    astropy.io.votable.tree.VOTableFile
        As astropy reads it, without a word on what is not quite after the standard.

    Raises
    ------
    UnreadableError
        If it is no VOTable, points to data outside the file, defines XML entities, or is far larger in memory than it
        has a right to.
    """
    where = str(content) if where is None and isinstance(content, Path) else where or "the VOTable"
    if not isinstance(content, Path | bytes):
        return _parse(content, where)
    with open_content(content, where) as opened, utf8_text(opened, where) as text:
        return _parse(text, where)


def check_xml(content: Path | bytes, where: str, *, whole: bool = True) -> None:
    """Refuse XML that would make a parser open other files or addresses, or grow in it.

    Parameters
    ----------
    content, where
        As in `read_votable`.
    whole
        Refuse what is no whole document, too.

    Raises
    ------
    UnreadableError
        As `read_votable`, for any XML.
    """
    with open_content(content, where) as opened, utf8_text(opened, where) as text:
        _skip_declaration(text)
        _check(text, where, whole)


def _parse(text: IO[bytes], where: str) -> VOTableFile:
    from astropy.io import votable

    start = _skip_declaration(text)
    _check(text, where)
    text.seek(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's remarks on files that are not ours
        try:
            return votable.parse(text.read, verify="ignore")
        except MemoryError:
            raise
        except Exception as error:  # astropy raises whatever it likes on damaged input
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UnreadableError(f"the VOTable {where} cannot be read: {reason}") from error


def _skip_declaration(text: IO[bytes]) -> int:
    """Go past the XML declaration: its encoding is no longer true. Return the place."""
    text.seek(0)
    head = text.read(_MAX_DECLARATION_BYTES)
    found = _DECLARATION.match(head)
    return text.seek(found.end() if found else len(head) - len(head.lstrip()))


def _check(text: IO[bytes], where: str, whole: bool = True) -> None:
    """Look at every element with expat, the parser that astropy uses too: both see the same document."""
    start = text.tell()
    size = text.seek(0, 2) - start
    text.seek(start)
    look = _Look(where, max(_ALWAYS_MEMORY_BYTES, _MAX_MEMORY_RATIO * size))
    parser = look.parser
    try:
        while part := text.read(_CHUNK_BYTES):
            parser.Parse(part, False)
            look.check_cell(parser.CurrentByteIndex)
        parser.Parse(b"", True)
    except xml.parsers.expat.ExpatError as error:
        if not whole:
            return
        raise UnreadableError(f"{where} is no whole XML document: {error}") from error


class _Look:
    """What is looked at while a document goes by: references, entities, and how much memory the rows will take."""

    def __init__(self, where: str, most_bytes: int) -> None:
        self._where, self._most_bytes = where, most_bytes
        self._fields = self._rows = self._row_bytes = 0
        self._cell_at = -1  # where the last cell of a table began; -1 outside of tables
        self.parser = xml.parsers.expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EntityDeclHandler = self._entity

    def check_cell(self, place: int) -> None:
        if self._cell_at >= 0 and place - self._cell_at > _MAX_CELL_BYTES:
            raise self._error(f"has a cell of more than {_MAX_CELL_BYTES >> 20} MiB")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        name = name.rpartition(":")[2].upper()
        if name in ("TD", "TR"):
            place = self.parser.CurrentByteIndex
            self.check_cell(place)
            self._cell_at = place
            if name == "TR":
                self._rows += 1
                self._check_memory(self._rows)
            return
        self._cell_at = -1
        if name == "STREAM" and any(key.rpartition(":")[2].lower() == "href" for key in attributes):
            raise self._outside()
        if name == "TABLE":
            self._fields = self._rows = self._row_bytes = 0
            self._claimed = _whole(attributes.get("nrows"))
        elif name == "FIELD":
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise self._error(f"has more than {_MAX_FIELDS} columns")
            self._row_bytes += _cell_bytes(attributes)
            self._check_memory(1)
        elif name == "DATA":
            self._check_memory(self._claimed)

    _claimed = 0

    def _entity(self, *_: object) -> None:
        raise self._outside()

    def _check_memory(self, rows: int) -> None:
        if rows * self._row_bytes > self._most_bytes:
            raise self._error(
                f"says that it has {rows} rows of {self._row_bytes} bytes, far more than its size: arraysize or nrows "
                "is wrong"
            )

    def _outside(self) -> UnreadableError:
        return self._error(
            "points to data outside the file (STREAM href) or defines XML entities: save it as a VOTable that "
            "holds its own data"
        )

    def _error(self, reason: str) -> UnreadableError:
        return UnreadableError(f"the table {self._where} {reason}")


def _whole(text: str | None) -> int:
    try:
        return max(0, int(text or 0))
    except ValueError:
        return 0


def _cell_bytes(attributes: Mapping[str, str]) -> int:
    """Bytes in memory of one cell of a FIELD."""
    one = _BYTES.get(attributes.get("datatype", "").lower(), _POINTER_BYTES)
    shape = attributes.get("arraysize", "").strip().lower()
    if not shape:
        return one
    sizes = [_whole(part.strip().rstrip("s")) for part in shape.split("x")]
    if shape.endswith("*"):
        return _POINTER_BYTES + one * math.prod(sizes[:-1])
    return one * math.prod(sizes)
