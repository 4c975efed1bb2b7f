"""What a user gives a source to read: paths, addresses, and FITS images that are open in memory."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cutting import quiet
from astroanomaly.errors import AstroAnomalyError, ConfigError, UnreadableError
from astroanomaly.files import atomic_path

__all__ = ["MemoryImages", "find_inputs"]

_DIGEST_LETTERS = 16


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """FITS images that are open in memory and are no plain copy of a file: written to one where they are read from.

    Parameters
    ----------
    hdus
        An `astropy.io.fits.HDUList`.
    """

    hdus: Any

    @cached_property
    def name(self) -> str:
        """Name of their file; the same for the same headers and pixels."""
        found = hashlib.sha256()
        with _readable("the HDUList that was given"):
            for hdu in self.hdus:
                data = hdu.data
                found.update(hdu.header.tostring().encode("utf-8", "replace"))
                found.update(b"" if data is None else np.ascontiguousarray(data).tobytes())
        return f"memory-{found.hexdigest()[:_DIGEST_LETTERS]}.fits"

    def write(self, folder: Path) -> None:
        """Write them into a folder under their name, unless they are there.

        Raises
        ------
        UnreadableError
            If they are no valid FITS.
        StorageError
            If the file cannot be written.
        """
        path = folder / self.name
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, _readable("the HDUList that was given"), quiet():
                self.hdus.writeto(temporary, output_verify="silentfix", overwrite=True)


def find_inputs(inputs: Any) -> tuple[str | MemoryImages, ...]:
    """Bring what somebody gives to be read to absolute paths, addresses and images in memory.

    Parameters
    ----------
    inputs
        One of, or a list of: path or address as text, `pathlib.Path`, open `astropy.io.fits.HDUList`, single HDU. An
        HDUList that is as its file has it stands for the file.

    Raises
    ------
    ConfigError
        If it is anything else.
    UnreadableError
        If an HDUList is closed, or damaged.
    """
    if isinstance(inputs, str | Path):
        return (_absolute_path(inputs),)
    one = _images(inputs)
    if one is not None:
        return (one,)
    listed = isinstance(inputs, Iterable) and getattr(inputs, "ndim", 1) == 1
    if isinstance(inputs, bytes | dict | np.ndarray) or not listed:
        raise _refused(inputs)
    found: list[str | MemoryImages] = []
    for item in inputs:
        images = None if isinstance(item, str | Path) else _images(item)
        if images is None and not isinstance(item, str | Path):
            raise _refused(item)
        found.append(_absolute_path(item) if images is None else images)
    return tuple(found)


def _refused(value: Any) -> ConfigError:
    return ConfigError(
        f"inputs: {type(value).__name__} cannot be read from: expected paths or addresses (text or pathlib.Path), open "
        "HDULists, or a list of these"
    )


def _absolute_path(item: str | Path) -> str:
    text = str(item)
    return text if "://" in text else str(Path(text).absolute())


def _images(value: Any) -> str | MemoryImages | None:
    """Return the file of an HDUList, or its images; None where it is no HDUList and no HDU."""
    from astropy.io import fits

    if isinstance(value, fits.HDUList):
        return _unchanged_file(value) or MemoryImages(value)
    if isinstance(value, fits.PrimaryHDU):
        return MemoryImages(fits.HDUList([value]))
    if isinstance(value, fits.ImageHDU | fits.CompImageHDU):
        return MemoryImages(fits.HDUList([fits.PrimaryHDU(), value]))
    return None


def _unchanged_file(hdus: Any) -> str | None:
    """Return the file an HDUList was opened from, if that holds the same headers and pixels; else None."""
    from astropy.io import fits

    name = hdus.filename()
    if name is None or not Path(name).is_file():
        return None
    with _readable(name), quiet(), fits.open(name) as stored:
        if len(stored) != len(hdus):
            return None
        for ours, theirs in zip(hdus, stored, strict=True):
            touched = getattr(ours, "_data_loaded", True)  # data that nobody has looked at are those of the file
            if touched and not _same(ours.data, theirs.data):
                return None
            if ours.header.tostring() != theirs.header.tostring():
                return None
    return str(Path(name).absolute())


def _same(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    first, second = np.asarray(ours), np.asarray(theirs)
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.dtype.kind == "f":
        return bool(np.array_equal(first, second, equal_nan=True))
    return first.tobytes() == second.tobytes()


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn whatever astropy raises on a closed or damaged HDUList into an error that names it."""
    try:
        yield
    except (AstroAnomalyError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnreadableError(f"{what} cannot be read: {reason}. Is it still open?") from error
