"""The digest at the end of a file, and the checksums of cutouts: what is read is what was written, or damage is seen.

XXH3 (https://xxhash.com) is no seal against people: it finds what disks, memory and networks do to a file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.lib import format as npy

from astroanomaly.errors import AstroAnomalyError, DamagedError, SessionError
from astroanomaly.files import read_json

__all__ = [
    "DIGEST_BYTES",
    "NPY_ERRORS",
    "append_digest",
    "bytes_digest",
    "cutout_checksums",
    "look_at_npy",
    "read_signed_json",
    "signed_json",
    "verify_digest",
    "verify_json",
    "verify_npy",
    "without_digest",
]

_LINE = re.compile(rb"\nastroanomaly xxh3-128 ([0-9a-f]{32}) but ([0-9]{16}) ([0-9]{16})\n")
DIGEST_BYTES = len("\nastroanomaly xxh3-128  but  \n") + 32 + 16 + 16
NPY_ERRORS = (  # what NumPy raises where bits of a header are others
    ValueError, EOFError, SyntaxError, TokenError, TypeError, AttributeError, OverflowError, MemoryError,
)  # fmt: skip
_KEY, _KIND = "digest", "digest_kind"  # of a JSON object
_PIECE = 2**22  # bytes read together


def append_digest(path: Path, start: int = 0, length: int = 0) -> None:
    """End a file with the digest of all before it; one that is there already is replaced.

    Parameters
    ----------
    path
        The file, complete otherwise.
    start, length
        Bytes that are left out, as they have checksums of their own in the file.
    """
    with path.open("rb+") as file:
        end = without_digest(path)
        found = _digest(file, end, start, length)
        file.truncate(end)
        file.seek(end)
        file.write(f"\nastroanomaly xxh3-128 {found} but {start:016d} {length:016d}\n".encode())


def verify_digest(path: Path, *, expected: bool = False) -> tuple[int, int] | None:
    """Compare a file with the digest at its end.

    Parameters
    ----------
    path
        The file.
    expected
        Whether the file says that it has one.

    Returns
    -------
    tuple of int
        First byte and number of the bytes that the digest leaves out; None where the file has no digest.

    Raises
    ------
    DamagedError
        If they differ.
    OSError
        If it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        end = without_digest(path)
        if end == path.stat().st_size:
            if expected:
                raise DamagedError(f"{path} is damaged: the digest that it should end with is not there")
            return None
        file.seek(end)
        match = _LINE.fullmatch(file.read(DIGEST_BYTES))
        if match is None or _digest(file, end, int(match[2]), int(match[3])) != match[1].decode():
            raise DamagedError(f"{path} is damaged: it is not as it was written, by the digest at its end")
        return int(match[2]), int(match[3])


def verify_npy(path: Path) -> bool:
    """Compare an array file of NumPy with its digest; False where it has none.

    Raises
    ------
    DamagedError
        If they differ, or the file is cut short or something else.
    OSError
        If it cannot be read.
    """
    size, end = look_at_npy(path)
    return verify_digest(path, expected=size > end) is not None


def look_at_npy(path: Path) -> tuple[int, int]:
    """Compare the size of an array file of NumPy with its header; return it, and the bytes of header and array.

    Raises
    ------
    DamagedError
        If they do not fit, or it is something else.
    OSError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            end = file.tell() + dtype.itemsize * math.prod(shape)
    except NPY_ERRORS as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    size = path.stat().st_size
    if size < end or size not in (end, end + DIGEST_BYTES):
        raise DamagedError(f"{path} is damaged: it has {size} bytes, expected {end + DIGEST_BYTES}")
    return size, end


def without_digest(path: Path) -> int:
    """How many bytes a file has before its digest; all, where it has none."""
    size = path.stat().st_size
    if size < DIGEST_BYTES:
        return size
    with path.open("rb", buffering=0) as file:
        file.seek(size - DIGEST_BYTES)
        return size - DIGEST_BYTES if _LINE.fullmatch(file.read(DIGEST_BYTES)) else size


def bytes_digest(content: bytes) -> str:
    """32 hexadecimal digits of some bytes."""
    return str(xxhash.xxh3_128_hexdigest(content))


def signed_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the digest of all its other keys, and a key that says so."""
    plain = {key: value for key, value in content.items() if key not in (_KEY, _KIND)}
    return {**plain, _KIND: "xxh3-128", _KEY: bytes_digest(json.dumps(plain, sort_keys=True).encode())}


def verify_json(content: Mapping[str, Any], path: Path) -> bool:
    """Compare a JSON object with its digest; False where it has none.

    Raises
    ------
    DamagedError
        If they differ.
    """
    if _KEY not in content and _KIND not in content:
        return False
    if signed_json(content) != content:
        raise DamagedError(f"{path} is damaged: it is not as it was written, by its {_KEY}")
    return True


def read_signed_json(
    path: Path, form: str, version: int, what: str, *, error: type[AstroAnomalyError], remedy: str, **limits: int
) -> dict[str, Any]:
    """Read a file of a session that `signed_json` has made, and compare digest, format and version.

    Parameters
    ----------
    path
        The file.
    form, version
        Its ``format``, and the newest ``version`` that is known.
    what
        What a file of this format is, for messages: as in ``the result of a crossmatch``.
    error, remedy, **limits
        As in `astroanomaly.files.read_json`.

    Raises
    ------
    AstroAnomalyError
        Of the kind ``error``, if it is damaged or something else.
    SessionError
        If it is of a newer version.
    """
    content = read_json(path, error=error, remedy=remedy, **limits)
    try:
        verify_json(content, path)
    except DamagedError as damage:
        raise error(f"{damage}; {remedy}") from damage
    if content.get("format") != form or type(content.get("version")) is not int:
        raise error(f"{path} is not {what}; {remedy}")
    if content["version"] > version:
        raise SessionError(f"{path} has version {content['version']}, newer than {version}: update astroanomaly")
    return content


def cutout_checksums(pixels: np.ndarray, scale: np.ndarray | None = None, zero: np.ndarray | None = None) -> np.ndarray:
    """``(n,)`` uint64: XXH3-64 of the bytes of each cutout as they are stored.

    Parameters
    ----------
    pixels
        ``(n, bands, height, width)``, contiguous.
    scale, zero
        ``(n, bands)`` float32 of cutouts as float16: their bytes are hashed too, with the first hash as seed.
    """
    rows: Any = pixels.reshape(len(pixels), -1).view(np.uint8)
    sums = np.fromiter(map(xxhash.xxh3_64_intdigest, rows), np.uint64, len(rows))
    if scale is None or zero is None:
        return sums
    both = np.ascontiguousarray(np.concatenate([scale, zero], axis=1), np.float32).view(np.uint8)
    seeded = (xxhash.xxh3_64_intdigest(row, seed) for row, seed in zip(both, sums.tolist(), strict=True))
    return np.fromiter(seeded, np.uint64, len(both))


def _digest(file: BinaryIO, end: int, start: int, length: int) -> str:
    """Hash the first ``end`` bytes of a file but for those left out, and then which these are."""
    hasher = xxhash.xxh3_128()
    for first, last in ((0, min(start, end)), (min(start + length, end), end)):
        file.seek(first)
        while first < last:
            piece = file.read(min(_PIECE, last - first))
            if not piece:
                break
            hasher.update(piece)
            first += len(piece)
    hasher.update(f"{start} {length}".encode())
    return str(hasher.hexdigest())
