"""Source ``hst``: cutouts of Hubble images around catalogue positions, from MAST or from ESA.

* **Archives** (``--via``). ``mast``: MAST cuts out of the Hubble Advanced Products, one request for each object.
  ``s3``: only the pixels needed are read of MAST's products in the public bucket, anonymously. ``esa``: whole products
  of the ESA Hubble Science Archive, fetched once each and cut here.
* **Bands** are filters, in the order they are asked for. A product is believed by its header; where that clashes with
  its name or the archive's list, the object is a failure.
* **Exposures.** ``all``: each exposure is a cutout of its own, ``<product>/<catalogue id>``; ``deepest``: the one with
  the longest exposure time that has data at the object.
* **Pixels** are in electrons per second, NaN where the weight is zero. Images of the scale ``--pixel-scale`` are cut
  on their own grid; others, and filters on several grids, are resampled to a TAN grid around the object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from astroanomaly import (
    Catalog,
    CatalogError,
    ConfigError,
    CutoutBlock,
    Failure,
    Layout,
    Plan,
    Request,
    Task,
    hookimpl,
    option,
    read_catalog,
)
from astroanomaly_plugins.hst.headers import UNIT
from astroanomaly_plugins.hst.plan import Objects, Selection, plan_positions, plan_products
from astroanomaly_plugins.hst.products import filter_name
from astroanomaly_plugins.hst.reading import own_columns, read_failures, read_positions, read_products
from astroanomaly_plugins.mosaics.tiles import size_in_pixels
from astroanomaly_plugins.shared.columns import COLUMN, carried

__all__ = ["HstOptions", "HstSource", "register_sources"]

_log = logging.getLogger(__name__)
_COLLECTIONS = ("HAP", "HAP-MVM", "HST", "HLA")


@dataclass(frozen=True)
class HstOptions:
    """Options of the source ``hst``."""

    catalog: Path = option(help="table of the objects to cut")  # noqa: RUF009 - option() makes a dataclass field
    size: str = option(
        help="size of a cutout: an angle (5arcsec) or pixels (64, or 64x48 as width x height)", metavar="SIZE"
    )
    filters: tuple[str, ...] = option(help="filters, each a band: F814W, or F606W,F814W")
    via: Literal["mast", "s3", "esa"] = option(
        "mast", "mast: cutouts made by MAST; s3: parts of MAST's public files; esa: whole files of the ESA archive"
    )
    instruments: tuple[str, ...] = option((), "instruments: ACS, ACS/WFC, WFC3/UVIS, WFC3/IR ...; default: all")
    proposal: tuple[str, ...] = option((), "numbers of HST proposals; with s3 and esa; default: all")
    date_from: str = option(
        "", "first day on which a product may begin, as 2004-01-31; with s3 and esa", metavar="DATE"
    )
    date_to: str = option("", "last day on which a product may begin; with s3 and esa", metavar="DATE")
    collections: tuple[str, ...] = option(
        ("HAP",), "with s3 and esa: HAP (visits), HAP-MVM (sky cells), HST (pipeline), HLA (legacy archive)"
    )
    exposures: Literal["all", "deepest"] = option(
        "all", "all: every exposure of an object is a cutout of its own; deepest: the longest that shows it"
    )
    pixel_scale: float = option(0.04, "pixel scale of the cutouts in arcsec; images of another scale are resampled")
    ra: str = option("", "catalogue column of the longitude (right ascension)")
    dec: str = option("", "catalogue column of the latitude (declination)")
    frame: str = option("", "frame of the positions, as astropy calls it: icrs, fk5, galactic ...; default: by column")
    id: str = option("", "catalogue column of the object id")
    carry: tuple[str, ...] = option(("*",), "catalogue columns to keep with the cutouts; * for all, none for none")
    min_coverage: float = option(0.0, "smallest share of covered pixels, 0 to 1, in the best band; below, a failure")
    dtype: Literal["float32", "float16"] = option("float32", "how flux is stored")

    def __post_init__(self) -> None:
        if not 0 <= self.min_coverage <= 1:
            raise ConfigError(f"min_coverage={self.min_coverage}: expected 0 to 1")
        if not self.pixel_scale > 0:
            raise ConfigError(f"pixel_scale={self.pixel_scale}: expected arcseconds, more than 0")
        names = [filter_name(text) for text in self.filters]
        if not names or not all(names):
            raise ConfigError(
                f"filters={','.join(self.filters)!r}: expected names of filters, as in F814W or F606W,F814W"
            )
        if len(set(names)) < len(names):
            raise ConfigError(f"filters={','.join(self.filters)!r}: a filter is named twice")
        for name in self.collections:
            if name.upper() not in _COLLECTIONS:
                raise ConfigError(f"collections={name!r}: expected some of {', '.join(_COLLECTIONS)}")
        for text in self.proposal:
            if not str(text).isdigit():
                raise ConfigError(f"proposal={text!r}: expected the number of a proposal, as in 9822")
        if _mjd(self.date_from, "date_from", 0) > _mjd(self.date_to, "date_to", 1):
            raise ConfigError(f"date_from={self.date_from!r} is after date_to={self.date_to!r}")
        if self.via == "mast":
            for flag, value in (("proposal", self.proposal), ("date-from", self.date_from), ("date-to", self.date_to)):
                if value:
                    raise ConfigError(
                        f"--{flag} needs --via s3 or --via esa: the mosaics that MAST cuts from combine all proposals "
                        "and dates"
                    )


def _mjd(text: str, name: str, days: int) -> float:
    """Read a day; the last one counts to its end."""
    if not text:
        return float("nan")
    from astropy.time import Time

    try:
        return float(Time(text).mjd) + (days if len(text.strip()) <= 10 else 0)
    except ValueError:
        raise ConfigError(f"{name}={text!r}: expected a day, as in 2004-01-31") from None


class HstSource:
    """Cutouts of Hubble images; see the module."""

    name = "hst"
    summary = "Hubble images from MAST (cutouts, or parts of files in the cloud) or the ESA Hubble archive, by position"
    Options = HstOptions
    fetches = True

    def plan(self, request: Request, options: HstOptions) -> Plan:
        """Find the products that show each object, by what the archive lists; no pixels are fetched.

        Raises
        ------
        CatalogError, ConfigError, UnreadableError
            If the catalogue has no positions.
        FetchError
            If the archive cannot say what it has.
        """
        if request.inputs:
            raise ConfigError(f"the source hst takes no files, but {request.inputs[0]!r} was given: use --catalog FILE")
        catalog = read_catalog(
            options.catalog,
            ra=options.ra or None,
            dec=options.dec or None,
            id=options.id or None,
            frame=options.frame or None,
        )
        if catalog.ra is None or catalog.dec is None:
            raise CatalogError(
                f"{options.catalog} has pixel positions only: expected sky positions (--ra COLUMN --dec COLUMN). Its "
                f"columns: {', '.join(catalog.columns.colnames)}"
            )
        bands = tuple(filter_name(text) for text in options.filters)
        height, width = size_in_pixels(options.size, options.pixel_scale)
        payload = {
            "via": options.via,
            "bands": list(bands),
            "size": [height, width],
            "scale": options.pixel_scale,
            "min_coverage": options.min_coverage,
            "exposures": options.exposures,
            "instruments": list(options.instruments),
        }
        objects = Objects(catalog.ids, catalog.ra, catalog.dec, _carried(catalog, options.carry, bands))
        if options.via == "mast":
            tasks, downloads = plan_positions(objects, payload)
        else:
            selection = Selection(
                filters=bands,
                instruments=options.instruments,
                proposals=tuple(str(text).lstrip("0") for text in options.proposal),
                start=_mjd(options.date_from, "date_from", 0),
                end=_mjd(options.date_to, "date_to", 1),
                collections=tuple(name.upper() for name in options.collections),
            )
            tasks, downloads = plan_products(objects, selection, payload)
        layout = Layout(bands=bands, height=height, width=width, dtype=options.dtype, units=(UNIT,) * len(bands))
        return Plan(tasks, layout, downloads)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        kinds: dict[str, Callable[[Task], Iterator[Any]]] = {
            "positions": read_positions,
            "products": read_products,
            "failures": read_failures,
        }
        return kinds[task.payload["kind"]](task)


def _carried(catalog: Catalog, wanted: Sequence[str], bands: Sequence[str]) -> dict[str, Any]:
    """Pick the catalogue columns that ride along, under their names in a task."""
    found = carried(catalog.columns, wanted)
    taken = sorted(set(found) & set(own_columns(bands)))
    if taken:
        raise CatalogError(
            f"the catalogue's column {taken[0]!r} has the name of one that the source adds: rename it, or leave it out "
            "with --carry"
        )
    return {COLUMN + name: column for name, column in found.items()}


@hookimpl
def register_sources(register: Callable[[HstSource], None]) -> None:
    """Register the source ``hst``."""
    register(HstSource())
