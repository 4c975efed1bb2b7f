"""Areas of exactly constant pixels along the edge of an image: the padding of a mosaic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ConstantArea", "constant_areas", "is_counts"]

_CONSTANT_RUN = 32  # pixels of exactly one value along a side of the image that make it suspicious
_CONSTANT_BLOCK = 8  # side of the blocks in which constant areas are followed into the image
_MOST_INSIDE = 0.1  # share of the other pixels that have the value of a padding: more, and it is a value like any other
_COUNT_SAMPLES = 2**16  # pixels looked at to tell whether all are whole numbers
_SIDE_SAMPLES = 1024  # pixels looked at along the left and the right side, each of which costs a page of the file


@dataclass(frozen=True, eq=False)
class ConstantArea:
    """An area of exactly one stored value that reaches the edge of the image.

    Parameters
    ----------
    value
        The stored value.
    blocks
        ``(ceil(H / 8), ceil(W / 8))`` bool: blocks of 8 x 8 pixels that lie wholly in the area.
    """

    value: float
    blocks: np.ndarray

    def mask(self, stored: np.ndarray, first_y: int, first_x: int) -> np.ndarray:
        """Mark the pixels of a window ``stored`` that belong to the area."""
        equal = stored == self.value
        size = _CONSTANT_BLOCK
        rows = np.arange(first_y, first_y + stored.shape[0]) // size
        columns = np.arange(first_x, first_x + stored.shape[1]) // size
        seeds = self.blocks[np.ix_(rows, columns)] & equal
        if not seeds.any():
            return seeds
        from scipy.ndimage import binary_propagation

        return binary_propagation(seeds, mask=equal)


def is_counts(stored: np.ndarray) -> bool:
    """Whether pixels are counts: integers, or floating-point numbers that are all whole in a sample.

    Most pixels of an X-ray or far-ultraviolet image are a true 0, also along its edge.

    Parameters
    ----------
    stored
        ``(H, W)`` stored pixels.
    """
    if stored.dtype.kind in "iub":
        return True
    step = max(1, int(np.sqrt(stored.size / _COUNT_SAMPLES)))
    sample = np.asarray(stored[::step, ::step], np.float64)
    sample = sample[np.isfinite(sample)]
    return bool(sample.size and (sample == np.rint(sample)).all())


def constant_areas(stored: np.ndarray, *, common: bool = False) -> tuple[ConstantArea, ...]:
    """Find areas of exactly constant pixels that reach the edge of an image: the padding of a mosaic.

    The four sides are looked at first, the left and right ones at most 1,024 pixels: only where one value fills a
    run of 32 pixels, or a whole side, is the rest of the image read. Areas are followed in blocks of 8 x 8 pixels and
    completed to single pixels in each cutout. A value that more than a tenth of the other pixels have is no padding.
    NaN needs no such search.

    Parameters
    ----------
    stored
        ``(H, W)`` stored pixels.
    common
        Take a value that is common inside too: of services that are known to fill with one.
    """
    height = stored.shape[0]
    step = max(1, height // _SIDE_SAMPLES)
    sides = (stored[0], stored[-1], stored[::step, 0], stored[::step, -1])
    runs = (_CONSTANT_RUN, _CONSTANT_RUN, max(2, _CONSTANT_RUN // step), max(2, _CONSTANT_RUN // step))
    values = sorted({value for side, run in zip(sides, runs, strict=True) for value in _runs(np.asarray(side), run)})
    found = []
    for value in values[:4]:
        blocks, inside, others = _edge_blocks(stored, value)
        if blocks.any() and (common or inside <= _MOST_INSIDE * others):
            found.append(ConstantArea(value, blocks))
    return tuple(found)


def _runs(side: np.ndarray, length: int) -> set[float]:
    """Values that fill ``length`` neighbouring pixels of a side, or all of a shorter side."""
    if len(side) < 2:
        return set()
    change = np.flatnonzero(np.concatenate([[True], side[1:] != side[:-1], [True]]))
    long = np.diff(change) >= min(length, len(side))
    return {float(value) for value in side[change[:-1][long]] if np.isfinite(value)}


def _edge_blocks(stored: np.ndarray, value: float) -> tuple[np.ndarray, int, int]:
    """Return the blocks of one value that reach the edge; how many other pixels have it too, and how many there are."""
    from scipy.ndimage import label

    size = _CONSTANT_BLOCK
    height, width = stored.shape
    columns = np.arange(0, width, size)
    blocks = np.empty((-(-height // size), len(columns)), bool)
    equal = 0
    for row in range(len(blocks)):
        strip = stored[row * size : (row + 1) * size] == value
        equal += int(np.count_nonzero(strip))
        blocks[row] = np.logical_and.reduceat(np.all(strip, axis=0), columns)
    labels, _ = label(blocks, structure=np.ones((3, 3)))
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    found = np.isin(labels, edge[edge > 0])
    tall, wide = np.minimum(size, height - np.arange(len(blocks)) * size), np.minimum(size, width - columns)
    area = int((found * tall[:, None] * wide).sum())
    return found, equal - area, stored.size - area
