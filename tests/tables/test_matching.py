"""Matching on the sky agrees with the separations that astropy computes, at the poles and across the meridian too."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astroanomaly.errors import ConfigError
from astroanomaly.tables.matching import find_duplicates, find_members, match_positions, pairs_within

NONE = np.zeros(0)
# a few places, so that many coincide, lie at a pole, at the meridian, opposite to one another, or nowhere
PLACES = st.tuples(
    st.sampled_from([0.0, 0.7 / 3600, 359.9999, 90.0, 180.0, float("nan")]),
    st.sampled_from([0.0, 0.7 / 3600, -0.0001, 90.0, 89.9999, -90.0, float("nan")]),
)
SKIES = st.lists(PLACES, max_size=12).map(lambda places: np.array(places).reshape(-1, 2).T)
RADII = st.sampled_from([0.5, 1.0, 10.0, 3600.0, 89 * 3600.0, 179 * 3600.0])


def separations(ra, dec, other_ra, other_dec):
    """``(n, N)`` arcsec, infinite where a position is unknown."""
    one, other = SkyCoord(ra, dec, unit="deg"), SkyCoord(other_ra, other_dec, unit="deg")
    return np.nan_to_num(one[:, None].separation(other[None, :]).arcsec, nan=np.inf)


@settings(deadline=None, max_examples=200)
@given(SKIES, SKIES, RADII)
@example(np.zeros((2, 0)), np.zeros((2, 3)), 1.0)
@example(np.zeros((2, 3)), np.zeros((2, 0)), 1.0)
@example(np.zeros((2, 3)), np.full((2, 3), np.nan), 1.0)
def test_the_nearest_is_found_and_those_within_the_radius_are_counted(given_sky, known, radius):
    sky = given_sky[:, np.isfinite(given_sky).all(axis=0)]
    apart = separations(*sky, *known)
    nearest, count = match_positions(*sky, *known, radius)
    assert count.tolist() == (apart <= radius).sum(axis=1).tolist()
    assert ((nearest >= 0) == (count > 0)).all()
    for k in np.flatnonzero(nearest >= 0):
        assert apart[k, nearest[k]] == pytest.approx(apart[k].min(), abs=1e-6)


def test_random_positions_are_matched_as_astropy_does():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 300), np.degrees(np.arcsin(rng.uniform(-1, 1, 300)))
    ra[:3], dec[:3] = [0.0, 359.9999, 40], [89.9999, 0, -90]
    near_ra, near_dec = (ra + rng.normal(0, 1, 300) / 3600) % 360, np.clip(dec + rng.normal(0, 1, 300) / 3600, -90, 90)
    found, count = match_positions(near_ra, near_dec, ra, dec, 1.5)
    index, distance, _ = SkyCoord(near_ra, near_dec, unit="deg").match_to_catalog_sky(SkyCoord(ra, dec, unit="deg"))
    np.testing.assert_array_equal(found, np.where(distance < 1.5 * u.arcsec, index, -1))
    assert ((count > 0) == (found >= 0)).all()


@settings(deadline=None, max_examples=200)
@given(SKIES, SKIES, st.one_of(RADII, st.just(0.0), st.just(180 * 3600.0)))
def test_all_pairs_within_a_radius_are_those_of_astropy_nearest_first(given_sky, known, radius):
    sky = given_sky[:, np.isfinite(given_sky).all(axis=0)]
    apart = separations(*sky, *known)
    given_rows, known_rows, arcsec = pairs_within(*sky, *known, radius)
    on_the_edge = np.isclose(apart, radius, rtol=0, atol=1e-9)  # there, the last bit decides
    found = np.zeros(apart.shape, bool)
    found[given_rows, known_rows] = True
    assert ((found == (apart <= radius)) | on_the_edge).all()
    np.testing.assert_allclose(arcsec, apart[given_rows, known_rows], rtol=0, atol=1e-9)
    assert sorted(zip(given_rows, arcsec, known_rows, strict=True)) == list(
        zip(given_rows, arcsec, known_rows, strict=True)
    )


def test_pairs_do_not_depend_on_how_the_objects_are_parted(monkeypatch):
    rng = np.random.default_rng(1)
    known = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    places = np.r_[10.0, 359.99, 0.0], np.r_[0.0, 89.9, -90.0]
    whole = pairs_within(*places, *known, 40 * 3600.0)
    assert len(whole[0]) > 100
    monkeypatch.setattr("astroanomaly.tables.matching._CHUNK", 7)
    for one, other in zip(whole, pairs_within(*places, *known, 40 * 3600.0), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=200)
@given(SKIES, RADII, st.randoms(use_true_random=False))
def test_duplicates_go_to_the_best_score_that_is_near(sky, radius, random):
    apart = separations(*sky, *sky)
    score = np.array([random.randint(0, 3) for _ in range(len(apart))], float)
    expected = np.arange(len(apart))
    free = np.isfinite(sky).all(axis=0)
    for row in sorted(range(len(apart)), key=lambda row: -score[row]):
        if free[row]:
            near = free & (apart[row] <= radius)
            expected[near], free[near] = row, False
    for few in (0, 2000):  # by a tree, and directly
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("astroanomaly.tables.matching._FEW", few)
            assert find_duplicates(*sky, score, radius).tolist() == expected.tolist()
    assert find_duplicates(*sky, score, 0).tolist() == list(range(len(apart)))


@settings(deadline=None, max_examples=200)
@given(SKIES, RADII, st.randoms(use_true_random=False))
def test_members_of_what_is_kept_are_those_that_were_merged_into_it(sky, radius, random):
    score = np.array([random.randint(0, 3) for _ in range(sky.shape[1])], float)
    whole = find_duplicates(*sky, score, radius)
    kept = np.flatnonzero(whole == np.arange(len(whole)))
    kept = kept[np.argsort(-score[kept], kind="stable")]
    expected = {row: int(first) for row, first in enumerate(whole) if row != first}
    for few in (0, 2000):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("astroanomaly.tables.matching._FEW", few)
            rows, owners = find_members(*sky, kept, radius, np.ones(len(score), bool))
        assert dict(zip(rows.tolist(), kept[owners].tolist(), strict=True)) == expected
    assert len(find_members(*sky, kept, radius, np.zeros(len(score), bool))[0]) == 0


def test_the_whole_sky_is_within_180_degrees():
    ra, dec = np.array([10.0, 200.0, 30.0]), np.array([-90.0, 0.0, 90.0])
    assert match_positions(ra, dec, ra, dec, 180 * 3600)[1].tolist() == [3, 3, 3]
    assert find_duplicates(ra, dec, np.array([0.0, 2.0, 1.0]), 180 * 3600).tolist() == [1, 1, 1]


@pytest.mark.parametrize("radius", [0, -1, float("nan"), 1e9])
def test_an_impossible_radius_is_refused(radius):
    with pytest.raises(ConfigError, match="match radius"):
        match_positions(NONE, NONE, NONE, NONE, radius)
    if radius != 0:  # merges nothing
        with pytest.raises(ConfigError, match="merge radius"):
            find_duplicates(NONE, NONE, NONE, radius)
