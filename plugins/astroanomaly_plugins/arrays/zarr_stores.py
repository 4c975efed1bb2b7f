"""Stacks in Zarr stores, as `images_to_zarr` writes them for AnomalyMatch 2 and Cutana: an array, names beside it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import ConfigError, UnreadableError, open_parquet
from astroanomaly_plugins.arrays.stacks import ID_NAMES, Reader, Stack, axes_of, libraries_errors, pick, texts

__all__ = ["ZARR", "is_zarr"]

_METADATA = ("zarr.json", ".zgroup", ".zarray")
_MAX_METADATA_BYTES = 64 * 2**20
# Codecs that only turn numbers into bytes; others may run code (pickle) or load a library
_CODECS = {
    "bytes", "endian", "blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2", "crc32c", "adler32", "transpose",
    "shuffle", "sharding_indexed", "delta", "fixedscaleoffset", "packbits", "vlen-utf8",
}  # fmt: skip
_NEEDED = "Zarr needs the package zarr: pip install 'astroanomaly[zarr]'"
_BROKEN = (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError, NotImplementedError)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return path.is_dir() and any((path / name).is_file() for name in _METADATA)


def _check_codecs(path: Path) -> None:
    """Refuse a store whose metadata name a codec that is not known to be harmless, before it is opened."""
    for file in [*path.rglob("zarr.json"), *path.rglob(".zarray"), *path.rglob(".zmetadata")]:
        if file.stat().st_size > _MAX_METADATA_BYTES:
            raise UnreadableError(f"{file} has more than {_MAX_METADATA_BYTES} bytes")
        try:
            content = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"{file} is damaged, no JSON: {error}") from error
        for codec in _codecs(content):
            if codec.lower().removeprefix("numcodecs.") not in _CODECS:
                raise UnreadableError(
                    f"{file} names the codec {codec!r}, which is not read; known: {', '.join(sorted(_CODECS))}"
                )


def _codecs(content: Any, inside: bool = False) -> Iterator[str]:
    """Yield the names of codecs, filters and compressors of version 2 and 3, at whatever depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            of_codec = key in ("codecs", "index_codecs", "filters", "compressor", "compressors", "serializer")
            yield from _codecs(value, inside or of_codec)
        name = content.get("id", content.get("name"))
        if inside and isinstance(name, str):
            yield name
    elif isinstance(content, list):
        for item in content:
            yield from _codecs(item, inside)


def _group(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ConfigError(f"{path}: {_NEEDED}") from error
    _check_codecs(path)
    return zarr.open(store=str(path), mode="r")


def _list(path: Path, array: str, axes: str) -> Stack:
    with libraries_errors(path, "Zarr", *_BROKEN):
        root = _group(path)
        arrays = {"": root} if hasattr(root, "shape") else dict(root.arrays())
        name = pick({key: item.shape for key, item in arrays.items() if len(item.shape) in (3, 4)}, array, str(path))
        images = arrays[name]
        if images.dtype.kind not in "iufb":
            raise UnreadableError(f"{path}: the array {name!r} holds {images.dtype}, expected numbers")
        chunk = int(np.prod(images.chunks)) * images.dtype.itemsize
        if chunk > 4 * 2**30:
            raise UnreadableError(f"{path}: a chunk of the array {name!r} is of {chunk / 1e9:.1f} GB")
        order, shape = axes_of(images.shape, axes, f"{path}[{name}]")
        columns, origin = _beside(path, dict(root.attrs), shape[0])
        columns = columns or {
            key: item[...] for key, item in arrays.items() if item.shape == (shape[0],) and item.dtype.kind in "iufbSUT"
        }
        by_lower = {key.lower(): key for key in reversed(columns)}
        named = next((by_lower[key] for key in _names_first(origin) if key in by_lower), "")
        names = texts(columns.pop(named)) if named else ()
        unused = sorted(key for key, item in arrays.items() if key != name and item.shape != (shape[0],))
        return Stack(path, "zarr", name, shape, order, images.dtype, names, columns, unused=unused)


def _names_first(origin: str) -> tuple[str, ...]:
    """Return names of ids in the order of AnomalyMatch where the columns are those of its sidecar."""
    return ("original_filename", "filename", "source_id", *ID_NAMES) if origin else ID_NAMES


def _beside(path: Path, attributes: dict[str, Any], count: int) -> tuple[dict[str, np.ndarray], str]:
    """Read the Parquet file beside a store: ``NAME_metadata.parquet``, or what the attribute ``metadata_file`` says."""
    said = attributes.get("metadata_file")
    names = [Path(said).name] if isinstance(said, str) else []
    for name in [*names, f"{path.stem}_metadata.parquet", f"{path.name}_metadata.parquet"]:
        file = path.parent / name
        if file.is_file():
            with open_parquet(file) as parquet:
                if parquet.metadata.num_rows != count:
                    raise UnreadableError(
                        f"{file} has {parquet.metadata.num_rows} rows for the {count} images of {path}"
                    )
                table = parquet.read()
            found = {}
            for column in table.column_names:
                values = np.array(table.column(column).to_pylist())
                if values.dtype.kind in "iufbU" and values.ndim == 1:
                    found[column] = values
            return found, str(file)
    return {}, ""


@contextlib.contextmanager
def _open(path: Path, array: str) -> Iterator[Callable[[slice], Any]]:
    with libraries_errors(path, "Zarr", *_BROKEN):
        root = _group(path)
        images = root[array] if array else root
        yield lambda rows: np.asarray(images[rows])


ZARR = Reader("Zarr", _list, _open)
