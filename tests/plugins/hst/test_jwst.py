"""The source jwst on local servers of MAST and of its public bucket, over the sky of the Hubble tests."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import Cutout2D
from astropy.table import Table

from astroanomaly import ConfigError, FetchConfig, ingest
from astroanomaly_plugins.hst.jwst import JwstSource
from astroanomaly_plugins.hst.products import exposure_of
from servers.hst import served
from servers.hst_sky import SOURCES, Product, place

NIRCAM = {"project": "JWST", "instrument": "NIRCAM/IMAGE", "proposal": "1345", "date": "2022-06-21", "scale": 0.031}


def images():
    """Two filters of one programme, the longer wavelength on larger pixels; a deeper one with two filters."""
    name = "jw01345-o001_t021_nircam"
    return [
        Product(f"{name}_clear-f200w_i2d", f"{name}_clear-f200w", "F200W", **NIRCAM, exptime=3000.0),
        Product(
            f"{name}_clear-f444w_i2d",
            f"{name}_clear-f444w",
            "F444W",
            **{**NIRCAM, "scale": 0.063, "shape": (400, 400)},
            exptime=3000.0,
        ),
        Product(f"{name}_f444w-f470n_i2d", f"{name}_f444w-f470n", "F444W;F470N", **NIRCAM, exptime=9000.0),
    ]


@pytest.fixture
def catalog():
    rows = [(f"s{number}", *place(dx, dy)) for number, (dx, dy, _, _) in enumerate(SOURCES)]
    rows += [("far away", 151.0, 2.5), ("nowhere", np.nan, np.nan)]
    return Table(rows=rows, names=["object_id", "ra", "dec"])


def run(catalog, out, retry_failed=False, **options):
    config = FetchConfig(first_wait_s=0.01, longest_wait_s=0.1, attempts=3, timeout_s=5, keep=str(out.parent / "kept"))
    options = {"size": 40, "bands": ["F200W"], **options}
    return ingest(JwstSource(), out=out, catalog=catalog, fetch=config, retry_failed=retry_failed, **options)


def expected(product, dx, dy, size):
    x, y = product.wcs.all_world2pix(*place(dx, dy), 0)
    return Cutout2D(product.hdulist["SCI"].data, (float(x), float(y)), size, mode="partial", fill_value=np.nan).data


@pytest.mark.parametrize("via", ["s3", "mast"])
def test_cutouts_are_the_archives_pixels(via, catalog, tmp_path):
    with served("s3", images()) as servers:
        cache = run(catalog, tmp_path / "cache", via=via)
        whole = servers["mast"].count("Download/file")
        assert whole == (1 if via == "mast" else 0)  # the file that shows all objects, once
    assert sorted(cache.ids) == [f"s{number}" for number in range(len(SOURCES))]
    failures = {failure.object_id: failure.kind for failure in cache.failures}
    assert failures == {"far away": "no coverage", "nowhere": "no position"}
    assert cache.layout.units == ("MJy/sr",)
    for number, (dx, dy, _, _) in enumerate(SOURCES):
        np.testing.assert_allclose(cache[f"s{number}"].data[0], expected(images()[0], dx, dy, 40), rtol=1e-6)
    about = cache["s0"].columns
    assert about["product_F200W"] == "jw01345-o001_t021_nircam_clear-f200w_i2d"
    assert (about["instrument_F200W"], about["proposal_F200W"], about["date_F200W"]) == ("NIRCAM", "1345", "2022-06-21")
    assert about["exptime_F200W"] == 3000
    one = (1 * u.MJy / u.sr * u.arcsec**2).to(u.ABmag)
    assert about["zeropoint_F200W"] == pytest.approx(one.value, abs=0.002)


def test_a_surface_brightness_stays_when_pixels_change(catalog, tmp_path):
    """F444W has pixels of twice the size: on one grid with F200W a wide source has the same surface brightness."""
    with served("s3", images()):
        cache = run(catalog, tmp_path / "cache", bands=["F200W", "F444W"])
    short, long = cache["s2"].data
    assert np.isfinite(long).all()
    middle = (slice(17, 23),) * 2
    assert np.median((long / short)[middle]) == pytest.approx(1.0, abs=0.06)  # flux per pixel: a factor of four


def test_all_images_of_an_object_are_cutouts_of_their_own(catalog, tmp_path):
    more = [
        *images(),
        Product("jw02222-o001_t001_nircam_clear-f200w_i2d", "jw02222-o001_t001_nircam_clear-f200w", "F200W", **NIRCAM),
    ]
    with served("s3", more):
        cache = run(catalog, tmp_path / "cache", exposures="all")
    assert {name.partition("/")[0] for name in cache.ids} == {
        "jw01345-o001_t021_nircam_clear-f200w_i2d",
        "jw02222-o001_t001_nircam_clear-f200w_i2d",
    }
    assert len(cache) == 2 * len(SOURCES)


def test_filters_of_one_observation_are_one_exposure():
    names = ["jw01345-o001_t021_nircam_clear-f200w_i2d", "jw01345-o001_t021_nircam_f444w-f470n_i2d"]
    found = {exposure_of(name, band, several=True) for name, band in zip(names, ["F200W", "F444W;F470N"], strict=True)}
    assert found == {"jw01345-o001_t021_nircam_i2d"}


def test_an_image_that_is_not_calibrated_is_a_failure(catalog, tmp_path):
    product = images()[0]
    product.hdulist["SCI"].header["BUNIT"] = "DN/s"
    with served("s3", [product]):
        cache = run(catalog, tmp_path / "cache")
    (reason,) = {failure.reason for failure in cache.failures if failure.kind == "failed"}
    assert "pixels in 'DN/s' are none of a calibrated JWST image: expected MJy/sr" in reason


@pytest.mark.faults
@pytest.mark.parametrize("via", ["s3", "mast"])
def test_troubles_that_pass_and_one_that_lasts(via, catalog, tmp_path):
    with served("s3", images()) as servers:
        clean = run(catalog, tmp_path / "a" / "cache", via=via).digest()
        files = servers["s3" if via == "s3" else "mast"]
        where = "i2d" if via == "s3" else "Download/file"
        servers["mast"].misbehave("503", times=1)
        files.misbehave("500", times=1, where=where)
        cache = run(catalog, tmp_path / "b" / "cache", via=via)
        assert cache.digest() == clean
        files.misbehave("html" if via == "mast" else "500", times=math.inf, where=where)
        broken = run(catalog, tmp_path / "c" / "cache", via=via)
        assert not len(broken)
        assert sum(failure.kind == "failed" for failure in broken.failures) == len(SOURCES)
        files.behave()
        assert run(catalog, tmp_path / "c" / "cache", via=via, retry_failed=True).digest() == clean


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": ["CLEAR"]}, "as in F444W"),
        ({"bands": ["F200W", "f200w"]}, "named twice"),
        ({"pixel_scale": -1.0}, "more than 0"),
        ({"proposal": ["x"]}, "the number of a programme"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message, catalog, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(catalog, tmp_path / "cache", **options)
