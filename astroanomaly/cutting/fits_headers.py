"""Check the headers of a FITS file by reading bytes, before a library acts on the numbers in them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from astroanomaly.cutting.damaged import BROKEN_ARCHIVE
from astroanomaly.errors import UnreadableError
from astroanomaly.parallel import limits

__all__ = ["check_fits", "check_fits_content", "check_fits_stream"]

_BLOCK, _CARD = 2880, 80
_STRUCTURE = re.compile(
    rb"(?:HIERARCH +)?(BITPIX|NAXIS\d{0,3}|PCOUNT|GCOUNT|TFIELDS|THEAP|ZBITPIX|ZNAXIS\d{0,3}|ZTILE\d{1,3}) *=",
    re.IGNORECASE,
)
_WORDS = re.compile(rb"(?:HIERARCH +)?(?:(GROUPS|ZIMAGE) *= *([^ /]*)|(XTENSION) *= *'([^']*)')", re.IGNORECASE)
_WHOLE = re.compile(rb"[+-]?\d{1,19}$")
_BITPIX = (8, 16, 32, 64, -32, -64)
_SKIP_BYTES = 2**20
_OPENERS: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_OTHERS = (
    (b"\x1f\x9d", "packed with compress (.Z); unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it first"),
    (b"PK\x03\x04", "a zip archive"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"), (b"\x89HDF", "HDF5"),
    (b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"%PDF", "PDF"), (b"\x93NUMPY", "NumPy"),
)  # fmt: skip
_MOST_REMEMBERED = 4096
_DAMAGED = (OSError, *BROKEN_ARCHIVE)

_checked: dict[tuple[Any, ...], None] = {}  # files that were checked and have not changed


class _RefusedError(Exception):
    """What is wrong with a header; becomes an error that names the file."""


def check_fits(path: str | Path) -> None:
    """Check all headers of a FITS file, also of one that is compressed as a whole, before it is opened.

    Read are the cards that say how large something is: ``NAXIS``, ``BITPIX``, ``TFIELDS``, ``PCOUNT`` and their like of
    images, tables and tile-compressed images. No pixel is read; a compressed file is decompressed once. A file that
    has been checked is not checked again as long as it stays the same.

    Raises
    ------
    UnreadableError
        If it is no FITS file, if a header has no end or says what cannot be, or if something is larger than
        `astroanomaly.ReadLimits` allow.
    """
    path = Path(path)
    try:
        status = path.stat()
        key = (os.path.abspath(path), status.st_ino, status.st_size, status.st_mtime_ns, limits.ReadLimits.current())
        if key in _checked:
            return
        with path.open("rb") as file:
            start = file.read(8)
            file.seek(0)
            for stream in _decompressed(file, start):
                _check(stream, file if stream is file else None, status.st_size)
    except _RefusedError as error:
        raise UnreadableError(f"{path} cannot be read as FITS: {error}") from None
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableError(f"{path} cannot be read as FITS: {reason}") from error
    if len(_checked) >= _MOST_REMEMBERED:
        _checked.clear()
    _checked[key] = None


def check_fits_content(content: bytes, name: str) -> None:
    """As `check_fits`, of a file that is in memory.

    Parameters
    ----------
    content
        The file, not compressed.
    name
        What it is, for messages.
    """
    check_fits_stream(io.BytesIO(content), len(content), name)


def check_fits_stream(stream: IO[bytes], nbytes: int, name: str) -> None:
    """As `check_fits_content`, of a stream at its beginning that can be moved in, whose size is ``nbytes``."""
    try:
        _check(stream, stream, nbytes)
    except _RefusedError as error:
        raise UnreadableError(f"{name} cannot be read as FITS: {error}") from None


def _decompressed(file: IO[bytes], start: bytes) -> Iterator[IO[bytes]]:
    """Yield the stream of a file's content, decompressed as astropy does by the first bytes."""
    if start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise _RefusedError(f"it is a zip archive of {len(names)} files; expected one")
            with archive.open(names[0]) as stream:
                yield stream
        return
    opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
    if opener is None:
        yield file
        return
    with opener(file) as stream:
        yield stream


def _check(stream: IO[bytes], seekable: IO[bytes] | None, nbytes: int) -> None:
    """Walk through the headers of a file.

    Parameters
    ----------
    stream
        Its content.
    seekable
        The same, where nothing has to be read to go on; else None.
    nbytes
        Size of the file, as it is stored.
    """
    allowed = nbytes if seekable is not None else limits.ReadLimits.current().expanded_bytes(nbytes)
    position = 0
    for number in range(limits.FITS_HDUS + 1):
        header = _Header.read(stream, number)
        if header is None:
            return
        position += header.nbytes
        size = header.data_bytes(nbytes)
        size += -size % _BLOCK
        position += size
        if seekable is not None:
            if position >= nbytes:  # the end, or cut short: astropy stops here too, and who reads the pixels is told
                return
            seekable.seek(position)
            continue
        if position > allowed:
            raise _RefusedError(
                f"it grows to more than {allowed / 1e9:.1f} GB when it is decompressed, {allowed / max(1, nbytes):.0f} "
                "times its size (--expansion sets the limit)"
            )
        while size > 0:
            skipped = len(stream.read(min(size, _SKIP_BYTES)))
            if not skipped:
                return
            size -= skipped
    raise _RefusedError(f"it has more than {limits.FITS_HDUS} images and tables")


def _seems(block: bytes) -> str:
    """Say in words what else a file is that does not begin as FITS; empty where it cannot be told."""
    start = block.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return ": it is a page of the web or XML, as servers send instead of a file; download it again"
    if block.startswith(b"version https://git-lfs"):
        return ": it is a pointer of Git LFS; fetch the file itself with git lfs pull"
    known = next((words for magic, words in _OTHERS if block.startswith(magic)), "")
    return f": it is {known}" if known else ""


class _Header:
    """The cards of one header that say how large its data are."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.nbytes = 0
        self._cards = 0
        self._values: dict[str, bytes] = {}
        self._words: dict[str, str] = {}

    @classmethod
    def read(cls, stream: IO[bytes], number: int) -> _Header | None:
        """Read the next header of a stream; None where there is none."""
        header = cls(number)
        while True:
            block = stream.read(_BLOCK)
            if not header.nbytes:
                if number and block[:8] != b"XTENSION":
                    return None  # special records, or what stands behind the last image: no library reads on
                if not number and block[:8].rstrip() != b"SIMPLE":
                    raise _RefusedError(
                        "it is empty" if not block else f"it does not begin as a FITS file does{_seems(block)}"
                    )
            header.nbytes += _BLOCK
            if header._take(block):
                return header
            if len(block) < _BLOCK:
                raise _RefusedError(f"{header} has no END: the file is cut short or damaged")

    def __str__(self) -> str:
        return f"header {self.number}"

    def _take(self, block: bytes) -> bool:
        """Take the cards of a block; True when they have come to the end."""
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            if card[:3] == b"END" and not card[3:].strip(b" \0"):
                return True
            self._cards += 1
            if self._cards > limits.FITS_CARDS:
                raise _RefusedError(f"{self} has more than {limits.FITS_CARDS} cards")
            found = _STRUCTURE.match(card)
            if found:
                name, value = found[1].decode().upper(), card[found.end() :].partition(b"/")[0].strip()
                if self._values.setdefault(name, value) != value:
                    raise _RefusedError(f"{self} has {name} twice with different values")
                continue
            word = _WORDS.match(card)
            if word:
                name, text = (
                    (word[1] or word[3]).decode().upper(),
                    (word[2] or word[4] or b"").decode("ascii", "replace"),
                )
                self._words.setdefault(name, text.strip())
        return False

    def _whole(self, name: str, default: int | None = None, least: int = 0) -> int:
        value = self._values.get(name)
        if value is None:
            if default is None:
                raise _RefusedError(f"{self} lacks {name}")
            return default
        if not _WHOLE.match(value):
            raise _RefusedError(f"{self}: {name} is {_shown(value)}; expected a whole number")
        if int(value) < least:
            raise _RefusedError(f"{self}: {name} is {int(value)}; expected {least} or more")
        return int(value)

    def _bitpix(self, name: str) -> int:
        value = self._whole(name, least=-64)
        if value not in _BITPIX:
            raise _RefusedError(f"{self}: {name} is {value}; expected one of {', '.join(map(str, _BITPIX))}")
        return abs(value) // 8

    def _axes(self, prefix: str, least: int = 0) -> list[int]:
        count = self._whole(f"{prefix}NAXIS")
        if count > 999:  # by the standard
            raise _RefusedError(f"{self}: {prefix}NAXIS is {count}; expected at most 999")
        return [self._whole(f"{prefix}NAXIS{axis}", least=least) for axis in range(1, count + 1)]

    def data_bytes(self, nbytes: int) -> int:
        """Size of the data behind the header, without padding, once all that is said of it has been checked.

        Parameters
        ----------
        nbytes
            Size of the file, as it is stored.
        """
        width, axes = self._bitpix("BITPIX"), self._axes("")
        extra, groups = self._whole("PCOUNT", 0), self._whole("GCOUNT", 1, least=1)
        kind = self._words.get("XTENSION", "")
        if kind in ("BINTABLE", "A3DTABLE", "TABLE"):
            self._check_table(axes, width, extra)
            compressed = self._words.get("ZIMAGE", "F")
            if compressed not in ("T", "F"):  # libraries differ in what they take it for
                raise _RefusedError(f"{self}: ZIMAGE is {compressed[:20]!r}; expected T or F")
            if compressed == "T":
                self._check_compressed(axes, extra, nbytes)
        else:
            self._check_pixels(axes)
        if axes and axes[0] == 0 and self._words.get("GROUPS") == "T":
            axes = axes[1:]
        return width * groups * (extra + math.prod(axes)) if axes else 0

    def _check_pixels(self, axes: list[int]) -> None:
        most = limits.ReadLimits.current().image_gigapixels * 1e9
        if axes and math.prod(axes) > most:
            raise _RefusedError(
                f"{self} is of {' x '.join(map(str, axes[:8]))} pixels, more than {most / 1e9:g} gigapixels "
                "(--image-gigapixels sets the limit)"
            )

    def _check_table(self, axes: list[int], width: int, heap: int) -> None:
        if width != 1 or len(axes) != 2:
            raise _RefusedError(
                f"{self} is of a table, and says BITPIX {8 * width}, NAXIS {len(axes)}; expected 8 and 2"
            )
        fields = self._whole("TFIELDS")
        if fields > limits.TABLE_FIELDS:
            raise _RefusedError(f"{self}: TFIELDS is {fields}; a FITS table has at most {limits.TABLE_FIELDS} columns")
        start = self._whole("THEAP", axes[0] * axes[1])
        if start > axes[0] * axes[1] + heap:
            raise _RefusedError(f"{self}: THEAP is {start}, behind the end of its data")

    def _check_compressed(self, axes: list[int], heap: int, nbytes: int) -> None:
        """Check an image that is stored as a table of compressed tiles."""
        width, sides = self._bitpix("ZBITPIX"), self._axes("Z")
        self._check_pixels(sides)
        # Rows of the image, where a header does not say; as astropy and cfitsio have it.
        shape = [self._whole(f"ZTILE{n}", side if n == 1 else 1, least=1) for n, side in enumerate(sides, 1)]
        tiles = math.prod(-(-side // part) for side, part in zip(sides, shape, strict=True))
        if sides and tiles != axes[1]:
            raise _RefusedError(f"{self}: ZNAXIS and ZTILE make {tiles} tiles, the table has {axes[1]} rows")
        stored = min(nbytes, axes[0] * axes[1] + heap)
        allowed = limits.ReadLimits.current().expanded_bytes(stored)
        for what, pixels in (("image", math.prod(sides)), ("tile", math.prod(shape))):
            if sides and pixels * width > allowed:
                raise _RefusedError(
                    f"{self}: {'an' if what == 'image' else 'a'} {what} of {pixels * width / 1e9:.3g} GB is stored in "
                    f"{stored} bytes, and more than {allowed / 1e9:.3g} GB are not decompressed from these "
                    "(--expansion sets the limit)"
                )


def _shown(value: bytes) -> str:
    text = value[:40].decode("ascii", "backslashreplace")
    return repr(text) if text else "empty"
