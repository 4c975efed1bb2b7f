"""How far from the middle images of a survey differ from each other: the scale of the objects in their frames."""

from __future__ import annotations

import numpy as np
from torch import Tensor

__all__ = ["measure_reach"]

_SHARE = 0.9  # of what differs
_OUTSIDE = 0.9  # of half the side: from here on there are noise and other objects only
_CLEAR = 5.0  # times the scatter of the variance from ring to ring outside


def measure_reach(images: Tensor) -> float | None:
    """Measure within which radius nine tenths lie of what differs from image to image.

    The variance over the images is averaged in rings around the middle. That of the outermost rings is taken for noise
    and other objects, and is subtracted.

    Parameters
    ----------
    images
        ``(n, 3, S, S)`` in [0, 1].

    Returns
    -------
    float or None
        The radius as a share of half the side, from 0 to 1; None where the middle differs no more than the rest.
    """
    variance = images.mean(dim=1).double().var(dim=0).numpy()  # (S, S)
    half = len(variance) // 2
    y, x = np.mgrid[: len(variance), : len(variance)] - (len(variance) - 1) / 2
    ring = np.minimum(np.hypot(y, x).astype(int), half)  # what is further out, in the corners, is ring number half
    means = (np.bincount(ring.ravel(), variance.ravel()) / np.bincount(ring.ravel()))[:half]
    outside = means[int(_OUTSIDE * half) :]
    excess = means - np.median(outside)
    if excess.max() <= _CLEAR * outside.std() + 1e-9:
        return None
    total = np.cumsum(np.clip(excess, 0, None) * (np.arange(half) + 0.5))
    return float((np.searchsorted(total, _SHARE * total[-1]) + 1) / half)
