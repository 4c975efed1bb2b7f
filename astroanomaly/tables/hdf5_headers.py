"""Check by plain bytes what HDF5 would loop over for ever or crash on: headers of objects, heaps of their texts.

The names of the fields are those of the "HDF5 File Format Specification", versions 2 and 3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

__all__ = ["DamagedHeaderError", "HeaderCheck"]

_DATATYPE, _EXTERNAL, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _ATTRIBUTE_INFO = 3, 7, 8, 12, 16, 21  # types of messages
_COMPACT, _CONTIGUOUS = 0, 1  # classes of a layout
_SHARED = 0x02  # flag of a message
_VARIABLE_LENGTH = 9  # class of a datatype
_MOST_TYPE, _MOST_PADDING, _MOST_CHARSET = 1, 2, 1  # of values of variable length
_NOWHERE = 2**64 - 1
_MOST_HEADER_BYTES = 16 * 2**20  # of one object, all its parts together
_HEAP_ENTRY = 16  # bytes of the header of an object in a heap
_MOST_HEAP_BYTES = 256 * 2**20


class DamagedHeaderError(Exception):
    """What is wrong; becomes an error that names the file."""


class HeaderCheck:
    """Checks the headers of objects of one open file.

    Parameters
    ----------
    descriptor
        Of the file.
    nbytes
        Its size.
    base
        Where addresses count from: bytes of another format that precede it.
    """

    def __init__(self, descriptor: int, nbytes: int, base: int) -> None:
        self._descriptor = descriptor
        self._nbytes = nbytes
        self._base = base
        self._heaps: set[int] = set()

    def check(self, address: int) -> bool:
        """Check the header of one object, and the heaps that its attributes point to.

        Returns
        -------
        bool
            Whether it is a group, or a dataset whose values lie plain in the file: anything else is to be looked at.

        Raises
        ------
        DamagedHeaderError
            If HDF5 might never come to the end of one of them, or crash.
        """
        layouts, plain = 0, True
        for kind, flags, body in self._messages(address):
            if kind == _LAYOUT:
                layouts += 1
                plain = plain and layouts == 1 and not flags & _SHARED and self._is_plain(body)
            plain = plain and kind != _EXTERNAL
            if kind == _DATATYPE and not flags & _SHARED:
                _check_datatype(body)
            if kind == _ATTRIBUTE_INFO:
                _refuse_dense(body)
            if kind == _ATTRIBUTE:
                if flags & _SHARED:
                    _damaged("an attribute is shared among objects")
                for heap in _heaps_of(body):
                    self._check_heap(heap)
        return plain

    def _is_plain(self, layout: bytes) -> bool:
        if len(layout) < 2 or layout[0] not in (3, 4):
            return False
        if layout[1] == _CONTIGUOUS:
            start, nbytes = _number(layout[2:10]), _number(layout[10:18])
            return start + nbytes <= self._nbytes
        return layout[1] == _COMPACT

    def _read(self, address: int, nbytes: int) -> bytes:
        if not 0 <= nbytes <= _MOST_HEADER_BYTES or not 0 <= address <= self._nbytes - self._base - nbytes:
            _damaged("a header lies beyond the end of the file")
        content = os.pread(self._descriptor, nbytes, self._base + address)
        if len(content) < nbytes:
            _damaged("a header lies beyond the end of the file")
        return content

    def _messages(self, address: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and content of the messages of an object's header."""
        start = self._read(address, 16)
        if start[:4] == b"OHDR":
            flags = start[5]
            place = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            first = place + width, _number(self._read(place, width))
            yield from self._parts(first, lambda part: _split_new(part, tracked=bool(flags & 4)), signed=True)
            return
        if start[0] != 1:
            _damaged("a header is of an unknown version")
        yield from self._parts((address + 16, _number(start[8:12])), _split_old, signed=False)

    def _parts(
        self, first: tuple[int, int], split: Callable[[bytes], Iterator[tuple[int, int, bytes]]], *, signed: bool
    ) -> Iterator[tuple[int, int, bytes]]:
        waiting, seen, total = [first], set[int](), 0
        while waiting:
            address, nbytes = waiting.pop(0)
            total += nbytes
            if address in seen or total > _MOST_HEADER_BYTES:
                _damaged("the parts of a header lead round in a circle")
            seen.add(address)
            content = self._read(address, nbytes)
            if signed and len(seen) > 1:  # a signature before, a checksum behind
                content = content[4:-4]
            for kind, flags, body in split(content):
                if kind == _CONTINUATION and len(body) >= 16:
                    waiting.append((_number(body[:8]), _number(body[8:16])))
                yield kind, flags, body

    def _check_heap(self, address: int) -> None:
        """Go through a global heap as HDF5 does."""
        if address in self._heaps:
            return
        start = self._read(address, 16)
        nbytes = _number(start[8:16])
        if start[:4] != b"GCOL" or not 16 <= nbytes <= _MOST_HEAP_BYTES:
            _damaged("an attribute points to a heap that is none")
        place = 16
        while place + _HEAP_ENTRY <= nbytes:
            entry = self._read(address + place, _HEAP_ENTRY)
            size = _number(entry[8:16])
            step = _HEAP_ENTRY + size + -size % 8 if _number(entry[:2]) else size
            if not _HEAP_ENTRY <= step <= nbytes - place:
                _damaged("an entry of a heap has an impossible size")
            place += step
        self._heaps.add(address)


def _split_old(part: bytes) -> Iterator[tuple[int, int, bytes]]:
    place = 0
    while place + 8 <= len(part):
        size = _number(part[place + 2 : place + 4])
        yield _number(part[place : place + 2]), part[place + 4], part[place + 8 : place + 8 + size]
        place += 8 + size


def _split_new(part: bytes, *, tracked: bool) -> Iterator[tuple[int, int, bytes]]:
    head = 6 if tracked else 4
    place = 0
    while place + head <= len(part):
        size = _number(part[place + 1 : place + 3])
        yield part[place], part[place + 3], part[place + head : place + head + size]
        place += head + size


def _refuse_dense(body: bytes) -> None:
    """Refuse attributes that are kept apart from the header, where this check does not see them."""
    place = 2 + (2 if len(body) > 1 and body[1] & 1 else 0)
    if _number(body[place : place + 8]) != _NOWHERE:
        _damaged("the attributes of an object are kept in a heap of their own, which files of this package never have")


def _check_datatype(body: bytes) -> None:
    """Refuse values of variable length that are neither a sequence nor a text: HDF5 does not look, and crashes."""
    if len(body) < 3 or body[0] & 0x0F != _VARIABLE_LENGTH:
        return
    if body[1] & 0x0F > _MOST_TYPE or body[1] >> 4 > _MOST_PADDING or body[2] & 0x0F > _MOST_CHARSET:
        _damaged("values of variable length are of an unknown kind")


def _heaps_of(attribute: bytes) -> set[int]:
    """Addresses of the heaps that the value of an attribute points to."""
    if len(attribute) < 8:
        _damaged("an attribute is cut short")
    version = attribute[0]
    name, kind, space = (_number(attribute[start : start + 2]) for start in (2, 4, 6))
    place = 9 if version == 3 else 8
    if version == 1:  # parts are padded
        name, kind, space = (size + -size % 8 for size in (name, kind, space))
    datatype = attribute[place + name : place + name + kind]
    _check_datatype(datatype)
    if not datatype or datatype[0] & 0x0F != _VARIABLE_LENGTH:
        return set()
    values = attribute[place + name + kind + space :]
    starts = range(0, len(values) - 15, 16)
    return {_number(values[start + 4 : start + 12]) for start in starts if _number(values[start : start + 4])}


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _damaged(what: str) -> NoReturn:
    raise DamagedHeaderError(what)
