"""One file that hangs, crashes or bloats its reader costs its own objects, and no others."""

import gc
import os
import sys

import numpy as np
import pytest
from astropy.io import fits

from astroanomaly import Cache, ingest
from astroanomaly_plugins.mosaics.files import scan
from astroanomaly_plugins.mosaics.planes import open_plane
from hostile import MarkedTexts, Texts

LIMITS = {"file_seconds": 2, "memory_gb": 1}
WORDS = {"a": "good", "b": "hang", "c": "good", "d": "crash", "e": "good", "f": "good"}


def put(folder, words):
    folder.mkdir(exist_ok=True)
    for name, word in words.items():
        (folder / name).write_text(word)
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_files_that_hang_or_crash_are_failures_and_can_be_tried_again(tmp_path, workers):
    folder = put(tmp_path / "in", WORDS | ({"g": "bloat"} if sys.platform == "linux" else {}))
    request = {"out": tmp_path / "c", "workers": workers, "limits": LIMITS}
    cache = ingest(Texts(), folder, **request)
    reasons = {failure.object_id: failure.reason for failure in cache.failures}
    assert sorted(cache.ids) == ["a", "c", "e", "f"]
    assert "took longer than 2 s" in reasons.pop("b")
    assert "SIGSEGV" in reasons.pop("d")
    assert all("--memory-gb" in reason for reason in reasons.values())
    put(folder, dict.fromkeys([*reasons, "b", "d"], "good"))
    again = ingest(Texts(), folder, retry_failed=True, **request)
    assert sorted(again.ids) == sorted(os.listdir(folder))
    assert not again.failures


def test_a_plan_goes_on_without_a_file_that_hangs(tmp_path):
    folder = put(tmp_path / "in", WORDS)
    cache = ingest(MarkedTexts(), folder, out=tmp_path / "c", limits=LIMITS)
    assert sorted(cache.ids) == ["a", "c", "e", "f"]


def stamp(path, **cards):
    """Write a small image whose header says what it should not."""
    fits.PrimaryHDU(np.arange(1024, dtype=np.float32).reshape(32, 32)).writeto(path)
    content = path.read_bytes()
    for name, value in cards.items():
        start = content.index(name.ljust(8).encode() + b"=")
        content = content[:start] + f"{name:8s}= {value:>20}".ljust(80).encode() + content[start + 80 :]
    path.write_bytes(content)


def test_stamps_with_malformed_headers_are_failures(tmp_path):
    (tmp_path / "in").mkdir()
    stamp(tmp_path / "in" / "good.fits")
    stamp(tmp_path / "in" / "negative.fits", NAXIS1="-32")
    stamp(tmp_path / "in" / "endless.fits", NAXIS="99999999999")
    stamp(tmp_path / "in" / "text.fits", NAXIS2="'many'")
    cache = ingest("fits", tmp_path / "in", out=tmp_path / "c")
    assert list(cache.ids) == ["good.fits"]
    reasons = {failure.object_id: failure.reason for failure in Cache.open(tmp_path / "c").failures}
    assert "NAXIS1 is -32; expected 0 or more" in reasons["negative.fits"]
    assert "NAXIS is 99999999999; expected at most 999" in reasons["endless.fits"]
    assert "NAXIS2 is \"'many'\"; expected a whole number" in reasons["text.fits"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not list open files")
@pytest.mark.parametrize("side", [16, 600])  # read, and memory-mapped
def test_files_are_closed_when_they_have_been_read(tmp_path, side):
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.ones((side, side), np.float32)).writeto(path)
    gc.collect()
    gc.disable()
    try:
        counts = set()
        for _ in range(200):
            scan(path, tmp_path)
            plane, _ = open_plane(path, 0)
            assert plane.stored[0, 0] == 1
            del plane
            counts.add(len(os.listdir("/proc/self/fd")))
    finally:
        gc.enable()
    assert len(counts) == 1
