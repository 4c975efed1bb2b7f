"""Source ``hips``: cutouts of any survey that has a HiPS, through the service hips2fits.

* **Grid.** Every object gets a TAN grid of its own, centred on it, north up, of ``--size`` over ``--pixels``; the
  service resamples the survey to it. It is stored with the cutout, and an answer on any other grid is a failure.
* **Surveys** are bands in the order given. A colour survey gives display pixels, three bands R, G and B, and stands
  alone. ``--kind`` says which it is; else one image is fetched to find out.
* **No coverage.** An answer without any data, or of exactly one value, is no coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from astroanomaly import (
    ConfigError,
    CutoutBlock,
    Failure,
    FetchError,
    Grid,
    Layout,
    Plan,
    Request,
    Task,
    UnreadableError,
    fetch,
    hookimpl,
    option,
)
from astroanomaly.cutting import tan_grid
from astroanomaly.sky import angle_text, read_angle
from astroanomaly_plugins.hips.pixels import Pixels, read_pixels
from astroanomaly_plugins.hips.service import ask, mirrors
from astroanomaly_plugins.mosaics.files import clean
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.blocks import read_blocks
from astroanomaly_plugins.shared.columns import COLUMN
from astroanomaly_plugins.shared.facts import band_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import read_failures
from astroanomaly_plugins.shared.options import ArchiveOptions
from astroanomaly_plugins.shared.positions import Positions

__all__ = ["HipsOptions", "HipsSource", "register_sources"]

_COLOURS = ("R", "G", "B")
_OBJECTS_PER_TASK = 128
_CELL_DEG = 1.0  # neighbours on the sky are asked for after one another: they share tiles of the survey
_MAX_SIZE_ARCSEC = 90 * 3600
_PROBED_POSITIONS = 5
_HEADER_BYTES = 5760


@dataclass(frozen=True)
class HipsOptions(ArchiveOptions):
    """Options of the source ``hips``."""

    survey: tuple[str, ...] = option((), "identifier of a HiPS, as in CDS/P/DSS2/red; several are bands", metavar="ID")
    size: str = option("", "side of a cutout on the sky, as in 30arcsec", metavar="ANGLE", convert=angle_text)
    pixels: int = option(64, "side of a cutout in pixels")
    bands: tuple[str, ...] = option((), "names of the bands, one per survey; default: the last word of each identifier")
    kind: Literal["auto", "flux", "colour"] = option(
        "auto", "what the surveys hold; auto: found out by one image of each"
    )
    form: Literal["fits", "jpg", "png"] = option(
        "fits", "format asked of the service; pictures for colour surveys only"
    )
    mirror: tuple[str, ...] = option(
        (), "address of a hips2fits service; several are asked in turn. Default: the CDS's two", metavar="URL"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.survey:
            raise ConfigError("the survey is missing: --survey ID, as in --survey CDS/P/DSS2/red")
        if self.bands and len(self.bands) != len(self.survey):
            raise ConfigError(
                f"{len(self.bands)} names in bands={','.join(self.bands)} for {len(self.survey)} surveys: give one each"
            )
        if not 0 < read_angle(self.size, "arcsec", name="size") < _MAX_SIZE_ARCSEC:
            raise ConfigError(f"size={self.size!r}: expected an angle of more than 0 and less than 90 degrees")
        if not 1 <= self.pixels <= 4096:
            raise ConfigError(f"pixels={self.pixels}: expected 1 to 4096")
        if self.form != "fits" and self.kind == "flux":
            raise ConfigError(
                f"form={self.form} with kind=flux: the service would stretch each picture by itself; use form=fits"
            )


class HipsSource:
    """Any survey that has a HiPS; see the module."""

    name = "hips"
    summary = "any survey that has a HiPS, by position, through CDS hips2fits"
    Options = HipsOptions
    fetches = True

    def plan(self, request: Request, options: HipsOptions) -> Plan:
        """Order the positions on the sky; fetch at most one image of each survey, to know what it holds.

        Raises
        ------
        ConfigError, CatalogError, UnreadableError, FetchError
            If nothing sensible can be asked; the message says what to give.
        """
        if request.inputs:
            raise ConfigError(f"hips reads no files, but {request.inputs[0]} was given: positions come with --catalog")
        urls = mirrors(options.mirror)
        blocks = read_blocks(options)
        scale = read_angle(options.size, "arcsec") / options.pixels
        asked = {"mirrors": list(urls), "scale": scale, "pixels": options.pixels, "form": options.form}
        colour, units = options.kind == "colour", [""] * len(options.survey)
        if options.kind == "auto":
            colour, units = _find_kind(options.survey, asked, blocks.first)
        if colour and len(options.survey) > 1:
            raise ConfigError(
                f"{len(options.survey)} surveys of which one or all are colours: a colour survey is a cache of its "
                "own. Give one --survey"
            )
        bands = _COLOURS if colour else tuple(options.bands) or _names(options.survey)
        layout = Layout(
            bands=bands,
            height=options.pixels,
            width=options.pixels,
            dtype="uint8" if colour else options.dtype,
            pixel_kind="display" if colour else "flux",
            units=("",) * 3 if colour else tuple(units),
        )
        payload = {
            **asked,
            "kind": "cutouts",
            "surveys": list(options.survey),
            "bands": list(bands),
            "colour": colour,
            "min_coverage": options.min_coverage,
        }
        made_of = dict(zip(bands, options.survey if not colour else options.survey * 3, strict=True))
        facts = [
            band_fact(
                {band: [survey] for band, survey in made_of.items()}, dict(zip(bands, layout.units, strict=True))
            ),
            scale_fact([scale], "; every object has a TAN grid of its own, north up"),
            size_fact((options.pixels, options.pixels), scale),
        ]
        nbytes = options.pixels**2 * (3 if colour else 4) + _HEADER_BYTES
        tasks = blocks.tasks("hips", payload, _CELL_DEG, _OBJECTS_PER_TASK)
        return blocks.plan(tasks, layout, dict.fromkeys(options.survey, (1, nbytes)), facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Fetch the images of the objects of one task, several at once."""
        if task.payload["kind"] == "failures":
            yield from read_failures(task)
            return
        rows = range(len(task))
        for row, found in fetch.each(lambda row: _cutout(task, row), rows):
            if isinstance(found, FetchError):
                yield _failure(task, row, found.reason)
            else:
                yield found


def _names(surveys: tuple[str, ...]) -> tuple[str, ...]:
    """Name bands by the last word of the identifiers, by more of it where two are the same."""
    for count in (1, 2, 9):
        names = tuple(clean("_".join(survey.strip("/").split("/")[-count:])) for survey in surveys)
        if len(set(names)) == len(names):
            return names
    raise ConfigError(f"two surveys are the same: {', '.join(surveys)}")


def _find_kind(surveys: tuple[str, ...], asked: dict[str, Any], positions: Positions) -> tuple[bool, list[str]]:
    """Return whether a survey holds colours, and the units, from one image of each; a few positions are tried."""
    rows = positions.placed
    colour = False
    units: list[str] = []
    for survey in surveys:
        trouble: FetchError | None = None
        for row in rows[np.linspace(0, len(rows) - 1, min(_PROBED_POSITIONS, len(rows))).astype(int)]:
            try:
                pixels = _fetch(asked, survey, float(positions.ra[row]), float(positions.dec[row]))
            except FetchError as error:
                trouble = error
                continue
            colour, units = colour or pixels.colour, [*units, pixels.unit]
            break
        else:
            raise FetchError(
                f"what the survey {survey} holds could not be found out: {trouble}. Is this its identifier? "
                "(https://aladin.cds.unistra.fr/hips/list) If so, say --kind flux or --kind colour",
                retryable=trouble is not None and trouble.retryable,
            ) from trouble
    return colour, units


def _fetch(asked: Any, survey: str, ra: float, dec: float) -> Pixels:
    grid = _grid(asked, ra, dec)
    path = ask(asked["mirrors"], survey, grid, asked["form"])
    try:
        with ASTROPY:
            return read_pixels(path, asked["form"])
    except (UnreadableError, OSError) as error:
        reason = "what was fetched cannot be read" if path.exists() else "what was fetched is gone: give --keep-gb more"
        raise FetchError(f"{survey}: {reason}", retryable=True, reason=reason) from error


def _grid(asked: Any, ra: float, dec: float) -> Grid:
    with ASTROPY:
        return tan_grid((ra, dec), asked["scale"], (asked["pixels"], asked["pixels"]))


def _cutout(task: Task, row: int) -> CutoutBlock | Failure:
    """Put the bands of one object together."""
    payload, table = task.payload, task.table
    ra, dec = float(table["ra"][row]), float(table["dec"][row])
    parts = [_fetch(payload, survey, ra, dec) for survey in payload["surveys"]]
    for survey, part in zip(payload["surveys"], parts, strict=True):
        if part.colour != payload["colour"]:
            return _failure(task, row, f"{survey} gave {'colours' if part.colour else 'flux'}: see --kind")
    coverage = np.concatenate([part.coverage for part in parts])
    if coverage.max() <= 0:
        return _failure(task, row, "the survey has no data here", "no coverage")
    if coverage.max() < payload["min_coverage"]:
        return _failure(task, row, f"covered to less than {payload['min_coverage']:g} of its pixels", "no coverage")
    images = np.concatenate([part.images for part in parts])
    if not payload["colour"]:
        images[coverage <= 0] = np.nan
    products = payload["surveys"] * (3 if payload["colour"] else 1)
    carried = {name.removeprefix(COLUMN): values for name, values in table.items() if name.startswith(COLUMN)}
    columns = {name: values[row : row + 1] for name, values in carried.items()}
    columns |= {
        f"product_{band}": np.array([product]) for band, product in zip(payload["bands"], products, strict=True)
    }
    return CutoutBlock(
        ids=[str(table["id"][row])],
        images=images[None],
        bands=tuple(payload["bands"]),
        ra=np.array([ra]),
        dec=np.array([dec]),
        grid=_grid(payload, ra, dec),
        coverage=coverage[None],
        columns={**columns, "archive": np.array(["CDS hips2fits"])},
        units=() if payload["colour"] else tuple(part.unit for part in parts),
    )


def _failure(task: Task, row: int, reason: str, kind: Literal["failed", "no coverage"] = "failed") -> Failure:
    table = task.table
    return Failure(str(table["id"][row]), reason, float(table["ra"][row]), float(table["dec"][row]), kind)


@hookimpl
def register_sources(register: Callable[[HipsSource], None]) -> None:
    """Register the source ``hips``."""
    register(HipsSource())
