"""Numbers measured on cutouts."""

import numpy as np
import pytest

from astroanomaly.learn.features.photometry import photometry, photometry_names


def source(size, *, ellipticity=1.0, flux=100.0, apart=0.0):
    """A Gaussian of a width in pixels, or two beside one another, on 96 pixels in two bands."""
    y, x = np.mgrid[:96, :96] - 47.5
    places = (-apart, apart) if apart else (0.0,)
    shapes = [np.exp(-0.5 * ((y / ellipticity) ** 2 + (x - place) ** 2) / size**2) for place in places]
    image = sum(shapes)
    image = flux * image / image.sum()
    return np.stack([image, image * 10**0.4]).astype(np.float32)


def measured(*images):
    found = photometry(np.stack(images))
    return [dict(zip(photometry_names(["g", "r"]), row.tolist(), strict=True)) for row in found]


def test_a_gaussian_is_what_it_is():
    (one,) = measured(source(8.0))
    assert one["magnitude"] == pytest.approx(-2.5 * np.log10(100 * (1 + 10**0.4) / 2), abs=0.01)
    assert one["half_light_radius"] == pytest.approx(8 * np.sqrt(2 * np.log(2)), abs=0.5)
    r20, r80 = (np.sqrt(-2 * np.log(1 - share)) for share in (0.2, 0.8))
    assert one["concentration"] == pytest.approx(5 * np.log10(r80 / r20), abs=0.15)
    assert one["asymmetry"] == pytest.approx(0, abs=1e-3)
    assert one["g-r"] == pytest.approx(1.0, abs=1e-3)
    # moments of the brightest fifth of a Gaussian beside all: of its inner part, less what is bright
    assert one["m20"] == pytest.approx(np.log10(1 - 0.8 * (1 - np.log(0.8))), abs=0.1)


def test_brightness_and_background_do_not_change_the_shape():
    faint, bright = measured(source(5.0), 50 * source(5.0) + 7)
    assert bright["magnitude"] == pytest.approx(faint["magnitude"] - 2.5 * np.log10(50), abs=0.01)
    for name in ("half_light_radius", "concentration", "gini", "m20", "g-r"):
        assert bright[name] == pytest.approx(faint[name], abs=0.01)


def test_two_sources_differ_from_one_and_a_lopsided_one_is_asymmetric():
    one, two = measured(source(5.0), source(3.0, apart=15.0))
    assert two["m20"] > one["m20"] + 0.5
    lopsided = source(5.0) + np.roll(source(3.0), 12, axis=2) / 2
    assert measured(lopsided)[0]["asymmetry"] > 0.3


def test_what_cannot_be_measured_is_unknown():
    nothing, dark, half = np.full((2, 96, 96), np.nan), -source(5.0), source(5.0)
    half[:, :, 60:] = np.nan
    found = measured(nothing, dark, half, np.zeros((2, 96, 96)), np.full((2, 96, 96), 1e38))
    assert all(np.isnan(value) for value in found[0].values())
    assert np.isnan(found[1]["magnitude"])
    assert found[2]["half_light_radius"] == pytest.approx(5.9, abs=0.6)
    assert not any(np.isinf(value) for one in found for value in one.values())


@pytest.mark.parametrize("empty", [np.nan, 0.0])
def test_a_band_without_data_does_not_make_an_object_fainter_or_of_a_colour(empty):
    both, one = source(5.0), source(5.0)
    one[1] = empty
    mostly = source(5.0)
    mostly[1, :, 30:] = np.nan  # of the other band most is known, and of both together more than half
    whole, *parts = measured(both, one, mostly)
    for found in parts:
        assert np.isnan(found["magnitude"])
        assert np.isnan(found["g-r"])
        for name in ("half_light_radius", "concentration", "gini", "m20", "asymmetry"):
            assert found[name] == pytest.approx(whole[name], abs=0.01)
