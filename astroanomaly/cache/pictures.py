"""Pictures of a cache's cutouts for the eye."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from astroanomaly.cache.orientations import Orientations, Oriented
from astroanomaly.config import StretchConfig
from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.orientation import Orientation, OrientationChoice
from astroanomaly.imaging.painting import Painter, bin_factor, bin_pixels
from astroanomaly.imaging.sampling import Cutouts, sample_pixels
from astroanomaly.imaging.stretch import Limits, Stretch

__all__ = ["Pictures"]

_STRETCH_CUTOUTS = 300  # random cutouts that a survey-wide stretch is measured on
_STRETCH_PIXELS = 1_000_000  # per band
_CACHED_LIMITS = 32


class _Cache(Cutouts, Oriented, Protocol):
    """The part of a cache that pictures need."""


class Pictures:
    """Makes pictures of cutouts. Levels that hold for the whole survey are measured once, on a sample."""

    def __init__(self, cache: _Cache) -> None:
        self._cache = cache
        self._limits: OrderedDict[StretchConfig, Limits] = OrderedDict()
        self._orientations = Orientations(cache)

    @property
    def usual_display(self) -> Display:
        """How cutouts of this cache are rendered unless somebody chooses."""
        return Display.for_pixels(self._cache.layout.pixel_kind)

    def painter(self, ids: Sequence[str], largest: int | None = None) -> Painter:
        """Read cutouts to be painted, binned until neither side is longer than ``largest`` pixels."""
        images = self._cache.read(ids)
        images = images if largest is None else bin_pixels(images, largest)
        self._orientations.look_up(ids)
        return Painter(images, self._cache.bands, self.survey_limits, partial(self.orientations, ids))

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
        painted = self.painter(ids).paint(display or self.usual_display)
        return painted.view(np.uint8).reshape(*painted.shape, 4)[..., :3]

    def survey_limits(self, config: StretchConfig) -> Limits:
        """Black and white of each band for a stretch that is the same for the whole survey, measured on a sample."""
        if config not in self._limits:
            measured = Stretch.measure(config, self._sample).limits
            self._limits[config] = measured or ()
            if len(self._limits) > _CACHED_LIMITS:
                self._limits.popitem(last=False)
        return self._limits[config]

    @cached_property
    def _sample(self) -> np.ndarray:
        """``(1, B, 1, P)`` pixels of random cutouts."""
        rng = np.random.default_rng(0)
        return sample_pixels(self._cache, rng, cutouts=_STRETCH_CUTOUTS, pixels=_STRETCH_PIXELS, evenly=False)
