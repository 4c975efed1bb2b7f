"""Which object a table means by a name: one rule for labels, truth and the tables beside pictures."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

__all__ = ["NameMatcher"]

# Label Studio puts a key before the name of a file that is uploaded: 0a1b2c3d-img_0.png
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
_SUFFIX = re.compile(  # of a file with an image; what else stands behind a point is a part of the name
    r"(.+?)(\.(fits?|fts|fz|asdf|png|jpe?g|jpe|jfif|tiff?|webp|gif|bmp|jp2|j2k|avif|npy|npz|h5|hdf5|zarr)(\.(gz|bz2|xz|fz|z))?)",
    re.IGNORECASE,
)


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
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._exact = set(ids)
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
        key = _of_address(name.strip()).replace("\\", "/").removeprefix("./").lstrip("/")
        if key in self._exact:
            return [key]
        bases = self._by_base()
        key = _composed(key)
        if key in self._composed:
            return sorted(self._composed[key])
        base = key.rpartition("/")[2]
        uploaded = _UPLOADED.fullmatch(base)
        bare = uploaded[1] if uploaded else ""
        suffixed = _SUFFIX.fullmatch(base)
        stem = suffixed[1] if suffixed else ""
        tries = (
            (bases, base), (self._stems, base), (bases, _whole(base)), (bases, bare), (bases, stem), (self._stems, stem)
        )  # fmt: skip
        for names, wanted in tries:
            found = sorted(names.get(wanted, ())) if wanted else []
            if found:
                agreeing = [object_id for object_id in found if _folders_agree(key, object_id)]
                return agreeing or ([] if strict else found)
        return []

    def _by_base(self) -> dict[str, list[str]]:
        if self._bases is None:
            self._bases = {}
            for object_id in self._exact:
                if not object_id.isascii():
                    self._composed.setdefault(_composed(object_id), []).append(object_id)
                base = _composed(object_id).replace("\\", "/").rpartition("/")[2]
                self._bases.setdefault(base, []).append(object_id)
                suffixed = _SUFFIX.fullmatch(base)
                for stem in {base.rpartition(".")[0], suffixed[1] if suffixed else ""}:
                    self._stems.setdefault(stem, []).append(object_id)
        return self._bases


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
