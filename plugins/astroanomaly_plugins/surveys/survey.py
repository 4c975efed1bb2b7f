"""What sources of single surveys share: a service that is asked object by object, and what is made of its answers.

A survey is a subclass of `SurveySource` that says what its service is (`Service`) and finds the images of one object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import numpy as np

from astroanomaly import (
    BandError,
    ConfigError,
    CutoutBlock,
    Failure,
    FetchError,
    Layout,
    Plan,
    Request,
    Task,
    UnreadableError,
    fetch,
    option,
)
from astroanomaly.cutting import sky_to_pixel, tan_grid
from astroanomaly.sky import size_or_angle, size_text
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.mosaics.reading import read_tile
from astroanomaly_plugins.mosaics.tiles import Tile, make_tile
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.blocks import read_blocks
from astroanomaly_plugins.shared.columns import COLUMN
from astroanomaly_plugins.shared.facts import band_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import read_failures
from astroanomaly_plugins.shared.options import ArchiveOptions
from astroanomaly_plugins.shared.web import Web

__all__ = ["Asked", "Found", "Service", "SurveyOptions", "SurveySource"]

_OBJECTS_PER_TASK = 128
_CELL_DEG = 0.4  # neighbours on the sky are asked for after one another: services keep the images that they cut last
_HEADER_BYTES = 5760
_OF_THE_CUT = ("bands", "size", "nodata", "min_coverage", "auxiliary")
_NO_DATA_PREFIXES = ("no pixel with data", "covered to less than")  # of the reasons of read_tile for an empty image


@dataclass(frozen=True)
class Service:
    """What the service of a survey is.

    Attributes
    ----------
    title
        As the column ``archive`` names it.
    address
        Where it is asked.
    bands, usual
        All bands, and those that are taken if none are named.
    scale
        Side of a pixel in arcsec.
    most_pixels
        Longest side of a cutout that it gives.
    requests
        Requests of one object, and of each of its bands.
    unit, zero_point
        Unit of the pixels, and the AB magnitude of one of it; empty and NaN where it differs from image to image.
    nodata
        Value of pixels that the survey has not seen, where it is not NaN.
    """

    title: str
    address: str
    bands: tuple[str, ...]
    usual: tuple[str, ...]
    scale: float
    most_pixels: int
    requests: tuple[int, int]
    unit: str = ""
    zero_point: float = float("nan")
    nodata: float | None = None


@dataclass(frozen=True)
class Asked:
    """One object, and what is wanted of it.

    Attributes
    ----------
    address
        Of the service.
    ra, dec
        ICRS degrees.
    bands
        Wanted bands.
    size, scale
        Side of the cutout in pixels, and of a pixel in arcsec.
    more
        Further options of the survey, by name.
    """

    address: str
    ra: float
    dec: float
    bands: tuple[str, ...]
    size: int
    scale: float
    more: Mapping[str, Any]

    @property
    def web(self) -> Web:
        """The service's own host, and no other; files of at most 256 MB."""
        return Web((str(urlsplit(self.address).hostname),), 256.0)

    @property
    def radius_deg(self) -> float:
        """Half of the diagonal of the cutout."""
        return self.size * self.scale / 3600 / 2 * 2**0.5

    @property
    def place(self) -> str:
        """The position, as messages name it."""
        return f"RA {self.ra:.5f}, Dec {self.dec:+.5f}"


@dataclass(frozen=True, eq=False)
class Found:
    """The image of one band, what the archive calls it, its zero point, and images about it by name (``weight``)."""

    image: Image
    product: str
    zero_point: float = float("nan")
    about: Mapping[str, Image] = field(default_factory=dict)


@dataclass(frozen=True)
class SurveyOptions(ArchiveOptions):
    """Options of every survey."""

    size: str = option("", "side of a cutout: pixels (64) or an angle (20arcsec)", metavar="SIZE", convert=size_text)
    bands: tuple[str, ...] = option((), "bands to take, in the order of the cache; default: the usual ones")
    server: str = option("", "address of the service, for a mirror or a copy; default: the survey's own", metavar="URL")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.size:
            raise ConfigError("the size of the cutouts is missing: --size 64 (pixels) or --size 20arcsec")
        parts = urlsplit(self.server)
        if parts.username or parts.password:
            raise ConfigError(
                "the address of the server holds a name or a password, which would be stored: leave it out"
            )
        if self.server and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ConfigError(f"server={self.server!r}: expected an http or https address")


class SurveySource(ABC):
    """Cutouts of one survey; see the module."""

    name: ClassVar[str]
    summary: ClassVar[str]
    service: ClassVar[Service]
    Options: ClassVar[type[SurveyOptions]] = SurveyOptions
    fetches = True

    @abstractmethod
    def find(self, asked: Asked) -> Mapping[str, Found]:
        """Return the image of each band that shows an object; empty where the survey has none.

        Raises
        ------
        FetchError
            If the service fails, or sends something else.
        """

    def more(self, options: Any) -> dict[str, Any]:
        """Return the further options that `find` needs, as JSON values."""
        return {}

    def about(self, options: Any) -> tuple[str, ...]:
        """Return the kinds of images that are carried beside each band, as in ``weight``."""
        return ()

    def plan(self, request: Request, options: SurveyOptions) -> Plan:
        """Order the positions on the sky; the survey is not asked yet.

        Raises
        ------
        ConfigError, CatalogError, BandError, UnreadableError
            If nothing sensible can be asked; the message says what to give.
        """
        if request.inputs:
            raise ConfigError(
                f"{self.name} reads no files, but {request.inputs[0]} was given: positions come with --catalog"
            )
        blocks = read_blocks(options)
        bands = self._bands(options.bands)
        scale = float(self.more(options).get("pixel_scale") or self.service.scale)
        pixels, angle = size_or_angle(options.size)
        size = pixels if pixels is not None else max(1, round((angle or 0.0) / scale))
        if size > self.service.most_pixels:
            raise ConfigError(
                f"size={options.size!r} is {size} pixels of {scale:g} arcsec: {self.service.title} gives at most "
                f"{self.service.most_pixels}"
            )
        units = (self.service.unit,) * len(bands)
        planes = tuple(f"{band}:{word}" for band in bands for word in self.about(options))
        payload = {
            "kind": "cutouts",
            "server": options.server or self.service.address,
            "bands": list(bands),
            "size": [size, size],
            "scale": scale,
            "nodata": self.service.nodata,
            "min_coverage": options.min_coverage,
            "more": self.more(options),
            **({"auxiliary": list(planes)} if planes else {}),
        }
        layout = Layout(bands=bands, height=size, width=size, dtype=options.dtype, units=units, auxiliary=planes)
        once, each = self.service.requests
        nbytes = (len(bands) + len(planes)) * size**2 * 4 + _HEADER_BYTES
        facts = [
            band_fact(dict.fromkeys(bands, ()), dict(zip(bands, units, strict=True)), self.service.title),
            scale_fact([scale]),
            size_fact((size, size), scale),
        ]
        tasks = blocks.tasks(self.name, payload, _CELL_DEG, _OBJECTS_PER_TASK)
        return blocks.plan(tasks, layout, {self.service.title: (once + each * len(bands), nbytes)}, facts)

    def _bands(self, wanted: Sequence[str]) -> tuple[str, ...]:
        known = self.service.bands
        unknown = [band for band in wanted if band not in known]
        if unknown or len(set(wanted)) < len(wanted):
            wrong = f"has no band {unknown[0]!r}" if unknown else "was asked for a band twice"
            raise BandError(
                f"bands={','.join(wanted)}: {self.service.title} {wrong}; expected some of {','.join(known)}"
            )
        return tuple(wanted) or self.service.usual

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Fetch the images of the objects of one task, several at once, and cut them."""
        if task.payload["kind"] == "failures":
            yield from read_failures(task)
            return
        for row, found in fetch.each(lambda row: self.find(_asked(task, row)), range(len(task))):
            if isinstance(found, FetchError):
                yield _failure(task, row, found.reason)
            elif not found:
                yield _failure(task, row, "the survey has no image here", "no coverage")
            else:
                yield self._cut(task, row, found)

    def _cut(self, task: Task, row: int, found: Mapping[str, Found]) -> CutoutBlock | Failure:
        payload, table = task.payload, task.table
        asked = _asked(task, row)
        unit = self.service.unit
        bands = {b: replace(found[b].image, unit=unit or found[b].image.unit) for b in asked.bands if b in found}
        with ASTROPY:
            try:
                tile = make_tile(bands, None)
                if tile.tan is not None:  # bands on several grids: one around the object
                    tan = (asked.ra, asked.dec, asked.scale, asked.size, asked.size)
                    tile = Tile(bands, tan_grid(tan[:2], tan[2], tan[3:]), tan)
                about = {f"{band}:{word}": image for band, one in found.items() for word, image in one.about.items()}
                tile = replace(tile, auxiliary=about)
                if tile.grid is None:
                    return _failure(task, row, "the image has no WCS")
                x, y = sky_to_pixel(tile.grid, [asked.ra], [asked.dec])
                at = np.array([row])
                own = {name: values[at] for name, values in table.items() if name.startswith(COLUMN)}
                own |= {COLUMN + name: np.array([value]) for name, value in self._provenance(asked, found).items()}
                cuts = {name: payload[name] for name in _OF_THE_CUT if name in payload}
                place = {"id": np.asarray(table["id"])[at], "ra": np.array([asked.ra]), "dec": np.array([asked.dec])}
                (item,) = read_tile(Task("object", {**cuts, "tiles": [tile.plain]}, {**place, "x": x, "y": y, **own}))
            except (UnreadableError, OSError) as error:
                return _failure(task, row, f"what was fetched cannot be read: {type(error).__name__}")
        if isinstance(item, Failure) and item.reason.startswith(_NO_DATA_PREFIXES):
            return replace(item, kind="no coverage")
        return item

    def _provenance(self, asked: Asked, found: Mapping[str, Found]) -> dict[str, Any]:
        """Say where every band is from; bands without an image say nothing."""
        origin: dict[str, Any] = {"archive": self.service.title}
        for band in asked.bands:
            one = found.get(band)
            origin[f"product_{band}"] = one.product if one else ""
            known = float("nan") if one is None else one.zero_point
            origin[f"zero_point_{band}"] = self.service.zero_point if one and np.isnan(known) else known
        return origin


def _asked(task: Task, row: int) -> Asked:
    payload, table = task.payload, task.table
    return Asked(
        address=payload["server"],
        ra=float(table["ra"][row]),
        dec=float(table["dec"][row]),
        bands=tuple(payload["bands"]),
        size=int(payload["size"][0]),
        scale=float(payload["scale"]),
        more=payload["more"],
    )


def _failure(task: Task, row: int, reason: str, kind: Literal["failed", "no coverage"] = "failed") -> Failure:
    table = task.table
    return Failure(str(table["id"][row]), reason, float(table["ra"][row]), float(table["dec"][row]), kind)
