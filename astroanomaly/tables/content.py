"""The content of a table's file: a file on this computer, of bounded size, unpacked; text as UTF-8."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from astroanomaly.errors import UnreadableError

__all__ = ["MAX_TEXT_BYTES", "is_packed", "open_content", "utf8_text"]

MAX_TEXT_BYTES = 2**31  # of a text table or VOTable: it is read into memory
_MAX_UNPACK_RATIO = 100  # of unpacked to packed bytes; more is no table but a trap
_ALWAYS_UNPACKED_BYTES = 2**26  # so much may come out of any file
_CHUNK_BYTES = 2**20
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
_DECLARED = re.compile(rb"\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([^\"'>]*)[\"']")
_MARKS = (  # a byte order mark and what it says; those of UTF-32 first, for they begin as those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ENCODINGS = {  # what an XML declaration may say -> codec; UTF-16 and UTF-32 need a mark
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1",
    "latin1": "latin-1", "iso-8859-15": "iso-8859-15", "windows-1252": "cp1252", "cp1252": "cp1252",
}  # fmt: skip


@contextlib.contextmanager
def open_content(path: Path | bytes, where: str) -> Iterator[IO[bytes]]:
    """Open a file and yield what it holds, unpacked if it was packed with gzip or bzip2.

    Nothing is handed to a library by its name, so that no library takes a name for an address.

    Parameters
    ----------
    path
        The file, or its content.
    where
        How error messages call it.

    Raises
    ------
    UnreadableError
        If it is no file, or unpacks to far more than it is.
    """
    with contextlib.ExitStack() as stack:
        raw: IO[bytes]
        if isinstance(path, bytes):
            raw = io.BytesIO(path)
        else:
            if not path.is_file():
                raise UnreadableError(_no_file(path, where))
            raw = stack.enter_context(path.open("rb"))
        magic = raw.read(3)
        raw.seek(0)
        if magic[:2] == _GZIP:
            yield stack.enter_context(_unpacked(gzip.GzipFile(fileobj=raw), raw, where))
        elif magic == _BZIP2:
            yield stack.enter_context(_unpacked(bz2.BZ2File(raw), raw, where))
        else:
            yield raw


def is_packed(head: bytes) -> bool:
    """Whether what begins like this is packed."""
    return head.startswith((_GZIP, _BZIP2))


def utf8_text(content: IO[bytes], where: str) -> IO[bytes]:
    """Return text as UTF-8 without a byte order mark, at its beginning.

    Its encoding is what its byte order mark says, else what its XML declaration says, else UTF-8.

    Raises
    ------
    UnreadableError
        If it is no text in that encoding, or longer than tables of text may be.
    """
    size = content.seek(0, os.SEEK_END)
    if size > MAX_TEXT_BYTES:
        raise UnreadableError(
            f"{where} holds {size / 2**30:.1f} GiB of text, more than the {MAX_TEXT_BYTES >> 30} GiB that are read: "
            "save it as a FITS table"
        )
    content.seek(0)
    head = content.read(4096)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", ""))
    if not encoding:
        encoding = _declared(head, where)
    content.seek(len(mark))
    same = encoding in ("utf-8", "ascii")
    target: IO[bytes] = content if same and not mark else tempfile.TemporaryFile()  # noqa: SIM115 - it is handed on
    decoder = codecs.getincrementaldecoder(encoding)()
    place = len(mark)
    while True:
        part = content.read(_CHUNK_BYTES)
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            raise UnreadableError(
                f"{where} cannot be read as a table: it is not text in {encoding.upper()} ({error.reason} near byte "
                f"{place + error.start}): save it as UTF-8"
            ) from error
        if "\0" in text:
            raise UnreadableError(f"{where} is no table: it holds the null character, which no text has")
        if target is not content:
            target.write(text.encode("utf-8", "surrogatepass"))
        if not part:
            break
        place += len(part)
    target.seek(0)
    return target


def _declared(head: bytes, where: str) -> str:
    """Return the codec that an XML declaration names; UTF-8 without one."""
    found = _DECLARED.match(head)
    if not found:
        return "utf-8"
    name = found.group(1).decode("ascii", "replace")
    if name.lower() not in _ENCODINGS:
        raise UnreadableError(
            f"{where} declares the encoding {name!r}, expected UTF-8, ISO-8859-1 or Windows-1252, or UTF-16 with a "
            "byte order mark: save it as UTF-8"
        )
    return _ENCODINGS[name.lower()]


@contextlib.contextmanager
def _unpacked(packed: gzip.GzipFile | bz2.BZ2File, raw: IO[bytes], where: str) -> Iterator[IO[bytes]]:
    most = max(_ALWAYS_UNPACKED_BYTES, _MAX_UNPACK_RATIO * raw.seek(0, os.SEEK_END))
    raw.seek(0)
    with packed, tempfile.TemporaryFile() as target:
        while part := _next_part(packed, where):
            target.write(part)
            if target.tell() > most:
                raise UnreadableError(
                    f"{where} unpacks to more than {most / 1e6:.0f} MB, the larger of "
                    f"{_ALWAYS_UNPACKED_BYTES / 1e6:.0f} MB and {_MAX_UNPACK_RATIO} times its size: unpack it "
                    "first, if you trust it"
                )
        target.seek(0)
        with os.fdopen(
            os.dup(target.fileno()), "rb"
        ) as content:  # astropy asks for a file that is open for reading only
            yield content


def _next_part(packed: gzip.GzipFile | bz2.BZ2File, where: str) -> bytes:
    try:
        return packed.read(_CHUNK_BYTES)
    except (EOFError, zlib.error, OSError) as error:
        raise UnreadableError(f"the table {where} cannot be unpacked: {error}") from error


def _no_file(path: Path, where: str) -> str:
    if _ADDRESS.match(str(path)):
        return (
            f"the table {where} is an address and no file: tables are not fetched; download it first, and name the file"
        )
    return f"the table {where} does not exist" if not path.exists() else f"{where} is no file"
