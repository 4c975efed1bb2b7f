"""A size for each object from a column of the catalogue: the same shape for all, and the sky stays where it is."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import QTable
from astropy.wcs import WCS

from astroanomaly import CatalogError, ConfigError, ingest

SCALE = 0.2  # arcsec per pixel
SHAPE = (400, 500)
X, Y = np.array([100.3, 250.1, 400.6, 20.0]), np.array([100.2, 200.4, 300.2, 30.0])
SIDES = np.array([8.0, 16.0, 24.0, np.nan])  # arcsec
FLUX = 1000.0


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Four Gaussians, each an eighth as wide as the side of its cutout."""
    folder = tmp_path_factory.mktemp("sized")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150, 2], [250, 200]
    wcs.wcs.cd = np.array([[-np.cos(0.3), np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]) * SCALE / 3600
    v, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros(SHAPE)
    for a, b, side in zip(X, Y, np.nan_to_num(SIDES, nan=8.0), strict=True):
        sigma = side / SCALE / 8
        image += FLUX * np.exp(-((x - a) ** 2 + (v - b) ** 2) / 2 / sigma**2) / (2 * np.pi * sigma**2)
    fits.writeto(folder / "r.fits", image.astype(np.float32), wcs.to_header())
    sky = wcs.pixel_to_world(X, Y)
    table = QTable({"id": ["a", "b", "c", "none"], "ra": sky.ra, "dec": sky.dec, "radius": SIDES / 2 * u.arcsec})
    table["pixels"] = np.round(SIDES / SCALE) * u.pix
    table["magnitude"] = [20.0, 21, 22, 23] * u.mag
    table.write(folder / "cat.ecsv")
    return folder, image.astype(np.float32), wcs, sky


def cut(folder, out, **options):
    return ingest("fits", [folder / "r.fits"], catalog=folder / "cat.ecsv", out=out, workers=1, **options)


def test_each_object_fills_its_cutout_and_keeps_its_flux_and_place(field, tmp_path):
    folder, _, _, sky = field
    cache = cut(folder, tmp_path / "c", size=64, size_column="radius", size_factor=2.0)
    assert len(cache) == 3
    x = np.arange(64)
    for name, position in zip("abc", sky, strict=False):
        cutout = cache[name]
        pixels = cutout.data[0]
        assert pixels.sum() == pytest.approx(FLUX, rel=0.01)
        assert np.sqrt((pixels * (x - 31.5) ** 2).sum() / pixels.sum()) == pytest.approx(8, rel=0.03)  # 64 / 8
        assert cutout.wcs.pixel_to_world(31.5, 31.5).separation(SkyCoord(position)).mas < 1
        assert cutout.coverage[0] == 1
    (failure,) = cache.failures
    assert "no size above 0 in the column radius" in failure.reason
    assert "4 to 12" not in cache.facts["object sizes"].text
    assert cache.facts["object sizes"].value["range"] == [8.0, 24.0]


def test_padded_objects_are_whole_pixels_with_a_border(field, tmp_path):
    folder, image, wcs, _ = field
    cache = cut(folder, tmp_path / "c", size=96, size_column="pixels", size_rule="pad")
    reasons = {failure.object_id: failure.reason for failure in cache.failures}
    assert set(cache.ids) == {"a", "b"}
    assert "its size of 120 pixels is more than the 96 x 96" in reasons["c"]
    for name, a, b, side in zip("ab", X, Y, (40, 80), strict=False):
        cutout = cache[name]
        expected = Cutout2D(image, (a, b), side, wcs)
        inner = np.isfinite(cutout.data[0])
        assert inner.sum() == side**2
        np.testing.assert_array_equal(cutout.data[0][inner].reshape(side, side), expected.data)
        row, column = np.argwhere(inner)[0]
        place = cutout.wcs.pixel_to_world(column, row)
        assert place.separation(expected.wcs.pixel_to_world(0, 0)).mas < 1
        assert cutout.coverage[0] == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": "5arcsec", "size_column": "radius"}, ConfigError, "needs a catalogue, and --size in pixels"),
        ({"size": 64, "size_column": "radii"}, CatalogError, "no column 'radii'"),
        ({"size": 64, "size_column": "magnitude"}, CatalogError, "is in mag, expected an angle or pixels"),
        ({"size": 64, "size_column": "radius", "size_factor": 0.0}, ConfigError, "above 0"),
    ],
)
def test_what_is_no_size_is_refused(field, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        cut(field[0], tmp_path / "c", **options)
