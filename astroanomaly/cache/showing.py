"""What a notebook shows of a cache, and thumbnails of its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from astroanomaly.cache.pictures import Pictures
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.html import facts_html, figures_html, image_html
from astroanomaly.records import Layout

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["cache_html", "thumbnails", "with_pictures"]

_EXAMPLES = 8  # random objects that are shown of a cache
_SIDE = 96  # CSS pixels of a thumbnail
_PIXELS_AT_ONCE = 2**22  # of the cutouts that are painted in one go


class _Cache(Protocol):
    """The part of a cache that is needed."""

    layout: Layout
    folders: tuple[Path, ...]

    def __len__(self) -> int:
        """How many objects."""

    @property
    def pictures(self) -> Pictures:
        """Pictures of its cutouts."""

    def sample(self, n: int, rng: np.random.Generator) -> list[str]:
        """Draw ids at random."""

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Rows of objects, -1 for ids that are not here."""


def cache_html(cache: _Cache) -> str:
    """Return facts about a cache and a few of its objects as HTML; without pictures where they cannot be read."""
    layout = cache.layout
    facts = [
        *(("cache", str(folder)) for folder in cache.folders),
        ("objects", str(len(cache))),
        ("bands", ", ".join(f"{b} [{u}]" if u else b for b, u in zip(layout.bands, layout.units, strict=True))),
        ("pixels", f"{layout.height} x {layout.width} {layout.dtype}, {layout.pixel_kind}"),
    ]
    try:
        ids = cache.sample(_EXAMPLES, np.random.default_rng(0))
        shown = figures_html(thumbnails(cache, ids), ids)
    except (AstroAnomalyError, OSError):
        shown = ""
    return f"<div>{facts_html(facts)}{shown}</div>"


def thumbnails(cache: _Cache, ids: Sequence[str], display: Display | None = None) -> Iterator[str]:
    """Give an ``<img>`` of each object, painted a few at a time; empty for ids that are not here.

    Parameters
    ----------
    cache
        The cache.
    ids
        Its objects.
    display
        How they are rendered; None: as usual.
    """
    layout = cache.layout
    step = max(1, _PIXELS_AT_ONCE // (len(layout.bands) * layout.height * layout.width))
    for start in range(0, len(ids), step):
        some = ids[start : start + step]
        there = [object_id for object_id, row in zip(some, cache.find(some), strict=True) if row >= 0]
        painted = dict(zip(there, cache.pictures.rgb(there, display), strict=True)) if there else {}
        for object_id in some:
            yield image_html(painted[object_id], _SIDE, object_id) if object_id in painted else ""


def with_pictures(cache: _Cache, table: QTable, display: Display | None = None) -> QTable:
    """Return a table of objects that shows their pictures in a notebook; its columns are shared.

    Parameters
    ----------
    cache
        The cache.
    table
        With a column ``object_id``.
    display
        How they are rendered; None: as usual.
    """
    from astroanomaly.cache.picture_table import PictureTable

    return PictureTable.of(table, lambda ids: list(thumbnails(cache, ids, display)))
