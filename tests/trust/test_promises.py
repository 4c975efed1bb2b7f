"""What `docs/security.md` promises and the tests of the parts do not see: limits, back-ups, what is written when."""

import io
import json
import mmap
import os
import re
import shutil
import signal
import sqlite3
import stat
import zipfile
from contextlib import closing

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astroanomaly import Cache, ReadLimits, ingest
from astroanomaly.app.review import filters, preferences
from astroanomaly.fetch import checks, web
from astroanomaly.files import documents, write_json
from astroanomaly.labels.log import LabelLog
from astroanomaly.learn.features.row_file import open_rows
from astroanomaly.learn.network import checkpoint
from astroanomaly.parallel import limits, watch
from astroanomaly.session.outputs import check
from astroanomaly.tables import hdf5_headers
from astroanomaly_plugins.images.rule import PictureOptions
from astroanomaly_plugins.shared import client_answers
from folders import ROOT
from programs import next_lines, running

MIB = 2**20


def shown(nbytes):
    return f"{nbytes // 2**30} GiB" if nbytes % 2**30 == 0 else f"{nbytes // MIB} MiB"


def test_the_limits_that_are_documented_are_those_of_the_code():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", text.partition("## Limits for each file")[2], re.MULTILINE))
    read, pictures = ReadLimits(), PictureOptions()
    expected = {
        "time at one file without a result": (
            f"{read.file_seconds:g} s, and {watch._SECONDS_PER_BYTE * 1e6:g} s more for each megabyte"
        ),
        "memory of a process that reads files (Linux)": "three quarters of the machine's",
        "pixels of one FITS image": f"{read.image_gigapixels:g} gigapixels",
        "what a compressed file, image or tile may grow to": (
            f"{read.expansion:g} times its size, but at least {shown(limits.FREE_EXPANSION_BYTES)}"
        ),
        "what a dataset of HDF5 may grow to": (
            f"{read.expansion:g} times the size of its file, but at least {shown(limits.FREE_HDF5_BYTES)}"
        ),
        "cards of a FITS header; images and tables of a FITS file": f"{limits.FITS_CARDS:,}; {limits.FITS_HDUS:,}",
        "axes of a FITS image; columns of a FITS table": f"999; {limits.TABLE_FIELDS}",
        "members of an archive of pictures": f"{limits.ARCHIVE_MEMBERS / 1e6:g} million",
        "one picture": f"{pictures.max_pixels / 1e6:g} million pixels, {pictures.max_file_mb:g} MB unpacked",
        "HDF5: header of one object; one global heap": (
            f"{shown(hdf5_headers._MOST_HEADER_BYTES)}; {shown(hdf5_headers._MOST_HEAP_BYTES)}"
        ),
        "JSON of a cache or session; settings; preferences of the app": (
            f"{shown(documents._MAX_JSON_BYTES)}; {shown(documents._MAX_TOML_BYTES)}; "
            f"{preferences._MAX_BYTES / 1e6:g} MB"
        ),
        "checkpoint": (
            f"{checkpoint._MAX_HEADER_BYTES // MIB} MB of header, {checkpoint._MAX_META_BYTES // MIB} MB of metadata"
        ),
        "answer of an archive: in memory; of JSON; into a file": (
            f"{shown(client_answers.MOST_TABLE_BYTES)}; {shown(checks._MAX_JSON_BYTES)}; "
            f"{shown(client_answers.MOST_FILE_BYTES)}"
        ),
        "list of checksums, description of a bundle": f"{check._MAX_TEXT_BYTES // MIB} MB",
        "filter expression": f"{filters._MAX_CHARACTERS:,} characters, whole numbers of 63 bits",
    }
    assert {name: rows.get(name) for name in expected} == expected
    assert filters._MAX_INTEGER == 2**63
    assert web._MAX_BYTES <= client_answers.MOST_FILE_BYTES
    assert web._MAX_BYTES_IN_MEMORY <= client_answers.MOST_TABLE_BYTES
    assert limits._SHARE_OF_MEMORY == 0.75


def test_a_larger_file_has_more_time():
    marks = watch.Marks(mmap.mmap(-1, watch.MARK_BYTES), {})
    before = watch._marks
    watch._marks = marks
    try:
        for nbytes, seconds in ((0, 100), (50_000_000, 150)):
            with limits.limited(ReadLimits(file_seconds=100)), watch.reading("a file", nbytes=nbytes):
                assert seconds - 5 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    finally:
        watch._marks = before


def test_a_file_is_given_to_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """And its folder after that, so that a power cut leaves the old file or the new one."""
    done, fsync, replace = [], os.fsync, os.replace

    def note_sync(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        done.append(f"{kind} synced, {json.loads((tmp_path / 'a.json').read_text())['number']} there")
        fsync(handle)

    def note_rename(source, target):
        done.append("renamed")
        replace(source, target)

    write_json(tmp_path / "a.json", {"number": 1})
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    write_json(tmp_path / "a.json", {"number": 2})
    assert done == ["file synced, 1 there", "renamed", "folder synced, 2 there"]


# ---------------------------------------------------------------------------------------------------- the label log


def test_each_event_is_a_transaction_that_is_on_the_disk(tmp_path):
    with LabelLog.create(tmp_path / "labels.sqlite", ("nominal", "anomaly")) as log:
        assert log._database.read("PRAGMA synchronous") == [(2,)]  # FULL
        assert log._database.read("PRAGMA journal_mode") == [("delete",)]  # its name is in the docs


HALF_WAY = """
    import sqlite3, sys, time
    log = sqlite3.connect(sys.argv[1], isolation_level=None)
    log.execute("PRAGMA cache_size=1")
    log.execute("BEGIN IMMEDIATE")
    log.execute("CREATE TABLE half (way BLOB)")
    log.executemany("INSERT INTO half VALUES (?)", [(bytes(4000),)] * 50)  # more than is kept in memory
    print("half-way", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("by", ["files", "sqlite"])
def test_a_log_that_is_copied_while_somebody_writes_is_whole(by, tmp_path):
    path, copy = tmp_path / "labels.sqlite", tmp_path / "copy" / "labels.sqlite"
    copy.parent.mkdir()
    with LabelLog.create(path, ("nominal", "anomaly")) as log:
        log.verdict(["a", "b"], "anomaly", annotator="ann")
    with running(HALF_WAY, path) as writer:
        assert next_lines(writer, 1) == ["half-way"]
        assert path.with_name("labels.sqlite-journal").is_file()
        if by == "files":  # both, at the same moment
            shutil.copy(path, copy)
            shutil.copy(f"{path}-journal", f"{copy}-journal")
    if by == "sqlite":  # after the writer was killed, as `.backup` waits for the lock
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    with LabelLog.open(copy) as log:
        assert log.counts()["anomaly"] == 2
        assert log.verify()


# --------------------------------------------------------------------------------------------------------- caches


@pytest.fixture
def stamps(tmp_path):
    for number in range(3):
        pixels = np.random.default_rng(number).normal(size=(8, 8)).astype(np.float32)
        fits.PrimaryHDU(pixels, fits.Header({"FILTER": "g"})).writeto(tmp_path / f"s{number}.fits")
    return tmp_path


def test_a_back_up_needs_neither_the_index_nor_what_is_derived(stamps):
    cache = ingest("fits", stamps, out=stamps / "cache")
    ignored = shutil.ignore_patterns("index.h5", "derived")
    copy = Cache.open(shutil.copytree(stamps / "cache", stamps / "copy", ignore=ignored))
    assert (copy.digest(), list(copy.ids)) == (cache.digest(), list(cache.ids))


def test_a_cache_whose_folder_cannot_be_written_to_is_read(stamps, caplog):
    cache = ingest("fits", stamps, out=stamps / "cache")
    before = cache.digest()
    (stamps / "cache" / "index.h5").unlink()
    (stamps / "cache" / "index.h5").mkdir()  # in the way, even of root
    with caplog.at_level("INFO"):
        copy = Cache.open(stamps / "cache")
    assert copy.digest() == before
    assert copy[cache.ids[1]].data.shape == (1, 8, 8)
    assert "kept in memory" in caplog.text


class Trap:
    """What NumPy's own format would run when it is read."""

    def __reduce__(self):
        return os.mkdir, ("it-ran",)


def test_no_array_file_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.empty(3, object)
    array[:] = Trap()
    np.save(tmp_path / "shard.npy", array, allow_pickle=True)
    rows = open_rows([tmp_path], "shard", 3)
    assert not rows.complete
    assert not (tmp_path / "it-ran").exists()


def test_a_flipped_bit_in_a_member_of_a_zip_archive_is_a_failure(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8)).save(picture, "TIFF")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.tif", "b.tif"):
            archive.writestr(name, picture.getvalue())
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(picture.getvalue()) + 300] ^= 4  # a pixel: whatever decodes it sees nothing
    (tmp_path / "a.zip").write_bytes(content)
    cache = ingest("images", tmp_path / "a.zip", out=tmp_path / "cache")
    assert list(cache.ids) == ["b.tif"]
    assert "checksum" in cache.failures[0].reason.lower() or "crc" in cache.failures[0].reason.lower()
