"""FITS checksums: what differs is named and kept in the cache, whatever bit it is."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from astroanomaly import Cache
from astroanomaly.cli import main
from astroanomaly_plugins.mosaics.checksums import checksum_fact


def write(path, checksum=True):
    rng = np.random.default_rng(0)
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(rng.normal(size=(20, 30)).astype(np.float32), name="SCI"),
            fits.ImageHDU(rng.integers(0, 60_000, (10, 10)).astype(np.uint16), name="U2"),
            fits.CompImageHDU(rng.integers(0, 999, (32, 32)).astype(np.int32), name="RICE"),
        ]
    )
    hdus.writeto(path, checksum=checksum)
    return path


def test_any_flipped_bit_of_a_file_with_checksums_is_found(tmp_path):
    path = write(tmp_path / "a.fits")
    assert checksum_fact([path]).value == {"agree": 1, "without": 0, "differ": {}}
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(content), 120).tolist():
        if content[place // 80 * 80 :].startswith((b"CHECKSUM", b"DATASUM")) and place % 80 < 10:
            continue  # then the header has none of that name
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert list(checksum_fact([path]).value["differ"]) == [str(path)], place


@pytest.mark.parametrize("length", [-1, -2880, -6000])
def test_a_file_that_is_cut_short_differs(tmp_path, length):
    path = write(tmp_path / "a.fits")
    path.write_bytes(path.read_bytes()[:length])
    assert checksum_fact([path]).value["differ"]


def test_compressed_files_are_compared_and_those_without_are_counted(tmp_path):
    plain = write(tmp_path / "a.fits", checksum=False)
    packed = tmp_path / "b.fits.gz"
    packed.write_bytes(gzip.compress(write(tmp_path / "b.fits").read_bytes()))
    assert checksum_fact([plain, packed]).value == {"agree": 1, "without": 1, "differ": {}}


def test_ingest_warns_and_the_cache_keeps_the_name_of_the_file(tmp_path, capsys, caplog):
    for name in ("good.fits", "bad.fits"):
        image = np.random.default_rng(len(name)).normal(size=(12, 12)).astype(np.float32)
        fits.PrimaryHDU(image, fits.Header({"FILTER": "g"})).writeto(tmp_path / name, checksum=True)
    bad = tmp_path / "bad.fits"
    content = bytearray(bad.read_bytes())
    content[2880 + 7] ^= 4
    bad.write_bytes(content)
    command = ["ingest", "fits", str(tmp_path), "--out", str(tmp_path / "cache")]
    assert main([*command, "--verify"]) == 0
    assert "bad.fits (primary HDU: DATASUM differs" in capsys.readouterr().out.replace("\n", " ")
    assert any("bad.fits is not as it was written" in record.message for record in caplog.records)
    cache = Cache.open(tmp_path / "cache")
    assert len(cache) == 2
    assert list(cache.facts["checksums"].value["differ"]) == [str(bad)]
    assert main([*command[:-1], str(tmp_path / "other")]) == 0
    assert "checksums" not in Cache.open(tmp_path / "other").facts
