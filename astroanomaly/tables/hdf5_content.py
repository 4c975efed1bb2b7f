"""Check what an HDF5 file from elsewhere holds before anything of it is read: nothing that leads out of the file."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

import h5py

from astroanomaly.errors import DamagedError
from astroanomaly.parallel.limits import FREE_HDF5_BYTES, ReadLimits
from astroanomaly.tables.hdf5_headers import DamagedHeaderError, HeaderCheck

__all__ = ["check_content"]

_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}  # those that HDF5 itself brings; others load a library
_LZF = 32000  # which h5py brings
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
_FOLLOWED = (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT)  # with no link of another kind in a file, they end inside it
_MOST_REMEMBERED = 100_000

_checked: set[tuple[bool, int, int, int, int]] = set()  # files whose content is known, as long as they stay the same


def check_content(file: h5py.File, path: Path, *, foreign: bool = False) -> None:
    """Check all links and datasets of a file; no pixel is read. One that has not changed is not checked again.

    Parameters
    ----------
    foreign
        Whether other programs have written the file: then soft links are allowed, and the filter that h5py brings. A
        soft link is a path inside the file; it leads nowhere else, since all links of other kinds are refused.

    Raises
    ------
    DamagedError
        If one of them leads to another file, or through a link that is not of the usual kind; if it needs a filter that
        HDF5 would load from a library; if it says to be far larger than the file; or if HDF5 might never come to the
        end of it.
    """
    status = os.fstat(file.id.get_vfd_handle())
    key = (foreign, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if key in _checked:
        return
    allowed = max(FREE_HDF5_BYTES, int(ReadLimits.current().expansion * status.st_size))

    headers = HeaderCheck(file.id.get_vfd_handle(), status.st_size, file.userblock_size)

    def check_link(name: bytes, info: h5py.h5l.LinkInfo) -> str | None:
        kind = _LINKS.get(info.type, "a link of an unknown kind")
        allowed_here = info.type in _FOLLOWED if foreign else info.type == h5py.h5l.TYPE_HARD
        return None if allowed_here else f"{_text(name)}: is {kind}"

    def check_object(name: bytes, info: h5py.h5o.ObjInfo) -> str | None:
        try:
            plain = headers.check(info.addr)
        except DamagedHeaderError as error:
            return f"{_text(name)}: {error}"
        if plain or info.type != h5py.h5o.TYPE_DATASET:
            return None
        wrong = _what_is_wrong(h5py.h5d.open(file.id, name), allowed, {*_FILTERS, _LZF} if foreign else set(_FILTERS))
        return f"{_text(name)}: {wrong}" if wrong else None

    wrong = (
        check_object(b"", h5py.h5o.get_info(file.id))
        or file.id.links.visit(check_link, info=True)
        or h5py.h5o.visit(file.id, check_object, info=True)
    )
    if wrong:
        raise DamagedError(f"{path}, dataset /{wrong}; it is not read")
    if len(_checked) >= _MOST_REMEMBERED:
        _checked.clear()
    _checked.add(key)


def _what_is_wrong(dataset: h5py.h5d.DatasetID, allowed: int, filters: Set[int]) -> str:
    made = dataset.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
        return "points outside the file"
    numbers = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    strange = next((number for number in numbers if number not in filters), None)
    if strange is not None:
        return f"is compressed by the filter {strange}; expected one of {', '.join(_FILTERS.values())}"
    if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return "holds nothing, not even a length"
    nbytes = dataset.get_space().get_simple_extent_npoints() * dataset.get_type().get_size()
    if nbytes > allowed:
        return f"says that it is of {nbytes / 1e9:.3g} GB, more than {allowed / 1e9:.3g} GB that such a file may hold"
    return ""


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
