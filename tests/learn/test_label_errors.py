"""Labels that look wrong are found, and the probe can lean on them less."""

import numpy as np
import pytest

from astroanomaly.learn.label_errors import confidence, held_out, odds, suspects, trust


def clouds(rng, counts, length=40, apart=3.0):
    """Points around one centre for each class, scaled to unit length."""
    centres = rng.normal(size=(len(counts), length))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    class_indices = np.repeat(np.arange(len(counts)), counts)
    points = centres[class_indices] + rng.normal(size=(len(class_indices), length)) / np.sqrt(length) * 2
    return points / np.linalg.norm(points, axis=1, keepdims=True), class_indices


def test_planted_errors_stand_at_the_top():
    rng = np.random.default_rng(0)
    points, class_indices = clouds(rng, (270, 30))
    wrong = rng.choice(len(class_indices), 30, replace=False)
    said = class_indices.copy()
    said[wrong] = 1 - said[wrong]
    found = suspects(points, [("nominal", "odd")[k] for k in said])
    assert len(found) == 300
    assert len({k for k, _, _ in found[:30]} & set(wrong.tolist())) >= 24
    first, sure, likely = found[0]
    assert sure < 0.2
    assert likely == ("nominal", "odd")[class_indices[first]]
    assert [sure for _, sure, _ in found] == sorted(sure for _, sure, _ in found)


def test_what_is_held_out_does_not_know_its_label():
    """Labels at random: a model that has seen them repeats them, one that has not is right half the time."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(120, 200))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    class_indices = rng.integers(0, 2, 120)
    seen = odds(points, class_indices, points, c=100.0, balanced=True)
    unseen = held_out(points, class_indices, c=100.0, balanced=True)
    rows = np.arange(120)
    assert (seen[rows, class_indices] > 0).all()
    assert 0.3 < (unseen[rows, class_indices] > 0).mean() < 0.65
    np.testing.assert_allclose(unseen[:, 0], -unseen[:, 1], rtol=1e-5)


@pytest.mark.parametrize("counts", [(50, 1, 20), (50, 1), (1, 1), (40, 2)])
def test_few_labels_of_a_class(counts):
    points, class_indices = clouds(np.random.default_rng(2), counts)
    found = held_out(points, class_indices, c=1.0, balanced=True)
    assert found.shape == (sum(counts), len(counts))
    judged = np.isfinite(found).all(axis=1)
    several = np.array(counts)[class_indices] > 1
    assert (judged == (several if sum(c > 1 for c in counts) > 1 else np.zeros_like(several))).all()
    weights = trust(points, class_indices)
    assert (weights[~judged] == 1).all()
    assert ((weights > 0) & (weights <= 1)).all()


def test_wrong_labels_get_little_weight():
    rng = np.random.default_rng(3)
    points, class_indices = clouds(rng, (200, 60))
    said = class_indices.copy()
    wrong = rng.choice(260, 26, replace=False)
    said[wrong] = 1 - said[wrong]
    right = np.setdiff1d(np.arange(260), wrong)
    weights = trust(points, said)
    assert np.median(weights[wrong]) < 0.25 < 0.8 < np.median(weights[right])
    assert confidence(points, said)[right].mean() > 0.75


def test_no_labels_no_suspects():
    assert suspects(np.zeros((0, 5)), []) == []
