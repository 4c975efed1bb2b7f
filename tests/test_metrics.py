"""Figures of merit: against scikit-learn, against brute force, and whatever the order of the input."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from astroanomaly import metrics
from astroanomaly.errors import ConfigError, LabelError

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
