"""Read the bytes of single pictures out of folders, zip and tar archives, without unpacking."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from astroanomaly import UnreadableError
from astroanomaly.cutting import BROKEN_ARCHIVE
from astroanomaly_plugins.images.packed import PACKED
from astroanomaly_plugins.images.pixels import PictureError

__all__ = ["NOWHERE", "SPARSE", "UNREADABLE_ARCHIVE", "Container", "Place", "open_container", "open_stream"]

Place = Sequence[int]  # offset, bytes, bytes as stored, CRC-32, compression method
NOWHERE = (0, 0, 0, 0, 0)
SPARSE = -1  # "method" of a tar member that is not stored in one piece
_LOCAL_HEADER = struct.Struct("<26xHH")  # lengths of name and extra field, PKWARE APPNOTE.TXT 4.3.7
_BUFFER_BYTES = 2**18  # small pictures lie side by side: one read for dozens of them


def _open_plain(path: Path) -> BinaryIO:
    return path.open("rb", buffering=_BUFFER_BYTES)


_OPENERS: dict[str, Callable[[Path], Any]] = {
    "": _open_plain,
    "gz": gzip.GzipFile,
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
UNREADABLE_ARCHIVE = (OSError, MemoryError, *BROKEN_ARCHIVE)


@dataclass(frozen=True)
class Container:
    """One thing that holds pictures, as plain data.

    Parameters
    ----------
    kind
        ``folder``, ``files`` (single picture files, each member a whole path), ``zip``, ``tar``, ``hdf5``
        or ``parquet``.
    path
        Absolute path; for ``files`` of the first of them.
    compression
        Of a tar: nothing, ``gz``, ``bz2`` or ``xz``.
    nbytes
        Size of an archive in bytes when it was listed.
    inside
        The dataset or the column of encoded pictures in an HDF5 or Parquet file.
    """

    kind: str
    path: str
    compression: str = ""
    nbytes: int = 0
    inside: str = ""

    def name_of(self, member: str) -> str:
        """Name of one picture for messages: its path, or that of its archive with its name there."""
        if self.kind == "files":
            return member
        return f"{self.path}/{member}" if self.kind == "folder" else f"{self.path}: {member}"


def open_stream(container: Container) -> Any:
    """Open a file or an archive as a stream of bytes, decompressed."""
    return _OPENERS[container.compression](Path(container.path))


@contextlib.contextmanager
def open_container(
    container: Container, limit: int, streams: MutableMapping[str, BinaryIO] | None = None
) -> Iterator[Callable[[str, Place], bytes]]:
    """Open a container and give a function that reads one member.

    Parameters
    ----------
    limit
        Largest member in bytes.
    streams
        Where the open stream of a compressed tar is left for the next piece of work, so that an archive that is read
        in order is decompressed once, not once per task.

    Raises
    ------
    UnreadableError
        If the container is gone, changed or damaged. What is wrong with one member only is a `PictureError`, raised
        by the function.
    """
    if container.kind in ("folder", "files"):
        root = Path(container.path)
        if container.kind == "folder" and not root.is_dir():
            raise UnreadableError(f"folder {root} is no longer there")
        yield lambda member, place: _read_file(root / member, limit)
        return
    path = Path(container.path)
    with _archive_errors(path):
        nbytes = path.stat().st_size
    if nbytes != container.nbytes:
        raise UnreadableError(
            f"{path} has {nbytes} bytes, but had {container.nbytes} when its pictures were listed: it changed. "
            "Restore it, or ingest it into a new cache"
        )
    if container.kind in PACKED:
        with PACKED[container.kind](path, container.inside) as fetch:
            yield lambda member, place: _checked(fetch(member, place), limit)
        return
    with _archive_errors(path):
        stream = streams.pop(container.path, None) if streams is not None else None
        if stream is None:
            stream = open_stream(container)
    try:
        if container.kind == "zip":
            yield lambda member, place: _read_zip_member(path, stream, member, place, limit)
        else:
            yield lambda member, place: _read_tar_member(path, stream, place, limit)
    except BaseException:
        stream.close()
        raise
    if streams is None or not container.compression:
        stream.close()
        return
    previous = streams.pop(container.path, None)
    if previous is not None:
        previous.close()
    streams[container.path] = stream


@contextlib.contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (PictureError, UnreadableError):
        raise
    except UNREADABLE_ARCHIVE as error:
        raise UnreadableError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _check_size(nbytes: int, limit: int) -> None:
    if nbytes > limit:
        raise PictureError(f"the file is larger than {limit // 2**20} MB (--max-file-mb sets the limit)")


def _checked(data: bytes, limit: int) -> bytes:
    _check_size(len(data), limit)
    return data


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as handle:
            data = handle.read(min(limit + 1, os.fstat(handle.fileno()).st_size + 1))
    except FileNotFoundError:
        raise PictureError("the file is no longer there") from None
    except OSError as error:
        raise PictureError(f"the file cannot be read: {error.strerror or error}") from error
    _check_size(len(data), limit)
    return data


def _read_zip_member(path: Path, stream: BinaryIO, member: str, place: Place, limit: int) -> bytes:
    """Read one member at its recorded place: opening the archive anew would parse a million names for each task."""
    offset, nbytes, stored, checksum, method = (int(number) for number in place)
    _check_size(max(nbytes, stored), limit)
    try:
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with zipfile.ZipFile(path) as archive, archive.open(member) as handle:
                return handle.read(nbytes + 1)
        with _archive_errors(path):
            stream.seek(offset)
            header = stream.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
                raise PictureError("the archive is damaged where this member should begin")
            stream.seek(sum(_LOCAL_HEADER.unpack(header)), os.SEEK_CUR)
            data = stream.read(stored)
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, nbytes + 1)
    except UnreadableError:
        raise
    except (*UNREADABLE_ARCHIVE, KeyError) as error:
        raise PictureError(f"the archive is damaged at this member: {error}") from error
    if len(data) != nbytes or zlib.crc32(data) != checksum:
        raise PictureError("the archive is damaged at this member: its size or checksum differs from the directory")
    return data


def _read_tar_member(path: Path, stream: BinaryIO, place: Place, limit: int) -> bytes:
    offset, nbytes, _, _, method = (int(number) for number in place)
    _check_size(nbytes, limit)
    if method == SPARSE:
        raise PictureError(
            "stored as a sparse tar member, which is not supported: unpack the archive and give the folder"
        )
    with _archive_errors(path):
        stream.seek(offset)
        data = stream.read(nbytes)
    if len(data) != nbytes:
        raise UnreadableError(f"{path} is cut short: it ends inside a picture")
    return data
