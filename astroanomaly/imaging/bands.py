"""Wavelengths of bands by their names, and which bands make red, green and blue."""

from __future__ import annotations

import re
from collections.abc import Sequence

from astroanomaly.config import nearest
from astroanomaly.errors import BandError, ConfigError

__all__ = ["default_channels", "is_of_survey", "parse_channels", "wavelength_nm"]

Channels = tuple[tuple[float, ...], ...]

_CASE_SENSITIVE_NM = {  # lower and upper case are different filters
    "u": 355, "g": 475, "r": 622, "i": 763, "z": 905, "y": 1000,
    "U": 365, "B": 445, "V": 551, "R": 658, "I": 806, "G": 551,
    "Y": 1020, "J": 1250, "H": 1650, "K": 2190, "L": 3450, "M": 4750, "Z": 880,
}  # fmt: skip
_NAMED_BANDS_NM = {
    "fuv": 153, "nuv": 231, "vis": 715, "ks": 2150, "kp": 2120, "bp": 511, "rp": 777, "white": 600,
    "w1": 3353, "w2": 4603, "w3": 11561, "w4": 22088, "ch1": 3550, "ch2": 4490, "ch3": 5730, "ch4": 7870,
    "irac1": 3550, "irac2": 4490, "irac3": 5730, "irac4": 7870, "red": 658, "green": 551, "blue": 445,
}  # fmt: skip
_SURVEYS = (
    "des", "decam", "hsc", "sdss", "lsst", "cfis", "megacam", "panstarrs", "ps1", "wishes", "jedis", "kids", "ls",
)  # fmt: skip
_HST = re.compile(r"f(\d{3,4})(w|m|n|lp|x|w2)$", re.IGNORECASE)


def wavelength_nm(name: str) -> float | None:
    """Return the effective wavelength of a band in nanometres, None for a name that says nothing.

    Understood are ugrizy and UBVRI, YJHK, VIS, GALEX, WISE, IRAC and Gaia names and HST-style ``F814W``, alone or among
    other words, as in ``DES_G_BGSUB``, ``sdss-r`` or ``NIR_Y``. Beside a survey that observes in ugrizy, capitals mean
    the same as small letters. Three-digit numbers of HST names below 200 are in units of 10 nm (``F160W`` is 1600 nm),
    others are nanometres; four-digit numbers are nanometres too. JWST's three-digit names cannot be told from HST's and
    are read as HST's.
    """
    if not isinstance(name, str):
        raise ConfigError(f"name is {type(name).__name__}: expected the name of a band, as text")
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", name) if part]
    in_survey = is_of_survey(name)
    for part in parts:
        match = _HST.match(part)
        if match:
            number = float(match.group(1))
            return number * 10 if number < 200 else number
    for part in parts:
        if part.lower() in _NAMED_BANDS_NM:
            return float(_NAMED_BANDS_NM[part.lower()])
    for part in parts:
        single = part.lower() if in_survey and part.lower() in _CASE_SENSITIVE_NM else part
        if single in _CASE_SENSITIVE_NM:
            return float(_CASE_SENSITIVE_NM[single])
    return None


def is_of_survey(name: str) -> bool:
    """Whether a band's name has the word of a survey that observes in ugrizy."""
    return any(part.lower() in _SURVEYS for part in re.split(r"[^0-9A-Za-z]+", name))


def default_channels(bands: Sequence[str]) -> Channels:
    """Return the weights that make red, green and blue of some bands.

    The longest wavelength is red. One band is replicated, two are (long, mean, short), more than three are sorted by
    wavelength and averaged in three groups of neighbours, the middle one taking what does not divide. Where a
    wavelength is unknown, the given order is taken as red first for three bands or fewer, and as blue first for more.

    Returns
    -------
    tuple
        3 x B weights; each row sums to 1.
    """
    count = len(bands)
    waves = [wavelength_nm(band) for band in bands]
    if all(wave is not None for wave in waves):
        order = sorted(range(count), key=lambda k: (-(waves[k] or 0.0), k))  # red first
    else:
        order = list(range(count)) if count <= 3 else list(range(count))[::-1]
    if count == 1:
        groups = [[0], [0], [0]]
    elif count == 2:
        groups = [[order[0]], order, [order[1]]]
    else:
        side = count // 3
        groups = [order[:side], order[side : count - side], order[count - side :]]
    return tuple(tuple(1 / len(group) if k in group else 0.0 for k in range(count)) for group in groups)


def parse_channels(text: str, bands: Sequence[str]) -> Channels:
    """Read a channel map such as ``i,r,g`` or ``z,i+r,g``; bands joined by ``+`` are averaged.

    Returns
    -------
    tuple
        3 x B weights for red, green and blue; each row sums to 1.

    Raises
    ------
    BandError
        If it has not three parts, or names a band there is not.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        raise BandError(f"channels {text!r}: expected three parts, red, green and blue, as in 'i,r,g'")
    rows = []
    for part in parts:
        names = [name.strip() for name in part.split("+")]
        for name in names:
            if name not in bands:
                raise BandError(
                    f"channels {text!r}: there is no band {name!r}{nearest(name, bands)} (bands: {', '.join(bands)})"
                )
        rows.append(tuple(names.count(band) / len(names) for band in bands))
    return tuple(rows)
