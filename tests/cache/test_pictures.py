"""Pictures of a cache: the usual display follows units and zero points, and agrees with astropy on real sky."""

import bz2
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import ManualInterval, make_lupton_rgb

from astroanomaly.cache import Cache
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.imaging.display import Display
from astroanomaly.records import CutoutBlock, Layout, Task


def write(path, images, bands, units=(), columns=None, **layout):
    made = Layout(bands, *images.shape[2:], units=units, **layout)
    create_cache(path, made, [Task("t")], {"source": "test"})
    with ShardWriter(path, made) as writer:
        writer.begin(0, "t")
        writer.add(CutoutBlock([f"o{k}" for k in range(len(images))], images, bands, columns=columns or {}))
        writer.commit()
    return Cache.open(path)


def flux(n=20, bands=3, side=16, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 1, (n, bands, side, side))
    images[..., 6:10, 6:10] += rng.uniform(20, 500, (n, 1, 1, 1)) * np.linspace(1, 2, bands)[:, None, None]
    return images.astype(np.float32)


def expected(cache, ids, display):
    """What astropy makes of the flux, with the numbers that the pictures say; the first row at the bottom."""
    scale = np.array(cache.pictures.flux_scale.factors, np.float64)
    minimum, stretch, q = cache.pictures.painter(ids).lupton_levels(display)
    rows = display.rows(cache.bands)
    colours = np.einsum("cb,nbhw->nchw", rows, cache.read(ids) * scale[:, None, None])
    intervals = [ManualInterval(vmin=level) for level in minimum[0]]
    return np.stack([make_lupton_rgb(*image, interval=intervals, stretch=stretch[0], Q=q) for image in colours])[
        :, ::-1
    ]


@pytest.fixture(scope="module")
def sdss(data_folder, tmp_path_factory):
    """One SDSS field in g, r, i, cut to pieces."""
    planes = []
    for band in "gri":
        packed = (data_folder / "fits" / "sdss-gri" / f"reprojected_sdss_{band}.fits.bz2").read_bytes()
        planes.append(fits.getdata(io.BytesIO(bz2.decompress(packed))).astype(np.float32))
    field = np.stack(planes)
    height, width = field.shape[1] // 32 * 32, field.shape[2] // 32 * 32
    images = field[:, :height, :width].reshape(3, height // 32, 32, width // 32, 32)
    images = np.ascontiguousarray(images.transpose(1, 3, 0, 2, 4).reshape(-1, 3, 32, 32))
    return write(tmp_path_factory.mktemp("sdss") / "c", images, ("g", "r", "i"), ("nanomaggy",) * 3)


def test_sdss_looks_as_astropy_makes_it(sdss):
    display, ids = sdss.pictures.usual_display, list(sdss.ids)
    assert (display.colours, display.scale, display.channels) == ("lupton", "flux", "i,r,g")
    found = sdss.pictures.rgb(ids).astype(int)
    seen = np.isfinite(sdss.read(ids)).all(axis=1)[:, ::-1]
    assert np.abs(found - expected(sdss, ids, display))[seen].max() <= 1
    assert sdss.pictures.describe(display) == "Lupton on flux in nanomaggy, R G B = i r g (gri), survey levels"


def test_the_sky_of_sdss_is_dark_and_its_stars_have_their_colours(sdss):
    ids = list(sdss.ids)
    images, found = sdss.read(ids), sdss.pictures.rgb(ids)[:, ::-1].astype(float)
    whole = np.isfinite(images).all(axis=1)
    faint = whole & (np.abs(images[:, 1]) < 0.02)
    assert found[faint].mean(axis=0).max() < 25
    sky = sdss.pictures.painter(ids[:1]).lupton_levels(sdss.pictures.usual_display)[0][0]
    above = np.moveaxis(images, 1, -1)[..., ::-1] - sky
    bright = whole & (above.min(axis=-1) > 0.2)
    hue, shown = above[bright], found[bright]
    shares = hue / hue.max(axis=-1, keepdims=True)
    assert np.abs(shown - shares * shown.max(axis=-1, keepdims=True)).max() < 2.5


@pytest.mark.parametrize("name", ["zero_point_{}", "zeropoint_{}"])
def test_zero_points_that_a_source_wrote_bring_counts_to_one_scale(tmp_path, name):
    bands, points = ("VIS", "NIR_Y", "NIR_H"), (24.6, 29.8, 30.0)
    columns = {name.format(band): np.full(20, point) for band, point in zip(bands, points, strict=True)}
    columns[name.format("VIS")][3] = np.nan
    factors = 10 ** (-0.4 * (np.array(points) - 23.9))
    images = (flux() / factors[:, None, None]).astype(np.float32)
    cache = write(tmp_path / "c", images, bands, ("adu",) * 3, columns)
    np.testing.assert_allclose(cache.pictures.flux_scale.factors, factors, rtol=1e-3)
    assert cache.pictures.flux_scale.unit == "uJy"
    ids = list(cache.ids)
    display = cache.pictures.usual_display
    assert "(Euclid VIS Y H)" in cache.pictures.describe(display)
    assert np.abs(cache.pictures.rgb(ids).astype(int) - expected(cache, ids, display)).max() <= 1
    core = cache.pictures.rgb(ids)[:, 8, 8].mean(axis=0)
    assert core[2] / core[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("units", "scale"), [(("adu",) * 3, "flux"), (("",) * 3, "band"), (("adu", "", "Jy"), "band")])
def test_the_scale_follows_the_units(tmp_path, units, scale):
    cache = write(tmp_path / "c", flux(), ("g", "r", "i"), units)
    assert cache.pictures.usual_display.scale == scale
    assert (cache.pictures.flux_scale is None) == (scale == "band")


def test_pictures_are_shown_as_they_are(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    for number, bands in enumerate((("R", "G", "B"), ("i", "r", "g"))):
        cache = write(tmp_path / f"c{number}", images, bands, dtype="uint8", pixel_kind="display", stretch="asinh")
        np.testing.assert_array_equal(cache.pictures.rgb(list(cache.ids))[:, ::-1], np.moveaxis(images, 1, -1))
        assert cache.pictures.describe(cache.pictures.usual_display) == "pictures as they are"


def test_an_empty_cache_has_a_display(tmp_path):
    cache = write(tmp_path / "c", flux(0), ("g", "r", "i"), ("adu",) * 3)
    assert cache.pictures.usual_display.channels == "i,r,g"
    assert cache.pictures.data_range(cache.pictures.usual_display) == (0.0, 1.0)


def test_the_range_of_the_data_is_that_of_the_bands_shown(tmp_path):
    images = flux() + np.array([0, 1000, 5000], np.float32)[:, None, None]
    pictures = write(tmp_path / "c", images, ("g", "r", "i")).pictures
    black, white = pictures.data_range(pictures.usual_display)
    assert images.min() <= black < 0
    assert 5000 < white <= images.max()
    black, white = pictures.data_range(Display(colours="single", band="r"))
    assert images[:, 1].min() <= black < 1000 < white <= images[:, 1].max()
