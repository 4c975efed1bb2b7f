"""Edits of a file's bytes: plain values that can be kept, replayed and taken away one by one.

An edit is a tuple: the name of a function below and its arguments, all of them JSON. Positions are taken modulo the
length of what is there, so that any edit fits any content.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import struct
import tomllib
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import h5py
import numpy as np
import tomli_w

__all__ = ["CANARY", "Edit", "apply_edits", "cards", "fields_of", "random_bytes", "random_fields", "random_tree"]

Edit = tuple[Any, ...]
CANARY = 77  # all numbers of the files beside the work folder, which nobody may read
OUTSIDE = "../../../outside"  # the folder with these files, as seen from where HDF5 files are put

_INTEGERS = (0, 1, 2, 3, 7, 16, 127, 128, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
_CARD_VALUES = (
    "0", "-1", "1", "2", "3", "8", "16", "32", "-32", "-64", "65", "999", "1000", "32767", "1000000", "2147483647",
    "2147483648", "4294967295", "9223372036854775807", "-9223372036854775808", "99999999999", "1e308", "1E-320", "NaN",
    "T", "F", "", "'x'", "'1PB(99)'", "'1QB(9)'", "'9999999999E'", "'RICE_1'", "'GZIP_2'", "'HCOMPRESS_1'", "'BOGUS'",
    "'RA---ZPN'", "'RA---TPV'", "'GLON-TAN'", "'\x01'", "'http://127.0.0.1:9/x'", "0.5", "360", "-91",
)  # fmt: skip
_SCALARS = (None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -0.0, "", "x", "../..", "/etc/passwd")
_NAMES = ("\x00", "ü" * 300, "a" * 5000, "../../x", "http://127.0.0.1:9/x", "file:///etc/hostname", "NaN", "probe", "1")


# -------------------------------------------------------------------------------------------------------- of any bytes


def _flip(data: bytearray, position: int, bit: int) -> None:
    data[position % len(data)] ^= 1 << bit


def _set(data: bytearray, position: int, value: str) -> None:
    new = bytes.fromhex(value)
    start = position % len(data)
    data[start : start + len(new)] = new[: len(data) - start]


def _cut(data: bytearray, position: int, count: int) -> None:
    start = position % len(data)
    del data[start : start + count]


def _end(data: bytearray, position: int) -> None:
    del data[position % len(data) :]


def _insert(data: bytearray, position: int, value: str) -> None:
    start = position % (len(data) + 1)
    data[start:start] = bytes.fromhex(value)


def _copy(data: bytearray, source: int, target: int, count: int) -> None:
    start, to = source % len(data), target % len(data)
    data[to : to + count] = data[start : start + count]


def _whole(data: bytearray, text: str) -> None:
    data[:] = text.encode("utf-8", "surrogatepass")


# ------------------------------------------------------------------------------------------------- of certain formats


def _card(data: bytearray, key: str, which: int, value: str) -> None:
    """Replace the value of a FITS header card; without such a card add one to the first header."""
    places = _find_all(data, key.ljust(8).encode() + b"=", step=80)
    card = f"{key:8}= {value:>20}".encode("latin-1")[:80].ljust(80)
    if places:
        place = places[which % len(places)]
        data[place : place + 80] = card
        return
    end = data.find(b"END".ljust(80))
    if end >= 0 and end % 2880 < 2800:
        data[end : end + 160] = card + b"END".ljust(80)


def _inside(data: bytearray, codec: str, edits: Sequence[Edit]) -> None:
    """Edit what was compressed."""
    unpack, pack = _CODECS[codec]
    data[:] = pack(apply_edits(unpack(bytes(data)), edits))


def _repair_png(data: bytearray) -> None:
    """Make the checksums of the chunks right again."""
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4


def _repair_tar(data: bytearray) -> None:
    """Make the checksums of the headers right again."""
    for place in _find_all(data, b"ustar"):
        start = place - 257
        if start >= 0 and start % 512 == 0 and start + 512 <= len(data):
            header = data[start : start + 148] + b" " * 8 + data[start + 156 : start + 512]
            data[start + 148 : start + 156] = b"%06o\0 " % sum(header)


def _json(data: bytearray, path: Sequence[str | int], value: Any) -> None:
    data[:] = json.dumps(_put(json.loads(data), path, value)).encode("utf-8", "surrogatepass")


def _toml(data: bytearray, path: Sequence[str | int], value: Any) -> None:
    data[:] = tomli_w.dumps(_put(tomllib.loads(data.decode()), path, value)).encode()


def _tensors(data: bytearray, path: Sequence[str | int], value: Any) -> None:
    """Change the JSON header of a safetensors file, or that of ours inside it (a path that begins with ``meta``)."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if path and path[0] == "meta":
        inner = json.loads(header["__metadata__"]["astroanomaly"])
        header["__metadata__"]["astroanomaly"] = json.dumps(_put(inner, path[1:], value))
    else:
        header = _put(header, path, value)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    data[:] = len(text).to_bytes(8, "little") + text + data[8 + length :]


def _sql(data: bytearray, statement: str) -> None:
    """Change an SQLite file as somebody with another program would."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(bytes(data))
        connection.executescript(
            "PRAGMA writable_schema=ON; DELETE FROM sqlite_master WHERE type='trigger'; PRAGMA writable_schema=RESET;"
        )
        connection.executescript(statement)
        data[:] = connection.serialize()
    finally:
        connection.close()


def _hdf5(data: bytearray, action: str, name: str, number: int) -> None:
    """Put something else in the place of a dataset, an attribute or a group of an HDF5 file."""
    handle = io.BytesIO(data)
    with h5py.File(handle, "r+") as file:
        parent, _, last = name.rpartition("/")
        group = file[parent] if parent else file
        old = group.get(last)
        shape, kind = (old.shape, old.dtype) if isinstance(old, h5py.Dataset) else ((4,), np.dtype("f4"))
        if action == "attribute":
            names = sorted(old.attrs if old is not None else file.attrs)
            target = old if old is not None and names else file
            names = names or sorted(file.attrs)
            values = (b"\xff\xfe", "x" * 3000, -1, 2**40, np.full(3, np.nan), "http://127.0.0.1:9/x", np.bool_(True))
            target.attrs[names[number % len(names)]] = values[number % len(values)]
        else:
            if old is not None:
                del group[last]
            _replace(group, last, action, shape, kind, number)
    data[:] = handle.getvalue()


def _replace(group: h5py.Group, name: str, action: str, shape: tuple[int, ...], kind: np.dtype, number: int) -> None:
    if action == "external":
        group[name] = h5py.ExternalLink(f"{OUTSIDE}/secret.h5", f"/{kind.str[1:]}")
    elif action == "soft":
        group[name] = h5py.SoftLink("/" if number % 2 else f"/{name}")
    elif action == "virtual":
        layout = h5py.VirtualLayout(shape, kind)
        layout[...] = h5py.VirtualSource(f"{OUTSIDE}/secret.h5", "f4", shape)
        group.create_virtual_dataset(name, layout)
    elif action == "storage":
        nbytes = int(np.prod(shape)) * kind.itemsize
        group.create_dataset(name, shape, kind, external=[(f"{OUTSIDE}/secret.bin", 0, max(nbytes, 1))])
    elif action == "huge":  # nothing of it is stored
        group.create_dataset(name, (2**31, *shape[1:]) if shape else (2**31,), kind, chunks=True)
    elif action == "group":
        group.create_group(name)
    elif action == "kind":
        other = ("f2", "i8", "S3", "u1", "f8", h5py.string_dtype(), h5py.opaque_dtype(np.dtype("M8[s]")), "c8")
        group.create_dataset(name, shape, other[number % len(other)])
    elif action == "shape":
        grown = (*shape, 1) if number % 2 else (shape[0] + number % 3, *shape[1:]) if shape else (1,)
        group.create_dataset(name, grown, kind)
    elif action == "empty":
        group.create_dataset(name, data=h5py.Empty(kind))
    elif action != "gone":
        raise ValueError(action)


_CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gz": (gzip.decompress, lambda data: gzip.compress(data, 1, mtime=0)),
    "bz2": (bz2.decompress, lambda data: bz2.compress(data, 1)),
    "xz": (lzma.decompress, lambda data: lzma.compress(data, preset=0)),
}
_HDF5_ACTIONS = (
    "external", "soft", "virtual", "storage", "huge", "group", "kind", "shape", "empty", "gone", "attribute"
)  # fmt: skip
_EDITS: dict[str, Callable[..., None]] = {
    "flip": _flip, "set": _set, "cut": _cut, "end": _end, "insert": _insert, "copy": _copy, "whole": _whole,
    "card": _card, "inside": _inside, "repair png": _repair_png, "repair tar": _repair_tar, "json": _json,
    "toml": _toml, "tensors": _tensors, "sql": _sql, "hdf5": _hdf5,
}  # fmt: skip


def apply_edits(content: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the content with the edits made; one that an earlier edit has made impossible is left out."""
    data = bytearray(content)
    for name, *arguments in edits:
        if not data and name not in ("insert", "whole"):
            break
        try:
            _EDITS[name](data, *arguments)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OSError,
            RuntimeError,
            EOFError,
            sqlite3.Error,
            lzma.LZMAError,
        ):
            if name not in ("inside", "json", "toml", "tensors", "sql", "hdf5"):  # those read what may be damaged
                raise
    return bytes(data)


# ------------------------------------------------------------------------------------------------------------ at random


def random_bytes(rng: Random, data: bytes, *, head: int = 0, words: Sequence[bytes] = ()) -> list[Edit]:
    """Draw one or several edits of any bytes.

    Parameters
    ----------
    head
        Half of the positions lie among so many first bytes; 0: anywhere.
    words
        What is inserted at times.
    """
    size = max(1, len(data))

    def place() -> int:
        return rng.randrange(min(head, size)) if head and rng.random() < 0.5 else rng.randrange(size)

    edits: list[Edit] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        kind = rng.random()
        if kind < 0.35:
            edits.append(("flip", place(), rng.randrange(8)))
        elif kind < 0.5:
            edits.append(("set", place(), bytes([rng.choice((0, 255, 127, 128, 32, 48, 57))]).hex()))
        elif kind < 0.62:
            width = rng.choice((2, 4, 8))
            number = rng.choice(_INTEGERS) % 2 ** (8 * width)
            edits.append(("set", place(), number.to_bytes(width, rng.choice(("big", "little"))).hex()))
        elif kind < 0.72:
            edits.append(("end", place()))
        elif kind < 0.8:
            edits.append(("cut", place(), rng.choice((1, 4, 100, 2880))))
        elif kind < 0.9:
            new = rng.choice(words) if words and rng.random() < 0.7 else rng.randbytes(rng.choice((1, 4, 100, 2880)))
            edits.append(("insert", place(), new.hex()))
        else:
            edits.append(("copy", place(), place(), rng.choice((4, 64, 512))))
    return edits


def random_fields(rng: Random, data: bytes, form: str) -> list[Edit]:
    """Draw values for some of the numbers that a format keeps: lengths, sizes, offsets, counts, kinds."""
    fields = fields_of(data, form)
    if not fields:
        return random_bytes(rng, data)
    edits: list[Edit] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, width, order = rng.choice(fields)
        if order == "octal":
            edits.append(("set", place, f"{rng.choice(_INTEGERS):0{width - 1}o}".encode()[-width:].hex()))
        elif order == "text":
            edits.append(("set", place, rng.choice((b"../../x.png", b"/etc/hostname", b"x.csv\0", b"5", b"2")).hex()))
        else:
            edits.append(("set", place, (rng.choice(_INTEGERS) % 2 ** (8 * width)).to_bytes(width, order).hex()))
    repair = {"png": "repair png", "tar": "repair tar"}.get(form)
    return [*edits, (repair,)] if repair and rng.random() < 0.9 else edits


def fields_of(data: bytes, form: str) -> list[tuple[int, int, Any]]:
    """List where a format keeps numbers: position, bytes, and ``big``, ``little``, ``octal`` or ``text``."""
    if form == "zip":
        offsets = {
            b"PK\1\2": ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)),
            b"PK\3\4": ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
            b"PK\5\6": ((8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
        }
        return [
            (place + offset, width, "little")
            for magic, inside in offsets.items()
            for place in _find_all(data, magic)
            for offset, width in inside
            if place + offset + width <= len(data)
        ]
    if form == "tar":
        starts = [place - 257 for place in _find_all(data, b"ustar") if place >= 257]
        inside = ((0, 11, "text"), (100, 8, "octal"), (124, 12, "octal"), (156, 1, "text"), (157, 11, "text"))
        return [(start + offset, width, order) for start in starts for offset, width, order in inside]
    if form == "png":
        found, place = [], 8
        while place + 12 <= len(data):
            found += [(place, 4, "big"), (place + 8, 4, "big"), (place + 12, 4, "big"), (place + 16, 1, "big")]
            place += 12 + int.from_bytes(data[place : place + 4], "big")
        return [field for field in found if field[0] + field[1] <= len(data)]
    if form == "jpeg":
        places = [p for mark in (b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xdb") for p in _find_all(data, mark)]
        return [(place + offset, 2, "big") for place in places for offset in (2, 5, 7) if place + 9 < len(data)]
    if form == "tiff":
        start = struct.unpack_from("<I", data, 4)[0]
        count = struct.unpack_from("<H", data, start)[0]
        entries = [start + 2 + 12 * number for number in range(count)]
        inside = ((0, 2), (2, 2), (4, 4), (8, 4))
        return [(4, 4, "little"), (start, 2, "little")] + [
            (entry + offset, width, "little") for entry in entries for offset, width in inside
        ]
    if form == "sqlite":
        return [(at, width, "big") for at, width in ((16, 2), (18, 1), (19, 1), (20, 1), (28, 4), (32, 4), (36, 4),
                (40, 4), (44, 4), (52, 4), (56, 4), (60, 4), (68, 4), (101, 2), (103, 2), (105, 2))]  # fmt: skip
    raise ValueError(form)


def cards(rng: Random, data: bytes, keys: Sequence[str]) -> list[Edit]:
    """Draw values for cards of FITS headers."""
    return [
        ("card", rng.choice(keys), rng.randrange(4), rng.choice(_CARD_VALUES)) for _ in range(rng.choice((1, 1, 2, 3)))
    ]


def random_tree(rng: Random, content: Any, form: str) -> list[Edit]:
    """Draw values for places in a tree of JSON or TOML, and for HDF5 what stands in the place of an item."""
    if form == "hdf5":
        with h5py.File(io.BytesIO(content), "r") as file:
            names: list[str] = []
            file.visit(names.append)
        return [
            ("hdf5", rng.choice(_HDF5_ACTIONS), rng.choice(names), rng.randrange(100))
            for _ in range(rng.choice((1, 1, 2)))
        ]
    edits: list[Edit] = []
    for _ in range(rng.choice((1, 1, 2))):
        path = _random_path(rng, content)
        pool: tuple[Any, ...] = (*_SCALARS, *_NAMES, [], {}, [[]] * 3, {"x": 1}, "DROP", "DEEP", list(range(2000)))
        value = rng.choice(pool)
        if form == "toml" and (value is None or (isinstance(value, int) and abs(value) >= 2**63)):
            value = "x"
        edits.append((form, path, value))
    return edits


def _random_path(rng: Random, tree: Any) -> list[str | int]:
    path: list[str | int] = []
    while isinstance(tree, dict | list) and tree and (not path or rng.random() < 0.75):
        key = rng.choice(sorted(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        path.append(key)
        tree = tree[key]
    return path


def _put(tree: Any, path: Sequence[str | int], value: Any) -> Any:
    """Return a tree with another value at a path; ``DROP`` removes it, ``DEEP`` puts many lists into one another."""
    if value == "DEEP":
        value = []
        for _ in range(200):
            value = [value]
    if not path:
        return value
    holder = tree
    try:
        for key in path[:-1]:
            holder = holder[key]
        if value == "DROP":
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
    except (LookupError, TypeError):  # an earlier edit has put something else there
        pass
    return tree


def _find_all(data: bytes | bytearray, what: bytes, step: int = 1) -> list[int]:
    found, place = [], data.find(what)
    while place >= 0:
        if place % step == 0:
            found.append(place)
        place = data.find(what, place + 1)
    return found
