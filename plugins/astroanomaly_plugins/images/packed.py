"""Encoded pictures inside HDF5 and Parquet files: listed by name, and read one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import ReadLimits, UnreadableError, hdf5_links, open_hdf5, open_parquet
from astroanomaly_plugins.images.pixels import PictureError

__all__ = ["MAGIC", "PACKED", "PackedPictures", "list_packed"]

Fetch = Callable[[str, Sequence[int]], bytes]
MAGIC = ((b"\x89HDF\r\n\x1a\n", "hdf5"), (b"PAR1", "parquet"))
_IMAGE_NAMES = ("images", "image", "img", "jpeg", "jpegs", "pictures", "picture", "data", "bytes")
_NAME_NAMES = ("filenames", "filename", "file_name", "names", "name", "object_id", "ids", "id", "paths", "path")
_WHOLE_KINDS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_PLAIN_KINDS = ("string", "large_string", "bool", "halffloat", "float", "double", *_WHOLE_KINDS)
_PER_OBJECT = "*"  # instead of the name of a dataset: each picture is a dataset of its own


class PackedPictures:
    """What an HDF5 or Parquet file holds.

    Attributes
    ----------
    inside
        The dataset or the column of the pictures.
    names, places
        Name of each picture, and two numbers that say where it is.
    columns
        Texts of the other columns, by name.
    """

    def __init__(self, inside: str, names: list[str], places: np.ndarray, columns: dict[str, list[str]]) -> None:
        self.inside, self.names, self.places, self.columns = inside, names, places, columns


def list_packed(path: Path, kind: str) -> PackedPictures:
    """List the encoded pictures of a file; no picture is decoded.

    HDF5: one dataset of bytes of any length (``images``), with names in another of the same length (``filenames``,
    ``names`` ...), as AnomalyMatch 1 has it; or one dataset of bytes for each picture. Parquet: a column of bytes, or
    of ``bytes`` and ``path`` as data sets of Hugging Face have it; all other plain columns ride along.

    Raises
    ------
    UnreadableError
        If it holds none.
    """
    return _list_hdf5(path) if kind == "hdf5" else _list_parquet(path)


def _list_hdf5(path: Path) -> PackedPictures:
    with open_hdf5(path) as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if hasattr(item, "dtype") else None)
        _check_count(path, len(found))
        for link, name in hdf5_links(file).items():  # what a link leads to is called by the link, and counts once
            if name in found and found[name].dtype != np.uint8:
                found[link] = found.pop(name)
        of_bytes = [name for name, item in found.items() if item.ndim == 1 and _is_bytes(item)]
        chosen = _usual(of_bytes, _IMAGE_NAMES)
        if chosen is not None:
            count = len(found[chosen])
            _check_count(path, count)
            beside = {name: item for name, item in found.items() if name != chosen and item.shape == (count,)}
            named = _usual([name for name in beside if beside[name].dtype.kind in "SO"], _NAME_NAMES)
            names = _texts(beside.pop(named)) if named else [f"{path.stem}/{k:06d}" for k in range(count)]
            columns = {name: _texts(item) for name, item in beside.items() if item.dtype.kind in "SOiuf"}
            return PackedPictures(chosen, names, _pairs(0, np.arange(count)), columns)
        singles = [name for name, item in found.items() if item.ndim == 1 and item.dtype == np.uint8]
        if not singles:
            some = list(found.items())[:8]
            shapes = ", ".join(f"{name} {item.shape} {item.dtype}" for name, item in some) or "nothing"
            raise UnreadableError(
                f"{path} holds no encoded pictures (JPEG, PNG ...): expected a dataset of bytes, found {shapes}. "
                "For arrays of pixels use `astroanomaly ingest arrays`"
            )
        return PackedPictures(_PER_OBJECT, singles, _pairs(0, np.arange(len(singles))), {})


def _is_bytes(item: Any) -> bool:
    """Whether a dataset holds bytes of any length, or opaque ones."""
    each = (item.dtype.metadata or {}).get("vlen")
    return each == np.uint8 or (item.dtype.kind == "V" and not item.dtype.names)


def _list_parquet(path: Path) -> PackedPictures:
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        kinds = {name: str(file.schema_arrow.field(name).type) for name in names}
        binary = [name for name in names if kinds[name] in ("binary", "large_binary") or _is_struct(kinds[name])]
        chosen = _usual(binary, _IMAGE_NAMES) or (binary[0] if len(binary) == 1 else None)
        if chosen is None:
            raise UnreadableError(
                f"{path} has no column of encoded pictures (bytes, or bytes and path); its columns: "
                f"{', '.join(f'{name} ({kinds[name]})' for name in names[:20])}"
            )
        _check_count(path, file.metadata.num_rows)
        counts = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
        parts = [_pairs(k, np.arange(count)) for k, count in enumerate(counts)]
        places = np.concatenate([_pairs(0, np.arange(0)), *parts])
        plain = [name for name in names if name != chosen and kinds[name] in _PLAIN_KINDS]
        columns = {name: _plain_texts(file.read(columns=[name]).column(0)) for name in plain}
        named = _usual([name for name in plain if kinds[name] in ("string", "large_string")], _NAME_NAMES)
        paths = columns[named] if named else []
        if _is_struct(kinds[chosen]):
            inner = file.read(columns=[f"{chosen}.path"]).column(0).combine_chunks().field("path")
            paths = _unique(_plain_texts(inner)) or paths
        names = _unique(paths) or [f"{path.stem}/{k:06d}" for k in range(len(places))]
        return PackedPictures(chosen, names, places, columns)


def _unique(names: list[str]) -> list[str]:
    """Return names if each picture has one of its own, else none."""
    return names if all(names) and len(set(names)) == len(names) else []


def _is_struct(kind: str) -> bool:
    return kind.startswith("struct<") and "bytes: " in kind and "path: " in kind


@contextlib.contextmanager
def _open_hdf5(path: Path, inside: str) -> Iterator[Fetch]:
    with open_hdf5(path) as file:

        def fetch(member: str, place: Sequence[int]) -> bytes:
            try:
                value = file[member][...] if inside == _PER_OBJECT else file[inside][int(place[1])]
            except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
                raise PictureError(f"the file is damaged at this picture: {error}") from error
            return bytes(np.asarray(value).tobytes())

        yield fetch


@contextlib.contextmanager
def _open_parquet(path: Path, inside: str) -> Iterator[Fetch]:
    with open_parquet(path) as file:
        group: list[Any] = [-1, None]  # the last one that was read

        def fetch(member: str, place: Sequence[int]) -> bytes:
            if group[0] != int(place[0]):
                try:
                    column = file.read_row_group(int(place[0]), columns=[inside]).column(0).combine_chunks()
                except (OSError, ValueError, RuntimeError) as error:  # of which those of Arrow are made
                    raise PictureError(f"the file is damaged at this picture: {error}") from error
                group[:] = int(place[0]), column.field("bytes") if str(column.type).startswith("struct") else column
            value = group[1][int(place[1])].as_py()
            if value is None:
                raise PictureError("the row has no picture")
            return bytes(value)

        yield fetch


PACKED = {"hdf5": _open_hdf5, "parquet": _open_parquet}


def _usual(names: Sequence[str], usual: Sequence[str]) -> str | None:
    by_lower = {name.rpartition("/")[2].lower(): name for name in reversed(names)}
    found = next((by_lower[name] for name in usual if name in by_lower), None)
    return found or (names[0] if len(names) == 1 and usual is _IMAGE_NAMES else None)


def _pairs(first: int, numbers: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(numbers), first), numbers], axis=1).astype(np.int64)


def _texts(item: Any) -> list[str]:
    values = item[...].tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _plain_texts(column: Any) -> list[str]:
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _check_count(path: Path, count: int) -> None:
    if count > ReadLimits.archive_members:
        raise UnreadableError(f"{path} holds more than {ReadLimits.archive_members} pictures: split it")
