"""The few operations that NumPy and torch spell differently; each follows the type of array it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "clip_low",
    "clip_unit",
    "full",
    "is_finite",
    "is_torch",
    "joined",
    "larger",
    "like",
    "smaller",
    "to_float32",
    "to_float64",
    "where",
]


def is_torch(values: Any) -> bool:
    """Whether an array is a torch tensor."""
    return type(values).__module__.partition(".")[0] == "torch"


def joined(parts: Any) -> Any:
    """Return arrays one after the other, along their first axis."""
    if not is_torch(parts[0]):
        return np.concatenate(parts)
    import torch

    return torch.cat(list(parts))


def to_float32(values: Any) -> Any:
    """Return it as float32."""
    return values.float() if is_torch(values) else np.asarray(values, np.float32)


def is_finite(values: Any) -> Any:
    """Return where it is finite, boolean."""
    return values.isfinite() if is_torch(values) else np.isfinite(values)


def where(condition: Any, yes: Any, no: float) -> Any:
    """Return ``yes`` where the condition holds, else a number."""
    return yes.where(condition, no) if is_torch(yes) else np.where(condition, yes, yes.dtype.type(no))


def clip_unit(values: Any) -> Any:
    """Clip to [0, 1]."""
    return values.clamp(0, 1) if is_torch(values) else np.clip(values, 0, 1)


def clip_low(values: Any, low: int = 0) -> Any:
    """Replace what is below ``low`` by it."""
    return values.clamp(min=low) if is_torch(values) else np.maximum(values, low)


def to_float64(values: Any) -> Any:
    """Return it as float64."""
    return values.double() if is_torch(values) else np.asarray(values, np.float64)


def larger(first: Any, second: Any) -> Any:
    """Return the larger of two, element by element."""
    return first.maximum(second) if is_torch(first) else np.maximum(first, second)


def smaller(first: Any, second: Any) -> Any:
    """Return the smaller of two, element by element."""
    return first.minimum(second) if is_torch(first) else np.minimum(first, second)


def full(values: Any, number: float) -> Any:
    """Return one number for each row, in the type of ``values``."""
    return values.new_full((len(values),), number) if is_torch(values) else np.full(len(values), number, np.float32)


def like(array: np.ndarray, values: Any) -> Any:
    """Bring a NumPy array to the type and device of ``values``."""
    if not is_torch(values):
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(values.device, non_blocking=True)  # a GPU is not waited for
