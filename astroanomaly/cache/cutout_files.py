"""Cutouts as FITS files for other programs: one file for each object, or all in one."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from astroanomaly._version import __version__
from astroanomaly.cutting.hdus import TableVersions, image_hdus, put_card
from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_folder, atomic_path, check_new
from astroanomaly.records import Cutout, Progress, counted
from astroanomaly.tables.csv_rows import csv_rows

__all__ = ["OBJECTS_FILE", "file_names", "write_cutouts", "write_folder"]

OBJECTS_FILE = "objects.csv"
Cards = Mapping[str, Any]
_LONGEST_NAME = 100  # characters of a file name without its suffix
_HASH_LETTERS = 10
_OF_AN_IMAGE = re.compile(r"(?<=.)\.((fits?|fts|jpe?g|png|tiff?|webp|bmp|gif)(\.(gz|bz2|fz|xz|z))?|fz)$", re.IGNORECASE)
_BLOCK_BYTES = 2880  # of FITS; an empty primary HDU is one block
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file of Windows may be called so


class _Cache(Protocol):
    """The part of a cache that is needed."""

    def cutouts(self, ids: Sequence[str]) -> Iterator[Cutout]:
        """Read cutouts one after another."""


def file_names(ids: Iterable[str], suffix: str = ".fits") -> list[str]:
    """Make file names of ids that every system takes: unique, whatever the case, and of bounded length.

    An id that is the name of an image gives up its suffix first: ``m0.fits`` and ``m1.jpg`` become ``m0.fits`` and
    ``m1.fits``. ASCII letters, digits, ``.``, ``_``, ``+`` and ``-`` are kept, others become ``_``. A name that is
    changed so, is too long, or differs from an earlier one in case only, gets ten letters of the id's SHA-256 at the
    end.

    Parameters
    ----------
    ids
        Different object ids.
    suffix
        Put at the end.
    """
    names: list[str] = []
    taken: set[str] = set()
    for object_id in ids:
        stem = _OF_AN_IMAGE.sub("", object_id)
        name = re.sub(r"[^A-Za-z0-9._+-]", "_", stem)[:_LONGEST_NAME]
        name = re.sub(r"^[.+-]|[.]$", "_", name)
        if not name or _RESERVED.fullmatch(name):
            name = f"_{name}"
        if name != stem or name.lower() in taken:
            digest = hashlib.sha256(object_id.encode("utf-8", "surrogatepass")).hexdigest()
            lengths = (_HASH_LETTERS, len(digest))  # the whole of it where somebody has chosen ids that clash
            name = next(new for n in lengths if (new := f"{name}-{digest[:n]}").lower() not in taken)
        taken.add(name.lower())
        names.append(name + suffix)
    return names


def write_cutouts(
    cache: _Cache,
    ids: Sequence[str],
    path: Path,
    *,
    one_file: bool = False,
    cards: Cards | None = None,
    cards_of: Mapping[str, Cards] | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Write cutouts as FITS; see `Cache.write_cutouts`.

    Parameters
    ----------
    cards
        Cards of every primary header: values, or ``(value, comment)``.
    cards_of
        Further cards by object id.
    """
    if not ids:
        raise ConfigError("there is nothing to write: no object was chosen")
    common = {"CREATOR": (f"astroanomaly {__version__}", "program that wrote this"), **(cards or {})}
    own = cards_of or {}
    check_new(path, overwrite=overwrite, folder=not one_file)
    if one_file:
        with atomic_path(path) as temporary:
            _write_one(counted(cache.cutouts(ids), "cutouts", len(ids), progress), len(ids), temporary, common, own)
        return [path.name] * len(ids)
    names = file_names(ids)
    with atomic_folder(path, overwrite=overwrite) as folder:
        write_folder(cache, ids, folder, common, own, progress)
        _write_list(cache, ids, names, folder / OBJECTS_FILE)
    return names


def write_folder(
    cache: _Cache,
    ids: Sequence[str],
    folder: Path,
    cards: Cards,
    cards_of: Mapping[str, Cards],
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Write one file for each object into a folder that is there; see `file_names`."""
    cutouts = counted(cache.cutouts(ids), "cutouts", len(ids), progress)
    for cutout, name in zip(cutouts, file_names(ids), strict=True):
        hdus = cutout.to_hdulist({**cards, **cards_of.get(cutout.object_id, {})})
        hdus.writeto(folder / name, checksum=True)


def _write_list(cache: _Cache, ids: Sequence[str], names: Sequence[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv_rows(handle, ("object_id", "file"))(zip(ids, names, strict=True))


def _write_one(cutouts: Iterable[Cutout], count: int, path: Path, cards: Cards, cards_of: Mapping[str, Cards]) -> None:
    """Write all cutouts into one file, one after another: memory is that of one of them."""
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    for key, card in cards.items():
        put_card(primary.header, key, card)
    put_card(primary.header, "NOBJECTS", count, "objects; EXTVER counts them from 1")
    tables = TableVersions()
    with path.open("wb") as handle:
        for number, cutout in enumerate(cutouts, 1):
            hdus = image_hdus(
                cutout.data, cutout.bands, cutout.units, grid=cutout.grid, offset=cutout.offset,
                coverage=cutout.coverage, cards={**cutout.cards, **cards_of.get(cutout.object_id, {})},
                version=number, tables=tables,
            )  # fmt: skip
            content = io.BytesIO()
            first = primary if number == 1 else fits.PrimaryHDU()
            fits.HDUList([first, *hdus]).writeto(content, checksum=True)
            handle.write(content.getvalue() if number == 1 else content.getvalue()[_BLOCK_BYTES:])
