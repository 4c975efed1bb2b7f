"""What is read from: paths and open HDULists give the same cutouts, however the images are given."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astroanomaly import Cache, ConfigError, UnreadableError, ingest
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.inputs import MemoryImages, find_inputs
from astroanomaly.ingestion.request import SourceRequest
from small_sky import make_sky


@pytest.fixture
def sky(tmp_path):
    return make_sky(tmp_path)


def test_paths_of_any_kind(sky, tmp_path, monkeypatch):
    files, _, _, _ = sky
    monkeypatch.chdir(tmp_path)
    expected = tuple(map(str, files))
    for given in (files, [str(file) for file in files], ["m_g.fits", Path("m_r.fits")], tmp_path.glob("m_*.fits")):
        assert tuple(sorted(find_inputs(given))) == expected
    assert find_inputs(files[0]) == (str(files[0]),)
    assert find_inputs("https://a.org/b.fits") == ("https://a.org/b.fits",)
    assert find_inputs(()) == ()


@pytest.mark.parametrize("wrong", [5, None, [None], b"m.fits", np.zeros((3, 3)), {"g": "m.fits"}, [1.5]])
def test_anything_else_is_refused_and_what_is_taken_is_said(wrong):
    with pytest.raises(ConfigError, match=r"cannot be read from: expected paths or addresses .* open HDULists"):
        find_inputs(wrong)


def test_an_hdulist_as_its_file_has_it_is_the_file(sky, tmp_path):
    files, coords, _, _ = sky
    with fits.open(files[0]) as untouched, fits.open(files[1]) as looked_at:
        assert looked_at[0].data.max() > 100
        assert find_inputs([untouched, looked_at]) == tuple(map(str, files))
        cache = ingest("fits", [untouched, looked_at], catalog=coords, size=9, out=tmp_path / "c")
    assert cache.digest() == ingest("fits", files, catalog=coords, size=9, out=tmp_path / "d").digest()
    assert not (tmp_path / "c" / "inputs").exists()


@pytest.mark.parametrize("change", ["pixels", "header", "extension"])
def test_a_changed_hdulist_is_what_is_cut(sky, tmp_path, change):
    files, coords, _, _ = sky
    with fits.open(files[0]) as hdus:
        if change == "pixels":
            hdus[0].data = hdus[0].data + 1000
        elif change == "header":
            hdus[0].header["BUNIT"] = "mJy"
        else:
            hdus.append(fits.ImageHDU(np.ones((120, 140), np.float32), hdus[0].header, name="WEIGHT"))
        before = hdus[0].header.tostring()
        (images,) = find_inputs(hdus)
        assert isinstance(images, MemoryImages)
        cache = ingest("fits", hdus, catalog=coords, size=9, out=tmp_path / "c", workers=2)
        assert hdus[0].header.tostring() == before
        again = ingest("fits", hdus, catalog=coords, size=9, out=tmp_path / "c")
    assert again.digest() == cache.digest()
    plain = ingest("fits", files[0], catalog=coords, size=9, out=tmp_path / "d")
    offset = 1000 if change == "pixels" else 0
    for object_id in plain.ids:
        np.testing.assert_array_equal(cache[object_id].data, plain[object_id].data + offset)
    assert cache.layout.units == (("mJy",) if change == "header" else ("nJy",))
    (stored,) = (tmp_path / "c" / "inputs").iterdir()
    assert cache.request["inputs"] == [str(stored)]


def test_images_made_in_memory_are_written_where_workers_and_later_calls_find_them(sky, tmp_path):
    files, coords, _, _ = sky
    hdus = [fits.PrimaryHDU(fits.getdata(file), fits.getheader(file)) for file in files]
    expected = ingest("fits", files, catalog=coords, size=9, out=tmp_path / "d").digest()
    lists = [fits.HDUList([hdu]) for hdu in hdus]
    assert ingest("fits", lists, catalog=coords, size=9, out=tmp_path / "c").digest() == expected
    assert ingest("fits", hdus, catalog=coords, size=9, out=tmp_path / "e").digest() == expected
    extensions = [fits.ImageHDU(hdu.data, hdu.header) for hdu in hdus]
    assert ingest("fits", extensions, catalog=coords, size=9, out=tmp_path / "f").digest() == expected
    for stored in (tmp_path / "c" / "inputs").iterdir():
        stored.unlink()  # it may be deleted
    again = ingest("fits", lists, catalog=coords, size=9, out=tmp_path / "c", retry_failed=True)
    assert again.digest() == expected
    with pytest.raises(Exception, match="made by another request: its inputs"):
        ingest("fits", lists[:1], catalog=coords, size=9, out=tmp_path / "c")


def test_a_dry_run_leaves_no_file(sky, tmp_path, monkeypatch):
    files, coords, _, _ = sky
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    hdu = fits.PrimaryHDU(fits.getdata(files[0]), fits.getheader(files[0]))
    found = dry_run(SourceRequest.of("fits", hdu, options={"catalog": coords, "size": 9}))
    assert found.objects == 20
    assert not list((tmp_path / "temporary").iterdir())


def test_a_plan_that_fails_leaves_no_file(sky, tmp_path):
    files, coords, _, _ = sky
    hdu = fits.PrimaryHDU(fits.getdata(files[0]))  # without a WCS
    with pytest.raises(ValueError, match="no WCS"):
        ingest("fits", hdu, catalog=coords, size=9, out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_closed_hdulist_whose_pixels_are_needed_is_an_error(sky):
    files, _, _, _ = sky
    hdus = fits.open(files[0], memmap=False)
    hdus.close()
    files[0].unlink()
    with pytest.raises(UnreadableError, match="Is it still open"):
        SourceRequest.of("fits", hdus)


def test_where_the_cache_lies_and_how_many_processes_there_are_is_checked(sky, tmp_path):
    files, coords, _, _ = sky
    with pytest.raises(ConfigError, match="expected the path of a folder"):
        ingest("fits", files, catalog=coords, size=9, out=5)
    for workers in (0, "2", True, 1.5):
        with pytest.raises(ConfigError, match="workers="):
            ingest("fits", files, catalog=coords, size=9, out=tmp_path / "c", workers=workers)
    with pytest.raises(ConfigError, match=r"astroanomaly\.preview"):
        ingest("fits", files, catalog=coords, size=9, out=tmp_path / "c", preview=3)
    assert isinstance(ingest("fits", files, catalog=coords, size=9, out=str(tmp_path / "c")), Cache)
