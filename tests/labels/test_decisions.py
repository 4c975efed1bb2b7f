"""Decisions: one verdict closes the case, whatever annotators have said."""

import pytest

from astroanomaly.labels.consensus import AUDIT, DECISION, IMPORTED_DECISION, Consensus, audit_labels
from astroanomaly.labels.log import LabelLog


@pytest.fixture
def log(tmp_path):
    with LabelLog.create(tmp_path / "labels.sqlite", ("nominal", "anomaly", "arc")) as made:
        yield made


def test_a_decision_counts_instead_of_all_votes_and_says_whose_it_is(log):
    for who, word in (("ann", "nominal"), ("ben", "nominal"), ("carl", "arc")):
        log.verdict("a", word, annotator=who)
    log.verdict("a", "arc", annotator="eve", ordering=DECISION)
    one = log.current()["a"]
    assert (one.label, one.decision, one.decided_by) == ("arc", "arc", "eve")
    assert one.votes == {"ann": "nominal", "ben": "nominal", "carl": "arc"}  # kappa is of these
    assert not one.is_disagreed
    log.verdict("a", "nominal", annotator="dora")  # the case is closed
    assert log.current()["a"].label == "arc"
    assert log.labelled().classes == ("arc",)


def test_who_decides_may_have_voted_and_takes_the_decision_back_alone(log):
    log.verdict("a", "nominal", annotator="ann")
    log.verdict("a", "anomaly", annotator="ben")
    log.verdict("a", "anomaly", annotator="ann", ordering=DECISION)
    assert log.current()["a"].votes["ann"] == "nominal"
    log.undo(annotator="ann")
    one = log.current()["a"]
    assert (one.label, one.decision, one.votes["ann"]) == ("disputed", "", "nominal")
    log.verdict("a", "arc", annotator="ann", ordering=DECISION)
    log.skip("a", annotator="eve", ordering=DECISION)  # reopens the case, and is nobody's vote
    one = log.current()["a"]
    assert (one.label, one.decision, one.skipped) == ("disputed", "", False)


def test_a_key_does_not_take_back_a_table_of_decisions(log):
    log.verdict(["a", "b"], "arc", annotator="ann", ordering=IMPORTED_DECISION)
    assert log.undo(annotator="ann") is None
    assert log.current()["b"].decision == "arc"
    assert log.undo(annotator="ann", imports=True) is not None


def test_in_the_audit_set_a_decision_settles_only_what_was_labelled_blind(log):
    for object_id, words in (("a", ("nominal", "anomaly")), ("b", ("nominal", "nominal"))):
        for who, word in zip(("ann", "ben"), words, strict=True):
            log.verdict(object_id, word, annotator=who, ordering=AUDIT)
    log.verdict(["a", "c"], "anomaly", annotator="eve", ordering=DECISION)
    audit = ["a", "b", "c", "d"]
    assert audit_labels(Consensus(log.events()), audit) == {"a": "anomaly", "b": "nominal"}
