"""Numbers of spectra: what must not change them, and what must show in them."""

import numpy as np
import pytest

from astroanomaly.errors import ConfigError
from astroanomaly.learn.features.spectra import (
    SpectrumFeatures,
    SpectrumGrid,
    choose_grid,
    noise_of,
    rebin,
    rest_frame,
    shifted,
)
from astroanomaly.tables.spectra import Piece
from spectrum_files import SDSS_LOG_WAVELENGTHS, simulated

WAVELENGTHS = 10**SDSS_LOG_WAVELENGTHS
GRID = choose_grid([(WAVELENGTHS[0], WAVELENGTHS[-1], len(WAVELENGTHS))])


def on_grid(flux, weight):
    found, weights = rebin([Piece(WAVELENGTHS, flux, weight)], GRID.edges)
    with np.errstate(divide="ignore"):
        return found, np.where(weights > 0, weights, np.nan) ** -0.5


@pytest.fixture(scope="module")
def survey():
    rng = np.random.default_rng(5)
    redshifts = rng.uniform(0.05, 0.2, 120)
    rare = np.arange(120) < 6
    spectra = np.array(
        [
            on_grid(*simulated(WAVELENGTHS, rng, redshift=z, rare=8.0 * odd, lines=rng.uniform(0.3, 1.5)))
            for z, odd in zip(redshifts, rare, strict=True)
        ]
    )
    rest = rest_frame(GRID, redshifts)
    flux, noise = (shifted(spectra[:, k], redshifts, GRID, rest) for k in (0, 1))
    return SpectrumFeatures.learn(rest, flux, noise), flux, noise, rare


def test_light_and_weight_are_kept_by_the_bins():
    rng = np.random.default_rng(0)
    wavelength = np.sort(rng.uniform(4000, 5000, 300))
    flux, weight = rng.normal(3, 1, 300), rng.uniform(1, 2, 300)
    weight[50:60], flux[50:60] = 0, 1e6
    found, weights = rebin([Piece(wavelength, flux, weight)], np.geomspace(3900, 5100, 40))
    assert weights.sum() == pytest.approx(weight.sum())
    known = weights > 0
    assert (found[known] * weights[known]).sum() == pytest.approx((flux * weight)[weight > 0].sum())
    assert np.isnan(found[0])  # nothing is known below 4000


def test_a_spectrum_on_a_finer_grid_keeps_its_values():
    wavelength = np.linspace(4000, 5000, 101)
    found, _ = rebin([Piece(wavelength, wavelength / 1000, np.ones(101))], np.geomspace(4100, 4900, 1001))
    middle = np.sqrt(np.geomspace(4100, 4900, 1001)[:-1] * np.geomspace(4100, 4900, 1001)[1:])
    np.testing.assert_allclose(found, middle / 1000, atol=0.0051)


def test_arms_that_overlap_are_weighed():
    wavelength = np.linspace(4000, 5000, 201)
    pieces = [
        Piece(wavelength, np.full(201, value), np.full(201, weight)) for value, weight in ((1.0, 3.0), (5.0, 1.0))
    ]
    found, weights = rebin(pieces, np.array([4200.0, 4400.0]))
    assert found[0] == pytest.approx(2)
    assert weights[0] == pytest.approx(4 * 200 / 5)


def test_noise_without_errors_is_found():
    rng = np.random.default_rng(0)
    flux = np.linspace(1, 9, 4000) + rng.normal(0, [[0.1], [0.4]], (2, 4000))
    np.testing.assert_allclose(noise_of(flux), [0.1, 0.4], rtol=0.05)


def test_grids_that_cannot_be_shared_are_refused():
    with pytest.raises(ConfigError, match="a factor of more than 100"):
        choose_grid([(10.0, 100.0, 50), (4000.0, 9000.0, 50)])


def test_the_rest_frame_puts_a_line_where_it_belongs():
    redshifts = np.array([0.02, 0.1, 0.31, np.nan])
    flux = np.zeros((4, GRID.bins))
    for row, z in zip(flux, redshifts, strict=True):
        row[np.searchsorted(GRID.edges, 5000 * (1 + (0 if np.isnan(z) else z))) - 1] = 1
    rest = rest_frame(GRID, redshifts)
    assert rest.step == pytest.approx(GRID.step)
    found = shifted(flux, redshifts, GRID, rest)
    for row in found[:3]:
        assert rest.wavelengths[np.nanargmax(row)] == pytest.approx(5000, rel=1.01 * GRID.step)
    assert np.isnan(found[3]).all()


def test_neither_brightness_nor_bad_pixels_change_the_numbers(survey):
    learnt, flux, noise, _ = survey
    first = learnt.transform(flux, noise)
    np.testing.assert_allclose(learnt.transform(700 * flux, 700 * noise), first, rtol=1e-4, atol=1e-4)
    bad, worse = flux.copy(), noise.copy()
    bad[:, 300:310], worse[:, 300:310] = 1e8, np.nan
    lost = flux.copy()
    lost[:, 300:310] = np.nan
    np.testing.assert_array_equal(learnt.transform(bad, worse), learnt.transform(lost, noise))
    some = np.isfinite(first).all(axis=0)
    assert np.corrcoef(learnt.transform(lost, noise)[:, some].ravel(), first[:, some].ravel())[0, 1] > 0.95


def test_a_rare_line_stands_out_and_a_common_one_does_not(survey):
    learnt, flux, noise, rare = survey
    found = learnt.transform(flux, noise)
    strongest = found[:, learnt.names.index("strongest_emission")]
    assert np.median(strongest[rare]) > np.percentile(strongest[~rare], 95)
    by_name = dict(zip(learnt.names, found.T, strict=True))
    bands = [int(name.removeprefix("line_")) for name in learnt.names if name.startswith("line_")]
    place = min(bands, key=lambda one: abs(np.log(one / 4687)))
    assert by_name[f"line_{place}"][rare].mean() > by_name[f"line_{place}"][~rare].mean() + 1
    halpha = min(bands, key=lambda one: abs(np.log(one / 6565)))
    assert np.abs(by_name[f"line_{halpha}"]).mean() < 4  # all have it: the components explain it


def test_slopes_show_in_the_continuum():
    rng = np.random.default_rng(1)
    red, blue = (on_grid(*simulated(WAVELENGTHS, rng, slope=slope, lines=0)) for slope in (2, -2))
    flux, noise = (np.array([one[k] for one in (red, blue)] * 6) for k in (0, 1))
    learnt = SpectrumFeatures.learn(GRID, flux, noise)
    found = learnt.transform(flux[:2], noise[:2])[:, :16]
    assert (np.diff(found[0]) > 0).all()
    assert (np.diff(found[1]) < 0).all()


def test_spectra_of_nothing_have_no_numbers_and_do_no_harm(survey):
    learnt, flux, noise, _ = survey
    empty = np.full((3, learnt.grid.bins), np.nan)
    empty[1, :50] = 1.0
    assert np.isnan(learnt.transform(empty, np.ones_like(empty))).all()
    zeros = learnt.transform(np.zeros((1, learnt.grid.bins)), np.ones((1, learnt.grid.bins)))
    assert not np.isinf(zeros).any()
    alone = SpectrumFeatures.learn(learnt.grid, flux[:1], noise[:1])
    assert alone.transform(flux[:2], noise[:2]).shape == (2, len(alone.names))


def test_the_same_spectra_give_the_same_numbers(survey):
    learnt, flux, noise, _ = survey
    again = SpectrumFeatures.learn(learnt.grid, flux, noise)
    np.testing.assert_array_equal(again.transform(flux, noise), learnt.transform(flux, noise))
    assert isinstance(learnt.grid, SpectrumGrid)
