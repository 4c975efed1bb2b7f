"""Numbers measured on the cutouts themselves, beside the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import CatalogError, DamagedError
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.learn.features.photometry import photometry, photometry_names
from astroanomaly.records import FeatureBlock, Progress
from astroanomaly.session.blocks.given import GivenBlock, block_name, said_of

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["photometry_block"]

_NAME = "photometry"
_TOGETHER = 256  # cutouts that are in memory


def photometry_block(
    cache: Cache, config: BlockOptions, taken: Sequence[str], progress: Callable[[Progress], None] | None
) -> GivenBlock:
    """Measure all cutouts of a cache, as `photometry` does; those that are damaged have no numbers.

    Raises
    ------
    ConfigError
        If another block is called photometry.
    CatalogError
        If nothing can be measured.
    """
    name, _ = block_name(_NAME, set(taken))
    ids, names = list(cache.ids), photometry_names(cache.layout.bands)
    values = np.full((len(ids), len(names)), np.nan, np.float32)
    for start in range(0, len(ids), _TOGETHER):
        some = ids[start : start + _TOGETHER]
        try:
            values[start : start + len(some)] = photometry(cache.read(some))
        except DamagedError as error:
            bad = set(error.ids)
            rows = [k for k, object_id in enumerate(some) if object_id not in bad]
            if rows:
                values[np.array(rows) + start] = photometry(cache.read([some[k] for k in rows]))
        if progress is not None:
            progress(Progress(_NAME, start + len(some), len(ids)))
    there = np.flatnonzero(np.isfinite(values).any(axis=0))
    if not len(there):
        raise CatalogError(f"block {name}: no cutout can be measured: none has light above its border")
    columns, values = [names[k] for k in there], values[:, there]
    about = {"name": name, "columns": columns, "objects": len(ids), "kind": "photometry"}
    block = FeatureBlock(name, tuple(columns), ("",) * len(columns), weight=config.weight)
    return GivenBlock(block, tuple(said_of(name, columns, values, cache, ids)), ids, values, about)
