"""Numbers beside the image that may be the labels under another name: they separate them perfectly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.learn.features.blocks import block_values
from astroanomaly.learn.features.light_curve_files import has_light_curves
from astroanomaly.learn.features.spectrum_files import has_spectra
from astroanomaly.records import NOMINAL, FeatureBlock, Labelled

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["leak_text", "telling_columns"]

_MOST_CHANCE = 1e-3  # that one of the columns separates labels of as many objects if it says nothing of them


def telling_columns(
    cache: Cache, blocks: Sequence[FeatureBlock], labelled: Labelled
) -> Iterator[tuple[FeatureBlock, str]]:
    """Give the columns whose numbers separate nominal objects from all others perfectly.

    Those of spectra and light curves are not given, since they cannot be labels. Those that may well do so by chance,
    as with labels of three objects, are not given either: of ``D`` columns without any relation to the labels of ``a``
    anomalies among ``n`` objects, one does so with a probability of 2 D / (n over a).

    Parameters
    ----------
    cache
        The objects.
    blocks
        Which numbers.
    labelled
        The labels; objects of other caches are left out.
    """
    there = cache.find(list(labelled.ids)) >= 0
    ids = [object_id for object_id, yes in zip(labelled.ids, there, strict=True) if yes]
    odd = np.array([label != NOMINAL for label, yes in zip(labelled.classes, there, strict=True) if yes], bool)
    total = sum(len(block.columns) for block in blocks)
    for block in blocks:
        if has_spectra(block.folder) or has_light_curves(block.folder):
            continue
        for name, values in zip(block.columns, block_values(cache, block).get(ids).T, strict=True):
            known = np.isfinite(values)
            anomalies, nominal = values[known & odd], values[known & ~odd]
            ways = math.comb(len(anomalies) + len(nominal), len(anomalies))
            if not min(len(anomalies), len(nominal)) or 2 * total / ways > _MOST_CHANCE:
                continue
            if anomalies.min() > nominal.max() or anomalies.max() < nominal.min():
                yield block, name


def leak_text(block: FeatureBlock, column: str) -> str:
    """Return the warning of a column that separates the labels."""
    return (
        f"the column {column} of the block {block.name} separates the labels perfectly: if it is the label under "
        "another name, start a session without it"
    )
