"""Names of Euclid's bands: what archives, files and people call them, and what a cache calls them.

A cache says ``VIS``, ``Y``, ``J``, ``H`` and, for the images from the ground, instrument and filter: ``DECAM_g``,
``MEGACAM_u``, ``HSC_z``, ``PANSTARRS_i``. A single letter of ``ugriz`` asks for that filter of whatever instrument has
seen the place.
"""

from __future__ import annotations

import re

__all__ = ["band_name", "fits_band", "is_wanted"]

_NEAR_INFRARED = {"nir", "nisp"}
_GROUND = {
    "decam": "DECAM",
    "des": "DECAM",
    "megacam": "MEGACAM",
    "cfis": "MEGACAM",
    "cfht": "MEGACAM",
    "hsc": "HSC",
    "wishes": "HSC",
    "wishes2": "HSC",
    "gpc": "PANSTARRS",
    "gpc1": "PANSTARRS",
    "panstarrs": "PANSTARRS",
    "pan": "PANSTARRS",
    "ps1": "PANSTARRS",
}
_OPTICAL = "ugriz"


def band_name(filter: str, instrument: str = "") -> str:
    """Return what a cache calls a band.

    Parameters
    ----------
    filter
        As an archive, a header or a person has it: ``NIR_Y``, ``Y``, ``DES_G``, ``DECAM_g`` ...
    instrument
        The instrument, where it is told apart from the filter.
    """
    words = [word for word in re.split(r"[^0-9A-Za-z]+", f"{instrument} {filter}") if word]
    lower = [word.lower() for word in words]
    if "vis" in lower:
        return "VIS"
    letter = next((word for word in reversed(words) if len(word) == 1), "")
    if letter.lower() in "yjh" and letter and not any(word in _GROUND for word in lower):
        return letter.upper()
    ground = next((_GROUND[word] for word in lower if word in _GROUND), "")
    if letter and letter.lower() in _OPTICAL:
        return f"{ground}_{letter.lower()}" if ground else letter.lower()
    return "_".join(word for word in words if word.lower() not in _NEAR_INFRARED) or filter


def is_wanted(wanted: str, name: str) -> bool:
    """Whether a band, as `band_name` has it, is the one that was asked for."""
    return wanted == name or (len(wanted) == 1 and wanted in _OPTICAL and name.endswith(f"_{wanted}"))


def fits_band(filter: str, name: str) -> bool:
    """Whether the FILTER of a file can mean a band; a file that says nothing can mean any."""
    found = band_name(filter)
    return not filter.strip() or is_wanted(found, name) or is_wanted(name, found)
