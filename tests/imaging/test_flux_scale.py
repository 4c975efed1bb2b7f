"""Bands are on one scale where their units or zero points say so, and nowhere else."""

import math

import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.imaging.flux_scale import flux_scale

NAN = math.nan


@pytest.mark.parametrize(
    ("units", "zero_points", "ratios"),
    [
        (("nanomaggy",) * 3, (), (1, 1, 1)),
        (("nanomaggy", "nmgy"), (), (1, 1)),
        (("uJy", "mJy"), (), (1, 1000)),
        (("uJy", "nanomaggy"), (), (1, 3.631)),  # an AB magnitude of 22.5
        (("MJy/sr", "Jy/sr"), (), (1, 1e-6)),
        (("erg/s/cm^2/A",) * 2, (), (1, 1)),
        (("adu", "ADU"), (), (1, 1)),
        (("electrons/s", "electrons / s"), (), (1, 1)),
        (("adu", "adu"), (30, 27.5), (1, 10)),
        (("", ""), (25, 25), (1, 1)),
        (("adu", "uJy"), (23.9, NAN), (1, 1)),
        (("adu", "adu"), (30, NAN), (1, 1)),
        (("nanomaggy",) * 2, (22.5, 30), (1, 1)),  # a unit that says all needs no zero point
    ],
)
def test_bands_that_share_a_scale(units, zero_points, ratios):
    found = flux_scale(units, zero_points)
    assert [factor / found.factors[0] for factor in found.factors] == pytest.approx(ratios, rel=2e-3)


@pytest.mark.parametrize(
    ("units", "zero_points"),
    [
        (("", ""), ()),
        (("", ""), (25, NAN)),
        (("adu", "MJy/sr"), ()),
        (("adu", "electron"), ()),
        (("uJy", ""), ()),
        (("Jy", "mag(AB)"), ()),
        (("nonsense", "other"), ()),
        (("Jy\0", "x" * 10_000), ()),
        (("adu", "adu/s"), (math.inf, 1e300)),
    ],
)
def test_bands_of_which_nothing_says_how_they_compare(units, zero_points):
    assert flux_scale(units, zero_points) is None


@given(st.lists(st.floats(10, 40), min_size=1, max_size=4))
def test_zero_points_are_ab_magnitudes(zero_points):
    found = flux_scale(("adu",) * len(zero_points), zero_points)
    for factor, zero_point in zip(found.factors, zero_points, strict=True):
        flux = u.Quantity(factor, found.unit)
        assert flux.to_value(u.ABmag) == pytest.approx(zero_point, abs=2e-3)


@given(st.lists(st.text(max_size=12), max_size=4), st.lists(st.floats(), max_size=4))
def test_any_text_is_a_scale_or_none(units, zero_points):
    found = flux_scale(units, zero_points if len(zero_points) == len(units) else ())
    assert found is None or all(math.isfinite(factor) and factor > 0 for factor in found.factors)
