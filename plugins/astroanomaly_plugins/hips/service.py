"""Ask hips2fits for one image of one survey, from the first mirror that answers, and look at it before it is kept."""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from astroanomaly import ConfigError, FetchError, Grid, UnreadableError, fetch
from astroanomaly.cutting import check_fits, grid_from_hdu, open_fits, quiet, same_grid
from astroanomaly_plugins.shared.astropy_lock import ASTROPY

__all__ = ["MIRRORS", "ask", "mirrors", "picture", "say_size"]

MIRRORS = (
    "https://alasky.cds.unistra.fr/hips-image-services/hips2fits",
    "https://alaskybis.cds.unistra.fr/hips-image-services/hips2fits",
)
_log = logging.getLogger(__name__)
_lock = threading.Lock()
_first: dict[tuple[str, ...], int] = {}  # the mirror of a list that answered last in this process


def mirrors(given: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses to ask: those given, else what astroquery is configured for and its mirrors.

    Raises
    ------
    ConfigError
        For an address that is not http or https.
    """
    if not given:
        from astroquery.hips2fits import conf

        return tuple(dict.fromkeys((str(conf.server), *MIRRORS)))
    for url in given:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigError(f"mirror={url!r}: expected the address of a hips2fits service, as in {MIRRORS[0]}")
    return tuple(given)


def ask(urls: Sequence[str], survey: str, grid: Grid, form: str) -> Path:
    """Return the file with the image of a survey on a grid, kept or fetched.

    Parameters
    ----------
    urls
        Mirrors of the service, asked in turn where one is out of order.
    survey
        Identifier of the HiPS.
    grid
        The grid that the pixels are asked on.
    form
        ``fits``, ``jpg`` or ``png``.

    Raises
    ------
    FetchError
        If no mirror gave it, or what came is not what was asked for.
    """
    payload = _payload(survey, grid, form)
    request = {"service": "hips2fits", **payload}
    with ASTROPY:
        what = f"{survey} at {_place(grid)}"
    key = tuple(urls)
    start = _first.get(key, 0)
    for turn in range(len(urls)):
        number = (start + turn) % len(urls)
        url = urls[number]
        make = functools.partial(_download, url, payload, what, _most_bytes(grid))
        check = functools.partial(_check_alone, survey=survey, grid=grid, form=form, what=what)
        try:
            path = fetch.cached(request, make, host=url, what=what, check=check, suffix=f".{form}")
        except FetchError as error:
            if not error.retryable or turn == len(urls) - 1:
                raise
            following = urlsplit(urls[(number + 1) % len(urls)]).netloc
            _log.warning("%s is out of order (%s): asking the mirror %s", urlsplit(url).netloc, error.reason, following)
            continue
        with _lock:
            _first[key] = number
        return path
    raise ConfigError("no mirror of hips2fits was given")


def _payload(survey: str, grid: Grid, form: str) -> dict[str, str]:
    """Let astroquery write the request."""
    from astroquery.hips2fits import hips2fitsClass

    with ASTROPY, quiet():
        written = hips2fitsClass().query_with_wcs(hips=survey, wcs=grid.wcs, format=form, get_query_payload=True)
    return {name: str(value) for name, value in written.items()}


def _most_bytes(grid: Grid) -> int:
    """Bound an answer: four planes of eight bytes, and a long header."""
    return 32 * grid.shape[0] * grid.shape[1] + 2**20


def _download(url: str, payload: dict[str, str], what: str, most_bytes: int, path: Path) -> None:
    path.write_bytes(fetch.get(url, params=payload, what=what, most_bytes=most_bytes))


def _place(grid: Grid) -> str:
    ra, dec = grid.wcs.wcs.crval
    return f"RA {ra:.5f}, Dec {dec:+.5f}"


def _error(what: str, reason: str, *, retryable: bool = False) -> FetchError:
    return FetchError(f"{what}: {reason}", retryable=retryable, reason=reason)


def _check_alone(path: Path, **asked: Any) -> None:
    with ASTROPY:
        _check(path, **asked)


def _check(path: Path, *, survey: str, grid: Grid, form: str, what: str) -> None:
    """Refuse an image of another survey, on another grid, or cut short."""
    if form != "fits":
        picture(path, what, grid.shape)
        return
    fetch.is_fits(path, what)
    try:
        check_fits(path)
    except UnreadableError as error:
        raise _error(what, str(error)) from error
    with quiet(), open_fits(path) as hdulist:
        hdu = hdulist[0]
        if not hdu.is_image or hdu.shape is None or hdu.shape[-2:] != grid.shape or len(hdu.shape) not in (2, 3):
            raise _error(what, f"the image has {say_size(hdu.shape)} pixels, {say_size(grid.shape)} were asked for")
        named = re.search(r"From HiPS (\S+)", "".join(str(line) for line in hdu.header.get("HISTORY", [])))
        try:
            found = grid_from_hdu(hdu, hdulist)
        except UnreadableError as error:
            raise _error(what, "the WCS of the image cannot be understood") from error
    if named and named[1].removeprefix("ivo://").casefold() != survey.removeprefix("ivo://").casefold():
        raise _error(
            what, f"the image is of the survey {named[1]}, not of {survey}: give the full identifier with --survey"
        )
    if found is None or not same_grid(grid, found):
        raise _error(what, "the WCS of the image is not the one that was asked for")


def say_size(shape: Sequence[int] | None) -> str:
    """Spell the size of an image, width first."""
    return " x ".join(str(length) for length in reversed(shape)) if shape else "no"


def picture(path: Path, what: str, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read a JPEG or PNG as uint8 ``(3 or 4, height, width)``, in the order of FITS: the first row is the lowest.

    Parameters
    ----------
    shape
        ``(height, width)`` that it must have. None: it was compared when it came.

    Raises
    ------
    FetchError
        If it is no such picture, or cut short.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("JPEG", "PNG")) as opened:  # others start programs, or have no bounds
            if shape is not None and opened.size != shape[::-1]:
                found = say_size(opened.size[::-1])
                raise _error(what, f"the picture has {found} pixels, {say_size(shape)} were asked for")
            alpha = "A" in opened.getbands() or "transparency" in opened.info
            pixels: Any = np.asarray(opened.convert("RGBA" if alpha else "RGB"))
    except FetchError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        whole = "no picture" if isinstance(error, UnidentifiedImageError) else "a picture cut short"
        raise _error(what, f"the answer is {whole}", retryable=True) from error
    return np.moveaxis(pixels[::-1], -1, 0)
