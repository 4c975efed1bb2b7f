"""Weight, rms and mask planes beside the flux: the right pixels of the right band, shown, and seen by no ranker."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from bokeh.document import Document

from astroanomaly import BandError, Cache, Session, ingest
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page

SHAPE = (90, 110)
X, Y = np.array([30.2, 75.7, 108.1]), np.array([40.6, 52.3, 88.4])


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Band g with its weight and mask as extensions, band r with a weight in a file of its own."""
    folder = tmp_path_factory.mktemp("planes")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [55, 45]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * 0.3 / 3600
    rng = np.random.default_rng(0)
    planes = {
        "g": rng.normal(size=SHAPE).astype(np.float32),
        "r": rng.normal(size=SHAPE).astype(np.float32),
        "g:weight": rng.uniform(1, 2, SHAPE).astype(np.float32),
        "r:weight": rng.uniform(3, 4, SHAPE).astype(np.float32),
        "g:mask": rng.choice([0, 1, 4, 4096], SHAPE).astype(np.int16),
    }
    head = wcs.to_header()
    of_g = {"SCI": "g", "WHT": "g:weight", "DQ": "g:mask"}
    hdus = [fits.ImageHDU(planes[plane], head, name=name) for name, plane in of_g.items()]
    for hdu in hdus:
        hdu.header["FILTER"] = "g"
    del hdus[2].header["CTYPE1"], hdus[2].header["CTYPE2"]  # a mask without a WCS of its own
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / "field_g.fits")
    fits.writeto(folder / "field_r_sci.fits", planes["r"], head)
    fits.writeto(folder / "field_r_weight.fits", planes["r:weight"], head)
    sky = wcs.pixel_to_world(X, Y)
    Table({"id": ["a", "b", "edge"], "ra": sky.ra.deg, "dec": sky.dec.deg}).write(folder / "cat.csv")
    return folder, planes, wcs


def cut(field, out, **options):
    return ingest("fits", [field[0]], catalog=field[0] / "cat.csv", size=20, out=out, workers=1, **options)


@pytest.fixture(scope="module")
def cache(field, tmp_path_factory):
    return cut(field, tmp_path_factory.mktemp("cache") / "c", auxiliary=("weight", "dq"), nodata=0.0)


def test_planes_are_the_pixels_of_the_files(field, cache):
    _, planes, wcs = field
    assert cache.bands == ("g", "r")
    assert cache.layout.auxiliary == ("g:weight", "r:weight", "g:dq")
    assert "g:weight from" in cache.facts["auxiliary planes"].text
    planes = {**planes, "g:dq": planes["g:mask"]}
    for name, x, y in zip(cache.ids, X, Y, strict=False):
        found = cache.auxiliary_planes(name)
        assert list(found) == list(cache.layout.auxiliary)
        for plane, pixels in found.items():
            expected = Cutout2D(planes[plane].astype(np.float32), (x, y), 20, wcs, mode="partial", fill_value=np.nan)
            np.testing.assert_array_equal(pixels, expected.data)
        assert cache[name].data.shape == (2, 20, 20)


def test_whoever_ranks_sees_the_same_cache(field, cache, tmp_path):
    plain = cut(field, tmp_path / "c", nodata=0.0)
    assert cache.digest() == plain.digest()
    np.testing.assert_array_equal(cache.read(list(cache.ids)), plain.read(list(plain.ids)))
    np.testing.assert_array_equal(cache["edge"].coverage, plain["edge"].coverage)
    assert plain.auxiliary_planes("a") == {}
    assert not Cache.open(cache.folders[0]).check().damaged


@pytest.mark.parametrize("options", [{"pixel_scale": 0.2}, {"size_column": "side"}])
def test_resampled_masks_keep_their_bits(field, tmp_path, options):
    table = Table.read(field[0] / "cat.csv")
    table["side"] = 9.0
    table.write(tmp_path / "cat.csv")
    cache = ingest(
        "fits", [field[0]], catalog=tmp_path / "cat.csv", size=32, out=tmp_path / "c", workers=1, auxiliary=("mask",),
        **options,
    )  # fmt: skip
    for name in ("a", "b"):
        mask = cache.auxiliary_planes(name)["g:mask"]
        assert set(np.unique(mask)) == {0, 1, 4, 4096}


def test_what_is_not_there_is_an_error_that_lists_what_is(field, tmp_path):
    with pytest.raises(BandError, match=r"(?s)--auxiliary rms: no such image .*DQ"):
        cut(field, tmp_path / "c", auxiliary=("rms",))


def test_the_inspector_shows_them(cache, tmp_path):
    settings = {"input": {"size": 32}, "backbone": {"name": "test_efficientnet", "weights": "random"}}
    shared = SharedState(Session.create(tmp_path / "s", cache, settings=settings))
    page = Page(Document(), shared, Learner(shared, background=False), "ann")
    page.state.set_options(ordering="nominal")
    page.state.set_display(orientation="stored")
    page.flush()
    page.bus.update(key="Enter", n=page.bus.n + 1)
    shown = page.inspector.planes
    assert shown.names == cache.layout.auxiliary
    expected = cache.auxiliary_planes(page.state.current)
    for name, source in zip(shown.names, shown._sources, strict=True):
        np.testing.assert_array_equal(source.data["image"][0], expected[name])
    shared.close()


@pytest.mark.skipif("ASTROANOMALY_DATA" not in os.environ, reason="needs the real images: set ASTROANOMALY_DATA")
def test_rms_of_every_band_of_euclid(tmp_path):
    files = sorted((Path(os.environ["ASTROANOMALY_DATA"]) / "fits" / "euclid-q1").glob("*.fits*"))[:1]
    cache = ingest("fits", files, out=tmp_path / "c", workers=1, auxiliary=("rms",))
    assert cache.layout.auxiliary == tuple(f"{band}:rms" for band in cache.bands)
    (name,) = cache.ids
    found = cache.auxiliary_planes(name)
    with fits.open(files[0]) as hdus:
        of_flux = {hdu.name.rpartition("_")[0]: hdu.data for hdu in hdus if hdu.name.endswith(("_BGSUB", "_FLUX"))}
        of_rms = {hdu.name.removesuffix("_RMS"): hdu.data for hdu in hdus if hdu.name.endswith("_RMS")}
    assert len(found) == len(of_rms) == len(of_flux) == 8
    for band, pixels in zip(cache.bands, cache[name].data, strict=True):
        filter_name = next(key for key, flux in of_flux.items() if np.array_equal(flux, pixels, equal_nan=True))
        np.testing.assert_array_equal(found[f"{band}:rms"], of_rms[filter_name].astype(np.float32))
