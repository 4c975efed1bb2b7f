"""What the headers of an image of HST or JWST say: filter, instrument, exposure time, unit and zero point.

Fluxes are stored in electrons per second. Images in electrons are divided by their exposure time, those in counts are
multiplied by the gain; the zero point is that of the stored pixels, in AB magnitudes::

    AB = -2.5 log10(flux) + zero point,  zero point = -2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408

Images of JWST are in MJy/sr, a surface brightness; their zero point is the AB magnitude of one MJy/sr over one square
arcsecond.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from astroanomaly import UnreadableError
from astroanomaly_plugins.hst.products import filter_name, stem

__all__ = ["JWST_UNIT", "UNIT", "HeaderInfo", "describe"]

UNIT = "electron/s"
JWST_UNIT = "MJy/sr"
_JWST_ZERO_POINT = 8.9 - 2.5 * math.log10(1e6 * (math.pi / 180 / 3600) ** 2)  # of janskys over an arcsec squared
_JWST_FILTERS = ("FILTER", "PUPIL")
_FILTERS = ("FILTER", "FILTER1", "FILTER2", "FILTNAM1", "FILTNAM2")
_GAINS = ("ATODGAIN", "CCDGAIN", "ADCGAIN")


@dataclass(frozen=True)
class HeaderInfo:
    """What the headers of an image say.

    Attributes
    ----------
    product
        Identifier at the archive: the file name without its ending.
    filter
        Empty where the headers do not say.
    instrument, proposal, date
        ``ACS/WFC``, the number as text, the day of the first exposure; empty where unknown.
    exptime
        Seconds, 0 where unknown.
    zeropoint
        AB magnitude of one electron per second, NaN where unknown.
    factor
        What the pixels of the file are multiplied by to become electrons per second.
    """

    product: str
    filter: str
    instrument: str
    proposal: str
    date: str
    exptime: float
    zeropoint: float
    factor: float


def describe(headers: Sequence[Any], product: str = "") -> HeaderInfo:
    """Read the headers of an image.

    Parameters
    ----------
    headers
        Header of the image extension, then the primary header: the first that has a keyword decides.
    product
        Identifier where the archive gave one; left out, ``ORIG_FLE`` or ``FILENAME`` of the headers.

    Raises
    ------
    UnreadableError
        If the unit cannot be turned into electrons per second.
    """

    def first(*keys: str) -> Any:
        for key in keys:
            for header in headers:
                value = header.get(key)
                if value not in (None, "", "N/A") and not isinstance(value, bool):
                    return value
        return None

    name = product or stem(str(first("ORIG_FLE", "FILENAME") or ""))
    if str(first("TELESCOP") or "").strip().upper() == "JWST":
        return _of_jwst(first, name)
    exptime = _number(first("EXPTIME", "TEXPTIME"))
    factor = _factor(str(first("BUNIT") or ""), exptime, _number(first(*_GAINS)), name)
    counts = _is_counts(str(first("BUNIT") or ""))
    zeropoint = _zeropoint(_number(first("PHOTFLAM")), _number(first("PHOTPLAM")))
    if counts:
        zeropoint += 2.5 * math.log10(_number(first(*_GAINS)))
    detector = str(first("DETECTOR") or "").strip()
    instrument = str(first("INSTRUME") or "").strip()
    if instrument and not detector.isdigit() and detector:
        instrument = f"{instrument}/{detector}"
    return HeaderInfo(
        product=name,
        filter=filter_name(*(first(key) for key in _FILTERS)),
        instrument=instrument,
        proposal=str(first("PROPOSID") or ""),
        date=str(first("DATE-OBS") or ""),
        exptime=0.0 if math.isnan(exptime) else exptime,
        zeropoint=zeropoint,
        factor=factor,
    )


def _of_jwst(first: Callable[..., Any], name: str) -> HeaderInfo:
    unit = str(first("BUNIT") or "").replace(" ", "")
    if unit.lower() != JWST_UNIT.lower():
        raise UnreadableError(f"{name}: pixels in {unit!r} are none of a calibrated JWST image: expected {JWST_UNIT}")
    exptime = _number(first("EFFEXPTM", "XPOSURE", "TEXPTIME"))
    return HeaderInfo(
        product=name,
        filter=filter_name(*(first(key) for key in _JWST_FILTERS)),
        instrument=str(first("INSTRUME") or "").strip(),
        proposal=str(first("PROGRAM") or "").lstrip("0"),
        date=str(first("DATE-OBS", "DATE-BEG") or "")[:10],
        exptime=0.0 if math.isnan(exptime) else exptime,
        zeropoint=_JWST_ZERO_POINT,
        factor=1.0,
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _words(unit: str) -> str:
    return re.sub(r"\s*S-1$", "/S", unit.strip().upper().replace("SEC", "S")).replace(" ", "")


def _is_counts(unit: str) -> bool:
    return _words(unit).startswith(("COUNT", "DN", "ADU", "CPS"))


def _factor(unit: str, exptime: float, gain: float, name: str) -> float:
    words = _words(unit)
    rate = words.endswith("/S") or words == "CPS"
    if words.startswith(("ELECTRON", "E/", "E-")) or words in ("E", ""):
        factor = 1.0  # the drizzled products are rates in electrons where a header is silent
        rate = rate or not words
    elif _is_counts(unit) and gain > 0:
        factor = gain
    else:
        raise UnreadableError(
            f"{name}: pixels in {unit!r} cannot be turned into {UNIT}: expected electrons, or counts and a gain"
        )
    if rate:
        return factor
    if not exptime > 0:
        raise UnreadableError(f"{name}: pixels in {unit!r} without an exposure time cannot be turned into {UNIT}")
    return factor / exptime


def _zeropoint(photflam: float, photplam: float) -> float:
    if not (photflam > 0 and photplam > 0):
        return math.nan
    return -2.5 * math.log10(photflam) - 5 * math.log10(photplam) - 2.408
