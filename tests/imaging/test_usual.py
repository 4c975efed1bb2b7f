"""The display that a survey begins with: dark sky, white cores, no band of noise in full colour, and what it says."""

import numpy as np
import pytest

from astroanomaly.imaging.display import Display
from astroanomaly.imaging.flux_scale import FluxScale, flux_scale
from astroanomaly.imaging.painting import Painter
from astroanomaly.imaging.stretch import Stretch
from astroanomaly.imaging.usual import describe_display, usual_display

BANDS = ("g", "r", "i")
SIDE = 32


def survey(n=40, bands=3, noise=1.0, sky=0.0, flux=(0.4, 0.8, 1.0), seed=0):
    """Cutouts of round sources, of the same colours all over; ``noise`` and ``sky`` may be given for each band."""
    rng = np.random.default_rng(seed)
    shape = (bands, 1, 1)
    noise, sky, flux = (np.broadcast_to(np.asarray(value, float), bands).reshape(shape) for value in (noise, sky, flux))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    source = rng.uniform(50, 3000, (n, 1, 1, 1)) * np.exp(-np.hypot(x, y) / 2)
    return (rng.normal(0, 1, (n, bands, SIDE, SIDE)) * noise + sky + source * flux).astype(np.float32)


def painted(images, scale, bands=BANDS, **more):
    sample = images.swapaxes(0, 1).reshape(1, images.shape[1], 1, -1)
    display = usual_display(bands, sample, scale).changed(**more)
    factors = scale.factors if scale else None
    page = Painter(images, bands, lambda config: Stretch.measure(config, sample).limits, factors)
    return page.paint(display).view(np.uint8).reshape(*images[:, 0].shape, 4)[..., :3].astype(int), display


@pytest.mark.parametrize("sky", [0.0, (1000.0, 200.0, 5.0)])
@pytest.mark.parametrize("noise", [1.0, (0.2, 0.5, 1.5)])
def test_the_sky_is_nearly_black_and_cores_are_bright(sky, noise):
    found, display = painted(survey(noise=noise, sky=sky), flux_scale(("nanomaggy",) * 3))
    blank = found[:, :6].reshape(-1, 3)
    assert blank.mean(axis=0).max() < 20
    assert np.ptp(blank.mean(axis=0)) < 15  # and has no colour
    assert np.median(found[:, 16, 16].max(axis=1)) > 200
    assert np.median(found[:, 16, 22].max(axis=1)) > 20  # wings
    assert (display.colours, display.scale, display.stretch.scope) == ("lupton", "flux", "survey")


def test_colours_are_those_of_the_flux_and_not_of_the_cutout():
    images = survey(noise=0.01)
    found, _ = painted(images, FluxScale((1.0,) * 3, "uJy"))
    for level in (found[:, 16, 16], found[:, 16, 21]):
        level = level[level.max(axis=1) > 60]
        assert np.abs(level / level[:, :1] - (1.0, 0.8, 0.4)).max() < 0.05
    order = np.argsort(images[:, :, 16, 16].sum(axis=1))
    assert (np.diff(found[order, 16, 16].sum(axis=1)) >= -3).all()  # one scale for all cutouts


def test_zero_points_bring_counts_to_one_scale():
    images, scale = survey(noise=0.05), flux_scale(("adu",) * 3, (25.0, 27.5, 30.0))
    counts = (images / np.array(scale.factors)[:, None, None] * scale.factors[0]).astype(np.float32)
    first, _ = painted(images, FluxScale((1.0,) * 3, "uJy"))
    second, _ = painted(counts, scale)
    assert np.abs(first - second).max() <= 2


@pytest.mark.parametrize("amplitude", [1e-6, 1.0, 1e6])
def test_a_band_of_noise_in_another_unit_never_reaches_full_colour(amplitude):
    noise = (amplitude, 1.0, 1.0)
    images = survey(noise=noise, flux=(0, 1, 1))
    found, display = painted(images, flux_scale(("adu", "MJy/sr", "Jy")))
    assert display.scale == "band"
    assert found[..., 2].max() < 120  # blue
    assert np.median(found[..., 2]) < 10
    assert found[..., 0].max() > 200


def test_the_amplitude_of_a_unit_does_not_matter():
    first, _ = painted(survey(), None)
    other = survey() * np.array([1e-5, 1, 1e4], np.float32)[:, None, None]
    second, _ = painted(other, None)
    assert np.abs(first - second).max() <= 2


@pytest.mark.parametrize("scale", [None, FluxScale((1.0,) * 3, "adu")])
def test_pixels_without_noise_are_seen(scale):
    images = np.maximum(survey(noise=0), 100) - 100  # masked: most pixels are 0
    found, display = painted(images, scale)
    assert display.stretch.interval == "percentile"
    assert found[:, 16, 16].max() > 150
    assert found[:, 0, 0].max() == 0


def test_whole_counts_with_a_pedestal():
    images = np.round(survey(sky=(300, 500, 800), noise=3))
    found, _ = painted(images, flux_scale(("adu",) * 3))
    assert found[:, :6].mean() < 20
    assert found[:, 16, 16].max() > 200


@pytest.mark.parametrize("missing", ["a band", "everything", "no cutouts"])
def test_surveys_that_lack_data(missing):
    images = survey(n=0 if missing == "no cutouts" else 5)
    images[:, 1 if missing == "a band" else slice(None)] = np.nan
    found, _ = painted(images, FluxScale((1.0,) * 3, "adu"))
    assert found.shape == (len(images), SIDE, SIDE, 3)
    if missing == "a band":
        assert found[:, 16, 16].max() > 100


def test_one_band_is_grey_on_survey_levels():
    found, display = painted(survey(bands=1, flux=1), None, ("r",))
    assert (display.colours, display.stretch.scope) == ("single", "survey")
    assert (found[..., 0] == found[..., 2]).all()
    assert 2 < found[:, :6].mean() < 40
    assert np.median(found[:, 16, 16]) > 200


def test_pure_noise_stays_dark():
    found, _ = painted(survey(flux=0), FluxScale((1.0,) * 3, "adu"))
    assert found.mean() < 30


def test_a_display_in_words():
    usual = usual_display(BANDS, survey().swapaxes(0, 1).reshape(1, 3, 1, -1), FluxScale((1.0,) * 3, "nmgy"))
    said = describe_display(usual, BANDS, "nmgy")
    assert said == "Lupton on flux in nmgy, R G B = i r g (gri), survey levels"
    noise = describe_display(usual.changed(scale="band", channels="g,r+i,i"), BANDS, "")
    assert noise == "Lupton on bands in units of their noise, R G B = g r+i i, survey levels"
    own = describe_display(Display.for_pixels("flux"), BANDS, "nmgy")
    assert own == "asinh on each band by itself, R G B = i r g, levels of each cutout"
    one = usual.changed(colours="single", band="r", interval="manual", black=-1.5, white=3.0)
    assert describe_display(one, BANDS, "nmgy") == "r, asinh, levels -1.5 to 3"
