"""Sampling for training: endless shuffled draws from labelled and unlabelled objects."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Shuffler", "fingerprint", "labelled_shufflers"]


class Shuffler:
    """Endless draws: every item once in random order, then again in another."""

    def __init__(self, items: Sequence[Any], rng: np.random.Generator) -> None:
        self._items = items
        self._rng = rng
        self._order: list[int] = []

    def draw(self) -> Any:
        """Return the next item."""
        if not self._order:
            self._order = self._rng.permutation(len(self._items)).tolist()
        return self._items[self._order.pop()]


def labelled_shufflers(
    pairs: list[tuple[str, str]], rng: np.random.Generator, oversample: bool = True
) -> list[Shuffler]:
    """One shuffler of (id, class) for each class, to be drawn from in turn; or one for all."""
    if not oversample:
        return [Shuffler(pairs, rng)]
    return [Shuffler([pair for pair in pairs if pair[1] == c], rng) for c in sorted({c for _, c in pairs})]


def fingerprint(pairs: list[tuple[str, str]]) -> int:
    """Make a number of the labels: further rounds draw other objects, repeated ones the same."""
    return zlib.crc32("\n".join(sorted(f"{c}\t{i}" for i, c in pairs)).encode())
