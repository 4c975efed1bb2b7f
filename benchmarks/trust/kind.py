"""What a kind of input is: its seed files, how they are edited, the door they go through, and what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edits import CANARY, Edit

__all__ = ["Found", "Kind", "OutsideReadError", "fingerprint"]


class OutsideReadError(Exception):
    """What came out of a file are the numbers of another one, which nobody may read."""


@dataclass(frozen=True)
class Found:
    """What came out of a door.

    Attributes
    ----------
    data
        A fingerprint of all that was read.
    failures
        How many objects were recorded as failures, beside those of the seed.
    covered
        Whether a digest or checksum of ours vouches for the data: then they must be those of the seed.
    """

    data: str
    failures: int = 0
    covered: bool = False


@dataclass(frozen=True)
class Kind:
    """A row of the table of what is fuzzed.

    Attributes
    ----------
    name
        As the table of figures calls it.
    share
        How many of a thousand inputs are of it: the cheaper a door, the more.
    seeds
        Gets an empty folder for what the door needs beside the input, and returns the seeds by name.
    edit
        Draws the edits of one input, from the generator, the name of the seed and its content.
    door
        Reads one input as the program does, in a copy of the folder that ``seeds`` has filled; gets the folder, the
        name of the seed and the content.
    command
        Returns the words of the command that reads a file so, from the folder, the name of the seed and the file; None
        where the program reads it in its own process. What the door alone dies of, the command has to survive.
    """

    name: str
    share: int
    seeds: Callable[[Path], Mapping[str, bytes]]
    edit: Callable[[Random, str, bytes], list[Edit]]
    door: Callable[[Path, str, bytes], Found]
    command: Callable[[Path, str, Path], list[str]] | None = None


def fingerprint(*values: Any) -> str:
    """Hash arrays and plain values.

    Raises
    ------
    OutsideReadError
        If an array holds nothing but the number of the files outside.
    """
    found = hashlib.blake2b(digest_size=12)
    for value in values:
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            if value.size > 1 and value.dtype.kind != "b" and bool((value == CANARY).all()):
                raise OutsideReadError(f"an array of {value.shape} holds {CANARY} alone")
            found.update(f"{value.dtype.str}{value.shape}".encode())
            found.update(np.ascontiguousarray(value).tobytes())
        else:
            found.update(repr(value).encode("utf-8", "surrogatepass"))
        found.update(b"|")
    return found.hexdigest()
