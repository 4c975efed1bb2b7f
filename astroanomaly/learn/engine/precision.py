"""Numerical precision of networks, and how far two ways to compute one may differ."""

from __future__ import annotations

from torch import Tensor

__all__ = ["agree", "rounded_to"]

_TOLERANCE = {  # largest difference from torch, in units of the largest value
    "": 1e-3,
    "float16": 0.05,
    "bfloat16": 0.2,
}
_PRECISIONS = {"-bf16": "bfloat16", "-fp16": "float16"}


def rounded_to(name: str) -> str:
    """Return what an engine of this name (``session.engine``) rounds to: ``bfloat16``, ``float16`` or nothing."""
    return next((precision for ending, precision in _PRECISIONS.items() if name.endswith(ending)), "")


def agree(found: Tensor, wanted: Tensor, rounded: str) -> bool:
    """Whether two networks say the same of some images, as far as the precision lets them."""
    if found.shape != wanted.shape:
        return False
    return float((found - wanted).abs().max()) <= _TOLERANCE[rounded] * max(float(wanted.abs().max()), 1.0)
