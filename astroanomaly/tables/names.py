"""Which object a table means by a name: one rule for labels, truth and the tables beside pictures."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, runtime_checkable
from urllib.parse import unquote, urlsplit

import numpy as np

__all__ = ["NameMatcher", "file_names", "find_rows"]

# Label Studio puts a key before the name of a file that is uploaded: 0a1b2c3d-img_0.png
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
_SUFFIX = re.compile(  # of a file with an image; what else stands behind a point is a part of the name
    r"(.+?)(\.(fits?|fts|fz|asdf|png|jpe?g|jpe|jfif|tiff?|webp|gif|bmp|jp2|j2k|avif|npy|npz|h5|hdf5|zarr)(\.(gz|bz2|xz|fz|z))?)",
    re.IGNORECASE,
)


def file_names(path: Path) -> tuple[str, str]:
    """Return the name of a file, with and without its suffix: what it holds may be called so."""
    return path.name, Path(path.name.removesuffix(".gz")).stem


@runtime_checkable
class _Findable(Protocol):
    """Ids that know their rows, as those of a cache, which are not held in memory."""

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` int64 rows of some of them, -1 for others."""


def find_rows(wanted: Sequence[str], ids: Iterable[str]) -> np.ndarray:
    """Find the rows of some ids among all, in memory that grows with the number of those that are wanted only.

    Parameters
    ----------
    wanted
        The ids to find.
    ids
        All ids in the order of their rows, without repeats. Those of a cache are found by its index, and not read.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64, -1 where there is no such id.
    """
    if isinstance(ids, _Findable):
        return ids.find(wanted)
    sought = set(wanted)
    row_of = {object_id: row for row, object_id in enumerate(ids) if object_id in sought}
    return np.array([row_of.get(object_id, -1) for object_id in wanted], np.int64)


class NameMatcher:
    """Finds the ids that a name may mean.

    The id itself; else ids with the same base name, which is what follows the last slash or backslash and may lack its
    suffix, or have another one; of these, those whose folders are the same as far as both names go. ``1.0`` is the id
    ``1``, since a column of numbers with gaps turns ids into such. Letters with accents are the same in one character
    and in two, as in the names of files of macOS. Of an address its path is compared.

    Parameters
    ----------
    ids
        Object ids.
    names
        The only names that are asked for, if given. Then the matcher holds the ids that these may mean and no others.
        It goes through all ids if a name is none of them.
    """

    def __init__(self, ids: Iterable[str], names: Iterable[str] | None = None) -> None:
        self._ids: Collection[str]
        self._wanted: set[str] | None = None
        if names is None:
            self._ids = self._exact = set(ids)
        else:
            self._ids = ids if isinstance(ids, Collection) else list(ids)  # they are gone through twice
            meant = [_Name.read(name) for name in dict.fromkeys(names)]
            self._wanted = {key for one in meant for key in (one.key, *one.bases) if key}
            firsts = list({key for one in meant for key in (one.given, one.cleaned)})
            rows = find_rows(firsts, self._ids).tolist()
            self._exact = {key for key, row in zip(firsts, rows, strict=True) if row >= 0}
        self._bases: dict[str, list[str]] | None = None
        self._stems: dict[str, list[str]] = {}
        self._composed: dict[str, list[str]] = {}

    def find(self, name: str, *, strict: bool = False) -> list[str]:
        """Return the ids that a name may mean, sorted: one where it is clear, none where there is none.

        Parameters
        ----------
        name
            What a table calls an object: an id, a path or a file name.
        strict
            Take no id whose folders differ from those of the name.
        """
        if name in self._exact:
            return [name]
        meant = _Name.read(name)
        if meant.cleaned in self._exact:
            return [meant.cleaned]
        bases = self._by_base()
        if meant.key in self._composed:
            return sorted(set(self._composed[meant.key]))
        base, whole, bare, stem = meant.bases
        for names, wanted in (
            (bases, base), (self._stems, base), (bases, whole), (bases, bare), (bases, stem), (self._stems, stem)
        ):  # fmt: skip
            found = sorted(set(names.get(wanted, ()))) if wanted else []
            if found:
                agreeing = [object_id for object_id in found if _folders_agree(meant.key, object_id)]
                return agreeing or ([] if strict else found)
        return []

    def _by_base(self) -> dict[str, list[str]]:
        if self._bases is None:
            self._bases = {}
            for object_id in self._ids:
                if not object_id.isascii():
                    self._keep(self._composed, _composed(object_id), object_id)
                base = _composed(object_id).replace("\\", "/").rpartition("/")[2]
                self._keep(self._bases, base, object_id)
                suffixed = _SUFFIX.fullmatch(base)
                for stem in {base.rpartition(".")[0], suffixed[1] if suffixed else ""}:
                    self._keep(self._stems, stem, object_id)
        return self._bases

    def _keep(self, names: dict[str, list[str]], name: str, object_id: str) -> None:
        """Note an id under a name that somebody may ask for."""
        if self._wanted is None or name in self._wanted:
            names.setdefault(name, []).append(object_id)


@dataclass(frozen=True)
class _Name:
    """What a name may stand for: itself, without what is not part of it, and in composed letters."""

    given: str
    cleaned: str
    key: str
    bases: tuple[str, str, str, str]  # as it is, as a whole number, without the key of an upload, without a suffix

    @classmethod
    def read(cls, name: str) -> Self:
        cleaned = _of_address(name.strip()).replace("\\", "/").removeprefix("./").lstrip("/")
        key = _composed(cleaned)
        base = key.rpartition("/")[2]
        uploaded = _UPLOADED.fullmatch(base)
        suffixed = _SUFFIX.fullmatch(base)
        bases = (base, _whole(base), uploaded[1] if uploaded else "", suffixed[1] if suffixed else "")
        return cls(name, cleaned, key, bases)


def _folders_agree(one: str, other: str) -> bool:
    """Whether the folders of two names are the same as far as both go."""
    pairs = zip(one.split("/")[-2::-1], _composed(other).replace("\\", "/").split("/")[-2::-1], strict=False)
    return all(first == second for first, second in pairs)


def _of_address(name: str) -> str:
    """Return the path of an address as a file would have it: without host and query, ``%20`` as a blank."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        return name
    try:
        return unquote(urlsplit(name).path) or name
    except ValueError:
        return name


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _whole(name: str) -> str:
    """Return the whole number that a name is as a decimal number; a name that is none stays."""
    return name[:-2] if name.endswith(".0") and name[:-2].isdecimal() else name
