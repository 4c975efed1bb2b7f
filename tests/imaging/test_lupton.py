"""Lupton colours: those of astropy on flux, and of one hue at every brightness, whatever brightness and contrast."""

import numpy as np
import pytest
from astropy.visualization import ManualInterval, make_lupton_rgb
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.config import StretchConfig
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.lupton import LuptonPixels, softening, white_level
from astroanomaly.imaging.painting import Painter
from astroanomaly.imaging.stretch import Stretch

BANDS = ("g", "r", "i")


def sky(n=3, bands=3, side=24, seed=0, noise=(1.0, 2.0, 4.0)):
    """Noise, and a source in the middle that is red in one half and blue in the other."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 1, (n, bands, side, side)) * np.array(noise[:bands])[:, None, None] + 10
    y, x = np.mgrid[:side, :side] - side / 2
    source = 3000 * np.exp(-np.hypot(x, y) / 2)
    images += source * np.where(x < 0, 1.0, 0.5) * np.linspace(0.4, 1, bands)[:, None, None]
    return images.astype(np.float32)


def rgb(painted):
    return np.ascontiguousarray(painted).view(np.uint8).reshape(*painted.shape, 4)[..., :3].astype(int)


def painter(images, factors=None):
    return Painter(images, BANDS[: images.shape[1]], lambda config: Stretch.measure(config, images).limits, factors)


def astropy_rgb(images, minimum, stretch, q):
    intervals = [ManualInterval(vmin=level) for level in minimum]
    return make_lupton_rgb(*images.astype(np.float64), interval=intervals, stretch=stretch, Q=q).astype(int)


@pytest.mark.parametrize("q", [0.1, 3.0, 8.0, 20.0])
@pytest.mark.parametrize("stretch", [0.002, 0.1, 5.0])
def test_the_table_agrees_with_astropy(q, stretch):
    channels = np.moveaxis(sky() / 100, 1, 0)
    expected = [astropy_rgb(image, (0, 0, 0), stretch, q) for image in np.moveaxis(channels, 0, 1)]
    found = rgb(LuptonPixels([channel.copy() for channel in channels]).paint(q, stretch))
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("interval", ["mad", "percentile", "zscale", "manual"])
@pytest.mark.parametrize("factors", [None, (1.0, 0.5, 20.0)])
@pytest.mark.parametrize("scope", ["survey", "cutout"])
def test_a_page_on_one_flux_scale_agrees_with_astropy(scope, factors, interval):
    images = sky()
    page = painter(images, factors)
    stretch = StretchConfig(interval=interval, scope=scope, sigma_low=0, sigma_high=50, black=5, white=400)
    display = Display(stretch, colours="lupton", scale="flux", lupton_stretch=0.2)
    minimum, linear, q = page.lupton_levels(display)
    flux = images[:, ::-1] * np.float32(factors or (1, 1, 1))[::-1, None, None]
    levels = zip(np.broadcast_to(minimum, (3, 3)), np.broadcast_to(linear, 3), strict=True)
    expected = [astropy_rgb(image, *level, q) for image, level in zip(flux, levels, strict=True)]
    assert np.abs(rgb(page.paint(display)) - expected).max() <= 1


shares = st.floats(0.02, 1)


@given(
    st.tuples(shares, shares, shares),
    st.floats(-0.9, 0.9),
    st.floats(0.2, 5),
    st.floats(0.1, 15),
    st.floats(0.005, 1),
    st.floats(1e-3, 1e4),
)
def test_the_hue_is_that_of_the_flux_under_every_brightness_and_contrast(shares, brightness, contrast, q, linear, peak):
    flux = np.array(shares, np.float32)[None, ::-1, None, None] * np.geomspace(1e-3, 1, 64, dtype=np.float32) * peak
    stretch = StretchConfig(interval="manual", black=0, white=1, scope="cutout")
    display = Display(
        stretch, "lupton", "flux", brightness=brightness, contrast=contrast, lupton_q=q, lupton_stretch=linear
    )
    found = rgb(painter(flux).paint(display))[0, 0]  # (64, 3)
    assert (np.diff(found.sum(axis=1)) >= -3).all()  # brighter flux is not darker
    expected = np.array(shares) / max(shares) * (found.max(axis=1, keepdims=True) + 0.5)
    assert np.abs(found - expected).max() <= 1.5  # as near as whole levels can be


def test_a_pixel_too_bright_keeps_its_hue():
    flux = np.array([100.0, 400.0, 1e30], np.float32).reshape(1, 3, 1, 1)
    bright = Display(StretchConfig(interval="manual", scope="cutout"), "lupton", "flux")
    assert rgb(painter(flux).paint(bright))[0, 0, 0].tolist() == [255, 0, 0]
    flux[0, 2] = 800
    assert rgb(painter(flux).paint(bright))[0, 0, 0].tolist() == pytest.approx([255, 127, 31], abs=1)


def test_darkest_is_black_and_noise_below_the_sky_stays_black():
    images = sky()
    dark = Display(StretchConfig(interval="mad", scope="cutout"), "lupton", "flux", brightness=-1.0)
    assert (rgb(painter(images).paint(dark)) == 0).all()
    for contrast in (0.1, 10.0):
        display = Display(StretchConfig(interval="manual", white=1e5, scope="cutout"), "lupton", contrast=contrast)
        assert (rgb(painter(-np.abs(images)).paint(display)) == 0).all()


def test_an_object_without_a_band_keeps_the_levels_of_the_survey():
    images = sky()
    images[1, 1] = np.nan
    display = Display(StretchConfig(interval="mad", sigma_high=50), "lupton", "flux", channels="i,r,g")
    found = rgb(painter(images).paint(display))
    mean = images.copy()
    levels = np.array(Stretch.measure(display.stretch, images).limits)[:, 0]
    mean[1, 1] = (images[1, 0] - levels[0] + images[1, 2] - levels[2]) / 2 + levels[1]
    whole = Painter(mean, BANDS, lambda config: Stretch.measure(config, images).limits)
    assert np.abs(found - rgb(whole.paint(display))).max() <= 1


@pytest.mark.filterwarnings("error")
def test_values_at_the_end_of_what_can_be_stored_do_no_harm():
    images = sky()
    images[0, :, 2:4] = [[[3e38]], [[-3e38]], [[3e38]]]
    images[1, :, 2:4] = np.inf
    images[2, 0] = np.nan
    for factors in (None, (1e9, 1e-9, 1.0)):
        for scale in ("flux", "band"):
            display = Display(StretchConfig(interval="manual", white=1e-3), "lupton", scale, channels="i,r+g,g")
            assert painter(images, factors).paint(display).shape == (3, 24, 24)


@given(st.floats(0.001, 1), st.floats(1, 1e4))
def test_the_softening_makes_a_level_white(linear, ratio):
    q = softening(linear, linear * ratio)
    if 0.11 < q < 19.9:
        assert white_level(q, linear) == pytest.approx(linear * ratio, rel=1e-3)
