"""Options of the source ``fits``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from astroanomaly import ConfigError, GivenTable, given_catalog, option
from astroanomaly.sky import arcsec_number, size_text
from astroanomaly_plugins.shared.options import PositionOptions

__all__ = ["FitsOptions"]

_WHOLE_PIXELS = re.compile(r"\s*\d+(\s*x\s*\d+)?\s*")


def _band_entries(value: Any, name: str) -> Any:
    """Take ``{band: file}`` too, or a pattern in place of a file."""
    if not isinstance(value, Mapping):
        return value
    entries = []
    for band, what in value.items():
        if not isinstance(band, str) or not isinstance(what, str | Path):
            raise ConfigError(
                f"{name}: {type(what).__name__} for the band {band!r}: expected the path of a file or a pattern (text "
                "or pathlib.Path). Write an HDUList to a file first, or give one with a FILTER card among the inputs"
            )
        entries.append(f"{band}={Path(what).absolute() if Path(what).is_file() else what}")
    return tuple(entries)


@dataclass(frozen=True)
class FitsOptions(PositionOptions):
    """Options of the source ``fits``."""

    catalog: Path | GivenTable | None = option(  # noqa: RUF009 - option() makes a dataclass field
        None, "table of the objects to cut; without one, whole files are cutouts", convert=given_catalog
    )
    size: str = option(
        "",
        "size of a cutout: pixels (64, or 64x48 as width x height) or an angle (10arcsec)",
        metavar="SIZE",
        convert=size_text,
    )
    size_column: str = option(
        "", "catalogue column with the side of each object's cutout: an angle or pixels by its unit, else arcsec"
    )
    size_factor: float = option(1.0, "what the sizes of --size-column are multiplied by, as for a radius")
    size_rule: Literal["resample", "pad"] = option(
        "resample",
        "with --size-column: each object is resampled so that its size fills the --size pixels of the cutout, or cut "
        "in whole pixels and bordered with NaN",
    )
    bands: tuple[str, ...] = option(
        (),
        "which image is which band: NAME=FILE, NAME=FILE[EXTENSION], NAME=FILE[EXTENSION][PLANE] or NAME=PATTERN, "
        "separated by commas",
        formerly=("band",),
        convert=_band_entries,
    )
    planes: Literal["bands", "objects"] = option(
        "bands",
        "what the planes of a cube are: bands, named by BANDS in the header or by --bands, or stamps of their own",
    )
    extensions: Literal["bands", "objects"] = option(
        "bands",
        "without a catalogue, what the image extensions of a file are: bands of one object, or objects of their own",
    )
    ext: tuple[str, ...] = option((), "image extensions to take: names, NAME,VERSION or numbers, * allowed")
    auxiliary: tuple[str, ...] = option(
        (),
        "planes to carry beside the flux: weight, rms, mask, exposure, psf, or a word of the files as in dq; they are "
        "shown in the inspector and never ranked",
    )
    x: str = option("", "catalogue column of the pixel x, counted from 0 (from 1 if it ends in _IMAGE)")
    y: str = option("", "catalogue column of the pixel y")
    nodata: float | None = option(None, "pixel value that stands for no data")
    pixel_scale: float | None = option(None, "resample everything to this pixel scale in arcsec", convert=arcsec_number)
    verify: bool = option(
        False, "compare the files with the checksums (DATASUM, CHECKSUM) in their headers; reads them whole"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pixel_scale is not None and not self.pixel_scale > 0:
            raise ConfigError(f"pixel_scale={self.pixel_scale}: expected arcseconds, more than 0")
        if not self.size_factor > 0:
            raise ConfigError(f"size_factor={self.size_factor}: expected a number above 0")
        if self.size_column and (self.catalog is None or not _WHOLE_PIXELS.fullmatch(self.size)):
            raise ConfigError(
                f"--size-column {self.size_column} needs a catalogue, and --size in pixels: the shape of all cutouts "
                "of the cache"
            )
