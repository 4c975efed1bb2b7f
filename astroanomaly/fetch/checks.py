"""Check what services send: a page of HTML is no image, and half a file is none either."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from astroanomaly.cutting.fits_headers import check_fits_stream
from astroanomaly.errors import FetchError, UnreadableError
from astroanomaly.fetch.classify_errors import clean, words_of_page
from astroanomaly.files import parse_json
from astroanomaly.tables.votable import check_xml

__all__ = ["is_fits", "is_self_contained", "is_votable", "json_of", "rows_of"]

T = TypeVar("T", dict[str, Any], list[Any])

_BEFORE_XML = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"  # marks and blanks, in any encoding
_MAX_HEADER_BYTES = 20_000 * 2880  # blocks of a FITS file
_ENTITY_ERRORS = {11, 18, 28, 43}  # of expat: undefined, external, or more than the limit of what they grow to
_CHUNK_BYTES = 2**20
_MAX_JSON_BYTES = 2**28
_MAX_ROWS_BYTES = 2**25  # of a table of text
_MAX_UNPACK_RATIO = 100  # of unpacked to packed bytes; more is no image but a trap
_ALWAYS_UNPACKED_BYTES = 2**28  # so much may come out of any file: masks and empty images pack well


def is_fits(content: Path | bytes, what: str) -> None:
    """Refuse what is no whole FITS file: an empty answer, a page, a VOTable with an error, a file cut short.

    A file cut short, an empty answer and a page are worth another try; an error that the service states is not.

    Parameters
    ----------
    content
        A file or its bytes; may be compressed with gzip.
    what
        What it should be, as the message will name it.

    Raises
    ------
    FetchError
        Saying what it is instead.
    """
    head = _head(content)
    _refuse_text(head, what, "FITS")
    if head[:2] != b"\x1f\x8b" and not head.startswith(b"SIMPLE  ="):
        raise _error(what, "the answer is no FITS file", retryable=True)
    try:
        with _open(content, packed=head[:2] == b"\x1f\x8b") as file:
            nbytes = file.seek(0, io.SEEK_END)
            file.seek(0)
            check_fits_stream(file, nbytes, what)
            whole = _is_whole(file)
    except _UnpacksTooFarError as error:
        raise _error(what, str(error)) from error
    except UnreadableError as error:
        reason = str(error).partition("as FITS: ")[2]
        whole = "has no END" not in reason  # else the header itself breaks off
        if whole:
            raise _error(what, f"the answer is no readable FITS file: {reason}", retryable=True) from error
    except (EOFError, zlib.error, gzip.BadGzipFile):
        whole = False
    except (ValueError, KeyError, TypeError) as error:  # of astropy, for a header that is none
        raise _error(what, f"the answer is no readable FITS file: {clean(str(error))}", retryable=True) from error
    if not whole:
        raise _error(what, "the FITS file is cut short: it ends before its header says", retryable=True)


def is_votable(content: Path | bytes, what: str) -> None:
    """Refuse what is no whole VOTable, one in which the service states an error, and one that points elsewhere.

    What points elsewhere would make a parser open other files or addresses.

    Raises
    ------
    FetchError
        With the service's own words where it states an error, which is not worth another try.
    """
    head = _head(content)
    if b"VOTABLE" not in head:
        _refuse_text(head, what, "VOTable")
        raise _error(what, "the answer is no VOTable", retryable=True)
    is_self_contained(content, what)
    with _open(content) as file:
        try:
            _refuse_stated_error(file, what)
        except ElementTree.ParseError as error:
            if error.code in _ENTITY_ERRORS:
                raise _error(what, "the VOTable declares entities of its own, which are refused") from error
            raise _error(what, "the VOTable is cut short or damaged", retryable=True) from error


def json_of(content: Path | bytes, what: str, kind: type[T]) -> T:
    """Return the JSON that a service sent, or that was kept of it: of bounded size and depth.

    Parameters
    ----------
    content
        A file or its bytes.
    what
        What it should be, as the message will name it.
    kind
        ``dict`` for an object, ``list`` for a list.

    Raises
    ------
    FetchError
        If it is something else. That is worth another try: it is mostly the page of a proxy or of a busy server.
    """
    head = _head(content)
    _refuse_text(head, what, "JSON")
    whole = _whole(content, what, "JSON", _MAX_JSON_BYTES)
    try:
        return parse_json(whole, "the JSON that came", kind=kind, error=FetchError, remedy="try again later")
    except FetchError as error:
        raise _error(what, str(error), retryable=True) from error


def is_self_contained(content: Path | bytes, what: str) -> None:
    """Refuse XML that would make a parser open other files or addresses, or grow in it; let everything else pass.

    Raises
    ------
    FetchError
        Which is not worth another try.
    """
    if not _head(content).lstrip(_BEFORE_XML).startswith(b"<"):
        return
    try:
        check_xml(content, "that came", whole=False)
    except UnreadableError as error:
        raise _error(what, str(error)) from error


def rows_of(content: Path | bytes, what: str, needed: Collection[str], separator: str = ",") -> list[dict[str, str]]:
    """Return the rows of a table that a service sent as text: a line of names, then a line of values for each row.

    Parameters
    ----------
    content
        A file or its bytes.
    what
        What it should be, as the message will name it.
    needed
        Names that there have to be.
    separator
        Between values; a blank stands for any number of blanks.

    Raises
    ------
    FetchError
        If it is something else, or a row has more or fewer values than there are names: worth another try.
    """
    _refuse_text(_head(content), what, "a table")
    text = _whole(content, what, "table", _MAX_ROWS_BYTES).decode("utf-8", "replace")
    lines: list[list[str]]
    try:
        if separator.isspace():
            lines = [line.split() for line in text.splitlines()]
        else:
            lines = list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise _error(what, "the table is damaged", retryable=True) from error
    names, *rows = [[word.strip() for word in line] for line in lines if line] or [[]]
    missing = [name for name in needed if name not in names]
    if missing:
        raise _error(what, f"the answer is no table with a column {missing[0]!r}", retryable=True)
    if any(len(row) != len(names) for row in rows):
        raise _error(what, "the table is cut short or damaged", retryable=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _whole(content: Path | bytes, what: str, kind: str, most: int) -> bytes:
    """Return all of an answer, of ``most`` bytes at most."""
    nbytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    if nbytes > most:
        raise _error(what, f"the {kind} has {nbytes / 1e6:.0f} MB, more than {most / 1e6:.0f}")
    return content if isinstance(content, bytes) else content.read_bytes()


def _refuse_text(head: bytes, what: str, wanted: str) -> None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        raise _error(what, "an empty answer", retryable=True)
    if b"VOTABLE" in head[:2000] and (text[:1] == b"<" or wanted != "JSON"):  # JSON may name anything
        with contextlib.suppress(ElementTree.ParseError):
            _refuse_stated_error(io.BytesIO(head), what)
        raise _error(what, f"a VOTable came instead of {wanted}")
    is_json = text[:1] in b"{["
    if text[:1] == b"<" or (is_json and wanted != "JSON") or (wanted == "FITS" and _is_plain_text(text)):
        kind = "a page" if text[:1] == b"<" else "a text"
        words = words_of_page(text.decode("utf-8", "replace"))
        raise _error(what, f"{kind} came instead of {wanted}" + (f": {words}" if words else ""), retryable=True)


def _is_plain_text(text: bytes) -> bool:
    return not text.startswith(b"SIMPLE") and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text[:200])


def _refuse_stated_error(file: IO[bytes], what: str) -> None:
    for _, element in ElementTree.iterparse(file):
        if element.tag.rpartition("}")[2] == "INFO" and element.get("name", "").upper() == "QUERY_STATUS":
            if element.get("value", "").upper() == "ERROR":
                words = words_of_page("".join(element.itertext())) or "no reason given"
                raise _error(what, f"the service states an error: {words}")
        elif element.tag.rpartition("}")[2] == "TR":
            element.clear()


def _is_whole(file: IO[bytes]) -> bool:
    """Whether the file is as long as the headers of all its HDUs say."""
    from astropy.io.fits import Header, VerifyError

    end = file.seek(0, io.SEEK_END)
    place = 0
    while True:
        file.seek(min(place, end))
        word = file.read(9)
        if place and not word.startswith(b"XTENSION="):  # the end, or something that readers pass over
            return not word or not b"XTENSION=".startswith(word)
        file.seek(place)
        try:
            header = Header.fromfile(file, padding=False)
        except OSError:  # the header itself breaks off
            return False
        if file.tell() - place > _MAX_HEADER_BYTES:
            raise ValueError("its header is too long")
        try:
            size, padded = header.data_size, header.data_size_padded
        except VerifyError as error:
            raise ValueError(str(error)) from error
        if file.tell() + size > end:
            return False
        place = file.tell() + padded


def _head(content: Path | bytes) -> bytes:
    if isinstance(content, bytes):
        return content[:20_000]
    try:
        with content.open("rb") as file:
            return file.read(20_000)
    except FileNotFoundError:
        return b""


@contextlib.contextmanager
def _open(content: Path | bytes, packed: bool = False) -> Iterator[IO[bytes]]:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as raw:
        if packed:
            limit = max(_ALWAYS_UNPACKED_BYTES, _MAX_UNPACK_RATIO * raw.seek(0, io.SEEK_END))
            raw.seek(0)
            with _BoundedGzip(fileobj=raw) as file:
                file.max_bytes = limit
                yield file  # type: ignore[misc]
        else:
            yield raw


class _UnpacksTooFarError(Exception):
    """More came out of a packed file than may."""


class _BoundedGzip(gzip.GzipFile):
    """What a file packed with gzip holds, up to a size."""

    max_bytes = 0  # set when it is opened

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._refuse_more()
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:  # the only way to the end of what is packed: unpack it, in pieces
            while super().read(_CHUNK_BYTES):
                self._refuse_more()
            return self.tell() + offset
        return super().seek(offset, whence)

    def _refuse_more(self) -> None:
        if self.tell() > self.max_bytes:
            reason = (
                f"the file unpacks to more than {self.max_bytes / 1e6:.0f} MB, the larger of "
                f"{_ALWAYS_UNPACKED_BYTES / 1e6:.0f} MB and {_MAX_UNPACK_RATIO} times its size: it is refused"
            )
            raise _UnpacksTooFarError(reason)


def _error(what: str, reason: str, *, retryable: bool = False) -> FetchError:
    return FetchError(f"{what}: {reason}", retryable=retryable, reason=reason)
