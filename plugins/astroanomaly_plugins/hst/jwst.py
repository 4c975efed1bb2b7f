"""Source ``jwst``: cutouts of the combined images (``i2d``) of JWST around catalogue positions, from MAST.

It is the source ``hst`` with other products: MAST is asked once per cell of the sky what shows the objects. Then only
the pixels needed are read of its public files in the cloud (``--via s3``), or whole files are fetched once each
(``--via mast``). Pixels are a surface brightness, in MJy/sr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from astroanomaly import ConfigError, CutoutBlock, Failure, Plan, Request, Task, hookimpl, option
from astroanomaly.sky import arcsec_number, size_text
from astroanomaly_plugins.hst.headers import JWST_UNIT
from astroanomaly_plugins.hst.plan import Selection
from astroanomaly_plugins.hst.products import filter_name
from astroanomaly_plugins.hst.source import check_filters, plan_files, read_task
from astroanomaly_plugins.shared.options import ArchiveOptions

__all__ = ["JwstOptions", "JwstSource", "register_sources"]


@dataclass(frozen=True)
class JwstOptions(ArchiveOptions):
    """Options of the source ``jwst``."""

    size: str = option(
        help="size of a cutout: an angle (5arcsec) or pixels (64, or 64x48 as width x height)",
        metavar="SIZE",
        convert=size_text,
    )
    bands: tuple[str, ...] = option(help="filters, each a band: F444W, or F150W,F277W,F444W")
    via: Literal["s3", "mast"] = option("s3", "s3: parts of MAST's public files in the cloud; mast: whole files")
    instruments: tuple[str, ...] = option((), "instruments: NIRCAM, MIRI, NIRISS; default: all")
    proposal: tuple[str, ...] = option((), "numbers of programmes; default: all")
    exposures: Literal["all", "deepest"] = option(
        "deepest", "all: every image of an object is a cutout of its own; deepest: the longest that shows it"
    )
    pixel_scale: float = option(
        0.031, "pixel scale of the cutouts in arcsec; images of another scale are resampled", convert=arcsec_number
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filters(self.bands, "F444W or F277W,F444W")
        if not self.pixel_scale > 0:
            raise ConfigError(f"pixel_scale={self.pixel_scale}: expected arcseconds, more than 0")
        for text in self.proposal:
            if not str(text).isdigit():
                raise ConfigError(f"proposal={text!r}: expected the number of a programme, as in 1345")


class JwstSource:
    """Cutouts of JWST images; see the module."""

    name = "jwst"
    summary = "JWST images (i2d) from MAST, by position: parts of public files in the cloud, or whole files"
    Options = JwstOptions
    fetches = True

    def plan(self, request: Request, options: JwstOptions) -> Plan:
        """Find the images that show each object, by what MAST lists; no pixels are fetched.

        Raises
        ------
        CatalogError, ConfigError, UnreadableError, FetchError
            As for the source ``hst``.
        """
        selection = Selection(
            filters=tuple(filter_name(text) for text in options.bands),
            instruments=options.instruments,
            proposals=tuple(str(text).lstrip("0") for text in options.proposal),
            start=float("nan"),
            end=float("nan"),
            collections=("JWST",),
        )
        return plan_files(self.name, request, options, selection, JWST_UNIT)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        return read_task(task)


@hookimpl
def register_sources(register: Callable[[JwstSource], None]) -> None:
    """Register the source ``jwst``."""
    register(JwstSource())
