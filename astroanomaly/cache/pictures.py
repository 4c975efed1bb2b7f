"""Pictures of a cache's cutouts for the eye."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from astroanomaly.cache.orientations import Orientations, Oriented
from astroanomaly.config import StretchConfig
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.channel_maps import usual_map
from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.flux_scale import FluxScale, flux_scale, needs_zero_point
from astroanomaly.imaging.orientation import Orientation, OrientationChoice
from astroanomaly.imaging.painting import Painter, bin_factor, bin_pixels, rgb_of
from astroanomaly.imaging.sampling import Cutouts, read_undamaged, sample_pixels
from astroanomaly.imaging.stretch import Limits, Stretch
from astroanomaly.imaging.usual import describe_display, usual_display

__all__ = ["Pictures"]

_STRETCH_CUTOUTS = 300  # random cutouts that a survey-wide stretch is measured on
_STRETCH_PIXELS = 400_000  # per band
_ZERO_POINT_CUTOUTS = 16  # whose zero points are looked up
_ZERO_POINT_COLUMNS = ("zero_point_{}", "zeropoint_{}")  # of a band, as the sources name them
_CACHED_LIMITS = 32
_DATA_RANGE = StretchConfig(interval="percentile", low=0.1, high=99.9)


class _Cache(Cutouts, Oriented, Protocol):
    """The part of a cache that pictures need."""

    def columns(self, ids: Sequence[str]) -> Mapping[str, Any]:
        """Catalogue columns of some objects."""


class Pictures:
    """Makes pictures of cutouts. Levels that hold for the whole survey are measured once, on a sample."""

    def __init__(self, cache: _Cache) -> None:
        self._cache = cache
        self._limits: OrderedDict[StretchConfig, Limits] = OrderedDict()
        self._orientations = Orientations(cache)

    @cached_property
    def usual_display(self) -> Display:
        """How cutouts of this cache are rendered unless somebody chooses: pictures as they are, flux by its noise."""
        layout = self._cache.layout
        if layout.pixel_kind == "display":
            usual = usual_map(layout.bands)
            return Display.for_pixels("display").changed(channels=usual.channels if usual else "")
        return usual_display(layout.bands, self._sample, self.flux_scale)

    @cached_property
    def flux_scale(self) -> FluxScale | None:
        """The flux scale of the bands, by their units or the zero points of some cutouts; None where they have none."""
        layout = self._cache.layout
        if layout.pixel_kind == "display":
            return None
        return flux_scale(layout.units, self._zero_points() if any(map(needs_zero_point, layout.units)) else ())

    def describe(self, display: Display) -> str:
        """Say in a line how a display colours the cutouts."""
        usual = self.usual_display.changed(orientation=display.orientation)
        if display == usual and self._cache.layout.pixel_kind == "display":
            return "pictures as they are"
        return describe_display(display, self._cache.bands, self.flux_scale.unit if self.flux_scale else "")

    def painter(self, ids: Sequence[str], largest: int | None = None) -> Painter:
        """Read cutouts to be painted, binned until neither side is longer than ``largest`` pixels."""
        images = self._cache.read(ids)
        self._orientations.look_up(ids)
        return self.painter_of(images if largest is None else bin_pixels(images, largest), ids)

    def painter_of_undamaged(self, ids: Sequence[str], largest: int | None = None) -> tuple[Painter, list[int]]:
        """As `painter`; objects that cannot be read are empty, and their places in ``ids`` are returned, too.

        Raises
        ------
        DamagedError
            If none of them can be read.
        """
        images, places = read_undamaged(self._cache, ids)
        if len(places) < len(ids):
            empty = np.nan if images.dtype.kind == "f" else 0
            whole = np.full((len(ids), *images.shape[1:]), empty, images.dtype)
            whole[places] = images
            images = whole
        self._orientations.look_up(ids)
        painter = self.painter_of(images if largest is None else bin_pixels(images, largest), ids)
        return painter, sorted(set(range(len(ids))) - set(places.tolist()))

    def painter_of(self, images: np.ndarray, ids: Sequence[str]) -> Painter:
        """Take cutouts to be painted, ``(n, B, H, W)`` as the cache gives them, and their ids."""
        factors = self.flux_scale.factors if self.flux_scale else None
        return Painter(images, self._cache.bands, self.survey_limits, factors, partial(self.orientations, ids))

    def orientations(self, ids: Sequence[str], wanted: OrientationChoice) -> list[Orientation]:
        """How each of some cutouts is turned for the eye, for a choice of `Display.orientation`."""
        return self._orientations.of(ids, wanted)

    def compasses(
        self, ids: Sequence[str], display: Display | None = None, largest: int | None = None
    ) -> list[Compass | None]:
        """Scale, north and east in pictures of some cutouts, as `painter` and `rgb` make them.

        Parameters
        ----------
        ids
            Their ids.
        display
            How they are rendered; None: as usual.
        largest
            As in `painter`.

        Returns
        -------
        list
            One for each, its scale in arcseconds a pixel of the picture; None without a WCS, or where it gives no
            direction.
        """
        layout = self._cache.layout
        factor = 1 if largest is None else bin_factor(layout.height, layout.width, largest)
        return self._orientations.compasses(ids, (display or self.usual_display).orientation, factor)

    def rgb(self, ids: Sequence[str], display: Display | None = None) -> np.ndarray:
        """Paint cutouts.

        Parameters
        ----------
        ids
            Their ids.
        display
            How, in colours or grey; None: as usual.

        Returns
        -------
        numpy.ndarray
            ``(n, height, width, 3)`` uint8, first row on top.
        """
        if display is not None and not isinstance(display, Display):
            raise ConfigError(f"display is {type(display).__name__}: expected a Display, `usual_display.changed(...)`")
        return rgb_of(self.painter(ids).paint(self.usual_display if display is None else display))

    def survey_limits(self, config: StretchConfig) -> Limits:
        """Black and white of each band for a stretch that is the same for the whole survey, measured on a sample."""
        if config not in self._limits:
            if self._sample.size:
                self._limits[config] = Stretch.measure(config, self._sample).limits or ()
            else:
                self._limits[config] = ((0.0, 0.0),) * len(self._cache.bands)
            if len(self._limits) > _CACHED_LIMITS:
                self._limits.popitem(last=False)
        return self._limits[config]

    def data_range(self, display: Display) -> tuple[float, float]:
        """Return the range of the pixels of the survey that a display shows, in flux units.

        All but a thousandth of the pixels of each band it draws are between; (0, 1) where there is no data.
        """
        bands = self._cache.bands
        pairs = np.array(self.survey_limits(_DATA_RANGE))  # (B, 2)
        if display.colours == "single":
            drawn = [bands.index(display.shown_band(bands))]
        else:
            drawn = np.flatnonzero(display.rows(bands).any(axis=0)).tolist()
        pairs = pairs[[band for band in drawn if pairs[band, 0] < pairs[band, 1]]]
        if not len(pairs):
            return 0.0, 1.0
        black, white = float(pairs[:, 0].min()), float(pairs[:, 1].max())
        digits = 3 - math.floor(math.log10(white - black))  # a thousandth of the range, which people like to read
        return round(black, digits), round(white, digits)

    def _zero_points(self) -> list[float]:
        """AB magnitude of one stored unit of each band, the median of some cutouts; NaN where unknown."""
        ids = self._cache.sample(_ZERO_POINT_CUTOUTS, np.random.default_rng(0))
        columns = self._cache.columns(ids) if ids else {}
        found = []
        for band in self._cache.bands:
            names = [name for form in _ZERO_POINT_COLUMNS if (name := form.format(band)) in columns]
            values = np.asarray(columns[names[0]] if names else [])
            known = values[np.isfinite(values)] if values.dtype.kind == "f" else values[:0]
            found.append(float(np.median(known)) if len(known) else math.nan)
        return found

    @cached_property
    def _sample(self) -> np.ndarray:
        """``(1, B, 1, P)`` pixels of random cutouts."""
        rng = np.random.default_rng(0)
        return sample_pixels(self._cache, rng, cutouts=_STRETCH_CUTOUTS, pixels=_STRETCH_PIXELS)
