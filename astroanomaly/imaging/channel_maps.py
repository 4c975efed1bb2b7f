"""Which bands are red, green and blue in the usual colour pictures of a survey or instrument."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from astroanomaly.imaging.bands import is_of_survey, wavelength_nm

__all__ = ["ChannelMap", "known_maps", "usual_map"]


@dataclass(frozen=True)
class ChannelMap:
    """A usual map of bands to colours.

    Attributes
    ----------
    name
        What it is called, as in ``Euclid VIS Y H``: blue first.
    channels
        The bands for red, green and blue, as in ``NIR_H,NIR_Y,VIS``.
    """

    name: str
    channels: str


# Name, the surveys of its bands if that matters, and the filters that are red, green and blue.
_MAPS: tuple[tuple[str, tuple[str, ...], tuple[str, str, str]], ...] = (
    ("Euclid VIS Y H", ("euclid",), ("H", "Y", "VIS")),  # Cuillandre et al. 2025, A&A 697, A6
    ("Euclid VIS J H", ("euclid",), ("H", "J", "VIS")),
    ("Legacy Surveys grz", ("ls", "legacy", "decals", "bass", "mzls"), ("z", "r", "g")),  # Dey et al. 2019, AJ 157, 168
    ("gri", (), ("i", "r", "g")),  # SDSS: Lupton et al. 2004, PASP 116, 133; DES, HSC, Rubin the same
    ("grz", (), ("z", "r", "g")),
    ("giz", (), ("z", "i", "g")),
    ("HST ACS F435W F606W F814W", ("hst",), ("F814W", "F606W", "F435W")),  # Beckwith et al. 2006, AJ 132, 1729
    ("HST ACS F435W F606W F775W", ("hst",), ("F775W", "F606W", "F435W")),
    ("HST WFC3/IR F105W F125W F160W", ("hst",), ("F160W", "F125W", "F105W")),  # Koekemoer et al. 2011, ApJS 197, 36
    ("JHK", (), ("K", "H", "J")),  # 2MASS: Skrutskie et al. 2006, AJ 131, 1163
    ("YJH", (), ("H", "J", "Y")),
    ("WISE W1 W2 W3", (), ("W3", "W2", "W1")),  # Wright et al. 2010, AJ 140, 1868
    ("IRAC 3.6 4.5 8.0", (), ("CH4", "CH2", "CH1")),  # Churchwell et al. 2009, PASP 121, 213
    ("BVR", ("johnson",), ("R", "V", "B")),
    ("VRI", ("johnson",), ("I", "R", "V")),
)
_HST = re.compile(r"F\d{3,4}(W|M|N|LP|X|W2)", re.IGNORECASE)
_SPECIAL = re.compile(r"VIS|W[1-4]|CH[1-4]|IRAC[1-4]|KS|KP", re.IGNORECASE)
_NEAR_INFRARED = ("nir", "nisp", "euclid", "vista", "virmos", "viking", "video", "ukidss", "2mass", "wfcam")


def known_maps(bands: Sequence[str]) -> list[ChannelMap]:
    """Return the usual maps that some bands allow, the one to begin with first.

    Bands are known by their names alone, as `wavelength_nm` reads them: ``g``, ``sdss-g`` and ``DES_G_BGSUB`` are g,
    ``NIR_H`` is H. Of several bands of one filter the first is taken. Two bands of HST, whatever their filters, make a
    pair: the longer wavelength is red, the shorter blue, their mean green.
    """
    usable = [band for band in bands if band == band.strip() and not set(",+") & set(band)]
    filters: dict[str, str] = {}
    for band in usable:
        if filter := _filter(band):
            filters.setdefault(filter, band)
    words = {part.lower() for band in bands for part in _parts(band)}
    hst = [band for band in usable if any(_HST.fullmatch(part) for part in _parts(band))]
    words |= {"euclid"} if "VIS" in filters else set()
    words |= {"hst"} if hst else set()
    words |= {"johnson"} if not any(is_of_survey(band) for band in bands) else set()
    found = []
    if len(hst) == 2 == len(bands):
        short, long = sorted(hst, key=lambda band: wavelength_nm(band) or 0)
        found.append(ChannelMap(f"HST pair {short} {long}", f"{long},{long}+{short},{short}"))
    for name, wanted, colours in _MAPS:
        if (not wanted or words & set(wanted)) and all(colour in filters for colour in colours):
            channels = ",".join(filters[colour] for colour in colours)
            if all(channels != one.channels for one in found):
                found.append(ChannelMap(name, channels))
    return found


def usual_map(bands: Sequence[str]) -> ChannelMap | None:
    """Return the first of the usual maps of some bands; None where there is none."""
    return next(iter(known_maps(bands)), None)


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[^0-9A-Za-z]+", name) if part]


def _filter(name: str) -> str:
    """Name the filter of a band in one spelling; empty for a name that says nothing."""
    parts = _parts(name)
    for part in parts:
        if _HST.fullmatch(part):
            return part.upper()
    for part in parts:
        if _SPECIAL.fullmatch(part):
            upper = part.upper().replace("IRAC", "CH")
            return "K" if upper in ("KS", "KP") else upper
    lower = [part.lower() for part in parts]
    if any(part in _NEAR_INFRARED for part in lower):
        letters = [part.upper() for part in parts if part.upper() in ("Z", "Y", "J", "H", "K")]
    elif is_of_survey(name):
        letters = [part for part in lower if part in tuple("ugrizy")]
    else:
        letters = [part for part in parts if part in tuple("ugrizyUBVRIYJHK")]
    return letters[0] if letters else ""
