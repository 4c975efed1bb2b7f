"""FITS files of cutouts: safe names, whole or not at all, and the same pixels when they are ingested again."""

import csv

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly import Cache, ingest
from astroanomaly.cache.cutout_files import OBJECTS_FILE, file_names
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.errors import ConfigError, StorageError, UnknownObjectError
from astroanomaly.files import CHECKSUMS
from astroanomaly.records import CutoutBlock, Layout, Task

HOSTILE = ["../../etc/passwd", "a/b", "A/B", "CON", "nul.fits", ".hidden", "-rf", "x" * 400, "日本", "", "a b", "a\0b"]


@pytest.fixture(scope="module")
def cache(sky):
    return Cache.open(sky[1])


@given(st.lists(st.text(), unique=True, max_size=20))
def test_names_of_any_ids_are_safe_and_different(ids):
    names = file_names([*ids, *(x for x in HOSTILE if x not in ids)])
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert name.isascii()
        assert 5 < len(name) <= 120
        assert not set(name) & set('/\\:*?"<>|\0 \n')
        assert name[0] not in ".-+"
        assert name.split(".")[0].upper() not in ("CON", "NUL")


def test_names_of_usual_ids_are_the_ids():
    assert file_names(["J1000+0212", "NGC_4038-9", "123"], ".png") == ["J1000+0212.png", "NGC_4038-9.png", "123.png"]
    assert file_names(["a", "A"])[0] == "a.fits"


def test_an_id_that_names_an_image_ends_in_one_suffix():
    ids = ["m0.fits", "m1.jpg", "m2.FITS.gz", "m3.fits.fz", "tile.r", ".png"]
    assert file_names(ids) == ["m0.fits", "m1.fits", "m2.fits", "m3.fits", "tile.r.fits", file_names([".png"])[0]]
    first, second, third = file_names(["a.png", "a.jpg", "a"], ".png")
    assert first == "a.png"
    assert len({first, second, third}) == 3
    assert second.startswith("a-")


def test_the_name_of_an_object_does_not_depend_on_the_others():
    assert file_names(["a/b", "x"])[0] == file_names(["y", "a/b"])[1]


def test_cutouts_are_read_in_the_order_given(cache):
    ids = [cache.ids[k] for k in (77, 3, 120, 5)]
    for object_id, cutout in zip(ids, cache.cutouts(ids), strict=True):
        assert cutout.object_id == object_id
        np.testing.assert_array_equal(cutout.data, cache[object_id].data)
        assert (cutout.ra, cutout.offset) == (cache[object_id].ra, cache[object_id].offset)
    with pytest.raises(UnknownObjectError, match="nobody"):
        cache.cutouts([ids[0], "nobody"])


def test_a_folder_of_cutouts_is_ingested_to_the_same_pixels(cache, tmp_path):
    ids = [cache.ids[k] for k in (50, 2, 101, 7)]
    names = cache.write_cutouts(ids, tmp_path / "out")
    with (tmp_path / "out" / OBJECTS_FILE).open(newline="", encoding="utf-8") as handle:
        assert [(row["object_id"], row["file"]) for row in csv.DictReader(handle)] == list(zip(ids, names, strict=True))
    ingest("fits", tmp_path / "out", out=tmp_path / "again")
    again = Cache.open(tmp_path / "again")
    assert again.bands == cache.bands
    assert again.layout.units == cache.layout.units
    assert len(again) == len(ids)
    for object_id, name in zip(ids, names, strict=True):
        first, second = cache[object_id], again[name]
        np.testing.assert_array_equal(second.data, first.data)
        corner = first.wcs.all_pix2world([0, 47], [0, 47], 0)
        np.testing.assert_allclose(second.wcs.all_pix2world([0, 47], [0, 47], 0), corner, rtol=0, atol=1e-9)


def test_the_headers_say_what_it_is(cache, tmp_path):
    object_id = cache.ids[9]
    (name,) = cache.write_cutouts([object_id], tmp_path / "out")
    with fits.open(tmp_path / "out" / name, checksum=True) as hdus:
        hdus.verify("exception")
        head = hdus[0].header
        assert (head["OBJECT"], head["RA"], head["DEC"]) == (object_id, cache[object_id].ra, cache[object_id].dec)
        assert head["CREATOR"].startswith("astroanomaly ")
        assert [hdu.name for hdu in hdus[1:]] == list(cache.bands)
        assert [hdu.header["BUNIT"] for hdu in hdus[1:]] == list(cache.layout.units)
        assert all(hdu.header["BITPIX"] == -32 for hdu in hdus[1:])


def test_all_in_one_file(cache, tmp_path):
    ids = list(cache.ids[:3])
    assert cache.write_cutouts(ids, tmp_path / "all.fits", one_file=True) == ["all.fits"] * 3
    with fits.open(tmp_path / "all.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["NOBJECTS"] == 3
        assert len(hdus) == 1 + 3 * len(cache.bands)
        for number, object_id in enumerate(ids, 1):
            hdu = hdus[cache.bands[-1], number]
            assert hdu.header["OBJECT"] == object_id
            np.testing.assert_array_equal(hdu.data, cache[object_id].data[-1])


def test_nothing_is_replaced_unasked(cache, tmp_path):
    ids = [cache.ids[0]]
    out = tmp_path / "out"
    cache.write_cutouts(ids, out)
    with pytest.raises(StorageError, match="exists already"):
        cache.write_cutouts(ids, out)
    cache.write_cutouts([cache.ids[1]], out, overwrite=True)
    assert len(list(out.glob("*.fits"))) == 1
    (out / "mine.txt").write_text("precious")
    with pytest.raises(StorageError, match=CHECKSUMS):
        cache.write_cutouts(ids, out, overwrite=True)
    assert (out / "mine.txt").read_text() == "precious"
    with pytest.raises(ConfigError, match="no object"):
        cache.write_cutouts([], tmp_path / "none")
    with pytest.raises(UnknownObjectError):
        cache.write_cutouts([*ids, "nobody"], tmp_path / "none")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out"]


def test_pictures_are_written_as_planes_of_bytes(tmp_path):
    layout = Layout(("R", "G", "B"), 5, 7, dtype="uint8", pixel_kind="display")
    create_cache(tmp_path / "c", layout, [Task("t")], {})
    images = np.random.default_rng(0).integers(0, 255, (len(HOSTILE[:4]), 3, 5, 7), dtype=np.uint8)
    with ShardWriter(tmp_path / "c", layout) as writer:
        writer.begin(0, "t")
        writer.add(CutoutBlock(HOSTILE[:4], images, layout.bands))
        writer.commit()
    names = Cache.open(tmp_path / "c").write_cutouts(HOSTILE[:4], tmp_path / "out")
    assert sorted(item.name for item in (tmp_path / "out").glob("*.fits")) == sorted(names)
    for name, image in zip(names, images, strict=True):
        with fits.open(tmp_path / "out" / name) as hdus:
            assert [hdu.name for hdu in hdus[1:]] == ["R", "G", "B"]
            for hdu, plane in zip(hdus[1:], image, strict=True):
                assert hdu.header["BITPIX"] == 8
                np.testing.assert_array_equal(hdu.data, plane)
            assert "RA" not in hdus[0].header
