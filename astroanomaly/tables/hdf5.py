"""The door to HDF5 files from elsewhere: checked before they are opened, and closed when they have been read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from astroanomaly.errors import AstroAnomalyError, DamagedError, UnreadableError
from astroanomaly.parallel.watch import reading
from astroanomaly.tables.hdf5_content import check_content

__all__ = ["hdf5_links", "open_hdf5"]

_BROKEN = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError)


@contextlib.contextmanager
def open_hdf5(path: str | Path) -> Iterator[Any]:
    """Open an HDF5 file from elsewhere for reading, once what it holds is known to be sane.

    While the block runs, the file counts as being read; see `astroanomaly.reading`. Nothing in it leads to another
    file: links to other files, external and virtual datasets are refused, and so are filters that HDF5 would load from
    a library (LZF is one that comes with h5py). Soft links are paths inside the file; `hdf5_links` lists them.

    Returns
    -------
    h5py.File
        As a context manager.

    Raises
    ------
    UnreadableError
        If the file is missing, damaged, no HDF5 file, or one of these.
    """
    place = Path(path)
    if not place.is_file():
        raise UnreadableError(f"{path} does not exist")
    try:
        with reading(place), h5py.File(place, "r", locking=False) as file:
            check_content(file, place, foreign=True)
            yield file
    except DamagedError as error:
        raise UnreadableError(str(error)) from error
    except AstroAnomalyError:
        raise
    except _BROKEN as error:
        words = str(error).strip().splitlines()
        raise UnreadableError(
            f"{path} is cut short, damaged or no HDF5 file: {words[0] if words else type(error).__name__}"
        ) from error


def hdf5_links(file: Any) -> dict[str, str]:
    """Return where the soft links of an open HDF5 file lead.

    Parameters
    ----------
    file : h5py.File
        As `open_hdf5` gives it.

    Returns
    -------
    dict of str to str
        For each soft link, the name of the dataset or group that it leads to, as ``file.visititems`` gives it. Links
        to nothing, in a circle or to the file itself are left out.
    """
    links: list[str] = []

    def note(name: bytes, info: Any) -> None:
        if info.type == h5py.h5l.TYPE_SOFT:
            links.append(name.decode("utf-8", "replace"))

    file.id.links.visit(note, info=True)
    if not links:
        return {}
    names: dict[int, str] = {}
    file.visititems(lambda name, item: names.update({h5py.h5o.get_info(item.id).addr: name}))
    found = {}
    for link in links:
        try:
            address = h5py.h5o.get_info(file[link].id).addr
        except (KeyError, OSError, RuntimeError, ValueError):
            continue  # it leads to nothing
        if address in names:
            found[link] = names[address]
    return found
