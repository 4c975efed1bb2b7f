"""Numbers of light curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly.learn.features.light_curves import curve_names, curve_numbers, find_period


def numbers(time, value, error, *, is_magnitude=False):
    band = np.zeros(len(time), int)
    found = curve_numbers(np.asarray(time), np.asarray(value), np.asarray(error), band, 1, is_magnitude=is_magnitude)
    return dict(zip(curve_names([""]), found.tolist(), strict=True))


def test_a_constant_source_has_a_chi_squared_of_one_and_a_variable_one_more():
    rng = np.random.default_rng(0)
    time, error = np.sort(rng.uniform(0, 500, 400)), np.full(400, 0.05)
    constant = numbers(time, 1 + error * rng.normal(size=400), error)
    assert 10 ** constant["chi2"] == pytest.approx(1, abs=0.2)
    assert 10 ** constant["von_neumann"] == pytest.approx(2, abs=0.3)
    assert abs(constant["trend"]) < 0.15
    assert np.isnan(constant["period"])
    rising = numbers(time, 1 + time / 500 + error * rng.normal(size=400), error)
    assert rising["trend"] > 0.95
    assert 10 ** rising["von_neumann"] < 0.2
    assert 10 ** rising["chi2"] > 20


@pytest.mark.parametrize("sign", [1, -1])
def test_brightenings_are_positive_in_fluxes_and_in_magnitudes(sign):
    rng = np.random.default_rng(1)
    time, error = np.arange(100.0), np.full(100, 0.02)
    flux = 1 + error * rng.normal(size=100)
    flux[40:45] *= 1 + 0.5 * sign
    of_flux = numbers(time, flux, error)
    of_magnitude = numbers(time, 20 - 2.5 * np.log10(flux), 1.0857 * error / flux, is_magnitude=True)
    for found in (of_flux, of_magnitude):
        assert np.sign(found["skewness"]) == sign
        larger, smaller = ("brightest", "faintest")[::sign]
        assert abs(found[larger]) > abs(found[smaller]) + 1
    assert of_magnitude["mean"] - of_flux["mean"] == pytest.approx(20, abs=0.05)
    assert of_magnitude["amplitude"] == pytest.approx(of_flux["amplitude"], abs=0.02)


def test_one_point_that_is_far_out_is_no_flare():
    rng = np.random.default_rng(2)
    flux, error = rng.normal(1, 0.1, 60), np.full(60, 0.1)
    usual = numbers(np.arange(60.0), flux, error)
    flux[30] = 50.0
    assert numbers(np.arange(60.0), flux, error)["brightest"] == pytest.approx(usual["brightest"], abs=0.3)


@pytest.mark.parametrize("period", [0.137, 0.61, 23.4])
def test_a_period_is_found_across_bands_and_gaps(period):
    rng = np.random.default_rng(3)
    time = np.sort(np.concatenate([rng.uniform(0, 90, 40), rng.uniform(200, 290, 40)]))
    band = np.arange(80) % 2
    flux = np.where(band, 5.0, 1.0) * (1 + 0.2 * np.sin(2 * np.pi * time / period)) + rng.normal(0, 0.02, 80)
    found = curve_numbers(time, flux, np.full(80, 0.02), band, 2, is_magnitude=False)
    found = dict(zip(curve_names(["g", "r"]), found.tolist(), strict=True))
    assert 10 ** found["period"] == pytest.approx(period, rel=0.01)  # the grid of frequencies
    assert found["period_power"] > 0.5


def test_noise_has_a_period_as_seldom_as_is_said():
    rng = np.random.default_rng(4)
    time, error = np.sort(rng.uniform(0, 100, 60)), np.ones(60)
    assert sum(np.isfinite(find_period(time, rng.normal(size=60), error)[0]) for _ in range(100)) <= 5


def test_what_too_few_points_say_is_unknown():
    few = numbers([1.0, 2, 3, 4], [1.0, 2, 3, 4], [0.1] * 4)
    assert {name for name, value in few.items() if np.isfinite(value)} == {"mean", "points"}
    seven = numbers(np.arange(7.0), np.arange(1.0, 8), np.full(7, np.nan))
    assert np.isnan(seven["chi2"])
    assert np.isnan(seven["amplitude"])
    assert seven["trend"] == pytest.approx(1)
    assert numbers([], [], [])["points"] == 0


value = st.floats(-1e30, 1e30) | st.sampled_from([0.0, 1.0, 17.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 1.5, 400.0, 6e4]) | st.floats(0, 1e5), value,
                          st.sampled_from([np.nan, 0.0, 1e-30, 1.0, 1e30]), st.integers(0, 1)), max_size=40),
       st.booleans())  # fmt: skip
def test_whatever_a_light_curve_is_its_numbers_are_finite_or_unknown(points, is_magnitude):
    time, flux, error, band = (
        (np.array(one) for one in zip(*sorted(points), strict=True)) if points else [np.zeros(0)] * 4
    )
    found = curve_numbers(time, flux, error, band.astype(int), 2, is_magnitude=is_magnitude)
    assert found.shape == (len(curve_names(["g", "r"])),)
    assert not np.isinf(found).any()
