"""Source ``vo``: cutouts from any data centre with an IVOA image service (SIA2, or TAP with ObsCore).

* **Service.** Its capabilities say which protocol it speaks; positions are searched for in cells of the sky.
* **Images.** Those of a wanted band are ranked per object: the whole cutout inside, calibration level, exposure,
  distance to the edge. Where the best has no data, the next is taken, up to three.
* **Pixels.** SODA cutouts where datalink offers them; else whole files, each fetched once for all its objects.
* **Grids.** Cutouts are integer crops of the archive's own grid. Bands on different grids, and everything if
  ``--pixel-scale`` is given, are resampled to an explicit TAN grid.
* **Addresses.** Only http and https, on the service's own host or one named with ``--hosts``, redirects included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from astroanomaly import (
    BandError,
    ConfigError,
    CutoutBlock,
    Download,
    Fact,
    Failure,
    FootprintError,
    Layout,
    Plan,
    Request,
    Task,
    fetch,
    hookimpl,
    option,
)
from astroanomaly.sky import arcsec_number, size_or_angle, size_text
from astroanomaly_plugins.mosaics.bands import sort_bands
from astroanomaly_plugins.shared.blocks import read_blocks
from astroanomaly_plugins.shared.facts import band_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import NO_POSITION, read_failures
from astroanomaly_plugins.shared.options import ArchiveOptions
from astroanomaly_plugins.shared.positions import Positions
from astroanomaly_plugins.shared.web import Web
from astroanomaly_plugins.vo.bands import BandChoice
from astroanomaly_plugins.vo.plan import Candidates, find_candidates, one_by_one
from astroanomaly_plugins.vo.probe import probe
from astroanomaly_plugins.vo.reading import read_objects
from astroanomaly_plugins.vo.service import Selection, find_service, is_address
from astroanomaly_plugins.vo.tasks import best_images, downloads, find_ways, make_tasks

__all__ = ["VoOptions", "VoSource", "register_sources"]

_DEFAULT_HALF_SIZE_DEG = 30 / 3600  # half of a cutout whose size in pixels is known and whose pixels are not


@dataclass(frozen=True)
class VoOptions(ArchiveOptions):
    """Options of the source ``vo``."""

    service: str = option("", "address of an SIA2 or ObsTAP service, with or without /query, /sync", metavar="URL")
    size: str = option("", "side of a cutout: pixels (64) or an angle (20arcsec)", metavar="SIZE", convert=size_text)
    bands: tuple[str, ...] = option(
        (), "bands to take: NAME, NAME=PATTERN for filter or title, or NAME=400..550nm; default: all"
    )
    collection: tuple[str, ...] = option((), "collections to take (obs_collection); default: all")
    instrument: tuple[str, ...] = option((), "instruments to take (instrument_name); default: all")
    kind: Literal["auto", "sia2", "tap"] = option("auto", "protocol of the service; auto: by its capabilities")
    via: Literal["auto", "soda", "whole"] = option(
        "auto", "how pixels come; auto: SODA cutouts if offered, else whole files"
    )
    hosts: tuple[str, ...] = option((), "other hosts the data may come from, as in data.example.org or *.example.org")
    login: tuple[str, ...] = option(
        (), "hosts to log in at, by VO_TOKEN, VO_USER and VO_PASSWORD, VO_CERTIFICATE or the file VO_CREDENTIALS"
    )
    exposures: Literal["best", "all"] = option(
        "best", "best: the best image of each band; all: every image of a band is a cutout of its own"
    )
    max_mb: float = option(4000.0, "largest file that is fetched, in megabytes")
    ext: tuple[str, ...] = option((), "image extensions to take: names, NAME,VERSION or numbers, * allowed")
    check_band: bool = option(True, "an image whose header names another band than the service does is a failure")
    pixel_scale: float | None = option(None, "resample everything to this pixel scale in arcsec", convert=arcsec_number)
    nodata: float | None = option(None, "pixel value that stands for no data")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_address(self.service):
            raise ConfigError(f"service={self.service!r}: expected the http or https address of an SIA2 or TAP service")
        if urlsplit(self.service).password or urlsplit(self.service).username:
            raise ConfigError(
                "the address of the service holds a password, which would be stored: leave it out and use --login"
            )
        if self.exposures == "all" and len(self.bands) != 1:
            raise ConfigError(
                "exposures=all needs one band (--bands NAME): which images of several bands belong together, services "
                "do not say"
            )
        if self.pixel_scale is not None and not self.pixel_scale > 0:
            raise ConfigError(f"pixel_scale={self.pixel_scale}: expected arcseconds, more than 0")
        if not self.max_mb > 0:
            raise ConfigError(f"max_mb={self.max_mb}: expected megabytes, more than 0")
        if not self.size:
            raise ConfigError("the size of the cutouts is missing: --size 64 (pixels) or --size 20arcsec")


class VoSource:
    """Any IVOA image service; see the module."""

    name = "vo"
    summary = "any data centre with an IVOA image service (SIA2 or ObsTAP, SODA cutouts)"
    Options = VoOptions
    fetches = True

    def plan(self, request: Request, options: VoOptions) -> Plan:
        """Search for the images around all positions and choose those of each object.

        Raises
        ------
        ConfigError, CatalogError, BandError, FetchError
            If nothing sensible can be asked; the message says what to give.
        FootprintError
            If the service has no image of any object.
        """
        if request.inputs:
            raise ConfigError(f"vo reads no files, but {request.inputs[0]} was given: positions come with --catalog")
        choice = BandChoice(options.bands)
        pixels, angle = size_or_angle(options.size)
        host = str(urlsplit(options.service).hostname)
        web = Web((host, *options.hosts), options.max_mb, options.login)
        fetch.read_account(options.login, "VO")  # what is wrong with it is said before anything is asked
        blocks = read_blocks(options, options.login)
        if not blocks.whole and not options.bands:
            raise ConfigError("a catalogue in partitions needs the names of the bands: --bands NAME")
        service = find_service(options.service, options.kind, web)
        half = _DEFAULT_HALF_SIZE_DEG if angle is None else angle / 3600 / 2 * 2**0.5
        if pixels is not None and options.pixel_scale is not None:
            half = pixels * options.pixel_scale / 3600 / 2 * 2**0.5
        wanted = Selection(options.collection, options.instrument)
        every = options.exposures == "all"

        def search() -> Iterator[tuple[Candidates, Positions]]:
            for _, positions in blocks:
                found = find_candidates(service, web, positions, wanted, choice, half, every=every)
                yield one_by_one(found, positions) if every else (found, positions)

        searched = search()
        begun = list(_to_first_image(searched))
        found, positions = begun[-1]
        shown = {band for best in found.rows.values() for band in best}
        if not shown:
            raise FootprintError(_nothing(options, blocks.total - blocks.unplaced, found) + blocks.first.remark)
        absent = [name for name in choice.names if name not in shown] if blocks.whole else []
        if absent:
            raise _no_band(options, absent[0])
        bands = (options.bands and found.bands) or sort_bands(found.bands)
        payload: dict[str, Any] = {
            "kind": "objects",
            "service": options.service,
            "bands": list(bands),
            "hosts": list(web.hosts),
            "most_mb": options.max_mb,
            **({"login": list(options.login)} if options.login else {}),
            "via": options.via,
            "ext": list(options.ext),
            "check_band": options.check_band,
            "pixel_scale": options.pixel_scale,
            "nodata": options.nodata,
            "min_coverage": options.min_coverage,
        }
        first_ways = find_ways(found, bands, web, options.via)
        known = probe(found, positions, payload, (pixels, angle))
        size = pixels if pixels is not None else max(1, round((angle or 0.0) / known.scale))
        if size > 16384:
            raise ConfigError(f"size={options.size!r} is {size} pixels: expected 1 to 16384")
        payload |= {"size": [size, size], "scale": known.scale}
        layout = Layout(bands=tuple(bands), height=size, width=size, dtype=options.dtype, units=tuple(known.units))
        fetched: list[Download] = []
        facts: list[Fact] = []

        def tasks() -> Iterator[Task]:
            images: dict[str, dict[str, None]] = {band: {} for band in bands}
            without = 0
            for number, (here, objects) in enumerate(itertools.chain(begun, searched)):
                shows = any(here.rows.values())
                ways = first_ways if here is found else find_ways(here, bands, web, options.via) if shows else {}
                yield from make_tasks(here, objects, bands, payload, ways, number)
                nowhere = np.array([row for row in objects.placed if not here.rows.get(int(row))], dtype=np.int64)
                key = f" {number}" if number else ""
                yield from objects.failures(f"nowhere{key}", nowhere, "the service has no image here", "no coverage")
                yield from objects.failures(f"no position{key}", objects.unplaced, NO_POSITION, "no position")
                without += len(nowhere)
                fetched.extend(downloads(here, bands, ways, size))
                for band, numbers in best_images(here, tuple(bands)).items():
                    images[band].update(dict.fromkeys(here.products[each].did for each in numbers))
            absent = [band for band in choice.names if not images[band]]
            if absent:
                raise _no_band(options, absent[0])
            note = " (of the first image looked at)" if options.pixel_scale is None else ""
            units = dict(zip(bands, known.units, strict=True))
            facts[:] = [
                *blocks.facts(without_an_image=without),
                band_fact({band: list(names) for band, names in images.items()}, units, options.service),
                scale_fact([known.scale], note),
                size_fact((size, size), known.scale),
            ]

        return Plan(list(tasks()) if blocks.whole else tasks(), layout, fetched, facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Fetch and cut the objects of one task."""
        yield from read_failures(task) if task.payload["kind"] == "failures" else read_objects(task)


def _to_first_image(searched: Iterator[tuple[Candidates, Positions]]) -> Iterator[tuple[Candidates, Positions]]:
    """Search for the images of one block after another, until some are found."""
    for found, positions in searched:
        yield found, positions
        if any(found.rows.values()):
            return


def _no_band(options: VoOptions, band: str) -> BandError:
    return BandError(
        f"{options.service} lists no image of any object in the band {band!r}: leave it out, or say what its filter is "
        f"called, as in --bands {band}=PATTERN; --dry-run without it tells what there is"
    )


def _nothing(options: VoOptions, count: int, found: Candidates) -> str:
    asked = [f"--{name} {','.join(getattr(options, name))}" for name in ("bands", "collection", "instrument")]
    chosen = [
        text for text, name in zip(asked, ("bands", "collection", "instrument"), strict=True) if getattr(options, name)
    ]
    why = f" with {' '.join(chosen)}: leave it out to see what there is" if chosen else ""
    return (
        f"{options.service} lists no FITS image of any of the {count} positions{why} ({found.queries} searches, "
        f"{len(found.products)} images)."
    )


@hookimpl
def register_sources(register: Callable[[VoSource], None]) -> None:
    """Register the source ``vo``."""
    register(VoSource())
