"""Source ``hst``: cutouts of Hubble images around catalogue positions, from MAST or from ESA.

* **Archives** (``--via``). ``mast``: MAST cuts out of the Hubble Advanced Products, one request for each object.
  ``s3``: only the pixels needed are read of MAST's products in the public bucket, anonymously. ``esa``: whole products
  of the ESA Hubble Science Archive, fetched once each and cut here. ``datalabs``: these
  files in place, on ESA Datalabs.
* **Bands** are filters, in the order they are asked for. A product is believed by its header; where that clashes with
  its name or the archive's list, the object is a failure.
* **Exposures.** ``all``: each exposure is a cutout of its own, ``<product>/<catalogue id>``; ``deepest``: the one with
  the longest exposure time that has data at the object.
* **Pixels** are in electrons per second, NaN where the weight is zero. Images of the scale ``--pixel-scale`` are cut
  on their own grid; others, and filters on several grids, are resampled to a TAN grid around the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from astroanomaly import (
    CatalogError,
    ConfigError,
    CutoutBlock,
    Download,
    Fact,
    Failure,
    Layout,
    Plan,
    Request,
    Task,
    hookimpl,
    option,
)
from astroanomaly.sky import arcsec_number, size_in_pixels, size_text
from astroanomaly_plugins.hst.headers import UNIT
from astroanomaly_plugins.hst.plan import ProductPlanner, Selection, download_of_cutout
from astroanomaly_plugins.hst.products import CELL_DEG, filter_name
from astroanomaly_plugins.hst.reading import own_columns, read_cutouts, read_products
from astroanomaly_plugins.shared.blocks import read_blocks
from astroanomaly_plugins.shared.facts import band_fact, count_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import read_failures
from astroanomaly_plugins.shared.options import ArchiveOptions

__all__ = ["HstOptions", "HstSource", "check_filters", "plan_files", "read_task", "register_sources"]

_POSITIONS_PER_TASK = 64
_COLLECTIONS = ("HAP", "HAP-MVM", "HST", "HLA")


@dataclass(frozen=True)
class HstOptions(ArchiveOptions):
    """Options of the source ``hst``."""

    size: str = option(
        help="size of a cutout: an angle (5arcsec) or pixels (64, or 64x48 as width x height)",
        metavar="SIZE",
        convert=size_text,
    )
    bands: tuple[str, ...] = option(help="filters, each a band: F814W, or F606W,F814W", formerly=("filters",))
    via: Literal["mast", "s3", "esa", "datalabs"] = option(
        "mast",
        "mast: cutouts made by MAST; s3: parts of MAST's public files; esa: whole files of the ESA archive; datalabs: "
        "these files in place on ESA Datalabs",
    )
    instruments: tuple[str, ...] = option((), "instruments: ACS, ACS/WFC, WFC3/UVIS, WFC3/IR ...; default: all")
    proposal: tuple[str, ...] = option((), "numbers of HST proposals; with s3, esa and datalabs; default: all")
    date_from: str = option(
        "", "first day on which a product may begin, as 2004-01-31; with s3, esa and datalabs", metavar="DATE"
    )
    date_to: str = option("", "last day on which a product may begin; with s3, esa and datalabs", metavar="DATE")
    collections: tuple[str, ...] = option(
        ("HAP",), "with s3, esa and datalabs: HAP (visits), HAP-MVM (sky cells), HST (pipeline), HLA (legacy archive)"
    )
    exposures: Literal["all", "deepest"] = option(
        "all", "all: every exposure of an object is a cutout of its own; deepest: the longest that shows it"
    )
    pixel_scale: float = option(
        0.04, "pixel scale of the cutouts in arcsec; images of another scale are resampled", convert=arcsec_number
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pixel_scale > 0:
            raise ConfigError(f"pixel_scale={self.pixel_scale}: expected arcseconds, more than 0")
        check_filters(self.bands, "F814W or F606W,F814W")
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
                        f"--{flag} needs --via s3, --via esa or --via datalabs: the mosaics that MAST cuts from "
                        "combine all proposals and dates"
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
        selection = Selection(
            filters=tuple(filter_name(text) for text in options.bands),
            instruments=options.instruments,
            proposals=tuple(str(text).lstrip("0") for text in options.proposal),
            start=_mjd(options.date_from, "date_from", 0),
            end=_mjd(options.date_to, "date_to", 1),
            collections=tuple(name.upper() for name in options.collections),
        )
        return plan_files(self.name, request, options, selection, UNIT, cut_there=options.via == "mast")

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Cut the objects of one task."""
        return read_task(task)


def check_filters(bands: Sequence[str], example: str) -> None:
    """Refuse names that are no filters, and a filter that is named twice.

    Raises
    ------
    ConfigError
        For these.
    """
    names = [filter_name(text) for text in bands]
    if not names or not all(names):
        raise ConfigError(f"bands={','.join(bands)!r}: expected names of filters, as in {example}")
    if len(set(names)) < len(names):
        raise ConfigError(f"bands={','.join(bands)!r}: a filter is named twice")


def plan_files(
    name: str, request: Request, options: Any, selection: Selection, unit: str, *, cut_there: bool = False
) -> Plan:
    """Plan cutouts of the products of an observatory.

    Parameters
    ----------
    name
        Of the source, as messages have it.
    options
        With ``size``, ``pixel_scale``, ``via``, ``exposures`` and ``instruments``, and those of positions.
    unit
        Of the pixels.
    cut_there
        Whether the archive itself cuts, object by object.

    Raises
    ------
    CatalogError, ConfigError, UnreadableError, FetchError
        As `HstSource.plan`.
    """
    if request.inputs:
        raise ConfigError(f"the source {name} takes no files, but {request.inputs[0]!r} was given: use --catalog FILE")
    blocks = read_blocks(options)
    bands = selection.filters
    taken = sorted(set(blocks.first.columns) & own_columns(bands))
    if taken:
        raise CatalogError(
            f"the catalogue's column {taken[0]!r} has the name of one that the source adds: rename it, or leave it "
            "out with --carry"
        )
    height, width = size_in_pixels(options.size, options.pixel_scale)
    payload = {
        "via": options.via,
        "bands": list(bands),
        "size": [height, width],
        "scale": options.pixel_scale,
        "min_coverage": options.min_coverage,
        "exposures": options.exposures,
        "instruments": list(options.instruments),
        **({} if unit == UNIT else {"unit": unit}),
    }
    layout = Layout(bands=bands, height=height, width=width, dtype=options.dtype, units=(unit,) * len(bands))
    said = [
        band_fact(dict.fromkeys(bands, ()), dict.fromkeys(bands, unit), f"filters, {options.via}"),
        scale_fact([options.pixel_scale]),
        size_fact((height, width), options.pixel_scale),
    ]
    if cut_there:
        tasks = blocks.tasks("hap", {**payload, "kind": "positions"}, CELL_DEG, _POSITIONS_PER_TASK)
        each = {"HAP cutouts": (1, download_of_cutout(payload))}
        return blocks.plan(tasks, layout, each, said, without_an_image=0)
    planner = ProductPlanner(blocks, selection, payload)
    downloads: list[Download] = []
    facts: list[Fact] = []

    def counted() -> Iterator[Task]:
        yield from planner.tasks()
        downloads[:] = planner.downloads
        counts = planner.counts
        facts[:] = [*blocks.facts(without_an_image=planner.without), *said]
        facts.append(count_fact("products", list(counts), list(counts.values())))

    return Plan(list(counted()) if blocks.whole else counted(), layout, downloads, facts)


def read_task(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Cut the objects of one task."""
    kinds: dict[str, Callable[[Task], Iterator[Any]]] = {
        "positions": read_cutouts,
        "products": read_products,
        "failures": read_failures,
    }
    return kinds[task.payload["kind"]](task)


@hookimpl
def register_sources(register: Callable[[HstSource], None]) -> None:
    """Register the source ``hst``."""
    register(HstSource())
