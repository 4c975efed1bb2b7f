"""Check a bundle from elsewhere: its files are those that were written, and none is missing."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from astroanomaly.cutting.damaged import BROKEN_ARCHIVE
from astroanomaly.errors import CacheError, UnreadableError
from astroanomaly.files import CHECKSUMS, files_in, parse_json, parse_sums
from astroanomaly.session.outputs.bundle import BUNDLE_FORMAT, BUNDLE_VERSION, DESCRIPTION

__all__ = ["BROKEN", "BundleFile", "BundleReport", "OpenBundle", "check_bundle", "open_bundle"]

_MAX_TEXT_BYTES = 64 * 2**20  # of the list of checksums, and of the description
BROKEN = (OSError, *BROKEN_ARCHIVE)
"""What a file of a bundle may raise while it is read."""


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle: what opens it, and its size in bytes; of an archive, that is what it says of itself."""

    open: Callable[[], IO[bytes]]
    size: int


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose files can be read.

    Attributes
    ----------
    about
        What its description says; of its keys, ``version`` and ``objects`` are checked.
    sums
        SHA-256 of its files by their paths inside, as it lists them.
    files
        The files by their paths inside.
    """

    about: dict[str, Any]
    sums: dict[str, str]
    files: dict[str, BundleFile]


@dataclass(frozen=True)
class BundleReport:
    """What a bundle is, and what is wrong with it.

    Attributes
    ----------
    objects, files
        How many there are.
    title, software, created
        As the bundle says.
    problems
        A line for each file that is missing, has changed or was added; empty where all is well.
    """

    objects: int
    files: int
    title: str
    software: str
    created: str
    problems: tuple[str, ...]


def check_bundle(path: str | Path) -> BundleReport:
    """Check the files of a bundle against its checksums and its description; nothing is unpacked.

    Parameters
    ----------
    path
        A folder or a zip archive.

    Raises
    ------
    UnreadableError
        If there is nothing, or it is no bundle.
    CacheError
        If it is damaged so that it cannot be checked, or of a newer version.
    """
    with open_bundle(path) as bundle:
        about, sums, there = bundle.about, bundle.sums, bundle.files
        problems = [f"{name}: it is not in {CHECKSUMS}" for name in there if name not in sums and name != CHECKSUMS]
        for name, expected in sums.items():
            if name not in there:
                problems.append(f"{name}: it is missing")
                continue
            try:
                with there[name].open() as handle:
                    same = hashlib.file_digest(handle, "sha256").hexdigest() == expected  # type: ignore[arg-type]
            except BROKEN as error:
                problems.append(f"{name}: it cannot be read ({error})")
                continue
            problems += [] if same else [f"{name}: it has changed"]
        named = [str(item.get(kind, "")) for item in about["objects"] for kind in ("cutout", "picture")]
        lost = [name or "a file" for name in named if name not in sums]
        problems += [f"{name}: {DESCRIPTION} names it, {CHECKSUMS} does not" for name in lost]
    title, software, created = (str(about.get(key, "")) for key in ("title", "software", "created"))
    return BundleReport(len(about["objects"]), len(there), title, software, created, tuple(problems))


@contextlib.contextmanager
def open_bundle(path: str | Path) -> Iterator[OpenBundle]:
    """Open a bundle, whoever wrote it: its description and its checksums are read, none of its other files is.

    Parameters
    ----------
    path
        A folder or a zip archive.

    Raises
    ------
    UnreadableError, CacheError
        As `check_bundle`.
    """
    path = Path(path)
    with _files_of(path) as there:
        if CHECKSUMS not in there or DESCRIPTION not in there:
            missing = CHECKSUMS if CHECKSUMS not in there else DESCRIPTION
            raise UnreadableError(f"{path} is no bundle of AstroAnomaly, or not a whole one: it has no {missing}")
        about = _description(path, _text(path, DESCRIPTION, there))
        yield OpenBundle(about, parse_sums(_text(path, CHECKSUMS, there)), there)


def _description(path: Path, text: str) -> dict[str, Any]:
    about = parse_json(text, f"{path}: {DESCRIPTION}", kind=dict, error=CacheError, remedy="fetch the bundle again")
    if about.get("format") != BUNDLE_FORMAT:
        raise UnreadableError(f"{path} is no bundle of AstroAnomaly: {DESCRIPTION} does not say so")
    version = about.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise CacheError(f"{path}: {DESCRIPTION} is damaged: its version is {version!r}")
    if version > BUNDLE_VERSION:
        raise CacheError(
            f"{path} is a bundle of version {version}, newer than {BUNDLE_VERSION}, the newest known here: update "
            "astroanomaly, or use `sha256sum -c SHA256SUMS`"
        )
    objects = about.get("objects")
    if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
        raise CacheError(f"{path}: {DESCRIPTION} is damaged: it lists no objects")
    return about


def _text(path: Path, name: str, there: dict[str, BundleFile]) -> str:
    try:
        with there[name].open() as handle:
            content = handle.read(_MAX_TEXT_BYTES + 1)
        text = content.decode("utf-8")
    except BROKEN as error:
        raise CacheError(f"{path}: {name} cannot be read: {error}") from error
    if len(content) > _MAX_TEXT_BYTES:
        raise CacheError(f"{path}: {name} has more than {_MAX_TEXT_BYTES} bytes: it is no file of ours")
    return text


@contextlib.contextmanager
def _files_of(path: Path) -> Iterator[dict[str, BundleFile]]:
    """Give the files of a bundle by their paths inside; the folder at the top of an archive is left out."""
    if path.is_dir():
        names = [*files_in(path), *([CHECKSUMS] if (path / CHECKSUMS).exists() else [])]
        sizes = {name: (path / name).lstat().st_size for name in names}
        yield {name: BundleFile(partial(_open_plain, path / name), size) for name, size in sizes.items()}
        return
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist")
    try:
        archive = zipfile.ZipFile(path)
    except BROKEN as error:
        raise UnreadableError(f"{path} is neither a folder nor a zip archive that can be read: {error}") from error
    with archive:
        names = [item for item in archive.namelist() if not item.endswith("/")]
        parts = {name: PurePosixPath(name).parts for name in names}  # () of a name that is empty
        tops = {part[0] for part in parts.values() if part}
        unsafe = [name for name in names if not parts[name] or name[0] == "/" or "\\" in name or ".." in parts[name]]
        if unsafe or len(tops) != 1 or len(set(names)) < len(names):
            what = f"the name {unsafe[0]!r} leads out of it" if unsafe else "it has not one folder with every file once"
            raise UnreadableError(f"{path} is no bundle of AstroAnomaly: {what}")
        top = f"{tops.pop()}/"
        yield {
            name.removeprefix(top): BundleFile(partial(archive.open, name), archive.getinfo(name).file_size)
            for name in names
        }


def _open_plain(path: Path) -> IO[bytes]:
    if path.is_symlink():
        raise OSError("it is a link")
    return path.open("rb")
