"""Hashes of object ids, by which objects are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["hash_ids"]

_FNV_PRIME = np.uint64(0x100000001B3)
_FNV_BASIS = np.uint64(0xCBF29CE484222325)


def hash_ids(ids: Sequence[bytes] | np.ndarray) -> np.ndarray:
    """FNV-1a hashes of byte strings, vectorised over the ids.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` uint64.
    """
    texts = np.asarray(ids, dtype=np.bytes_)
    if texts.size == 0:
        return np.zeros(0, np.uint64)
    letters = texts.view(np.uint8).reshape(len(texts), -1)
    lengths = np.char.str_len(texts)
    shortest = int(lengths.min())
    hashes = np.full(len(texts), _FNV_BASIS, np.uint64)
    for position in range(letters.shape[1]):
        mixed = hashes ^ letters[:, position]
        mixed *= _FNV_PRIME
        hashes = mixed if position < shortest else np.where(position < lengths, mixed, hashes)
    return hashes
