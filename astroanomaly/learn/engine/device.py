"""Where the network runs: the device, the memory allocator and the seeds."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import random
from typing import TYPE_CHECKING

from astroanomaly.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = [
    "ALLOCATOR_VARIABLE",
    "free_memory",
    "gpu_names",
    "pick_device",
    "pick_devices",
    "seed_everything",
    "tune_allocator",
]

ALLOCATOR_VARIABLE = "ASTROANOMALY_ALLOCATOR"
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # names and numbers of glibc's malloc.h
_GPU_FILES = (  # one of which is there where torch can see a GPU on Linux
    "/dev/nvidiactl", "/dev/nvhost-ctrl", "/dev/nvmap", "/dev/dxg", "/dev/kfd",
)  # fmt: skip
_log = logging.getLogger(__name__)


def pick_device(name: str = "auto") -> torch.device:
    """Return the torch device of a name.

    Parameters
    ----------
    name
        ``auto`` (a GPU if there is one, else the processor), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises
    ------
    ConfigError
        If the name is no device, or the device is not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r} is not one torch knows; expected auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(f"device {name!r} was asked for, but torch sees {count} CUDA devices; use auto or cpu")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device {name!r} was asked for, but this machine has none; use auto or cpu")
    elif device.type not in ("cpu", "mps"):
        raise ConfigError(f"device {name!r} is not supported; expected auto, cpu, cuda, cuda:N or mps")
    return device


def pick_devices(name: str = "auto") -> list[torch.device]:
    """Return the torch devices to share work among: all GPUs for ``auto`` where there are any, else `pick_device`."""
    import torch

    first = pick_device(name)
    if name == "auto" and first.type == "cuda":
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [first]


def free_memory(device: torch.device) -> float:
    """Bytes of a GPU that this process may take, with those that torch keeps for it without using them."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def gpu_names() -> list[str]:
    """Names of the GPUs that torch sees; where the system has none, torch is not imported."""
    if platform.system() == "Linux" and not any(map(os.path.exists, _GPU_FILES)):
        return []
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def tune_allocator() -> bool:
    """Tell glibc to keep freed memory in the process; return whether that was done.

    By default glibc gives the memory of every large activation back to the system, and page faults then dominate the
    time of a network on the processor: keeping it was measured to be 2.5 to 4.6 times faster, for up to a third more
    peak memory. It changes the whole process, so only the command line and the workers of a cluster call this, before
    the first use of the network. The environment variable ``ASTROANOMALY_ALLOCATOR=default`` switches it off; without
    glibc nothing happens.
    """
    if os.environ.get(ALLOCATOR_VARIABLE, "").lower() == "default" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError) as error:
        _log.debug("the allocator was left as it is: %s", error)
        return False
    done = [mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1), mallopt(_M_ARENA_MAX, 1)]
    return all(done)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
