"""Stacks in HDF5 files: one dataset of images with names beside it, or one dataset for each image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import UnreadableError, hdf5_links, open_hdf5
from astroanomaly_plugins.arrays.stacks import ID_NAMES, Reader, Stack, axes_of, pick, texts

__all__ = ["HDF5"]

_PER_OBJECT = "*"
_BAND_KEYS = ("bands", "band", "channels", "channel_names", "filters")


def _list(path: Path, array: str, axes: str) -> Stack:
    with open_hdf5(path) as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if hasattr(item, "dtype") else None)
        numeric = {name: item for name, item in found.items() if item.dtype.kind in "iufb"}
        single = _one_each(numeric) if not array else {}
        if single:
            first = next(iter(single.values()))
            order, shape = axes_of((len(single), *first.shape), axes, f"{path}, one dataset for each image")
            return Stack(
                path,
                "hdf5",
                _PER_OBJECT,
                shape,
                order,
                first.dtype,
                list(single),
                unused=sorted(found.keys() - single.keys()),
            )
        links = {link: name for link, name in hdf5_links(file).items() if name in found}
        shapes = {key: item.shape for key, item in numeric.items() if item.ndim in (3, 4)}
        if len(shapes) > 1:
            shapes = {**shapes, **{link: shapes[name] for link, name in links.items() if name in shapes}}
        name = pick(shapes, links.get(array, array), str(path))
        name = links.get(name, name)
        images = found[name]
        order, shape = axes_of(images.shape, axes, f"{path}[{name}]")
        beside = {key: item for key, item in found.items() if item.shape == (shape[0],) and item.dtype.kind in "iufbSO"}
        beside = {key: item for key, item in beside.items() if item.dtype.kind != "O" or _is_text(item)}
        unused = sorted(found.keys() - beside.keys() - {name})
        first_link = {name: link for link, name in reversed(links.items())}
        beside = {first_link.get(key, key): item for key, item in beside.items()}
        by_base = {key.rpartition("/")[2].lower(): key for key in reversed(beside)}
        named = next((by_base[key] for key in ID_NAMES if key in by_base), "")
        names = texts(beside.pop(named)[...]) if named else ()
        bare = [key.rpartition("/")[2] for key in beside]
        called = bare if len(set(bare)) == len(bare) else list(beside)
        columns = {key: _column(item) for key, item in zip(called, beside.values(), strict=True)}
        given = next(
            (source.attrs[key] for source in (images, file) for key in _BAND_KEYS if key in source.attrs), None
        )
        return Stack(path, "hdf5", name, shape, order, images.dtype, names, columns, _bands(given, shape[1]), unused)


def _one_each(numeric: dict[str, Any]) -> dict[str, Any]:
    """Return datasets that are one image each: all of one shape, two axes or three, and nothing that is a stack."""
    images = {name: item for name, item in numeric.items() if item.ndim in (2, 3)}
    shapes = {item.shape for item in images.values()}
    named_as_stack = any(item.ndim == 4 for item in numeric.values())
    if len(shapes) != 1 or named_as_stack or len(images) < 2:
        return {}
    return images


def _is_text(item: Any) -> bool:
    return (item.dtype.metadata or {}).get("vlen") in (str, bytes)


def _column(item: Any) -> np.ndarray:
    values = item[...]
    return np.array(texts(values)) if values.dtype.kind in "SO" else values


def _bands(given: Any, count: int) -> tuple[str, ...]:
    if given is None:
        return ()
    words = texts(np.atleast_1d(given))
    words = words[0].replace(",", " ").split() if len(words) == 1 and count > 1 else words
    return tuple(words) if len(words) == count else ()


@contextlib.contextmanager
def _open(path: Path, array: str) -> Iterator[Callable[[slice], Any]]:
    with open_hdf5(path) as file:
        if array != _PER_OBJECT:
            yield lambda rows: file[array][rows]
            return
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "ndim", 0) in (2, 3) else None)

        def read(rows: slice) -> np.ndarray:
            chosen = names[rows]
            if not chosen:
                raise UnreadableError(f"{path} changed after it was listed")
            return np.stack([file[name][...] for name in chosen])

        yield read


HDF5 = Reader("HDF5", _list, _open)
