"""Names, versions and checks of the cache format; ``docs/cache-format.md`` is the specification."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import h5py
import numpy as np

from astroanomaly.cache.file_digest import append_digest, verify_digest
from astroanomaly.cache.new_file import NewFile
from astroanomaly.cache.unwritten import refuse_unwritten
from astroanomaly.errors import AstroAnomalyError, CacheError, DamagedError, UnreadableError
from astroanomaly.files import atomic_path
from astroanomaly.records import Failure
from astroanomaly.tables.column_names import clean_ucd
from astroanomaly.tables.hdf5_content import check_content

__all__ = [
    "CACHE_FILE",
    "CHECKSUM",
    "INDEX_FILE",
    "INPUT_FOLDER",
    "LOCK_FILE",
    "MOST_DEC",
    "PLAN_FILE",
    "SHARD_FOLDER",
    "VERSION",
    "check_dataset",
    "check_declination",
    "check_format",
    "column_key",
    "column_name",
    "decode_text",
    "described_column",
    "has_digest",
    "new_hdf5",
    "open_hdf5",
    "plain_column",
    "put",
    "put_description",
    "put_failures",
    "put_texts",
    "read_failures",
    "read_positions",
    "read_texts",
    "refuse_changed",
    "verify_hdf5",
]

VERSION = 1
CACHE_FILE = "cache.json"
PLAN_FILE = "plan.h5"
INDEX_FILE = "index.h5"
LOCK_FILE = ".lock"
SHARD_FOLDER = "shards"
MOST_DEC = 90.0  # degrees
CHECKSUM = "checksum"  # dataset of a shard
_H5PY_ERRORS = (  # what it raises where bits of a file are others: the library, and its types
    OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError,
)  # fmt: skip
_BYTES_TOGETHER = 2**24  # that are read together where a file is read for damage alone
_DIGEST = "digest"  # attribute of a file that ends with its digest
INPUT_FOLDER = "inputs"  # FITS images that were given in memory
_Kind = Literal["no coverage", "no position", "resolved"]
_KINDS: dict[str, _Kind] = {"no coverage": "no coverage", "no position": "no position", "resolved": "resolved"}


# ------------------------------------------------------------------------------------------------------ safe writing


@contextlib.contextmanager
def new_hdf5(path: Path, *, sync: bool = True) -> Iterator[NewFile]:
    """Write a new HDF5 file in one step, as `atomic_path`; it ends with its digest.

    Raises
    ------
    StorageError
        When the disk is full; at the end of the block, unless `NewFile.check` asks before.
    """
    with atomic_path(path, sync=sync) as temporary:
        file = NewFile(temporary)
        try:
            with file:
                file.attrs[_DIGEST] = "xxh3-128"
                yield file
                left_out = _summed_pixels(file)
        except (RuntimeError, KeyError, OSError) as error:
            if not isinstance(error, AstroAnomalyError):
                file.check()  # what could not be written cannot be read back either
            raise
        file.check()
        append_digest(temporary, *left_out)


def _summed_pixels(file: h5py.File) -> tuple[int, int]:
    """First byte and number of bytes of pixels that have checksums of their own; 0, 0 for none."""
    images = file.get("images")
    if images is None or CHECKSUM not in file or images.chunks is not None or images.id.get_offset() is None:
        return 0, 0
    return images.id.get_offset(), images.nbytes


# ------------------------------------------------------------------------------------------------------ safe reading


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; whatever is wrong with it becomes an error that names it.

    Raises
    ------
    UnreadableError
        If it is missing.
    DamagedError
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
    except _H5PY_ERRORS as error:
        raise DamagedError(f"{path} is cut short, damaged or no HDF5 file: {error}") from error


def verify_hdf5(path: Path) -> bool:
    """Compare a file with its digest, and look whether all its datasets were written; False where it has no digest.

    Raises
    ------
    UnreadableError
        If it is missing.
    CacheError
        If it is damaged.
    """
    with open_hdf5(path) as file:
        left_out = verify_digest(path, expected=has_digest(file))
        if left_out is None:  # then HDF5 itself may find something
            file.visititems(lambda _, item: _read_all(item) if isinstance(item, h5py.Dataset) else None)
        file.visititems(lambda _, item: refuse_unwritten(item, path) if isinstance(item, h5py.Dataset) else None)
        if left_out is not None and left_out != _summed_pixels(file):
            raise DamagedError(f"{path} is damaged: its digest leaves out other bytes than its pixels")
    return left_out is not None


def _read_all(dataset: h5py.Dataset) -> None:
    """Read a dataset to its end, a part at a time."""
    for start in range(0, len(dataset), step := max(1, _BYTES_TOGETHER * len(dataset) // max(1, dataset.nbytes))):
        dataset[start : start + step]


def has_digest(file: h5py.File) -> bool:
    """Whether a file says that it ends with its digest: those of earlier versions do not."""
    return _DIGEST in file.attrs


def refuse_changed(file: h5py.File, path: Path) -> None:
    """Compare a file that is read whole with its digest, if it has one.

    Raises
    ------
    DamagedError
        If they differ.
    """
    verify_digest(path, expected=has_digest(file))


def check_format(attributes: Mapping[str, Any], kind: str, path: Path) -> None:
    """Check the ``format`` and ``version`` of a file of ours.

    Raises
    ------
    DamagedError
        For another format, or no version.
    CacheError
        For a version newer than this package knows.
    """
    found = attributes.get("format")
    if found != f"astroanomaly-{kind}":
        raise DamagedError(f"{path} is not a {kind} of AstroAnomaly: its format is {found!r}")
    version = attributes.get("version")
    if not isinstance(version, int | np.integer):
        raise DamagedError(f"{path} is damaged: its version is {version!r}")
    if version > VERSION:
        raise CacheError(
            f"{path} has format version {version}, newer than {VERSION}, the newest known here: update astroanomaly"
        )


def check_dataset(
    group: h5py.Group, name: str, shape: tuple[int | None, ...], kinds: str, path: Path, *, chunks: bool = True
) -> h5py.Dataset:
    """Return a dataset after checking that it lies in this file and has the expected shape and kind of numbers.

    Parameters
    ----------
    shape
        Expected shape; None stands for any length.
    kinds
        Allowed NumPy kinds, as in ``"f"`` or ``"iu"``.
    chunks
        Whether all chunks must be there; `unwritten_rows` tells which are not.

    Raises
    ------
    DamagedError
        Naming the file and the dataset.
    """
    link = group.get(name, getlink=True)
    item = group.get(name) if isinstance(link, h5py.HardLink) else None
    where = f"{path}, dataset {group.name.rstrip('/')}/{name}"
    if not isinstance(item, h5py.Dataset):
        raise DamagedError(f"{where}: missing, or not a dataset of this file")
    if item.is_virtual or item.external:
        raise DamagedError(f"{where}: points outside the file")
    if item.dtype.kind not in kinds or len(item.shape) != len(shape):
        raise DamagedError(
            f"{where}: has type {item.dtype} and shape {item.shape}, expected {len(shape)} axes of {kinds}"
        )
    if any(want is not None and want != got for want, got in zip(shape, item.shape, strict=True)):
        raise DamagedError(f"{where}: has shape {item.shape}, expected {shape}")
    if chunks or item.chunks is None:
        refuse_unwritten(item, path)
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
        raise DamagedError(f"{path}, group failures: missing")
    group = file["failures"]
    ids = read_texts(check_dataset(group, "object_id", (None,), "S", path))
    shape = (len(ids),)
    reasons = read_texts(check_dataset(group, "reason", shape, "S", path))
    kinds = ["failed"] * len(ids)
    if "kind" in group:
        kinds = read_texts(check_dataset(group, "kind", shape, "S", path))
    ra, dec = (values.tolist() for values in read_positions(group, len(ids), path))
    return [
        Failure(object_id, reason, x, y, _KINDS.get(kind, "failed"))
        for object_id, reason, x, y, kind in zip(ids, reasons, ra, dec, kinds, strict=True)
    ]


def read_positions(group: h5py.Group, count: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read positions: ``(n,)`` float64 right ascension and declination in degrees, NaN where unknown.

    Raises
    ------
    DamagedError
        For a declination beyond the poles.
    """
    ra, dec = (check_dataset(group, name, (count,), "f", path)[...] for name in ("ra", "dec"))
    check_declination(dec, path)
    return ra, dec


def check_declination(dec: np.ndarray, path: Path) -> None:
    """Check that declinations in degrees, NaN where unknown, lie between the poles.

    Raises
    ------
    DamagedError
        If one does not.
    """
    if (np.abs(dec) > MOST_DEC).any():  # which NaN is not
        raise DamagedError(f"{path} is damaged: a declination is beyond {MOST_DEC:g} degrees")


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
