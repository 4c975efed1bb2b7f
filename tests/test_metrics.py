"""Figures of merit: against scikit-learn, against brute force, and whatever the order of the input."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from astroanomaly import metrics
from astroanomaly.errors import ConfigError, LabelError
from astroanomaly.metrics import CURVE_GRID, bootstrap_curves, ranking_curves

rankings = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=7).filter(
    lambda rows: len({truth for truth, _ in rows}) == 2
)


def split(rows):
    return np.array([truth for truth, _ in rows]), np.array([float(score) for _, score in rows])


@given(rankings)
def test_areas_agree_with_scikit_learn(rows):
    truth, scores = split(rows)
    precision, recall, _ = precision_recall_curve(truth, scores)
    assert metrics.auroc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
    assert metrics.auprc(truth, scores) == pytest.approx(auc(recall, precision))
    assert metrics.average_precision(truth, scores) == pytest.approx(average_precision_score(truth, scores))


@given(rankings, st.integers(1, 9))
def test_the_number_found_is_the_mean_over_all_ways_to_break_ties(rows, depth):
    truth, scores = split(rows)
    counts = []
    for order in itertools.permutations(range(len(truth))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            counts.append(sum(truth[list(order[:depth])]))
    assert metrics.found_at(truth, scores, depth) == pytest.approx(np.mean(counts))


@given(rankings, st.randoms())
def test_the_order_of_the_input_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert metrics.evaluate(*split(rows)) == pytest.approx(metrics.evaluate(*split(shuffled)))


def test_all_figures_are_named():
    assert tuple(metrics.evaluate(np.array([True, False]), np.array([1.0, 0.0]))) == metrics.FIGURES


def test_a_perfect_and_a_reversed_ranking():
    truth = np.arange(1000) < 20
    figures = metrics.evaluate(truth, -np.arange(1000.0))
    assert figures["auroc"] == figures["auprc"] == figures["precision_10"] == figures["precision_20"] == 1
    assert figures["precision_50"] == 0.4
    assert figures["efficiency_1pct"] == 0.5  # ten of twenty lie in the best ten
    assert figures["precision_0.1pct"] == 1
    assert metrics.evaluate(truth, np.arange(1000.0))["auroc"] == 0


def test_a_short_list_is_inspected_whole():
    assert metrics.precision_at(np.array([True, False]), np.array([1.0, 0.0]), 10) == 0.5


def test_curves_begin_and_end_where_they_must():
    rng = np.random.default_rng(0)
    truth, scores = rng.random(5000) < 0.02, rng.normal(size=5000)
    false, true = metrics.roc_curve(truth, scores)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    inspected, efficiency = metrics.efficiency_curve(truth, scores)
    assert inspected[0] == 1
    assert (inspected[-1], efficiency[-1]) == (5000, 1)
    assert (np.diff(efficiency) >= 0).all()


@given(rankings)
def test_a_recall_has_the_precision_with_which_it_is_first_reached(rows):
    truth, scores = split(rows)
    precision, recall = metrics.precision_recall_curve(truth, scores)
    assert (np.diff(recall) < 0).all()
    assert (recall[0], recall[-1], precision[-1]) == (1, 0, precision[-2])
    for value, share in zip(precision[:-1], recall[:-1], strict=True):  # a cut at a score, ties taken whole
        cuts = [scores >= limit for limit in np.unique(scores)]
        assert value == pytest.approx(max(truth[c].mean() for c in cuts if truth[c].sum() / truth.sum() == share))
    steps = np.sum(-np.diff(recall) * precision[:-1])
    assert steps == pytest.approx(average_precision_score(truth, scores))


@given(st.integers(0, 50), st.integers(51, 200))
def test_the_curve_of_one_anomaly_is_flat(above, count):
    """It is found at one depth, with one precision: no recall has another, and the area is that precision."""
    truth = np.arange(count) == above
    precision, recall = metrics.precision_recall_curve(truth, -np.arange(count, dtype=float))
    assert (precision == 1 / (above + 1)).all()
    assert recall.tolist() == [1, 0]
    curve = ranking_curves(truth, -np.arange(count, dtype=float))[len(CURVE_GRID) : 2 * len(CURVE_GRID)]
    np.testing.assert_allclose(curve, metrics.average_precision(truth, -np.arange(count, dtype=float)))


@given(st.integers(1, 60), st.integers(1, 300))
def test_the_curves_of_a_perfect_ranking_are_perfect(anomalies, nominal):
    truth = np.arange(anomalies + nominal) < anomalies
    curves = ranking_curves(truth, -np.arange(len(truth), dtype=float))
    roc, precision = curves[: len(CURVE_GRID)], curves[len(CURVE_GRID) : 2 * len(CURVE_GRID)]
    assert (roc == 1).all()
    assert (precision == 1).all()
    assert curves[-2:] == pytest.approx([1, 1])
    assert (metrics.precision_recall_curve(truth, -np.arange(len(truth), dtype=float))[0] == 1).all()


@given(rankings)
def test_curves_stay_where_they_can_be(rows):
    truth, scores = split(rows)
    curves = ranking_curves(truth, scores)
    roc, precision, found = (curves[k * len(CURVE_GRID) : (k + 1) * len(CURVE_GRID)] for k in range(3))
    assert ((curves >= 0) & (curves <= 1 + 1e-12)).all()
    assert (np.diff(roc) >= -1e-12).all()
    assert (np.diff(found) >= -1e-12).all()
    last = np.flatnonzero(truth)[np.argmin(scores[truth])]  # the anomaly that is found last
    assert precision[-1] == pytest.approx(truth.sum() / (scores >= scores[last]).sum())
    assert curves[-2] == pytest.approx(roc_auc_score(truth, scores))


def curves_one_by_one(truth, scores):
    """What `ranking_curves` gives, from the figures that agree with scikit-learn."""
    false, true = metrics.roc_curve(truth, scores)
    precision, recall = metrics.precision_recall_curve(truth, scores)
    found = metrics.found_at(truth, scores, np.maximum(CURVE_GRID * len(truth), 1)) / truth.sum()
    parts = [np.interp(CURVE_GRID, false, true), np.interp(CURVE_GRID, recall[::-1], precision[::-1]), found]
    return np.concatenate([*parts, [metrics.auroc(truth, scores), metrics.auprc(truth, scores)]])


def bootstrap_one_by_one(truth, scores, rng, resamples):
    """What `bootstrap_curves` gives, with each sample drawn, sorted and measured by itself."""
    drawn = [rng.integers(0, len(truth), len(truth)) for _ in range(resamples)]
    usable = [rows for rows in drawn if truth[rows].any() and not truth[rows].all()]
    return np.percentile([curves_one_by_one(truth[rows], scores[rows]) for rows in usable], [5, 95], axis=0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60), st.integers(0, 5))
def test_samples_from_one_sorting_give_what_sorting_each_anew_gives(rows, seed):
    truth, scores = np.array(rows).T.astype(float)
    truth = truth > 0
    if truth.all() or not truth.any():
        return
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    np.testing.assert_allclose(ranking_curves(truth, scores), curves_one_by_one(truth, scores), atol=1e-9)
    np.testing.assert_allclose(
        bootstrap_curves(truth, scores, np.random.default_rng(seed), resamples=15),
        bootstrap_one_by_one(truth, scores, np.random.default_rng(seed), 15),
        atol=1e-9,
    )


def test_many_objects_are_sampled_in_pieces_with_the_same_result(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.random(500) < 0.1
    scores = rng.normal(truth, 1)
    whole = bootstrap_curves(truth, scores, np.random.default_rng(1), resamples=20)
    monkeypatch.setattr(metrics, "_NUMBERS_PER_CHUNK", 1500)  # three samples at a time
    np.testing.assert_array_equal(bootstrap_curves(truth, scores, np.random.default_rng(1), resamples=20), whole)


def test_the_interval_holds_what_it_says():
    """Of 90 % intervals about nine in ten hold the true value, here 0.76 for two normals one deviation apart."""
    inside, rng = 0, np.random.default_rng(1)
    for _ in range(60):
        truth = np.arange(120) < 40
        scores = rng.normal(truth.astype(float), 1)
        low, high = bootstrap_curves(truth, scores, rng, resamples=80)
        inside += low[-2] <= 0.7602 <= high[-2]  # AUROC
    assert 0.8 <= inside / 60 <= 0.98


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        ([True, True], [1.0, 2.0], "all 2 objects are anomalies"),
        ([False, False], [1.0, 2.0], "all 2 objects are nominal"),
        ([True, False], [1.0, np.nan], "1 objects have no score"),
        ([True], [1.0, 2.0], "equal length"),
    ],
)
def test_what_cannot_be_measured_is_an_error(truth, scores, message):
    with pytest.raises(LabelError, match=message):
        metrics.evaluate(np.array(truth), np.array(scores))


def test_an_impossible_depth_or_fraction_is_refused():
    truth, scores = np.array([True, False]), np.array([1.0, 2.0])
    for depth in (0, -3):
        with pytest.raises(ConfigError, match="depth"):
            metrics.precision_at(truth, scores, depth)
    for fraction in (0.0, -0.1, 1.5):
        with pytest.raises(ConfigError, match="fraction"):
            metrics.efficiency_at_fraction(truth, scores, fraction)
