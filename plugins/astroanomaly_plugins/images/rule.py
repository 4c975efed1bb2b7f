"""Decide from the headers of a sample how all pictures are made alike."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from astroanomaly import (
    AstroAnomalyError,
    BudgetError,
    ConfigError,
    UnreadableError,
    each_watched,
    option,
    reading,
)
from astroanomaly_plugins.images.files import Listing
from astroanomaly_plugins.images.members import Container, Place, open_container
from astroanomaly_plugins.images.pixels import Header, PictureError, PixelRule, quiet, read_header
from astroanomaly_plugins.images.table import Columns

__all__ = ["PictureOptions", "find_rule"]

_log = logging.getLogger(__name__)
_SAMPLE_SIZE = 64


@dataclass(frozen=True)
class PictureOptions:
    """Options of the source ``images``."""

    size: int = option(0, "side of the square result in pixels; 0 takes the most common size of the pictures")
    center: int = option(
        0,
        "cut a square of so many of its own pixels out of the middle of each picture, without resampling; a smaller "
        "picture gets a border (--fit pad) or becomes a failure (--fit crop); 0: the whole picture",
    )
    fit: Literal["pad", "crop"] = option(
        "pad", "pictures of another shape: fitted in whole on black, or cropped to the centre"
    )
    color: Literal["auto", "rgb", "grey"] = option(
        "auto", "three bands or one; auto: one if all pictures of a sample are grey"
    )
    kind: Literal["display", "flux"] = option(
        "display", "8-bit pictures as they look, or the linear numbers of 16-bit and floating-point files"
    )
    pages: Literal["refuse", "first"] = option(
        "refuse", "a TIFF of several pages, or a GIF or WebP that moves, becomes a failure, or its first page is taken"
    )
    icc: Literal["srgb", "ignore"] = option(
        "srgb", "colours with an ICC profile are brought to sRGB, or left as they are; flux is never touched"
    )
    sixteen_bit: Literal["scale", "percentile"] = option(
        "scale", "16-bit grey to 8: the whole range, or each picture between its percentiles 0.5 and 99.8"
    )
    table: str = option(
        "",
        "table whose columns are kept with the pictures: a file, or its name in the folder or archive; empty: "
        "labels.csv or classes.csv at the top, if there is one; none: no table",
    )
    id: str = option("", "column of the table that names the pictures (default: by name, else the first)")
    ra: str = option("", "column of the table with the longitude (right ascension)")
    dec: str = option("", "column of the table with the latitude (declination)")
    frame: str = option(
        "", "frame of the table's positions: icrs, fk5, 'fk4 B1950', galactic ...; default: by the table"
    )
    unit: str = option("", "unit of the table's positions: deg, rad, hour (of right ascension), or two as in hour,rad")
    max_pixels: int = option(50_000_000, "a picture with more pixels than this becomes a failure")
    max_file_mb: int = option(256, "a picture file larger than this, unpacked, becomes a failure")

    def __post_init__(self) -> None:
        if self.size and not 8 <= self.size <= 8192:
            raise ConfigError(f"size={self.size}: expected 8 to 8192 pixels, or 0 for the most common size")
        if self.center and not 8 <= self.center <= 8192:
            raise ConfigError(f"center={self.center}: expected 8 to 8192 pixels, or 0 for the whole picture")
        if self.center and self.size:
            raise ConfigError(
                f"size={self.size} and center={self.center}: one resizes, the other must not; give one of them (what "
                "the network sees is resized to input.size anyway)"
            )
        if bool(self.ra) != bool(self.dec):
            raise ConfigError("give both --ra and --dec, or neither")
        if self.max_pixels < 1 or self.max_file_mb < 1:
            raise ConfigError("max_pixels and max_file_mb must be at least 1")

    @property
    def columns(self) -> Columns:
        """What was said of the columns of the table."""
        return Columns(self.id, self.ra, self.dec, self.frame, self.unit)

    @property
    def max_bytes(self) -> int:
        """Largest picture file in bytes."""
        return self.max_file_mb * 2**20


def find_rule(listings: list[Listing], options: PictureOptions) -> PixelRule:
    """Decide colour and size from the headers of up to 64 evenly spaced pictures.

    Raises
    ------
    UnreadableError
        If no picture can be read at all.
    ConfigError
        If the pictures have no natural black and white and the options do not say what to do.
    """
    headers = _sample_headers(listings, options)
    color = options.color
    if color == "auto":
        color = "rgb" if any(header.colour for header in headers) else "grey"
    if options.kind == "display" and options.sixteen_bit == "scale" and all(header.unscaled for header in headers):
        raise ConfigError(
            "these pictures hold floating-point, signed or 32-bit numbers, which have no natural black and white: give "
            "--kind flux to keep them linear, or --sixteen-bit percentile to stretch each picture by itself"
        )
    height = width = options.size or options.center
    if not height:
        counted = Counter((header.height, header.width) for header in headers)
        common = [size for size, count in counted.items() if count == max(counted.values())]
        height, width = sorted(common, key=lambda size: (size[0] * size[1], size))[(len(common) - 1) // 2]
        if max(height, width) > 1024:
            _log.warning("pictures are kept at %d x %d pixels; --size makes them smaller", width, height)
    return PixelRule(
        color,
        height,
        width,
        options.kind,
        options.fit,
        options.sixteen_bit,
        options.max_pixels,
        options.center,
        options.pages,
        options.icc,
    )


def _sample_headers(listings: list[Listing], options: PictureOptions) -> list[Header]:
    """Read the headers of evenly spaced pictures; if none of these can be read, go on until one can.

    Raises
    ------
    UnreadableError
        If no picture can be read at all.
    """
    total = sum(map(len, listings))
    chosen = np.unique(np.linspace(0, total - 1, _SAMPLE_SIZE).round().astype(int))
    reasons: Counter[str] = Counter()
    headers = list(_headers(listings, chosen, options, reasons))
    for start in range(0, 0 if headers else total, _SAMPLE_SIZE):
        headers = list(_headers(listings, range(start, min(start + _SAMPLE_SIZE, total)), options, reasons))
        if headers:
            break
    if not headers:
        raise UnreadableError(
            f"none of the {total} pictures in {', '.join(listing.container.path for listing in listings)} can be read; "
            f"most frequent reason: {reasons.most_common(1)[0][0]}"
        )
    return headers


def _headers(
    listings: list[Listing], chosen: Sequence[int] | np.ndarray, options: PictureOptions, reasons: Counter[str]
) -> Iterator[Header]:
    first, samples = 0, []
    for listing in listings:
        here = [int(number) - first for number in chosen if first <= number < first + len(listing)]
        first += len(listing)
        if here:
            members = tuple((listing.members[number], tuple(listing.place(number))) for number in here)
            samples.append(_Sample(listing.container, members, options.max_bytes, options.max_pixels))
    for found in each_watched(_read_headers, samples):
        if isinstance(found, AstroAnomalyError):
            raise found
        for header in found:
            if isinstance(header, Header):
                yield header
            else:
                reasons[header] += 1


@dataclass(frozen=True)
class _Sample:
    """Some pictures of one container, with their places, and the limits on them."""

    container: Container
    members: tuple[tuple[str, Place], ...]
    max_bytes: int
    max_pixels: int


def _read_headers(sample: _Sample) -> list[Header | str]:
    """Read the headers of some pictures; of one that cannot be read, the reason."""
    found: list[Header | str] = []
    with open_container(sample.container, sample.max_bytes) as fetch, quiet():
        for member, place in sample.members:
            try:
                with reading(sample.container.name_of(member), nbytes=0):
                    found.append(read_header(fetch(member, place), sample.max_pixels))
            except (PictureError, BudgetError) as error:
                found.append(str(error))
    return found
