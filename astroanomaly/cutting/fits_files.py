"""The door to FITS files from elsewhere: checked before they are opened, and closed when they have been read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astroanomaly.cutting.fits_headers import check_fits
from astroanomaly.parallel.watch import reading

__all__ = ["open_fits"]


@contextlib.contextmanager
def open_fits(path: str | Path, **how: Any) -> Iterator[Any]:
    """Open a FITS file from elsewhere with `astropy.io.fits.open`, once its headers are known to be sane.

    While the block runs, the file counts as being read; see `astroanomaly.reading`. It is closed at the end, but what
    is memory-mapped of it stays open as long as somebody holds it.

    Parameters
    ----------
    path
        The file, plain or compressed.
    **how
        Handed on to astropy.

    Raises
    ------
    UnreadableError
        As `check_fits`. What astropy raises on a file that is damaged otherwise comes through.
    """
    from astropy.io import fits

    with reading(path):
        check_fits(path)
        with fits.open(path, **how) as hdulist:
            yield hdulist
