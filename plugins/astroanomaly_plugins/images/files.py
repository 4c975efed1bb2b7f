"""List pictures in folders, single files, zip and tar archives."""

from __future__ import annotations

import os
import tarfile
import zipfile
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import HeaderError, ReadError, TarFile
from typing import Self

import numpy as np

from astroanomaly import ReadLimits, UnreadableError, reading
from astroanomaly_plugins.images.members import NOWHERE, SPARSE, UNREADABLE_ARCHIVE, Container, Place, open_stream
from astroanomaly_plugins.images.packed import MAGIC, PACKED, list_packed
from astroanomaly_plugins.shared.folders import is_ours

__all__ = ["NO_FILES", "SUFFIXES", "THE_TABLE", "Listing", "list_input"]

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".dib", ".jp2", ".j2k", ".jpf",
    ".jpx",
)  # fmt: skip

THE_TABLE = "the table"  # a kind of what is left out
NO_FILES = ("hidden folder", "linked folder", "link or special file")  # kinds of what is left out, not counted as files
_NAMES_KEPT = 3  # of what is left out, by kind
_ENCRYPTED_FLAGS = 0x1 | 0x40
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
_MAGIC = ((b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "xz"))


@dataclass
class Listing:
    """Names of the pictures of one container.

    Attributes
    ----------
    members
        Names as they are stored, pictures only. Folders are sorted; archives keep their order.
    places
        Where they are: for archives five numbers each, else nothing.
    tables
        ``.csv`` files by name.
    tops
        Files and folders at the top level (at most two are kept: one or several is all that matters).
    total
        How many files there are, counted as they are listed.
    replaced
        How many of them a later file of the same name in an archive replaces.
    skipped, skipped_names
        What is no picture, by suffix: how many, and the first few names.
    doubled
        Names of pictures that an archive holds more than once: the last one counts.
    columns
        Texts for each picture that the container itself has, as a Parquet file does.
    """

    container: Container
    members: list[str] = field(default_factory=list)
    places: array = field(default_factory=lambda: array("q"))
    tables: dict[str, Place] = field(default_factory=dict)
    tops: set[str] = field(default_factory=set)
    total: int = 0
    replaced: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    skipped_names: dict[str, list[str]] = field(default_factory=dict)
    doubled: dict[str, None] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def is_archive(self) -> bool:
        """Whether members have places."""
        return self.container.kind in ("zip", "tar", *PACKED)

    def place_table(self) -> np.ndarray:
        """``(n, 5)`` int64 places of an archive's pictures."""
        return np.frombuffer(self.places, np.int64).reshape(-1, 5) if self.places else np.zeros((0, 5), np.int64)

    def place(self, number: int) -> Place:
        """Place of one picture."""
        return self.places[5 * number : 5 * number + 5] if self.is_archive else NOWHERE

    def take(self, name: str, place: Place = NOWHERE) -> None:
        """Note one file: a picture, a table, or something else."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or any(map(_is_hidden, parts)):
            self.leave_out("hidden", name)
            return
        if len(self.tops) < 2:
            self.tops.add(parts[0])
        suffix = os.path.splitext(parts[-1])[1].lower()
        if suffix in SUFFIXES:
            self.members.append(name)
            if self.is_archive:
                self.places.extend(place)
            return
        if suffix == ".csv":
            self.tables[name] = place
        self.leave_out(suffix or "no suffix", name)

    def leave_out(self, kind: str, name: str) -> None:
        """Note something that is no picture."""
        self.skipped[kind] += 1
        names = self.skipped_names.setdefault(kind, [])
        if len(names) < _NAMES_KEPT:
            names.append(name)

    def is_the_table(self, name: str) -> None:
        """Note that one of the tables was used: it is left out as that."""
        kind = os.path.splitext(name)[1].lower()
        self.skipped[kind] -= 1
        self.skipped_names[kind] = [other for other in self.skipped_names[kind] if other != name]
        self.skipped += Counter()  # without what is zero
        self.leave_out(THE_TABLE, name)

    def take_earlier(self, name: str) -> None:
        """Note one file of an archive that a later one of the same name replaces."""
        self.replaced += 1
        if os.path.splitext(name)[1].lower() in SUFFIXES:
            self.doubled[name] = None


def _is_hidden(name: str) -> bool:
    return (name.startswith(".") and name != "..") or name == "__MACOSX"


def list_input(path: Path) -> Listing:
    """List the pictures of a folder, an archive, or a single file. Reads no pixels.

    Raises
    ------
    UnreadableError
        If it is missing, damaged, encrypted, or neither a picture nor an archive.
    """
    if not path.exists():
        raise UnreadableError(f"{path} does not exist")
    if path.is_dir():
        return _list_folder(path)
    if not path.is_file():
        raise UnreadableError(f"{path} is neither a file nor a folder")
    try:
        with path.open("rb") as handle:
            start = handle.read(512)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    packed = next((kind for magic, kind in MAGIC if start.startswith(magic)), "")
    if packed:
        return _list_packed(path, packed)
    suffix = path.suffix.lower()
    kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), "")
    if kind == "zip" or (suffix == ".zip" and not kind):  # a program may precede the archive
        with reading(path):
            return _list_zip(path)
    if kind or start[257:262] == b"ustar" or suffix == ".tar":
        with reading(path):
            return _list_tar(path, kind)
    if suffix in SUFFIXES:
        return Listing(Container("files", str(path)), [str(path)], total=1)
    if suffix in _ARCHIVE_SUFFIXES:
        raise UnreadableError(f"{path} is damaged: its name says {suffix}, its content does not begin like an archive")
    raise UnreadableError(
        f"{path} is neither a picture ({', '.join(SUFFIXES)}) nor a folder nor an archive (.zip, .tar, .tar.gz, "
        ".tar.bz2, .tar.xz) nor an HDF5 or Parquet file of pictures"
    )


def _list_packed(path: Path, kind: str) -> Listing:
    found = list_packed(path, kind)
    listing = Listing(Container(kind, str(path), nbytes=path.stat().st_size, inside=found.inside))
    listing.members, listing.columns, listing.total = found.names, found.columns, len(found.names)
    places = np.zeros((len(found.names), 5), np.int64)
    places[:, :2] = found.places
    listing.places.frombytes(places.tobytes())
    return listing


def _check_count(path: Path, count: int) -> None:
    if count > ReadLimits.archive_members:
        raise UnreadableError(f"{path} has more than {ReadLimits.archive_members} members: split it, or unpack it")


def _list_folder(path: Path) -> Listing:
    listing = Listing(Container("folder", str(path)))
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(path / folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            raise UnreadableError(f"folder {path / folder} cannot be listed: {error.strerror or error}") from error
        deeper = []
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if _is_hidden(entry.name):
                    listing.leave_out("hidden folder", name)
                elif not is_ours(path / name):
                    deeper.append(name)
            elif entry.is_file():
                listing.total += 1
                listing.take(name)
            elif entry.is_dir():
                listing.leave_out("linked folder", name)  # following it could lead round in circles
        waiting.extend(reversed(deeper))
    return listing


def _list_zip(path: Path) -> Listing:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_count(path, len(archive.infolist()))
            listing = Listing(Container("zip", str(path), nbytes=path.stat().st_size))
            # The last of several members with one name is the valid one, as for every program that unpacks.
            last = archive.NameToInfo
            for info in archive.infolist():
                if info.is_dir():
                    continue
                listing.total += 1
                if last[info.filename] is not info:
                    listing.take_earlier(info.filename)
                    continue
                before = len(listing)
                place = (info.header_offset, info.file_size, info.compress_size, info.CRC, info.compress_type)
                listing.take(info.filename, place)
                if info.flag_bits & _ENCRYPTED_FLAGS and (len(listing) > before or info.filename in listing.tables):
                    raise UnreadableError(
                        f"{path} is encrypted (member {info.filename!r}): decrypt it first, for instance by unpacking "
                        "it with its password, and give the folder"
                    )
    except UnreadableError:
        raise
    except UNREADABLE_ARCHIVE as error:
        raise UnreadableError(f"{path} is damaged or cut short, or no zip archive: {error}") from error
    return listing


class _StrictMember(tarfile.TarInfo):
    """A tar member whose damaged or missing header is an error; the library takes it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the proper end mark
                raise
            raise ReadError(f"bad header at byte {tarfile.offset}: {error}") from error


def _list_tar(path: Path, compression: str) -> Listing:
    listing = Listing(Container("tar", str(path), compression, path.stat().st_size))
    found: dict[str, tuple[int, ...]] = {}
    read, limit = 0, ReadLimits.current().expanded_bytes(listing.container.nbytes)
    try:
        with (
            open_stream(listing.container) as stream,
            tarfile.open(fileobj=stream, mode="r:", tarinfo=_StrictMember) as archive,
        ):
            while (member := archive.next()) is not None:
                read += 1
                _check_count(path, read)
                if archive.offset > limit:
                    raise UnreadableError(
                        f"{path} grows to more than {limit / 1e9:.1f} GB when it is decompressed (--expansion sets the "
                        "limit)"
                    )
                archive.members.clear()  # type: ignore[attr-defined]  # else a million members stay in memory
                if member.isreg():
                    listing.total += 1
                    method = SPARSE if member.issparse() else 0
                    if found.pop(member.name, None) is not None:  # as programs that unpack have it
                        listing.take_earlier(member.name)
                    found[member.name] = (member.offset_data, member.size, member.size, 0, method)
                elif not member.isdir():
                    listing.leave_out("link or special file", member.name)
    except UnreadableError:
        raise
    except UNREADABLE_ARCHIVE as error:
        raise UnreadableError(f"{path} is damaged or cut short, or no tar archive: {error}") from error
    for name, place in found.items():
        listing.take(name, place)
    return listing
