"""The look of cutouts: it agrees with the library's stretch, and never touches the pixels it is given."""

import dataclasses

import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.app.view.theme import palette
from astroanomaly.config import StretchConfig
from astroanomaly.errors import BandError, ConfigError
from astroanomaly.imaging.bands import default_channels
from astroanomaly.imaging.display import COLOUR_MAPS, Display
from astroanomaly.imaging.painting import Painter, arrange_in_grid, bin_pixels
from astroanomaly.imaging.stretch import Stretch

BANDS = ("g", "r", "i")


def flux(n=4, bands=3, side=20, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(3, 1, (n, bands, side, side)).astype(np.float32)
    images[..., 8:12, 8:12] += rng.exponential(60, (n, bands, 4, 4)).astype(np.float32)
    images[0, 0, :3] = np.nan
    images[1, :, :, :2] = np.nan
    return images


def sheet(images=None):
    images = flux() if images is None else images
    return Painter(images, BANDS[: images.shape[1]], lambda config: Stretch.measure(config, images).limits)


def rgb(painted):
    return np.ascontiguousarray(painted).view(np.uint8).reshape(*painted.shape, 4)[..., :3]


def config(**changes):
    return dataclasses.replace(StretchConfig(scope="cutout"), **changes)


@pytest.mark.parametrize("scope", ["cutout", "survey"])
@pytest.mark.parametrize("interval", ["minmax", "percentile", "zscale", "sigma", "mad", "manual"])
@pytest.mark.parametrize("curve", ["linear", "sqrt", "log", "asinh", "sinh", "power", "squared", "histogram"])
def test_a_page_looks_as_the_stretch_says(curve, interval, scope):
    images = flux()
    chosen = config(curve=curve, interval=interval, scope=scope, white=50.0)
    stretch = Stretch.measure(chosen, images) if scope == "survey" and interval != "manual" else Stretch(chosen)
    mixed = np.einsum("nbhw,cb->nhwc", stretch(images), np.array(default_channels(BANDS)))
    expected = (np.clip(mixed, 0, 1) * 255 + 0.5).astype(int)
    found = rgb(sheet(images).paint(Display(chosen), palette)).astype(int)
    seen = np.isfinite(images).any(axis=1)
    assert np.abs(found - expected)[seen].max() <= 1


def test_pixels_without_data_are_told_from_black():
    painted = rgb(sheet().paint(Display(config()), palette))
    assert (painted[1, :, :2] == (0x33, 0x3B, 0x4A)).all()
    assert not (painted[2] == (0x33, 0x3B, 0x4A)).all(-1).any()


def test_inverting_brightness_and_contrast():
    plain, page = Display(config(curve="linear")), sheet(np.nan_to_num(flux()))
    normal = rgb(page.paint(plain, palette)).astype(int)
    np.testing.assert_array_equal(rgb(page.paint(dataclasses.replace(plain, invert=True), palette)), 255 - normal)
    assert rgb(page.paint(dataclasses.replace(plain, brightness=0.2), palette)).mean() > normal.mean() + 20
    assert rgb(page.paint(dataclasses.replace(plain, contrast=3.0), palette)).std() > normal.std()
    assert (rgb(page.paint(dataclasses.replace(plain, brightness=-1.0), palette)) == 0).all()


def test_bands_can_be_mapped_and_switched_off():
    page, plain = sheet(np.nan_to_num(flux())), Display(config())
    usual = rgb(page.paint(plain, palette))
    reversed_ = rgb(page.paint(dataclasses.replace(plain, channels="g,r,i"), palette))
    np.testing.assert_array_equal(reversed_, usual[..., ::-1])
    without = rgb(page.paint(dataclasses.replace(plain, hidden=("r",)), palette))
    assert (without[..., 1] == 0).all()
    np.testing.assert_array_equal(without[..., ::2], usual[..., ::2])
    mixed = rgb(page.paint(dataclasses.replace(plain, channels="i,g+r,g"), palette)).astype(int)
    assert np.abs(mixed[..., 1] - (usual[..., 1].astype(int) + usual[..., 2]) / 2).max() <= 1
    with pytest.raises(BandError, match="no band 'z'"):
        page.paint(dataclasses.replace(plain, channels="z,r,g"), palette)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_one_band_in_a_colour_map(name):
    page = sheet(np.nan_to_num(flux()))
    display = Display(config(curve="linear", interval="minmax"), colours="single", band="r", colour_map=name)
    painted = rgb(page.paint(display, palette))
    low, high = page.images[0, 1].argmin(), page.images[0, 1].argmax()
    np.testing.assert_array_equal(painted[0].reshape(-1, 3)[low], palette(name)[0])
    np.testing.assert_array_equal(painted[0].reshape(-1, 3)[high], palette(name)[-1])


def test_lupton_keeps_hues_and_agrees_with_the_library():
    images = np.nan_to_num(flux())
    chosen = config(interval="manual", black=1.0, white=21.0)
    display = Display(chosen, colours="lupton", lupton_q=5.0, lupton_stretch=0.2)
    planes = np.nan_to_num((images[:, ::-1] - 1) / 20)
    expected = np.stack([make_lupton_rgb(*image, Q=5.0, stretch=0.2) for image in planes]).astype(int)
    assert np.abs(rgb(sheet(images).paint(display, palette)).astype(int) - expected).max() <= 1


def test_an_unsharp_mask_steepens_an_edge():
    images = np.zeros((1, 1, 20, 20), np.float32)
    images[..., 10:] = 0.5
    chosen = config(curve="linear", interval="manual", black=0.0, white=1.0)
    page = sheet(images)
    soft = rgb(page.paint(Display(chosen), palette))[0, 10, :, 0].astype(int)
    sharp = rgb(page.paint(Display(chosen, sharpen=1.0), palette))[0, 10, :, 0].astype(int)
    assert soft[10] == 128
    assert sharp[10] > 150
    assert sharp[9] == 0
    assert sharp[19] == soft[19]


def test_the_pixels_that_are_shown_stay_as_they_are():
    images = flux()
    before = images.copy()
    page = sheet(images)
    for colours in ("rgb", "lupton", "single"):
        page.paint(Display(config(), colours=colours, sharpen=1.0), palette)
    np.testing.assert_array_equal(images, before)


def test_pictures_begin_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    page = Painter(images, ("R", "G", "B"), lambda config: ())
    painted = rgb(page.paint(dataclasses.replace(Display.for_pixels("display"), channels="R,G,B"), palette))
    np.testing.assert_array_equal(painted, np.moveaxis(images, 1, -1))


def test_a_look_is_kept_as_plain_values_and_what_cannot_be_is_refused():
    display = Display(config(curve="log", strength=50.0), colours="single", band="r", hidden=("g",), invert=True)
    assert Display.from_plain(display.to_plain()) == display
    for wrong in (
        {"contrast": float("nan")},
        {"brightness": 2.0},
        {"colour_map": "jet"},
        {"colours": "cmyk"},
        {"x": 1},
    ):
        with pytest.raises(ConfigError):
            Display.from_plain({**display.to_plain(), **wrong})


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
def test_binning_keeps_the_mean_of_whole_blocks(height, width, largest):
    images = np.random.default_rng(height * 41 + width).normal(size=(2, 1, height, width)).astype(np.float32)
    made = bin_pixels(images, largest)
    factor = -(-max(height, width) // largest)
    assert max(made.shape[-2:]) <= max(largest, 1)
    if height % factor == 0 and width % factor == 0:
        np.testing.assert_allclose(made.mean(), images.mean(), atol=1e-5)


def test_binning_leaves_out_what_is_not_there():
    images = np.ones((1, 1, 4, 4), np.float32)
    images[0, 0, 0, 0] = np.nan
    images[0, 0, 2:, 2:] = np.nan
    np.testing.assert_array_equal(bin_pixels(images, 2)[0, 0], [[1, 1], [1, np.nan]])


def test_pictures_lie_row_by_row_from_the_top_left():
    pages = np.arange(1, 6, dtype=np.uint32)[:, None, None].repeat(2, 1).repeat(3, 2)
    whole = arrange_in_grid(pages, 3, 2)
    assert whole.shape == (4, 9)
    assert whole[::2, ::3].tolist() == [[1, 2, 3], [4, 5, 0]]


NO_DATA = (0x33, 0x3B, 0x4A)


@pytest.mark.parametrize("colours", ["rgb", "lupton"])
def test_an_object_without_a_band_is_coloured_by_those_it_has(colours):
    images = flux()
    images[1, 2] = np.nan  # no i band
    images[2, :2] = np.nan  # i band alone
    painted = rgb(sheet(images).paint(Display(config(), colours=colours), palette))
    two = sheet(np.ascontiguousarray(images[1:2, :2])).paint(Display(config(), colours=colours), palette)
    assert np.array_equal(painted[1], rgb(two)[0])
    assert (painted[2][..., 0] == painted[2][..., 1]).all()  # grey
    assert not (painted[2] == NO_DATA).all(-1).any()
    whole = sheet(flux()).paint(Display(config(), colours=colours), palette)
    assert np.array_equal(painted[3], rgb(whole)[3])


def test_a_band_without_data_is_told_from_black():
    images = flux()
    images[2, 1] = np.nan
    painted = rgb(sheet(images).paint(Display(config(), colours="single", band="r"), palette))
    assert (painted[2] == NO_DATA).all()
    assert not (painted[3] == NO_DATA).all(-1).any()
