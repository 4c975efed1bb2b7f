"""What a probe has learnt: a linear function of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LinearHead"]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear function: logits = points @ weight + bias.

    Parameters
    ----------
    weight
        ``(D, classes)`` float32.
    bias
        ``(classes,)``.
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, points: np.ndarray) -> np.ndarray:
        """Return logits ``(n, classes)`` of points ``(n, D)``."""
        return points @ self.weight + self.bias

    def before_projection(self, axes: np.ndarray) -> LinearHead:
        """Return the same function of the points before they were projected on ``axes`` (mean first)."""
        weight = axes[1:].T @ self.weight
        return LinearHead(weight, self.bias - axes[0] @ weight)
