"""A session with ordered grades: what is labelled, learnt and exported, and sessions in which grades come later."""

import csv

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly import Session
from astroanomaly.cli.common import say_unfinished
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.labels.grades import Grades
from astroanomaly.records import ANOMALY, NOMINAL, Labelled, drain

GRADES = {"A": "certain", "B": "probable", "C": "possible", "X": "not a candidate"}


@pytest.fixture
def graded(new_session):
    session = new_session(computed=True, grades=GRADES)
    ids = list(session.cache.ids)
    votes = {"ann": ["A", "B", "C", "X", "A", "B", "X"], "ben": ["A", "C", "C", "X", "X", "X", "X"]}
    votes["carl"] = ["B", "X", "C", "C", "", "C", "X"]
    for who, given in votes.items():
        for object_id, grade in zip(ids, given, strict=False):
            if grade:
                session.label(object_id, grade, annotator=who)
    return session


def test_labels_are_median_grades_in_every_table(graded, tmp_path):
    ids = list(graded.cache.ids)
    current = graded.labels.current()
    assert [current[i].label for i in ids[:7]] == ["A", "C", "C", NOMINAL, DISPUTED, "C", NOMINAL]
    table = graded.labels_table()
    rows = {row["object_id"]: row for row in table}
    assert [rows[i]["grade"] for i in ids[:7]] == ["A", "C", "C", "X", "", "C", "X"]
    means = [8 / 3, 1, 1, 1 / 3, 1.5, 1, 0]
    np.testing.assert_allclose([rows[i]["mean_grade"] for i in ids[:7]], means)
    assert "A (certain)" in table["grade"].info.description
    graded.export_labels(tmp_path / "labels.csv")
    lines = {row["object_id"]: row for row in csv.DictReader((tmp_path / "labels.csv").read_text().splitlines())}
    assert (lines[ids[0]]["grade"], lines[ids[0]]["mean_grade"]) == ("A", "2.667")
    graded.export(tmp_path / "all.vot", labelled="anomalies")
    written = Table.read(tmp_path / "all.vot")
    assert dict(zip(written["object_id"], written["grade"], strict=True)) == {ids[0]: "A", ids[1]: "C", ids[2]: "C",
                                                                              ids[5]: "C"}  # fmt: skip
    graded.label(ids[4], "B", annotator="gus", decision=True)
    assert graded.labels.current()[ids[4]].label == "B"


def test_a_table_may_call_them_by_their_letters(new_session, tmp_path):
    session = new_session(grades=GRADES)
    ids = list(session.cache.ids)
    (tmp_path / "grades.csv").write_text(f"object_id,label\n{ids[0]},a\n{ids[1]},X\n{ids[2]},x\n{ids[3]},anomaly\n")
    assert session.import_labels(tmp_path / "grades.csv").added == 4
    current = session.labels.current()
    assert [current[i].label for i in ids[:4]] == ["A", NOMINAL, NOMINAL, ANOMALY]


def test_rankers_learn_from_one_kind_of_anomaly_and_less_from_what_is_less_certain(graded, capsys):
    ids = list(graded.cache.ids)
    labelled = graded.labels.labelled()
    said = {i: (c, r) for i, c, r in zip(labelled.ids, labelled.classes, labelled.ranks, strict=True)}
    assert said == {ids[0]: (ANOMALY, 0), ids[1]: (ANOMALY, 2), ids[2]: (ANOMALY, 2), ids[3]: (NOMINAL, 0),
                    ids[5]: (ANOMALY, 2), ids[6]: (NOMINAL, 0)}  # fmt: skip
    report = graded.train("probe")
    graded.label(ids[0], "C", annotator="ann")  # A, B, C: one step less certain
    graded.label(ids[7], "A", annotator="ann")
    say_unfinished(graded)
    assert "2 labels newer than round 1" in capsys.readouterr().out
    graded.labels.clear([ids[7]], annotator="ann")
    graded.label(ids[0], "A", annotator="ann")
    assert report.round.recipe["labels"] == {ANOMALY: 4, NOMINAL: 2}

    def scores(ids_, classes, ranks=(), **options):
        ranker = graded.ranker("probe", **options)
        drain(ranker.fit(graded.cache, Labelled(ids_, classes, ranks)))
        return -np.concatenate([part.log_odds[:, 0] for part in ranker.score(graded.cache)])

    whole = scores(labelled.ids, labelled.classes)
    np.testing.assert_array_equal(scores(labelled.ids, labelled.classes, labelled.ranks, grade_weight=1.0), whole)
    half = scores(labelled.ids, labelled.classes, labelled.ranks)
    assert np.abs(half - whole).max() > 0.01
    certain = labelled.some(lambda i: said[i][1] == 0)
    alone = scores(certain.ids, certain.classes)
    tiny = scores(labelled.ids, labelled.classes, labelled.ranks, grade_weight=1e-4)
    assert (
        np.abs(tiny - alone).max() < 0.2 * np.abs(half - alone).max()
    )  # what counts next to nothing is as if left out
    with pytest.raises(ConfigError, match="grade_weight"):
        graded.ranker("probe", grade_weight=0.0)


def test_grades_are_kept_with_the_session(graded, tmp_path):
    again = Session.open(graded.path)
    assert again.grades == Grades.of(GRADES)
    assert again.classes == (NOMINAL, ANOMALY, "A", "B", "C")
    assert again._content["version"] == 4
    assert again.labels.current() == graded.labels.current()
    text = (graded.path / "session.toml").read_text()
    (graded.path / "session.toml").write_text(text.replace('"C",\n        "possible"', '"D",\n        "possible"'))
    with pytest.raises(SessionError, match="the grade 'D' is no label class"):
        Session.open(graded.path)


def test_classes_of_a_session_become_grades_unless_a_round_has_learnt_from_them(new_session):
    session = new_session(computed=True, classes=["A", "B", "C"])
    assert session.grades is None
    assert session._content["version"] == 2
    ids = list(session.cache.ids)
    for who, word in (("ann", "A"), ("ben", "B"), ("carl", "C")):
        session.label(ids[0], word, annotator=who)
    session.label(ids[1:9], NOMINAL)
    other = Session.open(session.path)
    assert session.labels.current()[ids[0]].label == DISPUTED
    with pytest.raises(ConfigError, match="the grade 'D' is no label class"):
        session.declare_grades(["A", "B", "D", "X"])
    with pytest.raises(ConfigError, match="says nominal"):
        session.declare_grades(["A", "B", "C"])
    session.declare_grades(["A", "B", "C", "X"])
    assert session.labels.current()[ids[0]].label == "B"
    assert Session.open(session.path).labels.current()[ids[0]].label == "B"
    other.put_caches(other.cache_names, other.cache_folders)  # by a process that knew nothing of them
    assert Session.open(session.path).grades == session.grades
    session.train("cold")
    session.declare_grades(GRADES)  # nothing was learnt from labels
    session.train("probe")
    with pytest.raises(SessionError, match=r"round 2 \(probe\) of .* has learnt from labels.*init --grades"):
        session.declare_grades(["A", "B", "C", "X"])


def test_grades_do_not_change_while_a_round_is_made(new_session):
    """Neither while it learns, nor between the reading of its labels and its beginning."""
    session = new_session(computed=True, classes=["A", "B", "C"])
    ids = list(session.cache.ids)
    session.label(ids[:3], ["A", "B", "C"])
    session.label(ids[3:15], NOMINAL)
    stale = Session.open(session.path)
    steps = session.train_steps("probe")
    assert any((session.path / "rounds").is_dir() for _ in steps)  # up to the first step of the round
    with pytest.raises(SessionError, match=r"a round of .* is being made.*wait until it is done"):
        Session.open(session.path).declare_grades(["A", "B", "C", "X"])
    steps.close()
    Session.open(session.path).declare_grades(["A", "B", "C", "X"])
    with pytest.raises(SessionError, match=r"declared after it was opened here.*open it again"):
        stale.train("probe")
    assert stale.rounds == []
    Session.open(session.path).train("probe")


def test_a_session_cannot_begin_with_what_are_no_grades(new_session, tmp_path):
    with pytest.raises(ConfigError, match="expected 3 to 10"):
        new_session("one", grades=["A", "X"])
    with pytest.raises(ConfigError, match="says nominal"):
        new_session("two", grades=["A", "B", "X"], classes=["X"])
    for word in ("1", "True", "Disputed"):
        with pytest.raises(ConfigError, match=r"means (anomaly|disputed) in a table"):
            new_session(f"not {word}", grades=["A", "B", word])
        assert not (tmp_path / f"not {word}").exists()
    assert new_session("four", grades=["A", "B", "normal"]).labels.words["normal"] == NOMINAL
    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()
