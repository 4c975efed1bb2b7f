"""Source ``sdss``: the Sloan Digital Sky Survey by position, as HiPS of its five bands: the source ``hips``, set up.

Flux is resampled to a grid around each object. For the frames themselves use ``vo`` or ``fits``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from astroanomaly import ConfigError, CutoutBlock, Failure, Plan, Request, Task, option
from astroanomaly.sky import size_or_angle, size_text
from astroanomaly_plugins.hips.source import HipsOptions, HipsSource
from astroanomaly_plugins.shared.options import ArchiveOptions

__all__ = ["SdssOptions", "SdssSource"]

_SURVEY = "CDS/P/SDSS9/"
_BANDS = ("u", "g", "r", "i", "z")
_SCALE_ARCSEC = 0.396
_MOST_PIXELS = 4096


@dataclass(frozen=True)
class SdssOptions(ArchiveOptions):
    """Options of the source ``sdss``."""

    size: str = option("", "side of a cutout: pixels (64) or an angle (20arcsec)", metavar="SIZE", convert=size_text)
    bands: tuple[str, ...] = option(("g", "r", "i"), "bands to take, some of u,g,r,i,z")
    mirror: tuple[str, ...] = option(
        (), "address of a hips2fits service; several are asked in turn. Default: the CDS's two", metavar="URL"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.size:
            raise ConfigError("the size of the cutouts is missing: --size 64 (pixels) or --size 20arcsec")
        if not self.bands or not set(self.bands) <= set(_BANDS):
            raise ConfigError(f"bands={','.join(self.bands)}: expected some of {','.join(_BANDS)}")


class SdssSource:
    """Cutouts of the SDSS; see the module."""

    name = "sdss"
    summary = "Sloan Digital Sky Survey (DR9 imaging), by position, through CDS hips2fits"
    Options = SdssOptions
    fetches = True
    _hips = HipsSource()

    def plan(self, request: Request, options: SdssOptions) -> Plan:
        """Set up the source ``hips``; see `HipsSource.plan`."""
        pixels, angle = size_or_angle(options.size)
        side = pixels if pixels is not None else max(1, round((angle or 0.0) / _SCALE_ARCSEC))
        if side > _MOST_PIXELS:
            raise ConfigError(f"size={options.size!r} is {side} pixels: hips2fits gives at most {_MOST_PIXELS}")
        shared = {name: getattr(options, name) for name in ArchiveOptions.__dataclass_fields__}
        return self._hips.plan(
            request,
            HipsOptions(
                **shared,
                survey=tuple(_SURVEY + band for band in options.bands),
                size=f"{side * _SCALE_ARCSEC:.6f}arcsec",
                pixels=side,
                bands=options.bands,
                kind="flux",
                mirror=options.mirror,
            ),
        )

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Fetch the images of one task; see `HipsSource.read`."""
        yield from self._hips.read(task)
