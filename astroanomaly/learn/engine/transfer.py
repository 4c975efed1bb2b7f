"""Pixels on their way to a device, and results on their way back, while the device works on others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from astroanomaly.cache.shard import Stored

__all__ = ["Sent", "Transfer"]


@dataclass(frozen=True, eq=False)
class Sent:
    """Cutouts that are on their way.

    Parameters
    ----------
    pixels
        ``(n, B, H, W)``: uint8, float32 or, with a scale, float16; on a CUDA device, else in memory.
    scale, zero
        As in `astroanomaly.cache.shard.Stored`.
    arrived
        When they are there; None: now.
    """

    pixels: Tensor
    scale: Tensor | None = None
    zero: Tensor | None = None
    arrived: torch.cuda.Event | None = None


class Transfer:
    """Brings cutouts to a device and results back.

    To a GPU, pixels travel as they are stored, one or two bytes each where they are uint8 or float16, from memory that
    the GPU reads by itself, while it works on those that came before; what is left of the arithmetic is done there.

    Parameters
    ----------
    device
        Where to.

    Attributes
    ----------
    readers
        How many threads should read and `send`.
    ahead
        How many batches should be on their way.
    behind
        How many results may be on their way back before the oldest is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        gpu = device.type == "cuda"
        self.device = device
        self.readers, self.ahead, self.behind = (4, 4, 2) if gpu else (1, 2, 0)
        self._stream = torch.cuda.Stream(device) if gpu else None

    def send(self, stored: Stored) -> Sent:
        """Set off cutouts; from any thread."""
        if self._stream is None:
            return Sent(torch.from_numpy(stored.plain()))
        with torch.cuda.stream(self._stream):
            pixels = self.upload(stored.pixels)
            scale, zero = (None if part is None else self.upload(part) for part in (stored.scale, stored.zero))
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
        return Sent(pixels, scale, zero, arrived)

    def receive(self, sent: Sent) -> Tensor:
        """``(n, B, H, W)``: float32 flux with NaN where there is no data, or uint8 display pixels."""
        if sent.arrived is None:
            return sent.pixels
        current: Any = torch.cuda.current_stream(self.device)
        current.wait_event(sent.arrived)
        for part in (sent.pixels, sent.scale, sent.zero):
            if part is not None:
                part.record_stream(current)  # its memory is not given to the next batch before this one is used
        if sent.scale is None or sent.zero is None:
            return sent.pixels
        return sent.pixels.float().mul_(sent.scale).add_(sent.zero)

    def fetch(self, result: Tensor) -> Callable[[], np.ndarray]:
        """Let a result set off for the processor; return what waits for it and gives it."""
        if self._stream is None:
            return lambda: result.numpy(force=True)
        here = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        here.copy_(result, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))

        def wait() -> np.ndarray:
            done.synchronize()
            return here.numpy()

        return wait

    def upload(self, array: np.ndarray) -> Tensor:
        """Copy an array to the device; a GPU is not waited for, and what it does from now on finds it there."""
        if self._stream is None:
            return torch.from_numpy(np.array(array)).to(self.device)
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        pinned = torch.empty(array.shape, dtype=dtype, pin_memory=True)
        np.copyto(pinned.numpy(), array)
        return pinned.to(self.device, non_blocking=True)
