"""What the audit set says of the rest: intervals hold the truth as often as they say; without it nothing is said."""

import importlib.util

import numpy as np
import pytest
from scipy.stats import hypergeom

from astroanomaly.errors import LabelError
from astroanomaly.session.calibration import forecast, interval_of_total
from folders import ROOT

NONE = (np.zeros(0), np.zeros(0, bool))


@pytest.fixture(scope="module")
def surveys():
    path = ROOT / "benchmarks" / "interval_coverage.py"
    specification = importlib.util.spec_from_file_location("interval_coverage", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [0, 150])
def test_intervals_hold_the_truth_as_often_as_they_say(surveys, labelled):
    """120 surveys of ten shapes of scores, four rates and three audit sets; with and without selective labels."""
    found = {}
    for shape in surveys.SHAPES:
        for rate in surveys.RATES:
            for audit in surveys.AUDITS:
                rng = np.random.default_rng((0, audit, int(1000 * rate), list(surveys.SHAPES).index(shape), 7))
                made = surveys.check(shape, rate, audit, rng, objects=3000, labelled=labelled)
                for depth, values in made.items():
                    found.setdefault(depth, []).append(values)
                    found.setdefault(shape, []).append(values)
                    found.setdefault("mean", []).append(values)
    share = {name: np.mean([v[:2] for v in values], axis=0) for name, values in found.items()}
    assert 0.85 <= share["mean"][0] <= 0.98
    assert share["mean"][1] >= 0.92
    assert share["all"][0] >= 0.85  # exact
    assert min(values[0] for values in share.values()) >= 0.7, share  # at no depth and for no shape is it far off


def test_the_interval_of_the_total_is_exact():
    """Whatever the number of anomalies, samples miss the interval in at most one in ten cases, counted one by one."""
    pool, audit = 300, 60
    intervals = [interval_of_total(k, audit, pool) for k in range(audit + 1)]
    for anomalies in range(pool + 1):
        chances = hypergeom.pmf(np.arange(audit + 1), pool, anomalies, audit)
        missed = sum(c for c, (low, high) in zip(chances, intervals, strict=True) if not low <= anomalies <= high)
        assert missed <= 0.1 + 1e-9
    assert intervals[0][0] == 0
    assert intervals[audit] == (interval_of_total(audit, audit, pool)[0], pool)
    assert interval_of_total(7, 300, 300) == (7, 7)


def test_a_good_ranking_finds_what_there_is_at_the_top():
    rng = np.random.default_rng(0)
    odd = rng.random(5000) < 0.02
    scores = rng.normal(size=5000) + 5 * odd
    found = forecast(scores[500:], scores[:500], odd[:500], *NONE)
    first = dict(zip(found.depths, found.within, strict=True))
    assert first[10].expected > 8
    assert first[1000].low > 0.5 * odd[500:].sum()
    assert found.total.low <= odd[500:].sum() <= found.total.high
    assert found.total.low_95 <= found.total.low <= found.total.expected <= found.total.high <= found.total.high_95


def test_probabilities_rise_with_the_score_and_add_up_to_what_is_expected():
    rng = np.random.default_rng(1)
    odd = rng.random(8000) < 0.1
    scores = rng.normal(size=8000) + 2 * odd
    found = forecast(scores[400:], scores[:400], odd[:400], *NONE)
    chance = found.probability(scores[400:])
    assert (np.diff(chance[np.argsort(scores[400:])]) >= 0).all()
    assert (chance >= 0).all()
    assert (chance <= 1).all()
    assert chance.sum() == pytest.approx(odd[400:].sum(), rel=0.2)
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 1)):  # among objects said to be so likely, as many are
        those = (chance >= low) & (chance < high)
        assert odd[400:][those].mean() == pytest.approx(chance[those].mean(), abs=0.12)
    assert np.isnan(found.probability(np.array([np.nan]))[0])


def test_what_is_known_is_taken_off():
    """All anomalies of the top are labelled: the next objects hold few, though the audit set has many such scores."""
    rng = np.random.default_rng(2)
    odd = rng.random(6000) < 0.05
    scores = rng.normal(size=6000) + 3 * odd
    known = np.zeros(6000, bool)
    known[300:] = odd[300:] & (scores[300:] > 2)
    free = ~known
    free[:300] = False
    naive = forecast(scores[free], scores[:300], odd[:300], *NONE)
    told = forecast(scores[free], scores[:300], odd[:300], scores[known], odd[known])
    true = odd[free][np.argsort(-scores[free])][:50].sum()
    assert true == 0
    place = told.depths.index(50)
    assert told.within[place].low == 0
    assert naive.within[place].low > 5
    assert told.total.low <= odd[free].sum() <= told.total.high


def test_without_anomalies_in_the_audit_set_nothing_is_a_probability():
    rng = np.random.default_rng(3)
    found = forecast(rng.normal(size=900), rng.normal(size=100), np.zeros(100, bool), *NONE)
    assert found.within == ()
    assert not found.calibrated
    assert (found.total.low, found.total.high) == (0, interval_of_total(0, 100, 1000)[1])
    assert 0 < found.total.high < 40  # the rule of three
    with pytest.raises(LabelError, match="100 labelled objects, 0 of them anomalies"):
        found.probability(np.zeros(3))
    with pytest.raises(LabelError, match="19 objects of the audit set are labelled: at least 20"):
        forecast(np.zeros(50), np.zeros(19), np.arange(19) > 5, *NONE)


def test_the_same_seed_gives_the_same_answer_and_equal_scores_do_no_harm():
    odd = np.arange(200) % 10 == 0
    first, again = (forecast(np.zeros(1000), np.zeros(200), odd, *NONE, seed=4) for _ in range(2))
    assert first.within == again.within
    place = first.depths.index(100)
    assert first.within[place].low <= 10 <= first.within[place].high
