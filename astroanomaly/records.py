"""Frozen values that cross module borders: grids, cutouts, failures, tasks, labels, progress."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from astroanomaly.arguments import as_mapping
from astroanomaly.errors import AstroAnomalyError, BandError, CacheError, PluginError
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.html import facts_html, image_html, png_bytes
from astroanomaly.imaging.orientation import native, orient
from astroanomaly.imaging.painting import Painter, rgb_of

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.io.fits import HDUList
    from astropy.nddata import NDData
    from astropy.wcs import WCS

from astroanomaly.cutting.directions import sky_scales
from astroanomaly.cutting.grids import Grid, crop_wcs
from astroanomaly.cutting.hdus import image_hdus, put_card

__all__ = [
    "ANOMALY",
    "DEFAULT_RANKER",
    "NOMINAL",
    "Cutout",
    "CutoutBlock",
    "Download",
    "Fact",
    "Failure",
    "FeatureBlock",
    "Labelled",
    "Layout",
    "Plan",
    "Progress",
    "Request",
    "ShardScores",
    "Task",
    "counted",
    "drain",
]

NOMINAL = "nominal"
ANOMALY = "anomaly"
DEFAULT_RANKER = "auto"  # what the labels and the images are enough for

_SHOWN_SIDE = 256  # CSS pixels of a cutout in a notebook
_SHOWN_COLUMNS = 20  # catalogue columns beside it

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST_FACT_LETTERS = 2000
_MOST_FACT_BYTES = 65_536  # of its value as JSON


@dataclass(frozen=True)
class Layout:
    """Layout of all cutouts of one cache: bands, size, kind of pixels.

    Parameters
    ----------
    bands
        Band names, unique, in the order of the first image axis.
    height, width
        Size of every cutout in pixels.
    dtype
        NumPy name of the stored type: ``float32`` or ``float16`` for flux, ``uint8`` for display.
    pixel_kind
        ``flux`` (linear) or ``display`` (8-bit pictures, or flux that was stretched at ingest).
    units
        One FITS unit string per band, empty where unknown.
    stretch
        For a display cache made from flux: the stretch that was applied, as the text of its settings. Else empty.
    auxiliary
        Names of the planes about a band (``g:weight``, ``g:mask``) that are stored behind the bands. They are shown to
        people, and never ranked, painted or stretched.
    """

    bands: tuple[str, ...]
    height: int
    width: int
    dtype: str = "float32"
    pixel_kind: Literal["flux", "display"] = "flux"
    units: tuple[str, ...] = ()
    stretch: str = ""
    auxiliary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "auxiliary", tuple(self.auxiliary))
        object.__setattr__(self, "units", tuple(self.units) or ("",) * len(self.bands))
        if not self.bands:
            raise BandError("a cache needs at least one band; none was given")
        every = self.bands + self.auxiliary
        doubled = sorted({band for band in every if every.count(band) > 1})
        if doubled:
            raise BandError(f"band {doubled[0]!r} occurs more than once in {list(every)}; give each band its own name")
        if len(self.units) != len(self.bands):
            raise BandError(f"{len(self.units)} units for {len(self.bands)} bands: give one unit per band")
        if self.height < 1 or self.width < 1:
            raise CacheError(f"a cutout needs at least one pixel, not {self.height} x {self.width}")
        allowed = {"flux": ("float32", "float16"), "display": ("uint8",)}
        if self.pixel_kind not in allowed:
            raise CacheError(f"pixel kind {self.pixel_kind!r} is not one of {sorted(allowed)}")
        if self.dtype not in allowed[self.pixel_kind]:
            raise CacheError(
                f"a {self.pixel_kind} cache stores {' or '.join(allowed[self.pixel_kind])}, not {self.dtype!r}"
            )

    @property
    def stored(self) -> Layout:
        """The layout of a shard, whose bands are all planes that are stored."""
        if not self.auxiliary:
            return self
        units = self.units + ("",) * len(self.auxiliary)
        return replace(self, bands=self.bands + self.auxiliary, units=units, auxiliary=())

    @property
    def of_auxiliary(self) -> Layout:
        """The layout of the auxiliary planes alone; there must be some."""
        return replace(self, bands=self.auxiliary, units=("",) * len(self.auxiliary), auxiliary=())

    @property
    def nbytes(self) -> int:
        """Bytes of one stored cutout."""
        return len(self.bands + self.auxiliary) * self.height * self.width * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False, repr=False)
class Cutout:
    """The pixels of one object, with its id, position and WCS.

    Parameters
    ----------
    object_id
        The object's id, unique across a session.
    data
        ``(bands, height, width)``; flux is float32 in the units of ``units`` with NaN where there is no data, display
        pixels are uint8 in 0..255.
    bands
        Band names, one per plane of ``data``.
    ra, dec
        ICRS position in degrees, NaN where unknown.
    grid
        The stored grid that ``data`` is a crop of, or None for a picture without a WCS.
    offset
        ``(x, y)`` of the first pixel on the grid, zero-based.
    coverage
        ``(bands,)`` share of pixels with data, 0 to 1; None means it is to be measured.
    columns
        Catalogue columns carried along, by name.
    units
        One FITS unit string per band.
    """

    object_id: str
    data: np.ndarray
    bands: tuple[str, ...]
    ra: float = float("nan")
    dec: float = float("nan")
    grid: Grid | None = None
    offset: tuple[int, int] = (0, 0)
    coverage: np.ndarray | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    units: tuple[str, ...] = ()

    @property
    def coord(self) -> SkyCoord | None:
        """ICRS position, or None where it is unknown."""
        if not (np.isfinite(self.ra) and np.isfinite(self.dec)):
            return None
        from astropy.coordinates import SkyCoord

        return SkyCoord(self.ra, self.dec, unit="deg", frame="icrs")

    @cached_property
    def wcs(self) -> WCS | None:
        """WCS of the cutout; pixel (0, 0) is its first pixel. None without a grid."""
        if self.grid is None:
            return None
        return crop_wcs(self.grid.wcs, self.offset, self.data.shape[-2:])

    def painted_by(self, paint: Callable[[], np.ndarray]) -> Cutout:
        """Return it with what gives its picture, ``(height, width, 3)`` uint8, as a cache does for its cutouts.

        A copy that went through pickle paints its own pixels again.
        """
        made = replace(self)
        object.__setattr__(made, "_paint", paint)
        return made

    def _rgb(self) -> np.ndarray:
        """``(height, width, 3)`` uint8 picture: as the cache paints it, else between levels of its own pixels."""
        paint = getattr(self, "_paint", None)
        if paint is not None:
            with contextlib.suppress(AstroAnomalyError, OSError):  # the cache has gone meanwhile; the pixels are here
                return paint()
        kind, shape = "display" if self.data.dtype == np.uint8 else "flux", self.data.shape[-2:]
        stored, scales = native(kind, "", has_wcs=self.grid is not None), None
        if self.grid is not None:
            x, y = (first + (length - 1) / 2 for first, length in zip(self.offset, shape[::-1], strict=True))
            scales = sky_scales([(self.grid, x, y)])[0]
        painter = Painter(
            self.data[None], self.bands, lambda _: (), orient=lambda wanted: [orient(stored, scales, wanted, shape)]
        )
        return rgb_of(painter.paint(Display.for_pixels(kind))[0])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_paint"}

    def __repr__(self) -> str:
        height, width = self.data.shape[-2:]
        place = f" at {self._place}" if self._place else ""
        return f"<Cutout {self.object_id!r}{place}, bands {', '.join(self.bands)}, {height} x {width} pixels>"

    @property
    def _place(self) -> str:
        """The position in degrees as text, empty where it is unknown."""
        return f"{self.ra:.6f} {self.dec:+.6f}" if np.isfinite(self.ra) and np.isfinite(self.dec) else ""

    def _repr_png_(self) -> bytes:
        return png_bytes(self._rgb())

    def _repr_html_(self) -> str:
        units = tuple(self.units) or ("",) * len(self.bands)
        facts = [
            ("object", self.object_id),
            ("position", f"{self._place} (ICRS, degrees)" if self._place else "unknown"),
            ("bands", ", ".join(f"{b} [{u}]" if u else b for b, u in zip(self.bands, units, strict=True))),
            ("pixels", f"{self.data.shape[-2]} x {self.data.shape[-1]}"),
            *itertools.islice(((str(name), str(value)) for name, value in self.columns.items()), _SHOWN_COLUMNS),
        ]
        return f"<div>{image_html(self._rgb(), _SHOWN_SIDE, self.object_id)}{facts_html(facts)}</div>"

    def band(self, name: str) -> np.ndarray:
        """Return the ``(height, width)`` plane of one band.

        Raises
        ------
        BandError
            If there is no such band.
        """
        if name not in self.bands:
            raise BandError(f"object {self.object_id!r} has no band {name!r}; its bands are {list(self.bands)}")
        return self.data[self.bands.index(name)]

    def nddata(self, band: str | None = None) -> NDData:
        """View one band as `astropy.nddata.NDData` with mask, WCS and unit; the pixels are shared, not copied.

        Parameters
        ----------
        band
            Name of the band; may be left out when there is only one.
        """
        from astropy.nddata import NDData
        from astropy.units import Unit

        if band is None:
            if len(self.bands) > 1:
                raise BandError(f"object {self.object_id!r} has the bands {list(self.bands)}: say which one")
            band = self.bands[0]
        plane = self.band(band)
        unit = self.units[self.bands.index(band)] if self.units else ""
        return NDData(
            plane,
            mask=~np.isfinite(plane),
            wcs=self.wcs,
            unit=Unit(unit, parse_strict="silent") if unit else None,
            meta={"object_id": self.object_id, "band": band, **self.columns},
        )

    @property
    def cards(self) -> dict[str, tuple[Any, str]]:
        """Id and position as cards of a FITS header: value and comment by keyword; NaN where there is no position."""
        return {
            "OBJECT": (self.object_id, "object id"),
            "RA": (float(self.ra), "[deg] right ascension (ICRS)"),
            "DEC": (float(self.dec), "[deg] declination (ICRS)"),
        }

    def to_hdulist(self, cards: Mapping[str, Any] | None = None) -> HDUList:
        """Return the cutout as FITS: an empty primary HDU, then one image extension for each band.

        Every extension has the whole WCS, distortions and lookup tables included, ``EXTNAME`` and ``BAND`` with the
        band's name, ``BUNIT`` and ``COVERAGE``; pixels keep their type. The primary header has ``OBJECT`` and, where
        the position is known, ``RA`` and ``DEC`` in degrees and ``RADESYS``, which is ICRS. The frame of the WCS is
        that of the image. Texts are spelt in ASCII.

        Parameters
        ----------
        cards
            Further cards of the primary header: values, or ``(value, comment)``, by keyword.
        """
        from astropy.io import fits

        primary = fits.PrimaryHDU()
        for key, card in {**self.cards, **as_mapping(cards, "cards")}.items():
            put_card(primary.header, key, card)
        if "RA" in primary.header:
            primary.header.insert("DEC", ("RADESYS", "ICRS", "frame of RA and DEC"), after=True)
        bands = image_hdus(
            self.data, self.bands, self.units, grid=self.grid, offset=self.offset, coverage=self.coverage
        )
        return fits.HDUList([primary, *bands])


@dataclass(frozen=True, eq=False)
class CutoutBlock:
    """Many cutouts of one grid as arrays.

    Parameters
    ----------
    ids
        ``(n,)`` object ids.
    images
        ``(n, bands, height, width)`` float32 flux (NaN without data) or uint8 display pixels.
    bands
        Band names.
    ra, dec
        ``(n,)`` ICRS degrees, NaN where unknown; None means all unknown.
    grid
        The grid all are cut from, or None.
    offsets
        ``(n, 2)`` int64 ``(x, y)`` of each first pixel on the grid; None means all zero.
    coverage
        ``(n, bands)`` share of pixels with data; None means: count the finite pixels.
    columns
        Catalogue columns, each ``(n,)``.
    units
        One FITS unit string per band.
    """

    ids: Sequence[str]
    images: np.ndarray
    bands: tuple[str, ...]
    ra: np.ndarray | None = None
    dec: np.ndarray | None = None
    grid: Grid | None = None
    offsets: np.ndarray | None = None
    coverage: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    units: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> CutoutBlock:
        """Return a block of some of its cutouts, by their indices."""

        def some(values: Any) -> Any:
            return None if values is None else values[rows]

        return replace(
            self,
            ids=[self.ids[row] for row in rows.tolist()],
            images=self.images[rows],
            ra=some(self.ra),
            dec=some(self.dec),
            offsets=some(self.offsets),
            coverage=some(self.coverage),
            columns={name: values[rows] for name, values in self.columns.items()},
        )

    @classmethod
    def of(cls, cutout: Cutout) -> CutoutBlock:
        """Wrap a single cutout."""
        return cls(
            ids=[cutout.object_id],
            images=cutout.data[None],
            bands=tuple(cutout.bands),
            ra=np.array([cutout.ra]),
            dec=np.array([cutout.dec]),
            grid=cutout.grid,
            offsets=np.array([cutout.offset], dtype=np.int64),
            coverage=None if cutout.coverage is None else np.asarray(cutout.coverage)[None],
            columns={name: np.array([value]) for name, value in cutout.columns.items()},
            units=tuple(cutout.units),
        )


@dataclass(frozen=True)
class Failure:
    """An object that could not be cut, with its reason: kept and counted, never a blank image.

    Parameters
    ----------
    object_id
        The object's id.
    reason
        Why, in words that are the same for all objects with the same trouble.
    ra, dec
        ICRS position in degrees, NaN where unknown.
    kind
        ``failed``: may succeed another time; ``no coverage``: the survey has not seen the position, which is final;
        ``no position``: the catalogue gives the object none, which is final too;
        ``resolved``: an earlier failure holds no more, since the object is now there as several exposures with ids of
        their own. Sources yield no such thing: retrying does.
    """

    object_id: str
    reason: str
    ra: float = float("nan")
    dec: float = float("nan")
    kind: Literal["failed", "no coverage", "no position", "resolved"] = "failed"


@dataclass(frozen=True, eq=False)
class Task:
    """One independent part of a source's work, as plain data.

    Parameters
    ----------
    key
        Stable name of the task: the same request gives the same keys.
    payload
        What the source needs to read it: only JSON values (text, numbers, booleans, None, lists, dicts).
    table
        One row per object of the task, as arrays of equal length; numbers or text. May be empty when the source cannot
        know its objects before reading.
    """

    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.table.values()))) if self.table else 0

    @property
    def payload_json(self) -> str:
        """The payload as canonical JSON."""
        return json.dumps(self.payload, sort_keys=True, separators=(",", ":"))

    def take(self, rows: np.ndarray) -> Task:
        """Return the task with some of its objects only, under the same key."""
        return replace(self, table={name: values[rows] for name, values in self.table.items()})

    def split(self, rows: int) -> list[Task]:
        """Cut the task into tasks of at most ``rows`` objects, with keys of their own."""
        if len(self) <= rows:
            return [self]
        return [
            Task(
                f"{self.key}#{part}",
                self.payload,
                {name: values[start : start + rows] for name, values in self.table.items()},
            )
            for part, start in enumerate(range(0, len(self), rows))
        ]


@dataclass(frozen=True)
class Download:
    """What a plan is going to fetch of one product or one kind of products.

    Parameters
    ----------
    product
        Its name, as a person would say it: a mosaic, a band of a survey, a table.
    requests
        Number of requests.
    nbytes
        Bytes of all of them together, estimated.
    """

    product: str
    requests: int
    nbytes: int


@dataclass(frozen=True)
class Fact:
    """One thing a source understood of a request: said before anything is read, and kept with the cache.

    Parameters
    ----------
    name
        What it is about, in a word or two: ``positions``, ``bands``, ``tiles``, ``pixel scale`` ...
    text
        What was understood, in one line for people. Control characters become blanks.
    value
        The same for programs: JSON values (text, numbers, booleans, None, lists, dicts), or nothing.

    Raises
    ------
    PluginError
        If there is no name or text, one is far too long, or the value is no JSON.
    """

    name: str
    text: str
    value: Any = None

    def __post_init__(self) -> None:
        for part in ("name", "text"):
            plain = "".join(letter if letter.isprintable() else " " for letter in str(getattr(self, part))).strip()
            object.__setattr__(self, part, plain)
            if not 0 < len(plain) <= _MOST_FACT_LETTERS:
                raise PluginError(
                    f"a source says the fact {self.name!r:.80} with a {part} of {len(plain)} characters: expected 1 to "
                    f"{_MOST_FACT_LETTERS}"
                )
        try:
            written = json.dumps(self.value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise PluginError(f"the value of the fact {self.name!r} is no JSON ({error})") from error
        if len(written) > _MOST_FACT_BYTES:
            raise PluginError(
                f"the value of the fact {self.name!r} takes {len(written)} bytes, more than {_MOST_FACT_BYTES}: say "
                "counts and the first few"
            )


@dataclass(frozen=True, eq=False)
class Plan:
    """The tasks of a request and, where the source knows it beforehand, the layout of what they give.

    Parameters
    ----------
    tasks
        The tasks.
    layout
        Without one, the layout of the first block read is the cache's.
    downloads
        What reading the tasks is going to fetch, for ``--dry-run``.
    facts
        What the source understood of the request.
    """

    tasks: Iterable[Task]
    layout: Layout | None = None
    downloads: Sequence[Download] = ()
    facts: Sequence[Fact] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)


@dataclass(frozen=True)
class Request:
    """What the user asked of a source, beside its options.

    Parameters
    ----------
    inputs
        Files, folders or addresses, as given.
    """

    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """Labelled objects that a ranker may learn from: parallel ids and label classes.

    Where the session has ordered grades all of them are the class ``anomaly``, and ``ranks`` says how many better
    grades than that of each object there are: 0 for the best, and for what has no grade. Empty without grades.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("ids", "classes", "ranks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def some(self, wanted: Callable[[str], bool]) -> Labelled:
        """Return those whose ids are wanted."""
        rows = [k for k, object_id in enumerate(self.ids) if wanted(object_id)]
        found = ([values[k] for k in rows] if values else [] for values in (self.ids, self.classes, self.ranks))
        return Labelled(*map(tuple, found))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, label: str) -> tuple[str, ...]:
        """Ids with one label class."""
        return tuple(i for i, c in zip(self.ids, self.classes, strict=True) if c == label)


@dataclass(frozen=True)
class FeatureBlock:
    """Numbers of each object that rankers look at beside its image.

    Parameters
    ----------
    name
        What it is called: letters, digits, ``-`` and ``_``.
    columns
        Names of the numbers; in the catalogue of a cache, unless there is a folder.
    units
        Unit of each, empty where there is none: a cache with others is brought to these.
    folder
        Where values by object id are kept, see `astroanomaly.learn.features.block_files`; empty: the catalogue.
    weight
        How strongly its numbers count, in units of the usual.
    """

    name: str
    columns: tuple[str, ...]
    units: tuple[str, ...] = ()
    folder: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Progress:
    """One report of a long computation.

    Parameters
    ----------
    stage
        Name of the stage ("features", "training").
    done, total
        Count so far and at the end; ``total`` is 0 while unknown.
    values
        Figures of this step (loss, share of confident pseudo-labels ...).
    message
        Something a person should read: a warning or a note; empty most of the time.
    facts
        What was understood of a request, once it is planned; empty else.
    """

    stage: str
    done: int
    total: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    facts: Sequence[Fact] = ()


def drain(steps: Generator[Progress, None, Result], progress: Callable[[Progress], None] | None = None) -> Result:
    """Run a generator of reports to its end; return what it returns.

    Parameters
    ----------
    steps
        The generator.
    progress
        Called with every report.
    """
    while True:
        try:
            report = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None:
            progress(report)


def counted(
    items: Iterable[Item], stage: str, total: int, progress: Callable[[Progress], None] | None = None
) -> Iterator[Item]:
    """Yield items, and report after each how many are done.

    Parameters
    ----------
    items
        What is worked on.
    stage, total
        As in `Progress`.
    progress
        Called with every report.
    """
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(Progress(stage, done, total))


@dataclass(frozen=True, eq=False)
class ShardScores:
    """Scores of the objects of one shard.

    Parameters
    ----------
    shard
        The shard's uuid.
    ids
        ``(n,)`` object ids, in the order of the shard.
    log_odds
        ``(n, classes)`` float32 log-odds of each label class against all others, NaN where there is no score yet.
    engine
        What a network ran on, kept with the scores; empty where none ran.
    """

    shard: str
    ids: Sequence[str]
    log_odds: np.ndarray
    engine: str = ""
