"""Curves, agreement and maps: figures that agree with the library's own, and say when they are biased."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly import Session, metrics
from astroanomaly.app.review import agreement
from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.forecast import forecast_and_suspects
from astroanomaly.app.review.held_out import held_out_scores
from astroanomaly.app.review.performance import curves, evaluation_set, histogram, measure, pace
from astroanomaly.app.review.shared_state import COLD, PROBE, SharedState
from astroanomaly.app.view.panels.maps import mollweide
from astroanomaly.labels.log import IMPORTED, LabelLog
from astroanomaly.session.campaign.lists import agreement_in


@pytest.fixture
def shared(new_session):
    session = new_session(audit=40)
    made = SharedState(session)
    rng = np.random.default_rng(0)
    made.publish(PROBE, rng.normal(size=len(session.cache)), "test")
    yield made
    made.close()


def test_curves_come_from_the_audit_set_or_are_called_biased(shared):
    assert curves(shared, PROBE) is None
    others = [i for i in shared.cache.ids if i not in shared.audit]
    shared.labels.verdict(others[:10], ["anomaly", "nominal"] * 5, annotator="ann")
    shared.refresh()
    found = curves(shared, PROBE)
    assert (found.biased, found.anomalies, found.nominal) == (True, 5, 5)
    audit = sorted(shared.audit)
    shared.labels.verdict(audit[:30], "nominal", annotator="ann")
    shared.refresh()
    assert curves(shared, PROBE).biased  # one side only
    shared.labels.verdict(audit[30:], "anomaly", annotator="ann")
    shared.refresh()
    found = curves(shared, PROBE)
    assert (found.biased, found.anomalies, found.nominal) == (False, 10, 30)
    scores = shared.score_of(audit, PROBE)
    truth = np.arange(40) >= 30
    assert found.auroc[0] == pytest.approx(metrics.auroc(truth, scores))
    assert found.auprc[0] == pytest.approx(metrics.auprc(truth, scores))
    for value, low, high in (found.auroc, found.auprc):
        assert low <= value <= high
    for curve in (found.roc, found.precision, found.efficiency):
        assert ((curve >= 0) & (curve <= 1 + 1e-9)).all()
        assert (curve[1] <= curve[2] + 1e-9).all()
    assert found.efficiency[0, -1] == 1


def test_only_blind_verdicts_on_enough_of_the_audit_set_count(shared):
    audit = sorted(shared.audit)
    others = [i for i in shared.cache.ids if i not in shared.audit]
    shared.labels.verdict(others[:10], ["anomaly", "nominal"] * 5, annotator="ann", ordering="score:probe")
    shared.labels.verdict(audit[:30], ["anomaly", "nominal"] * 15, annotator="ann", ordering="import")
    shared.refresh()
    found = curves(shared, PROBE)  # of a table nobody knows how its rows were chosen
    assert (found.biased, found.anomalies, found.audit_labelled, found.audit_size) == (True, 5, 0, 40)
    shared.labels.verdict(audit[:19], ["anomaly", "nominal"] * 9 + ["nominal"], annotator="ben", ordering="audit")
    shared.refresh()
    found = curves(shared, PROBE)
    assert (found.biased, found.audit_labelled) == (True, 19)
    shared.labels.verdict(audit[19:20], "nominal", annotator="ben", ordering="audit")
    shared.refresh()
    found = curves(shared, PROBE)
    assert (found.biased, found.anomalies, found.nominal, found.audit_labelled) == (False, 9, 11, 20)
    shared.labels.verdict(audit[30:], "nominal", annotator="ann")  # now all of it is labelled: nothing was chosen
    shared.refresh()
    found = evaluation_set(shared, PROBE)
    assert (found.biased, found.audit_labelled, found.audit_size) == (False, 40, 40)


def test_one_side_of_the_audit_set_is_not_enough(shared):
    shared.labels.verdict(sorted(shared.audit), "nominal", annotator="ann", ordering="audit")
    shared.refresh()
    assert evaluation_set(shared, PROBE).biased


def test_a_ranking_is_not_measured_on_labels_it_has_learnt_from(shared):
    """Labels at random, and scores that know them all: held out, they are worth nothing."""
    others = [i for i in shared.cache.ids if i not in shared.audit]
    odd = np.random.default_rng(1).random(len(others)) < 0.4
    shared.labels.verdict(others, ["anomaly" if yes else "nominal" for yes in odd], annotator="ann")
    shared.refresh()
    scores = np.zeros(len(shared.cache))
    scores[shared.cache.rows(others)] = odd
    shared.publish(PROBE, scores, f"{len(others)} verdicts")
    found, why = measure(shared, PROBE)
    assert (found.biased, found.cross_validated, why) == (True, True, "")
    assert (found.anomalies, found.nominal) == (odd.sum(), (~odd).sum())
    assert found.auroc[0] < 0.75
    kept = shared.held_out
    shared.labels.flag(others[:1], annotator="ann")
    assert measure(shared, PROBE)[0].auroc == found.auroc
    assert shared.held_out is kept  # nothing was fitted again
    shared.publish(COLD, scores, "test")  # these do not know the labels
    cold = curves(shared, COLD)
    assert (cold.biased, cold.cross_validated, cold.auroc[0]) == (True, False, 1.0)
    assert (cold.precision[0] == 1).all()


def test_own_classes_are_held_out_too(shared):
    others = [i for i in shared.cache.ids if i not in shared.audit]
    words = ["anomaly"] * 7 + ["nominal"] * 30 + ["anomaly"] * 2
    shared.labels.verdict(others[: len(words)], words, annotator="ann")
    shared.refresh()
    ids, odd, scores = held_out_scores(shared, dict(zip(others, ["ring", *words[1:]], strict=False)))
    assert (len(ids), odd.sum()) == (39, 9)  # a class of one is told apart as an anomaly like any other
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("anomalies", "nominal"), [(4, 20), (20, 4), (0, 9)])
def test_too_few_labels_of_a_kind_are_no_curves(shared, anomalies, nominal):
    others = [i for i in shared.cache.ids if i not in shared.audit]
    words = ["anomaly"] * anomalies + ["nominal"] * nominal
    shared.labels.verdict(others[: len(words)], words, annotator="ann")
    shared.refresh()
    found, why = measure(shared, PROBE)
    assert found is None
    assert f"{anomalies} anomalies and {nominal} nominal objects are labelled: curves are drawn from 5" in why
    assert measure(shared, COLD) == (None, "Curves appear as soon as there is a ranking.")


def test_a_set_that_is_drawn_later_is_taken_in(new_session):
    session = new_session()
    shared = SharedState(session)
    try:
        ids = list(session.cache.ids)
        shared.labels.verdict(ids[:20], ["anomaly", "nominal"] * 10, annotator="ann")
        shared.publish(PROBE, np.zeros(len(ids)), "20 verdicts")
        revision = shared.revision
        Session.open(session.path).add_audit(30)  # by another process
        shared.refresh()
        assert len(shared.audit) == 30
        assert shared.revision > revision
        assert not set(shared.choose(200, "random", PROBE, Filters(), rng=np.random.default_rng(0))[0]) & shared.audit
        shared.labels.verdict(
            sorted(shared.audit), ["anomaly", "nominal", "nominal"] * 10, annotator="ann", ordering="audit"
        )
        found, _ = measure(shared, PROBE)
        assert (found.biased, found.cross_validated, found.anomalies) == (False, False, 10)
        assert found.sample_of.startswith(f"the {len(ids) - 20} objects that had no label on")
    finally:
        shared.close()


def test_the_histogram_counts_every_object(shared):
    ids = list(shared.cache.ids)
    shared.labels.verdict(ids[:6], ["anomaly", "nominal", "nominal"] * 2, annotator="ann")
    shared.refresh()
    edges, everything, nominal, anomaly = histogram(shared, PROBE)
    assert (everything.sum(), nominal.sum(), anomaly.sum()) == (len(ids), 4, 2)
    assert (np.diff(edges) > 0).all()
    assert [len(part) for part in histogram(shared, COLD)[1:]] == [0, 0, 0]  # no scores, no bars


def test_what_was_found_for_how_many_verdicts(shared):
    ids = [i for i in shared.cache.ids if i not in shared.audit]
    times = [f"2026-01-01T00:00:{k:02d}" for k in range(10)] + ["2026-01-01T05:00:00", "2026-01-01T05:00:01"]
    said = ["nominal", "anomaly"] * 6
    for object_id, word, when in zip(ids, said, times, strict=False):
        shared.labels.verdict(object_id, word, annotator="ann", time=when, ordering="score:probe")
    shared.labels.verdict(
        sorted(shared.audit)[0], "anomaly", annotator="ann", time="2026-01-01T05:00:02", ordering="audit"
    )
    shared.refresh()
    went = pace(shared)
    assert went.verdicts.tolist() == list(range(1, 13))
    assert went.found.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert went.per_minute == pytest.approx(60)  # one a second; the long pause is none of the work
    assert np.isnan(pace(shared, "ben").per_minute)


def test_labels_in_bulk_are_no_work_by_hand(shared):
    """Those of Python and of tables come hundreds at once: neither found by looking, nor a rate."""
    ids = [i for i in shared.cache.ids if i not in shared.audit]
    for object_id in ids[:40]:
        shared.labels.verdict(object_id, "anomaly", annotator="ann")
        shared.labels.verdict(object_id, "nominal", annotator="ben", ordering=IMPORTED)
    for k, object_id in enumerate(ids[40:44]):
        when = f"2026-01-01T00:00:{2 * k:02d}"
        shared.labels.verdict(object_id, "anomaly", annotator="ann", time=when, ordering="random")
    shared.refresh()
    went = pace(shared)
    assert went.found.tolist() == [1, 2, 3, 4]
    assert np.isnan(went.per_minute)  # four verdicts tell no rate
    shared.labels.verdict(ids[44], "nominal", annotator="ann", time="2026-01-01T00:00:08", ordering="random")
    shared.refresh()
    assert pace(shared, "ann").per_minute == pytest.approx(30)
    assert pace(shared, "ben").found.tolist() == []


def test_agreement_with_oneself_and_with_others(shared):
    ids = list(shared.cache.ids)[:20]
    shared.labels.verdict(ids, ["anomaly"] * 10 + ["nominal"] * 10, annotator="ann")
    shared.labels.verdict(ids, ["anomaly"] * 8 + ["nominal"] * 12, annotator="ben")
    shared.labels.verdict(ids[:4], ["anomaly", "anomaly", "anomaly", "nominal"], annotator="ann", blind_repeat=True)
    shared.refresh()
    ann, ben = agreement.annotators(shared)
    assert (ann.name, ann.verdicts, ann.repeats, ann.repeated_alike) == ("ann", 20, 4, 3)
    assert (ben.repeats, np.isnan(ben.self_kappa)) == (0, True)
    (pair,) = agreement_in(None, shared.current_consensus(), shared.classes).pairs
    first = ["anomaly"] * 3 + ["nominal"] + ["anomaly"] * 6 + ["nominal"] * 10
    second = ["anomaly"] * 8 + ["nominal"] * 12
    observed = np.mean([a == b for a, b in zip(first, second, strict=True)])
    expected = 9 / 20 * 8 / 20 + 11 / 20 * 12 / 20
    assert pair.alike == round(observed * 20)
    assert pair.kappa.value == pytest.approx((observed - expected) / (1 - expected))
    assert set(agreement.disagreements(shared)) == {ids[3], ids[8], ids[9]} - shared.audit


def test_labels_of_objects_that_are_gone_do_no_harm(new_session):
    session = new_session()
    with LabelLog.open(session.labels.path) as log:
        log.verdict(["gone", "gone too"], ["anomaly", "nominal"], annotator="ann")
    shared = SharedState(session)
    shared.publish(PROBE, np.zeros(len(session.cache)), "test")
    assert curves(shared, PROBE) is None
    assert forecast_and_suspects(shared, PROBE).suspects == ()
    assert agreement.annotators(shared)[0].verdicts == 2
    shared.close()


@given(st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90)), min_size=1, max_size=20))
def test_the_whole_sky_fits_an_ellipse(points):
    ra, dec = np.array(points).T
    x, y = mollweide(ra, dec)
    assert (x**2 / 4 + y**2 <= 1 + 1e-6).all()
    np.testing.assert_array_equal(np.sign(np.round(y, 9)), np.sign(np.round(np.sin(np.radians(dec)) * 0 + y, 9)))


def test_the_map_of_the_sky_keeps_areas_and_has_east_on_the_left():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 20000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20000)))
    x, y = mollweide(ra, dec)
    inner = (x**2 / 4 + y**2 < 0.25).mean()  # half the axes: a quarter of the area
    assert inner == pytest.approx(0.25, abs=0.01)
    assert mollweide(np.array([30.0]), np.array([0.0]))[0][0] < 0 < mollweide(np.array([330.0]), np.array([0.0]))[0][0]
    np.testing.assert_allclose(np.c_[mollweide(np.array([0.0, 0.0]), np.array([90.0, -90.0]))][:, 1], [1, -1])
