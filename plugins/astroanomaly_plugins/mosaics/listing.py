"""Find FITS files where somebody points to, and count what is there beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from astroanomaly import UnreadableError
from astroanomaly_plugins.mosaics.places import address_of, is_archive, is_remote, list_archive
from astroanomaly_plugins.shared.folders import is_ours

__all__ = ["SUFFIX", "Listing", "find_files", "words_of"]

SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|bz2|xz|fz|z))*$|\.fz(\.(gz|bz2|xz))?$|\.asdf$", re.IGNORECASE)


@dataclass
class Listing:
    """Files that were found where somebody pointed to.

    Attributes
    ----------
    files
        ``(file, root, given by name)`` of each that may be FITS.
    total
        How many files there are, counted as the folders are walked.
    others
        Names of those that are left out, by reason.
    """

    files: list[tuple[Path, Path, bool]]
    total: int = 0
    others: dict[str, list[str]] = field(default_factory=dict)


def find_files(inputs: Sequence[str], leave_out: Path | None = None) -> Listing:
    """List files, members of archives and addresses; folders are searched for .fits .fit .fts .fz, also .gz .bz2 .xz.

    Caches and sessions of this program that lie in a folder are passed over. A link to a file that is listed itself is
    left out.

    Parameters
    ----------
    leave_out
        A file inside the folders that is no image: the catalogue.

    Raises
    ------
    UnreadableError
        If something does not exist, or a folder holds no FITS file.
    """
    found: dict[Path, tuple[Path, Path, bool]] = {}
    listing = Listing([])
    seen: set[Path] = set()
    catalogue = leave_out.stat() if leave_out is not None and leave_out.exists() else None
    for text in inputs:
        path = Path(text)
        if address_of(text):
            listing.total += path not in seen
            seen.add(path)
            found[path] = (path, path.parent, True)
        elif is_archive(path) and not SUFFIX.search(path.name):
            _take_archive(path.absolute(), listing, found)
        elif path.is_dir():
            inside = 0
            for item in sorted(_walk(path)):
                astray = item.is_symlink() and not item.is_file()
                if not item.is_file() and not astray:
                    continue
                absolute = item.absolute()
                listing.total += absolute not in seen
                seen.add(absolute)
                name = item.relative_to(path).as_posix()
                if astray:
                    kind = "link to a folder, which is not followed" if item.is_dir() else "link to nothing"
                    listing.others.setdefault(kind, []).append(name)
                elif any(part.startswith(".") for part in item.relative_to(path).parts):
                    listing.others.setdefault("hidden", []).append(name)
                elif catalogue is not None and os.path.samestat(item.stat(), catalogue):
                    listing.others.setdefault("the catalogue", []).append(name)
                elif not SUFFIX.search(item.name):
                    listing.others.setdefault("not called .fits, .fit, .fts or .fz", []).append(name)
                else:
                    inside += 1
                    found.setdefault(absolute, (absolute, path.absolute(), False))
            if not inside:
                raise UnreadableError(
                    f"the folder {path} holds no FITS file (.fits .fit .fts .fz, also compressed as .gz, .bz2 or .xz)"
                )
        elif path.is_file():
            listing.total += path.absolute() not in seen
            seen.add(path.absolute())
            found[path.absolute()] = (path.absolute(), path.absolute().parent, True)
        else:
            raise UnreadableError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    if not found:
        raise UnreadableError("no FITS file was given: name files or folders to cut from")
    _leave_out_links(listing, found)
    listing.files = list(found.values())
    return listing


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and below it; links to folders are not followed."""
    for item in folder.iterdir():
        yield item
        if item.is_dir() and not item.is_symlink() and not is_ours(item):
            yield from _walk(item)


def _leave_out_links(listing: Listing, found: dict[Path, tuple[Path, Path, bool]]) -> None:
    """Leave out links of folders to files that are there themselves: they would be the same image twice."""
    links = [path for path, (_, _, by_name) in found.items() if not by_name and path.is_symlink()]
    if not links:
        return
    themselves = {path.resolve() for path in found if not path.is_symlink() and not is_remote(path)}
    for path in links:
        real = path.resolve()
        if real in themselves:
            name = path.relative_to(found.pop(path)[1]).as_posix()
            listing.others.setdefault("link to a file that is there itself", []).append(name)
        themselves.add(real)


def _take_archive(path: Path, listing: Listing, found: dict[Path, tuple[Path, Path, bool]]) -> None:
    """List the FITS files in an archive."""
    inside = 0
    for name in sorted(list_archive(path)):
        listing.total += 1
        if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
            listing.others.setdefault("hidden", []).append(name)
        elif not SUFFIX.search(name) or name.lower().endswith(".asdf"):
            listing.others.setdefault("not called .fits, .fit, .fts or .fz", []).append(name)
        else:
            inside += 1
            found.setdefault(path / name, (path / name, path, False))
    if not inside:
        raise UnreadableError(f"the archive {path} holds no FITS file (.fits .fit .fts .fz, also compressed)")


def words_of(name: str) -> list[str]:
    """Split the name of a file, or a path, into words, without the suffixes of FITS and of packing."""
    while Path(name).suffix.lower() in (".fits", ".fit", ".fts", ".fz", ".gz", ".bz2", ".xz", ".z", ".asdf"):
        name = name[: -len(Path(name).suffix)]
    return [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]
