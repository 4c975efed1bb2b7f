"""Ordered grades: what several people agree on, weighted kappa against scikit-learn, and what cannot be a grade."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from astroanomaly.errors import ConfigError
from astroanomaly.labels.agreement import agreement
from astroanomaly.labels.consensus import DISPUTED, ObjectConsensus, agreed
from astroanomaly.labels.grades import Grades
from astroanomaly.records import ANOMALY, NOMINAL

GRADES = Grades.of({"A": "certain", "B": "probable", "C": "possible", "X": "not a candidate"})
LABELS = GRADES.labels


def said(*labels):
    return {f"person {number}": label for number, label in enumerate(labels)}


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ("A", "A"),
        ("ABX", "B"),  # the median, which nobody else gave
        ("AAX", "A"),
        ("AB", "B"),  # between two grades the less certain one
        ("AC", "C"),
        ("AABC", "B"),
        ("AX", DISPUTED),  # half of them see a candidate
        ("ABXX", DISPUTED),
        ("CCXX", DISPUTED),
        ("BXX", NOMINAL),
        ("XX", NOMINAL),
    ],
)
def test_the_median_grade_is_what_people_agree_on(votes, label):
    assert agreed(said(*map(GRADES.label_of, votes)), GRADES) == label


def test_votes_of_which_one_is_of_another_class_are_counted():
    assert agreed(said("A", "B", "ring", "ring"), GRADES) == "ring"
    assert agreed(said("A", "ring"), GRADES) == DISPUTED
    assert agreed(said("A", "B", "ring", ANOMALY), GRADES) == DISPUTED
    assert agreed(said("A", "B", "B"), None) == "B"
    assert agreed({}, GRADES) == ""


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        (["A", "B", "C", ANOMALY], "B"),  # it makes no graded object disputed
        (["A", ANOMALY], "A"),
        (["A", "B", ANOMALY], "B"),
        (["A", NOMINAL, ANOMALY], "A"),  # two of three see a candidate
        (["A", NOMINAL, NOMINAL, ANOMALY], DISPUTED),
        (["A", NOMINAL, NOMINAL, ANOMALY, ANOMALY], "A"),
        (["C", NOMINAL, NOMINAL, NOMINAL, ANOMALY], NOMINAL),
        ([NOMINAL, ANOMALY], DISPUTED),  # nobody has graded it as a candidate
        ([NOMINAL, ANOMALY, ANOMALY], ANOMALY),
        ([NOMINAL, NOMINAL, ANOMALY], NOMINAL),
        ([ANOMALY, ANOMALY], ANOMALY),
    ],
)
def test_an_anomaly_without_a_grade_is_a_candidate_and_has_no_say_in_its_grade(votes, label):
    assert agreed(said(*votes), GRADES) == label


def test_all_combinations_of_votes_with_an_anomaly_without_a_grade():
    for count in range(1, 6):
        for given in itertools.combinations_with_replacement((*LABELS, ANOMALY), count):
            label, nominal = agreed(said(*given), GRADES), given.count(NOMINAL)
            graded = [one for one in given if one in GRADES.names[:-1]]
            if 2 * nominal > count:
                assert label == NOMINAL
            elif 2 * nominal == count:
                assert label == DISPUTED
            elif not graded:
                assert label == ANOMALY
            else:
                assert LABELS.index(min(graded)) <= LABELS.index(label) <= LABELS.index(max(graded))
                if not nominal:
                    assert label == GRADES.median(graded)  # as if the others had said nothing


def test_the_median_lies_between_the_best_and_the_worst_whatever_the_order():
    rng = np.random.default_rng(0)
    for _ in range(300):
        votes = list(rng.choice(LABELS, rng.integers(1, 8)))
        label = GRADES.median(votes)
        assert label == GRADES.median(list(rng.permutation(votes)))
        ranks = [LABELS.index(one) for one in votes]
        if label is None:
            assert np.mean(np.array(votes) == NOMINAL) == 0.5
            continue
        rank = LABELS.index(label)
        assert np.median(ranks) <= rank < np.median(ranks) + 1 + len(LABELS) * (len(votes) % 2 == 0)
        assert sum(one <= rank for one in ranks) * 2 >= len(ranks)
        assert sum(one >= rank for one in ranks) * 2 >= len(ranks)


def test_points_and_names():
    assert [GRADES.points_of(label) for label in LABELS] == [3, 2, 1, 0]
    assert GRADES.points_of(ANOMALY) is None
    assert GRADES.mean_points(["A", "A", "B", NOMINAL, ANOMALY]) == 2.0
    assert np.isnan(GRADES.mean_points([ANOMALY]))
    assert GRADES.name_of(NOMINAL) == "X"
    assert GRADES.meaning_of(NOMINAL) == "not a candidate"
    assert GRADES.or_better("B or better") == ("A", "B")
    assert GRADES.or_better("X or better") == GRADES.or_better("B") == ()
    assert Grades.from_plain(GRADES.to_plain()) == GRADES


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_weighted_kappa_is_that_of_scikit_learn_and_its_interval_covers_the_truth(weights):
    rng = np.random.default_rng(4)

    def draw(count):
        truth = rng.normal(size=count)
        return [np.digitize(truth + rng.normal(scale=0.6, size=count), [-0.5, 0.5, 1.2]) for _ in range(2)]

    whole = cohen_kappa_score(*draw(100_000), weights=weights)
    covered = 0
    for _ in range(100):
        first, second = draw(80)
        votes = [said(LABELS[a], LABELS[b]) for a, b in zip(first, second, strict=True)]
        objects = {str(k): ObjectConsensus("", one) for k, one in enumerate(votes)}
        found = agreement(objects, (NOMINAL, ANOMALY, "A", "B", "C"), grades=GRADES, weights=weights)
        (pair,) = found.pairs
        assert pair.graded == 80
        assert pair.weighted.value == pytest.approx(cohen_kappa_score(first, second, weights=weights, labels=range(4)))
        assert pair.kappa.value == pytest.approx(cohen_kappa_score(first, second))
        assert found.mean_weighted == pair.weighted.value
        covered += pair.weighted.low <= whole <= pair.weighted.high
    assert 80 <= covered <= 98  # 90 %, within three standard deviations of that


def test_a_verdict_without_a_grade_is_left_out_of_weighted_kappa():
    votes = [said("A", "A"), said("A", ANOMALY), said(NOMINAL, "C"), said("B", "B")]
    objects = {str(k): ObjectConsensus("", one) for k, one in enumerate(votes)}
    (pair,) = agreement(objects, (NOMINAL, ANOMALY, "A", "B", "C"), grades=GRADES).pairs
    assert (pair.objects, pair.graded) == (4, 3)
    expected = cohen_kappa_score([0, 3, 1], [0, 2, 1], weights="quadratic", labels=range(4))
    assert pair.weighted.value == pytest.approx(expected)
    (plain,) = agreement(objects, (NOMINAL, ANOMALY, "A", "B", "C")).pairs
    assert plain.graded == 0
    assert np.isnan(plain.weighted.value)
    with pytest.raises(ConfigError, match="quadratic or linear"):
        agreement(objects, ("A",), grades=GRADES, weights="cubic")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ABCX", "expected names"),
        (["A", "X"], "expected 3 to 10"),
        (["A", "a", "X"], "there twice"),
        (["A", "", "X"], "cannot name a grade"),
        (["A", "B=C", "X"], "cannot name a grade"),
        (["A", "nominal", "X"], "label class of every session"),
        (["A", "certainly", "X"], "cannot name a grade"),
        (["A", "B\n", "X"], "cannot name a grade"),
        ({"A": "certain", "B": 2, "X": ""}, "both as text"),
        ({"A": "x" * 81, "B": "", "X": ""}, "at most 80"),
    ],
)
def test_what_is_no_grade_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        Grades.of(given)


@pytest.mark.parametrize(
    "plain",
    [
        None,
        {},
        [],
        ["A", "B", "X"],
        [["A"], ["B"], ["X"]],
        [["A", ""], ["A", ""], ["X", ""]],
        [["A", 1], ["B", ""], ["X", ""]],
        [[1, ""], ["B", ""], ["X", ""]],
    ],
)
def test_damaged_grades_of_a_file_are_refused(plain):
    with pytest.raises(ConfigError):
        Grades.from_plain(plain)
