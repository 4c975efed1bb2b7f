"""Silence astropy's warnings on files from elsewhere, in all threads."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

__all__ = ["quiet"]

_quiet_lock = threading.Lock()
_quiet_blocks = 0
_quiet_filters = contextlib.ExitStack()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence astropy's warnings and notes on non-standard headers, units and file ends: the files are not ours.

    Warning filters belong to the whole process, so blocks that overlap in several threads share one change of them.
    """
    global _quiet_blocks
    with _quiet_lock:
        _quiet_blocks += 1
        if _quiet_blocks == 1:
            _quiet_filters.enter_context(_no_remarks())
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_blocks -= 1
            if _quiet_blocks == 0:
                _quiet_filters.close()


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    from astropy import log
    from astropy.io.fits.verify import VerifyWarning
    from astropy.units import UnitsWarning
    from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyUserWarning
    from astropy.wcs import FITSFixedWarning

    with warnings.catch_warnings():
        for category in (FITSFixedWarning, VerifyWarning, UnitsWarning, AstropyDeprecationWarning, AstropyUserWarning):
            warnings.simplefilter("ignore", category)
        level = log.level
        log.setLevel(max(level, logging.WARNING))  # of a WCS astropy says what it assumes as a note, each time anew
        try:
            yield
        finally:
            log.setLevel(level)
