"""Stretches: NumPy, torch and astropy agree; whatever comes in, what comes out is finite and in [0, 1]."""

import numpy as np
import pytest
import torch
from astropy import visualization as av
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astroanomaly.config import StretchConfig
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.stretch import Stretch

CURVES = ("linear", "sqrt", "log", "asinh", "sinh", "power", "squared")
INTERVALS = ("minmax", "percentile", "zscale", "sigma", "mad", "manual")
TOLERANCE = 3e-6  # float32 arithmetic; zscale fits a line and is compared more loosely below


def sample(seed=0, shape=(3, 2, 20, 22)):
    rng = np.random.default_rng(seed)
    images = rng.normal(5, 1, shape).astype(np.float32)
    images[..., 8:12, 8:12] += rng.exponential(80, (*shape[:-2], 4, 4)).astype(np.float32)
    images[0, 0, :2] = np.nan
    images[-1, -1, 3, 3] = np.inf
    return images


def config(curve="linear", interval="minmax", scope="cutout", **extra):
    return StretchConfig(curve=curve, interval=interval, scope=scope, black=2.0, white=60.0, **extra)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("curve", CURVES)
def test_numpy_and_torch_agree(curve, interval):
    stretch = Stretch(config(curve, interval))
    images = sample()
    np.testing.assert_allclose(stretch(torch.from_numpy(images)).numpy(), stretch(images), atol=TOLERANCE)


@pytest.mark.parametrize("curve", [*CURVES, "histogram"])
def test_curves_agree_with_astropy(curve):
    theirs = {
        "linear": av.LinearStretch(),
        "sqrt": av.SqrtStretch(),
        "log": av.LogStretch(),
        "asinh": av.AsinhStretch(),
        "sinh": av.SinhStretch(),
        "power": av.PowerStretch(2.0),
        "squared": av.SquaredStretch(),
    }
    image = np.random.default_rng(1).random((1, 30, 30)).astype(np.float32)
    image[0, 0, :2] = 0, 1
    if curve == "histogram":
        expected = av.HistEqStretch(image[0])(image[0])
    else:
        expected = theirs[curve](image[0].astype(float))
    np.testing.assert_allclose(Stretch(config(curve))(image)[0], expected, atol=TOLERANCE)


@pytest.mark.parametrize("strength", [0.02, 0.5, 3.0])
def test_strengths_are_those_of_astropy(strength):
    image = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, 101)
    for curve, theirs in (("asinh", av.AsinhStretch), ("sinh", av.SinhStretch), ("log", av.LogStretch)):
        ours = Stretch(config(curve, strength=strength))(image)
        np.testing.assert_allclose(ours, theirs(strength)(image.astype(float), clip=True), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("interval", "theirs"),
    [
        ("minmax", av.MinMaxInterval()),
        ("percentile", av.AsymmetricPercentileInterval(0.5, 99.8)),
        ("zscale", av.ZScaleInterval()),
        ("manual", av.ManualInterval(2.0, 60.0)),
    ],
)
def test_intervals_agree_with_astropy(interval, theirs):
    images = sample()
    ours = Stretch(config("linear", interval))(images)
    for index in np.ndindex(*images.shape[:2]):
        finite = images[index][np.isfinite(images[index])]
        low, high = theirs.get_limits(finite)
        expected = np.where(np.isfinite(images[index]), np.clip((images[index] - low) / (high - low), 0, 1), 0)
        np.testing.assert_allclose(ours[index], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (9, 11), (40, 40), (75, 81), (128, 128)])
def test_zscale_is_that_of_astropy_row_by_row(shape):
    rng = np.random.default_rng(shape[0])
    images = rng.normal(5, 1, (12, 2, *shape)).astype(np.float32)
    images[::2] += rng.exponential(30, images[::2].shape).astype(np.float32) * (
        rng.uniform(size=images[::2].shape) < 0.1
    )
    images[3, 0, 0, :2] = np.nan
    images[4] = 3.0
    low, high = Stretch(config("linear", "zscale")).levels(images)
    for index in np.ndindex(12, 2):
        expected = av.ZScaleInterval().get_limits(images[index][np.isfinite(images[index])])
        np.testing.assert_allclose((low[index], high[index]), expected, rtol=1e-4, atol=1e-5)


def test_sigma_levels_agree_with_astropy_on_skewed_images():
    from astropy.stats import sigma_clipped_stats

    images = (1000 + sample(2, (6, 2, 30, 30))).astype(np.float32)
    low, high = Stretch(config("linear", "sigma", sigma_low=1.0, sigma_high=2.0)).levels(images)
    for index in np.ndindex(6, 2):
        plane = images[index][np.isfinite(images[index])].astype(float)
        _, centre, spread = sigma_clipped_stats(plane, maxiters=5)
        np.testing.assert_allclose((low[index], high[index]), (centre - spread, centre + 2 * spread), rtol=1e-5)


def test_sigma_and_mad_levels_agree_with_astropy_stats():
    from astropy.stats import mad_std, sigma_clipped_stats

    images = sample()[:1, 1:]
    for interval in ("sigma", "mad"):
        frozen = Stretch.measure(config("linear", interval), images).limits[0]
        plane = images.ravel()
        if interval == "mad":
            centre, spread = np.median(plane), mad_std(plane)
        else:
            _, centre, spread = sigma_clipped_stats(plane.astype(float), maxiters=5)
        np.testing.assert_allclose(frozen, (centre - spread, centre + 10 * spread), rtol=1e-4)


flux = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=5),
    elements=st.floats(width=32, min_value=-(2.0**100), max_value=2.0**100)
    | st.sampled_from([np.nan, np.inf, -np.inf]),
)


@settings(max_examples=60, deadline=None)
@given(flux, st.sampled_from([*CURVES, "histogram"]), st.sampled_from(INTERVALS), st.booleans(), st.booleans())
@example(np.array([[[[2.13e19, 0], [0, 0]]]], np.float32), "linear", "sigma", False, False)  # its square overflows
def test_the_result_is_always_finite_and_in_range(images, curve, interval, shared, as_torch):
    stretch = Stretch(config(curve, interval, shared=shared))
    with np.errstate(over="ignore"):
        result = np.asarray(stretch(torch.from_numpy(images) if as_torch else images))
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1
    assert (result[~np.isfinite(images)] == 0).all()


@given(st.sampled_from(CURVES), st.integers(0, 100))
def test_brighter_flux_is_never_darker(curve, seed):
    values = np.sort(np.random.default_rng(seed).normal(0, 50, 40)).astype(np.float32)
    assert (np.diff(Stretch(config(curve, "manual"))(values.reshape(1, 1, 40))) >= 0).all()


@pytest.mark.parametrize("interval", ["minmax", "percentile", "mad", "sigma"])
def test_the_unit_of_flux_does_not_matter_when_levels_are_measured(interval):
    images, stretch = sample(), Stretch(config("asinh", interval))
    np.testing.assert_allclose(stretch(images * 1000), stretch(images), atol=2e-5)


def test_empty_and_constant_images_are_black():
    empty, constant = np.full((1, 1, 4, 4), np.nan, np.float32), np.full((1, 1, 4, 4), 7, np.float32)
    for interval in ("minmax", "percentile", "zscale", "sigma", "mad"):
        for curve in (*CURVES, "histogram"):
            for image in (empty, constant):
                assert not Stretch(config(curve, interval))(image).any()


def test_frozen_limits_keep_brightness_and_colour():
    images = sample()
    frozen = Stretch.measure(StretchConfig(), images)
    assert len(frozen.limits) == 2
    faint, bright = frozen(images * 0.5), frozen(images)
    assert bright.mean() > faint.mean()
    with pytest.raises(ConfigError, match="2 intervals for images of 3 bands"):
        frozen(np.zeros((1, 3, 4, 4), np.float32))
    shared = Stretch.measure(StretchConfig(shared=True), images)
    assert shared.limits[0] == shared.limits[1]
