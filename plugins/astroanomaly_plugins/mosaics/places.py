"""Where FITS images lie: files, members of zip and tar archives, addresses in the web and in buckets, ASDF files.

Each has a path, so that the rest of the source need not know. That of a member begins with that of its archive
(``stamps.zip/a/1.fits``), that of an address is the address (``https:/host/x.fits``, as `pathlib` spells it).
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import re
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from astroanomaly import AstroAnomalyError, ConfigError, ReadLimits, UnreadableError, reading
from astroanomaly.cutting import BROKEN_ARCHIVE, check_fits_content, check_fits_stream, open_fits, quiet
from astroanomaly_plugins.mosaics.asdf_files import ASDF_START, images_of_asdf
from astroanomaly_plugins.shared.buckets import open_buckets

__all__ = ["address_of", "is_archive", "is_remote", "list_archive", "open_place", "place_stamp"]

_ADDRESS = re.compile(r"(https?|s3):/+(.+)")
_BLOCK_BYTES = 2**20  # that are fetched at once
_ARCHIVES = ((b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"))
_TAR_SUFFIX = re.compile(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2?|txz)$", re.IGNORECASE)
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_BROKEN = (OSError, *BROKEN_ARCHIVE)

_ANYTHING: tuple[type[Exception], ...] = (Exception,)  # that clients of the web raise


# ---------------------------------------------------------------------------------------------------------- addresses


def address_of(path: Path | str) -> str:
    """Return the address that a path stands for; empty for a path on this machine."""
    found = _ADDRESS.fullmatch(str(path))
    return f"{found[1]}://{found[2]}" if found else ""


def is_remote(path: Path) -> bool:
    """Whether a path stands for an address."""
    return bool(address_of(path))


def _remote_stream(address: str) -> Any:
    """Open an address for reading at any place.

    Raises
    ------
    ConfigError
        If what its scheme needs is not installed.
    """
    try:
        if address.startswith("s3:"):
            return open_buckets().open(address, "rb", block_size=_BLOCK_BYTES)
        import aiohttp  # noqa: F401 - fsspec needs it for the web
        import fsspec
    except ImportError as error:
        raise ConfigError(
            f"{address}: addresses need the extra cloud: pip install 'astroanomaly[cloud]' ({error.name} is missing)"
        ) from error
    return fsspec.open(address, "rb", block_size=_BLOCK_BYTES).open()


# ----------------------------------------------------------------------------------------------------------- archives


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive, by its first bytes and its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(262)
    if any(start.startswith(magic) for magic, _ in _ARCHIVES) or start[257:262] == b"ustar":
        return True
    return bool(_TAR_SUFFIX.search(path.name)) and start.startswith(_PACKED)


def list_archive(path: Path) -> list[str]:
    """Return the names of the files in an archive; links are none.

    Raises
    ------
    UnreadableError
        If it is damaged, encrypted or too large.
    """
    return list(_members(path, _stamp_of(path)))


def _split(path: Path) -> tuple[Path, str] | None:
    """Split the path of a member into the archive and its name there; None for other paths."""
    for parent in path.parents:
        if parent.is_file():
            return parent, path.relative_to(parent).as_posix()
        if parent.is_dir():
            return None
    return None


def _stamp_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def place_stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file, or of the archive it lies in; zeros for an address.

    Raises
    ------
    UnreadableError
        If it is gone.
    """
    if is_remote(path):
        return 0, 0
    inside = None if path.is_file() else _split(path)
    try:
        return _stamp_of(inside[0] if inside else path)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=4)
def _members(path: Path, stamp: tuple[int, int]) -> dict[str, Any]:
    """Return what is needed to read each member of an archive, by name; of several with one name the last."""
    try:
        with reading(path):
            opened = _open_archive(path, stamp)
            if isinstance(opened, zipfile.ZipFile):
                every: list[Any] = [item for item in opened.infolist() if not item.is_dir()]
                if any(item.flag_bits & 0x1 for item in every):
                    raise UnreadableError(f"{path} is encrypted: unpack it with its password, and give the folder")
                found = {item.filename: item for item in every}
            else:
                every = [item for item in opened if item.isreg()]
                found = {item.name: item for item in every}
    except _BROKEN as error:
        raise UnreadableError(f"{path} is damaged or cut short, or no archive: {error}") from error
    if len(every) > ReadLimits.archive_members:
        raise UnreadableError(f"{path} has more than {ReadLimits.archive_members} members: unpack it")
    plain = {name.replace("\\", "/").lstrip("/").removeprefix("./"): item for name, item in found.items()}
    return {name: item for name, item in plain.items() if ".." not in name.split("/")}


@functools.lru_cache(maxsize=2)
def _open_archive(path: Path, stamp: tuple[int, int]) -> Any:
    """Open an archive; a compressed tar is decompressed once, into a file without a name."""
    with path.open("rb") as file:
        start = file.read(8)
    if any(start.startswith(magic) for magic, _ in _ARCHIVES):
        return zipfile.ZipFile(path)
    if not start.startswith(_PACKED):
        return _closing(tarfile.open(path, "r:"))
    import tempfile

    limit, copied = ReadLimits.current().expanded_bytes(stamp[0]), 0
    spread: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the archive
    try:
        with _decompressed(path, start) as stream:
            while part := stream.read(2**22):
                copied += len(part)
                if copied > limit:
                    raise UnreadableError(
                        f"{path} grows to more than {limit / 1e9:.1f} GB (--expansion sets the limit)"
                    )
                spread.write(part)
    except BaseException:
        spread.close()
        raise
    spread.seek(0)
    return _closing(tarfile.open(fileobj=spread, mode="r:"))


def _closing(archive: tarfile.TarFile) -> tarfile.TarFile:
    """Let the file of an archive be closed when nobody holds the archive any more."""
    weakref.finalize(archive, archive.fileobj.close)
    return archive


def _decompressed(path: Path, start: bytes) -> Any:
    opener: Any = gzip.open if start.startswith(b"\x1f\x8b") else bz2.open if start.startswith(b"BZh") else lzma.open
    return opener(path, "rb")


def _content(archive: Path, member: str) -> bytes:
    """Read a member whole."""
    stamp = _stamp_of(archive)
    try:
        item, opened = _members(archive, stamp)[member], _open_archive(archive, stamp)
        size = item.file_size if isinstance(opened, zipfile.ZipFile) else item.size
        if size > ReadLimits.current().expanded_bytes(stamp[0]):
            raise UnreadableError(f"{archive}/{member} is of {size / 1e9:.1f} GB (--expansion sets the limit)")
        if isinstance(opened, zipfile.ZipFile):
            return _unpacked(opened.read(item), archive, member)
        stream = opened.extractfile(item)
        return _unpacked(stream.read() if stream is not None else b"", archive, member)
    except KeyError as error:
        raise UnreadableError(f"{archive} has no member {member!r} any more") from error
    except _BROKEN as error:
        raise UnreadableError(f"{archive}/{member}: the archive is damaged here: {error}") from error


def _unpacked(data: bytes, archive: Path, member: str) -> bytes:
    """Decompress a member that is packed itself."""
    limit = ReadLimits.current().expanded_bytes(len(data))
    if data.startswith(b"\x1f\x8b"):
        plain = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, limit + 1)
    elif data.startswith(b"BZh"):
        plain = bz2.BZ2Decompressor().decompress(data, limit + 1)
    elif data.startswith(b"\xfd7zXZ"):
        plain = lzma.LZMADecompressor().decompress(data, limit + 1)
    else:
        return data
    if len(plain) > limit:
        raise UnreadableError(
            f"{archive}/{member} grows to more than {limit / 1e9:.1f} GB (--expansion sets the limit)"
        )
    return plain


# ------------------------------------------------------------------------------------------------------------ the door


@contextlib.contextmanager
def open_place(path: Path, **how: Any) -> Iterator[Any]:
    """Open the FITS images at a place, as `astroanomaly.cutting.open_fits` does for a file.

    Parameters
    ----------
    **how
        Handed on to astropy, where the place is a file.

    Raises
    ------
    UnreadableError
        If there is none, or it is damaged.
    """
    address = address_of(path)
    if address:
        with _open_remote(address, how) as hdus:
            yield hdus
        return
    inside = None if path.is_file() else _split(path)
    if inside is not None:
        from astropy.io import fits

        data = _content(*inside)
        with reading(path, nbytes=len(data)):
            check_fits_content(data, str(path))
            with fits.open(io.BytesIO(data), **{**how, "memmap": False}) as hdus:
                yield hdus
        return
    if path.is_file() and _starts_with(path, ASDF_START):
        with images_of_asdf(path) as hdus:
            yield hdus
        return
    with open_fits(path, **how) as hdus:
        yield hdus


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


@contextlib.contextmanager
def _open_remote(address: str, how: dict[str, Any]) -> Iterator[Any]:
    from astropy.io import fits

    try:
        with reading(address, nbytes=0), quiet(), _remote_stream(address) as stream:
            if not stream.size:
                raise UnreadableError(
                    f"{address}: its server does not say how large it is, so no part of it can be read"
                )
            check_fits_stream(stream, int(stream.size), address)
            stream.seek(0)
            with fits.open(stream, **{**how, "memmap": False, "lazy_load_hdus": True}) as hdus:
                yield hdus
    except AstroAnomalyError:
        raise
    except _ANYTHING as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise UnreadableError(f"{address} cannot be read: {reason}") from None  # theirs may not leave the process
