"""Compare FITS files with the checksums in their headers (FITS Standard 4.0, appendix J)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import AstroAnomalyError, Fact, each_watched
from astroanomaly.cutting import open_fits, quiet
from astroanomaly_plugins.mosaics.planes import BROKEN, first_line

__all__ = ["checksum_fact"]

_log = logging.getLogger(__name__)
_ONES = 2**32 - 1
_PIECE = 2880 * 1456  # bytes read together, about 4 MB
_LISTED, _MOST_KEPT = 3, 200


def checksum_fact(paths: Iterable[Path]) -> Fact:
    """Read files whole and compare them with ``DATASUM`` and ``CHECKSUM`` where their headers have these.

    A file that differs is a warning in the log, and named in the fact, which the cache keeps.
    """
    agree, none, differing = 0, 0, {}
    files = list(dict.fromkeys(paths))
    for path, found in zip(files, each_watched(_compare, files), strict=True):
        there, problems = (True, [str(found)]) if isinstance(found, AstroAnomalyError) else found
        if problems:
            _log.warning("%s is not as it was written: %s", path, "; ".join(problems))
            differing[str(path)] = problems
        elif there:
            agree += 1
        else:
            none += 1
    words = [f"{agree} of {agree + none + len(differing)} files agree with theirs"]
    words += [f"{none} have none"] if none else []
    if differing:
        listed = [f"{path} ({'; '.join(problems)})" for path, problems in list(differing.items())[:_LISTED]]
        more = f" and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        words.append(f"{len(differing)} differ: {', '.join(listed)}{more}")
    value = {"agree": agree, "without": none, "differ": dict(list(differing.items())[:_MOST_KEPT])}
    return Fact("checksums", ", ".join(words), value)


def _compare(path: Path) -> tuple[bool, list[str]]:
    """Whether a file has checksums, and which of them differ."""
    there, problems = False, []
    try:
        # compressed images are compared as the tables that they are stored as
        with quiet(), open_fits(path, disable_image_compression=True) as hdus:
            for number, hdu in enumerate(hdus):
                keywords = {key: str(hdu.header.get(key, "")).strip() for key in ("DATASUM", "CHECKSUM")}
                if not any(keywords.values()):
                    continue
                there = True
                name = f"extension {hdu.header.get('EXTNAME') or number}" if number else "primary HDU"
                place = hdu.fileinfo()
                data = _sum(place["file"], place["datLoc"], place["datLoc"] + place["datSpan"])
                if keywords["DATASUM"] and not _is_sum(keywords["DATASUM"], data):
                    problems.append(f"{name}: DATASUM differs")
                if keywords["CHECKSUM"] and (_sum(place["file"], place["hdrLoc"], place["datLoc"]) + data) % _ONES:
                    problems.append(f"{name}: CHECKSUM differs")
            last = hdus[-1].fileinfo()
            last["file"].seek(last["datLoc"] + last["datSpan"])
            if there and last["file"].read(1):  # astropy passes over an extension whose header is damaged
                problems.append("what follows its last extension is none")
    except BROKEN as error:  # the plan says it where the file cannot be read at all
        problems.append(f"cannot be read to its end: {first_line(error)}")
    return there, problems


def _is_sum(text: str, total: int) -> bool:
    return text.isdecimal() and int(text) % _ONES == total


def _sum(file: Any, start: int, stop: int) -> int:
    """Ones' complement sum of big-endian words of 32 bits; plus and minus zero are both 0.

    astropy's own verification makes the header anew before it sums it, and so misses what is damaged there.
    """
    total = 0
    file.seek(start)
    while start < stop:
        piece = file.read(min(_PIECE, stop - start))
        if len(piece) % 4 or not len(piece):
            raise EOFError("it is cut short")
        total += int(np.frombuffer(piece, ">u4").sum(dtype=np.uint64))
        start += len(piece)
    return total % _ONES
