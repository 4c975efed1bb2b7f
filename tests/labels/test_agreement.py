"""Agreement of annotators: against published examples, against scikit-learn, and what intervals promise."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from astroanomaly.errors import LabelError
from astroanomaly.labels.agreement import agreement, disagreed
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.metrics import fleiss_kappas

FLEISS_1971 = [  # the diagnoses of 30 patients by 6 psychiatrists: Psychological Bulletin 76, 378, table 1
    "444444", "222555", "233335", "555555", "222444", "113333", "333355", "113334", "114444", "555555",
    "144444", "124444", "222333", "144444", "224445", "333335", "111455", "111112", "224444", "133555",
    "555555", "244444", "224555", "114444", "144445", "222224", "111155", "224444", "133333", "555555",
]  # fmt: skip
WIKIPEDIA = [  # 10 subjects, 14 people, 5 classes: https://en.wikipedia.org/wiki/Fleiss%27_kappa
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def said(rows):
    """The consensus on objects, from what each person said of each."""
    return {
        f"object-{k}": ObjectConsensus("", {f"person {number}": word for number, word in enumerate(row)})
        for k, row in enumerate(rows)
    }


def test_kappa_of_all_and_of_each_class_are_those_that_fleiss_published():
    found = agreement(said(FLEISS_1971), "12345")
    assert found.by_all == 30
    assert len(found.people) == 6
    assert found.kappa.value == pytest.approx(0.4302445, abs=1e-7)  # as irr::kappam.fleiss of R gives it
    assert [round(one.kappa.value, 3) for one in found.classes] == [0.245, 0.245, 0.520, 0.471, 0.566]
    assert [one.verdicts for one in found.classes] == [26, 26, 30, 55, 43]
    assert 0.3 < found.kappa.low < 0.4302 < found.kappa.high < 0.55
    assert fleiss_kappas(np.array(WIKIPEDIA))[0, 0] == pytest.approx(0.210, abs=5e-4)


def test_kappa_of_a_pair_is_that_of_scikit_learn_and_its_interval_covers_the_truth():
    """Of many groups of 80 objects, nine in ten intervals hold the kappa of all objects together."""
    rng = np.random.default_rng(3)

    def draw(count):
        truth = rng.choice(["A", "B", "C"], count, p=[0.2, 0.3, 0.5])
        wrong = rng.choice(["A", "B", "C"], (2, count))
        return [np.where(rng.random(count) < 0.7, truth, wrong[k]) for k in range(2)]

    whole = cohen_kappa_score(*draw(200_000))
    covered = 0
    for _ in range(200):
        first, second = draw(80)
        (pair,) = agreement(said(zip(first, second, strict=True)), "ABC").pairs
        assert pair.kappa.value == pytest.approx(cohen_kappa_score(first, second))
        assert pair.alike == (first == second).sum()
        covered += pair.kappa.low <= whole <= pair.kappa.high
    assert 168 <= covered <= 192  # 90 %, within three standard deviations of that


def test_what_cannot_be_said_is_not_said():
    few = agreement(said(["AA", "AB", "BB"]), "AB")
    assert np.isfinite(few.kappa.value)
    assert np.isnan(few.kappa.low)  # too few objects for an interval
    alike = agreement(said(["AAA"] * 20), "AB")
    assert alike.alike == 20
    assert np.isnan(alike.kappa.value)
    assert str(alike.kappa) == "–"
    assert [one.label for one in alike.classes] == ["A"]
    nobody = agreement({}, "AB")
    assert (nobody.objects, nobody.pairs, nobody.by_all) == (0, (), 0)
    full = agreement(said(["AA", "BB"] * 20), "AB")
    assert full.kappa.value == 1
    assert np.isnan(full.kappa.low)
    with pytest.raises(LabelError, match="same number"):
        fleiss_kappas(np.array([[2, 0], [1, 0]]))


def test_people_who_saw_only_a_part_are_compared_on_what_they_have_in_common():
    votes = {"a": {"ann": "A", "ben": "A"}, "b": {"ann": "A", "ben": "B", "carl": "B"}, "c": {"carl": "A"}}
    consensus = {i: ObjectConsensus("", said) for i, said in votes.items()}
    found = agreement(consensus, "AB")
    assert (found.objects, found.alike, found.by_all) == (2, 1, 1)
    assert {(pair.first, pair.second): pair.objects for pair in found.pairs} == {
        ("ann", "ben"): 2, ("ann", "carl"): 1, ("ben", "carl"): 1,
    }  # fmt: skip
    two = agreement(consensus, "AB", people=["ann", "ben"], only=["b", "unknown"])
    assert (two.objects, two.by_all, two.people) == (1, 1, ("ann", "ben"))


def test_a_decided_case_is_no_open_disagreement():
    consensus = {
        "a": ObjectConsensus("B", {"ann": "A", "ben": "B"}, decision="B", decided_by="eve"),
        "b": ObjectConsensus("disputed", {"ann": "A", "ben": "B"}),
        "c": ObjectConsensus("A", {"ann": "A", "ben": "B", "carl": "C"}),
    }
    assert disagreed(consensus) == ["c", "b"]  # the most different verdicts first
    found = agreement(consensus, "ABC")
    assert (found.objects, found.alike, found.decided) == (3, 0, 1)
