"""Features on the scale of a survey."""

import numpy as np
import pytest

from astroanomaly.learn.features.scaling import FeatureScaler

WIDTHS = (6, 2)


def draw(count=400, seed=0):
    """Two layers, one much larger than the other, with long tails."""
    rng = np.random.default_rng(seed)
    return np.hstack([rng.gamma(0.5, 900, (count, 6)), rng.normal(3, 0.5, (count, 2))]).astype(np.float32)


def test_points_have_length_one_and_layers_weigh_alike():
    features = draw()
    points = FeatureScaler.measure(features, WIDTHS).transform(features)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    shares = (points[:, :6] ** 2).sum(axis=1).mean(), (points[:, 6:] ** 2).sum(axis=1).mean()
    assert shares[0] == pytest.approx(shares[1], abs=0.15)


def test_units_of_a_feature_do_not_matter():
    features = draw()
    other = features * np.array([1, 10, 0.1, 7, 1, 1, 20, 3], np.float32)
    one, two = (FeatureScaler.measure(f, WIDTHS).transform(f) for f in (features, other))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_what_is_far_out_keeps_some_of_its_length():
    features = draw()
    features[0, 6:] = 9
    scale = FeatureScaler.measure(features[1:], WIDTHS)
    far, usual = np.linalg.norm(scale.transform(features, sqrt_norm=True), axis=1)[[0, 1]]
    assert far > 1.8 * usual
    both = scale.transform(features, sqrt_norm=True), scale.transform(features)
    np.testing.assert_allclose(both[0] / np.linalg.norm(both[0], axis=1, keepdims=True), both[1], atol=1e-5)


def test_missing_rows_stay_missing_constant_features_say_nothing_and_signs_are_kept():
    features = draw()
    features[:, 3] = 2.5
    features[:, 6] *= np.where(np.arange(len(features)) % 2, 1, -1)
    asked = features[:3].copy()
    asked[1] = np.nan
    points = FeatureScaler.measure(features, WIDTHS).transform(asked)
    assert np.isnan(points[1]).all()
    assert np.isfinite(points[[0, 2]]).all()
    assert np.abs(points[[0, 2], 3]).max() < 1e-3
    assert points[0, 6] < 0
    np.testing.assert_array_equal(asked[0], features[0])


def test_plain_points_are_the_features_of_length_one():
    features = draw()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(FeatureScaler.plain().transform(features), expected, rtol=1e-5)


def test_every_number_that_features_are_stored_as_has_the_root_of_a_float32():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    identity = FeatureScaler(np.zeros(256, np.float32), np.ones(256, np.float32))
    with np.errstate(invalid="ignore"):
        wide = halves.astype(np.float32)
    rows = np.isfinite(wide).all(axis=1)
    assert rows.sum() == 248
    np.testing.assert_array_equal(
        identity.transform(halves[rows], sqrt_norm=True), identity.transform(wide[rows], sqrt_norm=True)
    )
    assert np.isnan(identity.transform(halves[~rows])[-1]).any()
