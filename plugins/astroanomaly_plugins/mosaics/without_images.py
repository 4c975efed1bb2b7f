"""FITS files that hold measurements but no image that could be cut: what they are instead, in words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from astroanomaly import AstroAnomalyError
from astroanomaly.cutting import quiet
from astroanomaly_plugins.mosaics.places import open_place

__all__ = ["is_target_pixel_file", "what_instead"]

_TARGET_PIXELS = ("TARGETTABLES", "PIXELS")  # names of the table in files of Kepler and K2, and of TESS
_EVENTS = ("EVENTS", "STDEVT", "STDGTI", "RASSEVT")
_NAMES_SHOWN = 6


def is_target_pixel_file(hdus: Iterable[Any]) -> bool:
    """Whether a file is one of Kepler or TESS: its images are cells of a table, the only one beside them is a mask."""
    names = {str(hdu.name).upper() for hdu in hdus}
    return "APERTURE" in names and not names.isdisjoint(_TARGET_PIXELS)


def what_instead(path: Path) -> str:
    """Say in words what a FITS file without images is, and the way out; empty where it is nothing that is known."""
    try:
        with quiet(), open_place(path) as hdus:
            tables = [hdu for hdu in hdus if not hdu.is_image]
            names = [str(hdu.name).upper() for hdu in tables]
            if hdus[0].header.get("GROUPS") is True:
                return "it holds random groups, as visibilities of an interferometer: make an image of them first"
            if is_target_pixel_file(hdus):
                return (
                    "it is a target pixel file of Kepler or TESS, whose images are cells of a table: sum or choose "
                    "them first, and save FITS images"
                )
            if any(str(hdu.header.get("PIXTYPE", "")).strip().upper() == "HEALPIX" for hdu in tables):
                return (
                    "it is a HEALPix map: project it onto an image first, or take cutouts of its HiPS with "
                    "`astroanomaly ingest hips`"
                )
            if any(name in _EVENTS for name in names):
                return "it is a list of events: make an image of it first"
    except (AstroAnomalyError, OSError, ValueError, TypeError, KeyError):
        return ""
    shown = ", ".join(name or "one without a name" for name in names[:_NAMES_SHOWN])
    return f"it holds tables only ({shown}); a catalogue is given with --catalog" if names else ""
