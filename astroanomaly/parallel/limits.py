"""Limits on what a file from elsewhere may ask for: those that can be set, and those that hold always."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import ClassVar

from astroanomaly.config import option
from astroanomaly.errors import ConfigError

__all__ = [
    "ARCHIVE_MEMBERS",
    "FITS_CARDS",
    "FITS_HDUS",
    "FREE_EXPANSION_BYTES",
    "FREE_HDF5_BYTES",
    "TABLE_FIELDS",
    "ReadLimits",
    "limited",
]

FITS_CARDS = 100_000  # cards of one header, 8 MB; the longest that are known have some thousand
FITS_HDUS = 200_000  # images and tables of one file; EXTVER, a 16-bit number in many programs, rarely goes to 65,535
TABLE_FIELDS = 999  # columns of a FITS table, by the standard: TFORM999 fills the eight letters of a keyword
ARCHIVE_MEMBERS = 20_000_000  # of one zip or tar archive
FREE_EXPANSION_BYTES = 2 * 2**30  # that any compressed file may grow to, however small it is
FREE_HDF5_BYTES = 512 * 2**20  # that one dataset may grow to: the pixels of a shard are half of it at most
_SHARE_OF_MEMORY = 0.75  # of the machine's memory, for one process that reads
_BYTES_PER_GB = 2**30


@dataclasses.dataclass(frozen=True)
class ReadLimits:
    """Limits on reading files from elsewhere. Not part of a request: caches do not depend on them."""

    file_seconds: float = option(
        300.0,
        "most seconds that one file may be read without a result, and one more for each megabyte of it; 0: any time",
    )
    memory_gb: float = option(
        0.0, "most gigabytes of memory for each process that reads files (Linux); 0: three quarters of the machine's"
    )
    image_gigapixels: float = option(50.0, "most gigapixels of one FITS image")
    expansion: float = option(
        200.0, "how many times its size a compressed file may grow to, where that is more than 2 GiB"
    )

    archive_members: ClassVar[int] = ARCHIVE_MEMBERS

    @classmethod
    def current(cls) -> ReadLimits:
        """Return the limits in force where a source is called; elsewhere the default ones."""
        return _limits.get()

    def __post_init__(self) -> None:
        for name in ("file_seconds", "memory_gb"):
            if getattr(self, name) < 0:
                raise ConfigError(f"limits.{name}={getattr(self, name)}: expected 0 or more")
        for name in ("image_gigapixels", "expansion"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"limits.{name}={getattr(self, name)}: expected more than 0")

    @property
    def memory_bytes(self) -> int:
        """Most bytes of memory of a process that reads; 0 where the memory of the machine is unknown."""
        return int(self.memory_gb * _BYTES_PER_GB) or int(_SHARE_OF_MEMORY * _machine_memory())

    def expanded_bytes(self, nbytes: int) -> int:
        """Most bytes that a compressed file, or part of one, may grow to."""
        return max(FREE_EXPANSION_BYTES, int(self.expansion * nbytes))


_limits: ContextVar[ReadLimits] = ContextVar("astroanomaly_limits", default=ReadLimits())  # noqa: B039 - it is frozen


@contextlib.contextmanager
def limited(limits: ReadLimits) -> Iterator[None]:
    """Read files within some limits while the block runs."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


def _machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that this process is in; 0 where that is unknown."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 0
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            found.append(int(file.read()))  # "max" where there is none
    return min(found)
