"""Names, versions and checks of the cache format; ``docs/cache-format.md`` is the specification."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import h5py
import numpy as np

from astroanomaly.cache.hdf5_content import check_content
from astroanomaly.errors import AstroAnomalyError, CacheError, UnreadableError
from astroanomaly.files import atomic_path
from astroanomaly.records import Failure, Layout
from astroanomaly.tables.column_names import clean_ucd

__all__ = [
    "CACHE_FILE",
    "INDEX_FILE",
    "INPUT_FOLDER",
    "LOCK_FILE",
    "PLAN_FILE",
    "SHARD_FOLDER",
    "VERSION",
    "check_dataset",
    "check_format",
    "column_key",
    "column_name",
    "decode_text",
    "described_column",
    "layout_from_plain",
    "layout_to_plain",
    "new_hdf5",
    "open_hdf5",
    "plain_column",
    "put",
    "put_description",
    "put_failures",
    "put_texts",
    "read_failures",
    "read_texts",
]

VERSION = 1
CACHE_FILE = "cache.json"
PLAN_FILE = "plan.h5"
INDEX_FILE = "index.h5"
LOCK_FILE = ".lock"
SHARD_FOLDER = "shards"
INPUT_FOLDER = "inputs"  # FITS images that were given in memory
_KINDS: dict[str, Literal["no coverage", "resolved"]] = {"no coverage": "no coverage", "resolved": "resolved"}


# ------------------------------------------------------------------------------------------------------ safe writing


@contextlib.contextmanager
def new_hdf5(path: Path, *, sync: bool = True) -> Iterator[h5py.File]:
    """Write a new HDF5 file in one step, as `atomic_path`."""
    with atomic_path(path, sync=sync) as temporary:
        try:
            with h5py.File(temporary, "w", locking=False) as file:  # nobody else knows its name
                yield file
        except RuntimeError as error:  # what h5py raises when closing a file on a full disk
            raise OSError(f"HDF5 says: {error}") from error


# ------------------------------------------------------------------------------------------------------ safe reading


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; whatever is wrong with it becomes an error that names it.

    Raises
    ------
    UnreadableError
        If it is missing.
    CacheError
        If it is cut short, something else, leads out of itself, or lacks what is looked up inside the block.
    """
    if not path.is_file():
        raise UnreadableError(f"{path} does not exist")
    try:
        with h5py.File(path, "r", locking=False) as file:
            check_content(file, path)
            yield file
    except AstroAnomalyError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise CacheError(
            f"{path} is cut short, damaged or no HDF5 file: {error}. "
            "Move it away and run the same ingest again: what it held is cut anew"
        ) from error


def check_format(attributes: Mapping[str, Any], kind: str, path: Path) -> None:
    """Check the ``format`` and ``version`` of a file of ours.

    Raises
    ------
    CacheError
        For another format, or a version newer than this package knows.
    """
    found = attributes.get("format")
    if found != f"astroanomaly-{kind}":
        raise CacheError(f"{path} is not a {kind} of AstroAnomaly: its format is {found!r}")
    version = attributes.get("version")
    if not isinstance(version, int | np.integer):
        raise CacheError(f"{path} is damaged: its version is {version!r}")
    if version > VERSION:
        raise CacheError(
            f"{path} has format version {version}, newer than {VERSION}, the newest known here: update astroanomaly"
        )


def check_dataset(group: h5py.Group, name: str, shape: tuple[int | None, ...], kinds: str, path: Path) -> h5py.Dataset:
    """Return a dataset after checking that it lies in this file and has the expected shape and kind of numbers.

    Parameters
    ----------
    shape
        Expected shape; None stands for any length.
    kinds
        Allowed NumPy kinds, as in ``"f"`` or ``"iu"``.

    Raises
    ------
    CacheError
        Naming the file and the dataset.
    """
    link = group.get(name, getlink=True)
    item = group.get(name) if isinstance(link, h5py.HardLink) else None
    where = f"{path}, dataset {group.name.rstrip('/')}/{name}"
    if not isinstance(item, h5py.Dataset):
        raise CacheError(f"{where}: missing, or not a dataset of this file")
    if item.is_virtual or item.external:
        raise CacheError(f"{where}: points outside the file")
    if item.dtype.kind not in kinds or len(item.shape) != len(shape):
        raise CacheError(
            f"{where}: has type {item.dtype} and shape {item.shape}, expected {len(shape)} axes of {kinds}"
        )
    if any(want is not None and want != got for want, got in zip(shape, item.shape, strict=True)):
        raise CacheError(f"{where}: has shape {item.shape}, expected {shape}")
    return item


# ------------------------------------------------------------------------------------------------------- conversions


def put_texts(group: h5py.Group, name: str, texts: Any) -> h5py.Dataset:
    """Store texts as fixed-length UTF-8."""
    encoded = [str(text).encode("utf-8", "surrogatepass") for text in texts]
    length = max([len(text) for text in encoded] + [1])
    values = np.array(encoded, dtype=h5py.string_dtype("utf-8", length))
    return group.create_dataset(name, data=values, track_times=False)


def read_texts(dataset: h5py.Dataset) -> list[str]:
    """Read fixed-length UTF-8 texts."""
    return [decode_text(value) for value in dataset[...].tolist()]


def put_failures(file: h5py.File, failures: Sequence[Failure]) -> None:
    """Store objects that could not be cut."""
    group = file.create_group("failures")
    put_texts(group, "object_id", [failure.object_id for failure in failures])
    put_texts(group, "reason", [failure.reason for failure in failures])
    put_texts(group, "kind", [failure.kind for failure in failures])
    group["ra"] = np.array([failure.ra for failure in failures], np.float64)
    group["dec"] = np.array([failure.dec for failure in failures], np.float64)


def read_failures(file: h5py.File, path: Path) -> list[Failure]:
    """Read objects that could not be cut.

    Raises
    ------
    CacheError
        Naming the file and the dataset that is missing or damaged.
    """
    if not isinstance(file.get("failures"), h5py.Group):
        raise CacheError(f"{path}, group failures: missing")
    group = file["failures"]
    ids = read_texts(check_dataset(group, "object_id", (None,), "S", path))
    shape = (len(ids),)
    reasons = read_texts(check_dataset(group, "reason", shape, "S", path))
    kinds = ["failed"] * len(ids)
    if "kind" in group:
        kinds = read_texts(check_dataset(group, "kind", shape, "S", path))
    ra, dec = (check_dataset(group, name, shape, "f", path)[...].tolist() for name in ("ra", "dec"))
    return [
        Failure(object_id, reason, x, y, _KINDS.get(kind, "failed"))
        for object_id, reason, x, y, kind in zip(ids, reasons, ra, dec, kinds, strict=True)
    ]


def decode_text(value: bytes) -> str:
    """Turn a stored text into one of Python's."""
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # not written by us
        return value.decode("utf-8", "replace")


def plain_column(values: Any) -> np.ndarray:
    """Return a column as a plain array: masked numbers become NaN, masked text becomes empty, bytes become text."""
    mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    array = np.ma.getdata(values) if mask is not None else np.asarray(getattr(values, "value", values))
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if mask is not None and mask.any():
        numeric = array.dtype.kind in "iufb"
        array = np.where(mask, np.nan, array) if numeric else np.where(mask, "", array.astype(object))
    return array


def put(group: h5py.Group, name: str, values: Any) -> h5py.Dataset:
    """Store one column of numbers, booleans or text, with its unit and description."""
    array = plain_column(values)
    if array.dtype.kind in "iufb":
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        dataset = group.create_dataset(name, data=native, track_times=False)
    else:
        dataset = put_texts(group, name, array.tolist())
    put_description(dataset, values)
    return dataset


def put_description(dataset: h5py.Dataset, values: Any) -> None:
    """Keep the ``unit``, ``description`` and UCD of an astropy column or quantity as attributes."""
    meta = getattr(values, "meta", None)
    ucd = clean_ucd(meta.get("ucd")) if isinstance(meta, Mapping) else ""
    about = {"unit": getattr(values, "unit", None), "description": getattr(values, "description", None), "ucd": ucd}
    for extra, text in about.items():
        if text:
            dataset.attrs[extra] = str(text)


def described_column(values: Any, attributes: Mapping[str, Any], name: str | None = None) -> Any:
    """Make an `astropy.table.Column` of values, with the unit, description and UCD they were stored with."""
    from astropy.table import Column
    from astropy.units import Unit

    unit, ucd = attributes.get("unit"), clean_ucd(attributes.get("ucd"))
    return Column(
        values,
        name=name,
        unit=Unit(unit, parse_strict="silent") if unit else None,
        description=attributes.get("description"),
        meta={"ucd": ucd} if ucd else None,
    )


def column_key(name: str) -> str:
    """Spell a column name so that it can name a dataset: percent-encoded where HDF5 could trip over it."""
    key = quote(name, safe=" +-_()[]:,=#")
    return key.replace(".", "%2E") if not key.strip(".") else key


def column_name(key: str) -> str:
    """Undo `column_key`."""
    return unquote(key)


def layout_to_plain(layout: Layout) -> dict[str, Any]:
    """Turn a layout into JSON values."""
    return {**asdict(layout), "bands": list(layout.bands), "units": list(layout.units)}


def layout_from_plain(values: Any, path: Path) -> Layout:
    """Make a layout from JSON values.

    Raises
    ------
    CacheError
        If anything is missing or of the wrong kind.
    """
    try:
        return Layout(
            bands=tuple(str(band) for band in values["bands"]),
            height=int(values["height"]),
            width=int(values["width"]),
            dtype=str(values["dtype"]),
            pixel_kind=values["pixel_kind"],
            units=tuple(str(unit) for unit in values["units"]),
            stretch=str(values["stretch"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path}: its layout is damaged ({error})") from error
