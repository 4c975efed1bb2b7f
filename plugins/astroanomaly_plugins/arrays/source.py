"""Source ``arrays``: stacks of images that other programs have written: NumPy, HDF5, Zarr, MEDS.

* **What is read.** ``.npy`` and ``.npz`` (never pickled objects), HDF5 with one dataset of images or one for each
  image, Zarr stores (also ``images.zarr`` in the folders of Cutana and AnomalyMatch 2), and MEDS. The content decides.
* **Which array.** The only one of three or four axes, else the one called images, data, cutouts ..., else ``--array``.
* **Axes.** ``(n, height, width)``, ``(n, channels, height, width)`` or ``(n, height, width, channels)``; of four axes
  the channels are the shorter ones, ``--axes`` says so where it cannot be told.
* **Ids.** Names beside the images (``object_id``, ``names``, ``filenames``, ``source_id`` ...); else the name of the
  file with the number of the image, from 000000. Files of one name are told apart by their folders.
* **Columns and positions.** What has one value for each image rides along; positions are found as in a catalogue.
* **Pixels.** 8-bit images of one or three channels are pictures as they look, all others linear flux; ``--kind`` says
  otherwise. Images of another size are cropped around their middle or bordered with NaN (0 in pictures), by whole
  pixels. An image without any finite pixel is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from astroanomaly import (
    AstroAnomalyError,
    CatalogError,
    ConfigError,
    CutoutBlock,
    Fact,
    Failure,
    Layout,
    Plan,
    Request,
    Task,
    UnreadableError,
    each_watched,
    hookimpl,
    option,
    read_catalog,
)
from astroanomaly_plugins.arrays.hdf5_files import HDF5
from astroanomaly_plugins.arrays.ids import unique_ids
from astroanomaly_plugins.arrays.meds_files import MEDS, is_meds
from astroanomaly_plugins.arrays.numpy_files import NPY, NPZ
from astroanomaly_plugins.arrays.stacks import Stack, channels_first
from astroanomaly_plugins.arrays.zarr_stores import ZARR, is_zarr
from astroanomaly_plugins.shared.columns import COLUMN
from astroanomaly_plugins.shared.facts import band_fact, left_out_facts, object_fact, size_fact
from astroanomaly_plugins.shared.folders import is_ours

__all__ = ["ArrayOptions", "ArraySource", "register_sources"]

_READERS = {"npy": NPY, "npz": NPZ, "hdf5": HDF5, "zarr": ZARR, "meds": MEDS}
_MAGIC = ((b"\x93NUMPY", "npy"), (b"PK\x03\x04", "npz"), (b"\x89HDF\r\n\x1a\n", "hdf5"), (b"SIMPLE  =", "meds"))
_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".hdf", ".zarr", ".fits", ".fz")
_PER_TASK = 1000
_BLOCK_BYTES = 32 * 2**20
_RGB = ("R", "G", "B")


@dataclass(frozen=True)
class ArrayOptions:
    """Options of the source ``arrays``."""

    size: int = option(0, "side of the square result in pixels, by whole pixels; 0: the size of the images")
    array: str = option("", "name of the array of images in the file (default: the only one, or of a usual name)")
    axes: Literal["auto", "nchw", "nhwc"] = option(
        "auto", "where the channels are, where it cannot be told by the shape"
    )
    bands: tuple[str, ...] = option((), "names of the channels, in their order")
    kind: Literal["auto", "display", "flux"] = option(
        "auto", "pictures as they look (8 bits, one or three channels), or linear flux; auto: by the type of the pixels"
    )
    ra: str = option("", "column beside the images with the longitude (right ascension)")
    dec: str = option("", "column beside the images with the latitude (declination)")
    frame: str = option("", "frame of the positions: icrs, fk5, 'fk4 B1950', galactic ... (default: icrs)")
    unit: str = option("", "unit of the positions: deg, rad, hour (of right ascension), or two as in hour,rad")
    dtype: Literal["float32", "float16"] = option("float32", "how flux is stored")

    def __post_init__(self) -> None:
        if self.size and not 8 <= self.size <= 8192:
            raise ConfigError(f"size={self.size}: expected 8 to 8192 pixels, or 0 for the size of the images")
        if bool(self.ra) != bool(self.dec):
            raise ConfigError("give both --ra and --dec, or neither")


class ArraySource:
    """Stacks of images as arrays; see the module."""

    name = "arrays"
    summary = "stacks of images as arrays: NumPy, HDF5, Zarr, MEDS"
    Options = ArrayOptions

    def plan(self, request: Request, options: ArrayOptions) -> Plan:
        """List the stacks, their names and columns; no image is read.

        Raises
        ------
        UnreadableError
            If an input is missing, damaged, of another format, or its array cannot be told.
        CatalogError
            If two images have one id, or a column of positions holds none.
        ConfigError
            If the stacks do not fit together.
        """
        if not request.inputs:
            raise UnreadableError(
                "no arrays were given: name .npy, .npz, HDF5, Zarr or MEDS files, or a folder of them"
            )
        places, others = _find(request.inputs)
        stacks = []
        jobs = [_Listing(path, kind, options.array, options.axes) for path, kind in places]
        for found in each_watched(_list_one, jobs):
            if isinstance(found, AstroAnomalyError):
                raise found
            stacks.append(found)
        bands, kind = _bands_and_kind(stacks, options)
        ids = unique_ids(stacks)
        height, width = (options.size, options.size) if options.size else stacks[0].shape[2:]
        columns, positions, words = _columns(stacks, options)
        dtype = "uint8" if kind == "display" else options.dtype
        payload = {"bands": list(bands), "size": [height, width], "kind": kind}
        left = {
            "no stack of arrays": others,
            "array that is neither the images nor one value for each": [
                f"{stack.path.name}[{name}]" for stack in stacks for name in stack.unused
            ],
        }
        facts = [
            Fact("positions", words, {"kind": "table" if positions else "none"}),
            Fact("ids", "names beside the images, else numbers", {"column": None}),
            object_fact(len(ids)),
            Fact(
                "files",
                f"{len(stacks) + len(others)} found: {len(stacks)} used, {len(others)} left out",
                {"found": len(stacks) + len(others), "used": len(stacks), "failed": 0, "left_out": len(others)},
            ),
            *left_out_facts({reason: names for reason, names in left.items() if names}),
            band_fact(dict.fromkeys(bands, ()), note=f"{kind} pixels, from {_READERS[stacks[0].kind].summary}"),
            size_fact((height, width), None),
        ]
        layout = Layout(bands=bands, height=height, width=width, dtype=dtype, pixel_kind=kind)
        return Plan(_tasks(stacks, ids, payload, columns, positions), layout, facts=facts)

    def read(self, task: Task) -> Iterator[CutoutBlock | Failure]:
        """Read the images of one task."""
        payload, table = task.payload, task.table
        numbers = np.asarray(table["row"], np.int64)
        height, width = payload["size"]
        step = max(1, _BLOCK_BYTES // (len(payload["bands"]) * height * width * 8))
        reader = _READERS[payload["format"]]
        with reader.opened(Path(payload["path"]), payload["array"]) as rows_of:
            for start in range(0, len(numbers), step):
                some = np.arange(start, min(start + step, len(numbers)))
                stored = rows_of(slice(int(numbers[some[0]]), int(numbers[some[-1]]) + 1))
                yield from _blocks(stored, some, task)


@hookimpl
def register_sources(register: Callable[[Any], None]) -> None:
    """Register the source ``arrays``."""
    register(ArraySource())


# ----------------------------------------------------------------------------------------------------------- planning


@dataclass(frozen=True)
class _Listing:
    """What is to be listed."""

    path: Path
    kind: str
    array: str
    axes: str


def _list_one(job: _Listing) -> Stack:
    stack = _READERS[job.kind].listed(job.path, job.array, job.axes)
    if stack.dtype.kind not in "iufb":
        raise UnreadableError(f"{stack.where} holds {stack.dtype}, expected real numbers")
    return stack


def _find(inputs: Sequence[str]) -> tuple[list[tuple[Path, str]], list[str]]:
    """Return the stacks with their formats, and the names of files in folders that are none."""
    found: list[tuple[Path, str]] = []
    others: list[str] = []
    for text in inputs:
        path = Path(text).absolute()
        if is_zarr(path):
            found.append((path, "zarr"))
        elif path.is_dir():
            before = len(found)
            for item in sorted(_walk(path)):
                kind = "zarr" if item.is_dir() else _kind_of(item) if item.suffix.lower() in _SUFFIXES else ""
                if kind:
                    found.append((item, kind))
                else:
                    others.append(item.relative_to(path).as_posix())
            if len(found) == before:
                raise UnreadableError(
                    f"the folder {path} holds no stack of arrays: looked for .npy, .npz, HDF5, Zarr and MEDS"
                )
        elif path.is_file():
            kind = _kind_of(path)
            if not kind:
                raise UnreadableError(
                    f"{path} is no stack of arrays: expected NumPy (.npy, .npz), HDF5, a Zarr store or MEDS. Pictures "
                    "are read by `astroanomaly ingest images`, FITS images by `astroanomaly ingest fits`"
                )
            found.append((path, kind))
        else:
            raise UnreadableError(f"{path} does not exist")
    return found, others


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files and Zarr stores below a folder; hidden ones, and what beside a store belongs to it, are left out."""
    for item in folder.iterdir():
        if item.name.startswith(".") or (item.is_symlink() and item.is_dir()):
            continue
        if is_zarr(item):
            yield item
        elif item.is_dir():
            if not is_ours(item):
                yield from _walk(item)
        elif item.is_file() and not item.name.endswith("_metadata.parquet"):
            yield item


def _kind_of(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            start = handle.read(16)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), "")
    return "" if kind == "meds" and not is_meds(path) else kind


def _bands_and_kind(
    stacks: Sequence[Stack], options: ArrayOptions
) -> tuple[tuple[str, ...], Literal["display", "flux"]]:
    first = stacks[0]
    for stack in stacks[1:]:
        if stack.shape[1] != first.shape[1] or (stack.bands and first.bands and stack.bands != first.bands):
            raise ConfigError(
                f"{stack.where} has {stack.shape[1]} channels {', '.join(stack.bands)}, {first.where} has "
                f"{first.shape[1]} {', '.join(first.bands)}: ingest them into caches of their own"
            )
    count = first.shape[1]
    eight = all(stack.dtype == np.uint8 for stack in stacks)
    kind: Literal["display", "flux"] = "flux"
    if options.kind == "display" or (options.kind == "auto" and eight and count in (1, 3)):
        kind = "display"
    if kind == "display" and not (eight and count in (1, 3)):
        raise ConfigError(
            f"{first.where} holds {count} channels of {first.dtype}: pictures as they look have 8 bits, one or three"
        )
    if options.bands and len(options.bands) != count:
        raise ConfigError(f"--bands names {len(options.bands)} bands for {count} channels")
    usual = (
        _RGB
        if kind == "display" and count == 3
        else ("I",)
        if count == 1
        else tuple(f"band{k + 1}" for k in range(count))
    )
    return options.bands or first.bands or usual, kind


def _columns(
    stacks: Sequence[Stack], options: ArrayOptions
) -> tuple[list[dict[str, np.ndarray]], list[tuple[np.ndarray, np.ndarray]] | None, str]:
    """Return columns and positions of each stack, and how the positions were found."""
    from astropy.table import Table

    columns, places, words = [], [], "none"
    for stack in stacks:
        own = {str(name): np.asarray(values) for name, values in stack.columns.items()}
        table = Table({**own, "_x": np.zeros(len(stack)), "_row": np.arange(len(stack))})
        ra = dec = np.full(len(stack), np.nan)
        named: dict[str, Any] = {"ra": options.ra, "dec": options.dec} if options.ra else {"x": "_x", "y": "_x"}
        try:
            found = read_catalog(table, id="_row", frame=options.frame or None, unit=options.unit or None, **named)
        except CatalogError as error:
            raise CatalogError(str(error).replace("the Table that was given as catalogue", stack.where)) from error
        if found.ra is not None and found.dec is not None and found.sky is not None:
            ra, dec, words = found.ra, found.dec, found.sky.text
            own = {name: values for name, values in own.items() if name.lower() not in ("ra", "dec")}
        columns.append(own)
        places.append((ra, dec))
    return columns, places if words != "none" else None, words


def _tasks(
    stacks: Sequence[Stack],
    ids: Sequence[str],
    payload: dict[str, Any],
    columns: Sequence[dict[str, np.ndarray]],
    positions: Sequence[tuple[np.ndarray, np.ndarray]] | None,
) -> Iterator[Task]:
    first = 0
    for number, stack in enumerate(stacks):
        of_stack = {**payload, "path": str(stack.path), "format": stack.kind, "array": stack.array, "axes": stack.axes}
        for part, start in enumerate(range(0, len(stack), _PER_TASK)):
            here = slice(start, min(start + _PER_TASK, len(stack)))
            table = {
                "object_id": np.array(ids[first + here.start : first + here.stop], dtype=object),
                "row": np.arange(here.start, here.stop),
                **{COLUMN + name: values[here] for name, values in columns[number].items()},
            }
            if positions is not None:
                table["ra"], table["dec"] = (part[here] for part in positions[number])
            yield Task(f"{number}:{stack.path.name}:{part:06d}", of_stack, table)
        first += len(stack)


# ------------------------------------------------------------------------------------------------------------ reading


def _blocks(stored: Any, some: np.ndarray, task: Task) -> Iterator[CutoutBlock | Failure]:
    """Make one block of the images of some rows of a task, and failures of what is no image."""
    payload, table = task.payload, task.table
    bands, (height, width), display = payload["bands"], payload["size"], payload["kind"] == "display"
    ids = [str(table["object_id"][k]) for k in some.tolist()]
    nowhere = np.full(len(table["object_id"]), np.nan)
    ra, dec = (np.asarray(table.get(name, nowhere), np.float64)[some] for name in ("ra", "dec"))
    images = [channels_first(np.asarray(image)[None], payload["axes"])[0] for image in stored]
    kept: list[int] = []
    pixels = np.full(
        (len(ids), len(bands), height, width), 0 if display else np.nan, np.uint8 if display else np.float32
    )
    if len(images) != len(ids):
        raise UnreadableError(f"{payload['path']} has fewer images than when it was listed: it changed")
    for k, image in enumerate(images):
        if image.size == 0 or image.shape[0] != len(bands):
            yield Failure(ids[k], "its pixels lie beyond the end of the file", float(ra[k]), float(dec[k]))
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            plain = image if display else image.astype(np.float32)
        if not display and not np.isfinite(plain).any():
            yield Failure(ids[k], "no pixel with data", float(ra[k]), float(dec[k]))
            continue
        _place(plain, pixels[len(kept)])
        kept.append(k)
    if kept:
        rows = some[kept]
        if not display:
            pixels[~np.isfinite(pixels)] = np.nan
        yield CutoutBlock(
            ids=[ids[k] for k in kept],
            images=pixels[: len(kept)],
            bands=tuple(bands),
            ra=ra[kept],
            dec=dec[kept],
            columns={
                name.removeprefix(COLUMN): values[rows] for name, values in table.items() if name.startswith(COLUMN)
            },
        )


def _place(image: np.ndarray, target: np.ndarray) -> None:
    """Put an image into a frame, middle on middle, by whole pixels."""
    source, there = [slice(None)], [slice(None)]
    for have, want in zip(image.shape[1:], target.shape[1:], strict=True):
        cut, border = max(0, (have - want) // 2), max(0, (want - have) // 2)
        length = min(have, want)
        source.append(slice(cut, cut + length))
        there.append(slice(border, border + length))
    target[tuple(there)] = image[tuple(source)]
