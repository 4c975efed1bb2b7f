"""One stack of images: what it holds, and its images by row, whatever the file is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import UnreadableError, reading

__all__ = ["ID_NAMES", "IMAGE_NAMES", "Reader", "Stack", "axes_of", "channels_first", "pick", "texts"]

IMAGE_NAMES = ("images", "image", "cutouts", "stamps", "data", "flux", "x", "arr_0")
ID_NAMES = (
    "object_id", "ids", "id", "names", "name", "original_filename", "filenames", "filename", "file_name", "source_id",
    "objid", "targetid", "object_ids",
)  # fmt: skip
_MOST_CHANNELS = 64
_MAX_IMAGE_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Stack:
    """What a stack holds, known without reading its images.

    Attributes
    ----------
    path, kind
        Its file or folder, and the format.
    array
        Name of the array inside, empty where there is but one.
    shape
        ``(n, bands, height, width)``.
    axes
        Order of the axes as stored: ``nhw``, ``nchw`` or ``nhwc``.
    dtype
        Type of the stored pixels.
    names
        ``n`` names of objects; empty where it has none.
    columns
        Values for each object by name, from beside the images.
    bands
        Names of the bands that the file gives; empty where it gives none.
    unused
        Names of the other arrays, which are neither its images nor one value for each image.
    """

    path: Path
    kind: str
    array: str
    shape: tuple[int, int, int, int]
    axes: str
    dtype: np.dtype
    names: Sequence[str] = ()
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    bands: tuple[str, ...] = ()
    unused: Sequence[str] = ()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def where(self) -> str:
        """The file and the array in it, for messages."""
        return f"{self.path}[{self.array}]" if self.array else str(self.path)


@dataclass(frozen=True)
class Reader:
    """How stacks of one format are found and read.

    Attributes
    ----------
    summary
        The format in words.
    listed
        Makes a `Stack` of a file; the second argument names the array, and is empty where nobody has named one; the
        third says in which order the axes are.
    opened
        Opens a stack, as given by path and array, for reading: a function of rows that gives an array of images as
        they are stored, or a list of images of different sizes.
    """

    summary: str
    listed: Callable[[Path, str, str], Stack]
    opened: Callable[[Path, str], AbstractContextManager[Callable[[slice], Any]]]


def axes_of(shape: Sequence[int], wanted: str, where: str) -> tuple[str, tuple[int, int, int, int]]:
    """Return the order of the axes of a stack, and its shape as ``(n, bands, height, width)``.

    Of four axes the channels are the second or the last one, whichever is shorter than all of height and width.

    Raises
    ------
    UnreadableError
        If it is no stack, its images are too large, or the order cannot be told.
    """
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise UnreadableError(
            f"{where} has the shape {tuple(shape)}: expected (n, height, width), (n, channels, height, width) or "
            "(n, height, width, channels)"
        )
    if len(shape) == 3:
        axes = "nhw"
    elif wanted != "auto":
        axes = wanted
    else:
        first, last = shape[1] < min(shape[2:]), shape[3] < min(shape[1:3])
        if first == last:
            raise UnreadableError(
                f"{where} has the shape {tuple(shape)}: say which axis holds the channels, with --axes nchw or nhwc"
            )
        axes = "nchw" if first else "nhwc"
    n, height, width = shape[0], *(shape[1:] if axes == "nhw" else shape[2:] if axes == "nchw" else shape[1:3])
    bands = 1 if axes == "nhw" else shape[1] if axes == "nchw" else shape[3]
    if bands > _MOST_CHANNELS or bands * height * width * 8 > _MAX_IMAGE_BYTES:
        raise UnreadableError(
            f"{where} has the shape {tuple(shape)}: an image of {bands} channels of {width} x {height} pixels is more "
            f"than the {_MOST_CHANNELS} channels and {_MAX_IMAGE_BYTES // 8} values that are taken"
        )
    return axes, (int(n), int(bands), int(height), int(width))


def channels_first(images: np.ndarray, axes: str) -> np.ndarray:
    """Bring images ``(n, ...)`` as they are stored to ``(n, bands, height, width)``."""
    if axes == "nhw":
        return images[:, None]
    return images if axes == "nchw" else np.moveaxis(images, -1, 1)


def pick(found: dict[str, tuple[int, ...]], wanted: str, where: str) -> str:
    """Return the name of the array of images: the one that was asked for, of a usual name, or the only one.

    Parameters
    ----------
    found
        Shape of every array of three or four axes, by name.

    Raises
    ------
    UnreadableError
        If there is none, or several that could be meant.
    """
    if wanted:
        if wanted not in found:
            raise UnreadableError(f"{where} has no array {wanted!r} of images; it has {_listed(found)}")
        return wanted
    if len(found) == 1:
        return next(iter(found))
    by_lower = {name.rpartition("/")[2].lower(): name for name in reversed(found)}
    usual = next((by_lower[name] for name in IMAGE_NAMES if name in by_lower), None)
    if usual is None:
        raise UnreadableError(
            f"{where} has {'several arrays' if found else 'no array'} of images (three or four axes): "
            f"{_listed(found)}{'. Name one with --array' if found else ''}"
        )
    return usual


def _listed(found: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in list(found.items())[:10]) or "none"


def texts(values: Any) -> list[str]:
    """Return an array of names as text; whole numbers are written as such."""
    plain = np.asarray(values).tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in plain]


@contextlib.contextmanager
def libraries_errors(path: Path, what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what a library raises on a damaged file into an `UnreadableError` that names it."""
    try:
        with reading(path):
            yield
    except UnreadableError:
        raise
    except kinds as error:
        lines = str(error).strip().splitlines()
        raise UnreadableError(
            f"{path} cannot be read as {what}: {lines[0] if lines else type(error).__name__}"
        ) from error
