"""What is left to find, from a session, the command line and the app; probabilities in catalogues; suspect labels."""

import contextlib
import csv
import io
import logging

import numpy as np
import pytest
from astropy.table import Table
from bokeh.document import Document

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.forecast import forecast_and_suspects
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE, SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.cli import main
from astroanomaly.errors import ConfigError, SessionError, TrainingError


@pytest.fixture
def truth(sky):
    with open(sky[0].truth, newline="") as handle:
        rows = list(csv.DictReader(handle))
    ids = next(name for name in ("object_id", "id") if name in rows[0])
    return {row[ids]: row["class"] != "nominal" for row in rows}


def words(truth, ids):
    """Say the truth, and call every sixth object an anomaly: the small sky has few."""
    return ["anomaly" if truth.get(i, False) or k % 6 == 0 else "nominal" for k, i in enumerate(ids)]


@pytest.fixture
def session(new_session, truth):
    made = new_session(computed=True, audit=60)
    audit = sorted(made.labels.audit)
    made.labels.verdict(audit, words(truth, audit), annotator="ann", ordering="audit")
    others = [i for i in made.cache.ids if i not in made.labels.audit][:24]
    made.labels.verdict(others, words(truth, others), annotator="ann")
    return made


def command(*given, check=0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main([str(word) for word in given]) == check, err.getvalue()
    return out.getvalue() if check == 0 else err.getvalue()


@pytest.mark.parametrize("ranker", ["cold", "probe", "tuned", "fixmatch"])
def test_what_is_left_is_told_with_its_interval(session, ranker):
    session.train(ranker)
    found = session.remaining([5, 20, 10**6])
    labelled = session.labels.labelled()
    assert found.audit == 60
    assert found.known == sum(label == "anomaly" for label in labelled.classes)
    assert found.unlabelled == len(session.cache) - 60 - len(labelled.ids)
    assert found.depths == (5, 20)  # there are not so many
    assert all(
        0 <= item.low <= item.expected <= item.high <= d for d, item in zip(found.depths, found.within, strict=True)
    )
    assert found.total.low <= found.total.expected <= found.total.high <= found.unlabelled
    assert session.remaining([5]).within[0] == found.within[0]
    with pytest.raises(ConfigError, match="depths=0: expected a whole number, 1 or more"):
        session.remaining([0])


def test_a_catalogue_has_probabilities_only_with_an_audit_set(session, tmp_path):
    session.train("probe")
    table = session.export(tmp_path / "a.fits", top=30)
    labelled = np.array([bool(label) for label in table["label"]])
    assert np.isnan(table["probability"][labelled]).all()
    chance = table["probability"][~labelled]
    assert ((chance > 0) & (chance < 1)).all()
    assert (np.diff(chance) <= 0).all()  # as the scores
    assert table["probability"].info.meta["ucd"] == "stat.probability"
    read = Table.read(tmp_path / "a.fits")
    assert "audit set of 60 labelled objects" in table.meta["calibration"]
    assert "probability" in read.colnames
    limit = float(np.median(chance))
    above = session.export(tmp_path / "b.csv", threshold=limit)
    known = np.array([bool(label) for label in above["label"]])
    assert set(above["label"][known]) == {"anomaly"}
    assert (above["probability"][~known] >= limit).all()


def test_without_an_audit_set_nothing_is_called_a_probability(new_session, truth, tmp_path, caplog):
    session = new_session()
    ids = list(session.cache.ids)[:24]
    session.labels.verdict(ids, words(truth, ids), annotator="ann")
    session.train("probe")
    with caplog.at_level(logging.WARNING):
        table = session.export(tmp_path / "a.csv", threshold=0.5)
    assert "not calibrated" in caplog.text
    assert "probability" not in table.colnames
    assert "calibration" not in table.meta
    with pytest.raises(SessionError, match=r"no audit set.*init --audit N"):
        session.remaining()
    said = command("export", session.path, "--threshold", "0.5", "--out", tmp_path / "b.csv")
    assert "NOT CALIBRATED" in said
    assert "no audit set" in command("remaining", session.path, check=2)


def test_too_few_labels_in_the_audit_set(new_session):
    session = new_session(audit=40)
    session.train("cold")
    session.labels.verdict(sorted(session.labels.audit)[:19], "nominal", annotator="ann", ordering="audit")
    with pytest.raises(SessionError, match="19 of the 40 objects of the audit set are labelled, 20 are needed"):
        session.remaining()
    session.labels.verdict(sorted(session.labels.audit)[19:30], "nominal", annotator="ann", ordering="audit")
    found = session.remaining()
    assert (found.within, found.audit_anomalies, found.total.low) == ((), 0, 0)
    assert "needs anomalies and nominal objects" in command("remaining", session.path)


def test_the_command_shows_a_table(session):
    session.train("cold")
    said = command("remaining", session.path, "--depth", 10, 20)
    assert "audit set: 60 labelled" in said
    for name in ("the next 10", "the next 20", f"all {len(session.cache) - 84} without a label"):
        assert name in said


def test_suspect_labels_are_listed(session):
    table = session.suspects(5)
    assert len(table) == 5
    assert (np.diff(table["confidence"]) >= 0).all()
    labelled = session.labels.labelled()
    labels = dict(zip(labelled.ids, labelled.classes, strict=True))
    assert all(labels[str(i)] == said for i, said in zip(table["object_id"], table["label"], strict=True))
    said = command("labels", "suspects", session.path, "--top", 3)
    assert str(table["object_id"][0]) in said
    assert str(table["object_id"][3]) not in said


def test_labels_of_one_side_cannot_be_doubted(new_session):
    session = new_session()
    session.labels.verdict(list(session.cache.ids)[:5], "nominal", annotator="ann")
    with pytest.raises(TrainingError, match="5 labels, all of them alike"):
        session.suspects()


def test_the_app_says_the_same(session):
    session.train("probe")
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    try:
        learner._running.result(60)
        found = forecast_and_suspects(shared, LATEST)
        assert found.why_none == ""
        alike = session.remaining(found.forecast.depths)
        assert found.forecast.total == alike.total
        assert [i.high for i in found.forecast.within] == pytest.approx([i.high for i in alike.within], abs=2)
        assert [i for i, *_ in found.suspects] == [
            str(row["object_id"]) for row in session.suspects(99) if row["label"] != row["looks_like"]
        ][:20]
        assert forecast_and_suspects(shared, COLD).why_none == "There is no ranking yet."
    finally:
        learner.close()
        shared.close()


def test_a_robust_probe_ranks_too(session):
    plain = session.train("probe").round.read_log_odds(session.cache)
    robust = session.train("probe", robust=True).round.read_log_odds(session.cache)
    assert np.isfinite(robust).all()
    assert not np.allclose(plain, robust)


def test_the_page_says_what_is_left(session):
    session.train("cold")
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    page = Page(Document(), shared, learner, "ann")
    try:
        learner._running.result(60)
        shared.withdraw(PROBE)
        page.state.open_view("performance")
        page.flush()
        view = page.views["performance"]
        for future, _ in page._asked:
            future.result(60)
        page._answers()
        found = session.remaining()
        assert f"about <b>{found.total.expected:,.0f}</b> anomalies" in view.remaining.text
        assert f"among {found.unlabelled} unlabelled objects" in view.remaining.text
        assert "the next" in view.remaining.text
        ahead = view.forecast.data
        assert len(ahead["depth"]) > 3
        assert (np.array(ahead["low"]) <= ahead["precision"]).all()
        assert (np.array(ahead["precision"]) <= ahead["high"]).all()
    finally:
        learner.close()
        shared.close()


def test_the_page_says_what_is_missing(new_session):
    session = new_session()
    session.train("cold")
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    page = Page(Document(), shared, learner, "ann")
    try:
        page.state.open_view("performance")
        page.flush()
        page._asked[0][0].result(60)
        page._answers()
        assert "This session has no audit set" in page.views["performance"].remaining.text
        assert page.views["performance"].forecast.data["depth"] == []
    finally:
        learner.close()
        shared.close()
