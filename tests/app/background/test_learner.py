"""Learning behind the page: work in other processes that reports, fails readably and can be stopped; the live probe."""

import contextlib
import os
import re
import signal
import sqlite3
import threading
import time

import numpy as np
import pytest

from astroanomaly import Session
from astroanomaly.app.background.jobs import BackgroundJob, FeatureMap, map_features, train
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.exports import catalogue
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE, SharedState
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.records import Progress


@pytest.fixture
def started(new_session):
    made = []

    def start(background=True, **more):
        session = new_session(**more)
        shared = SharedState(session)
        learner = Learner(shared, background=background)
        made.append((shared, learner))
        return shared, learner

    yield start
    for shared, learner in made:
        learner.close()
        shared.close()


def wait_for(learner, what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        learner.shared.refresh()
        learner.tick()
        if what():
            return
        time.sleep(0.1)
    raise AssertionError(f"this did not happen within {seconds} s; {learner.problem}")


def test_features_wait_until_they_are_asked_for_and_then_rank_without_labels(started):
    shared, learner = started(background=False)
    for _ in range(3):
        learner._ticked = 0.0  # however often it looks
        learner.tick()
    assert (learner.computed, learner.computing) == (0, False)
    with pytest.raises(ConfigError, match="not computed yet"):
        learner.nearest(shared.cache.ids[0], 5)
    learner.compute()
    assert learner.computing
    wait_for(learner, lambda: learner.computed == len(shared.cache) and COLD in shared.scores)
    wait_for(learner, lambda: np.isfinite(shared.scores[COLD]).all())
    ids, left = shared.choose(5, "score", COLD, filters())
    assert left == len(shared.cache)
    assert shared.score_of(ids, COLD).tolist() == sorted(shared.scores[COLD].tolist(), reverse=True)[:5]
    assert catalogue(shared, ids[:3], COLD, 0).meta["ranker"] == "cold"


def filters():
    from astroanomaly.app.review.filters import Filters

    return Filters()


@pytest.mark.parametrize("ranker", ["probe", "active-search"])
def test_the_live_ranker_follows_the_verdicts(started, tiny, ranker):
    settings = tiny | {"session": {"instant_ranker": ranker}}
    shared, learner = started(background=False, computed=True, audit=5, settings=settings)
    session = shared.session
    cold = session.ranker("cold")
    for _ in cold.fit(shared.cache, session.labels.labelled(), frozenset(shared.audit)):
        pass
    outliers = -np.concatenate([part.log_odds for part in cold.score(shared.cache)])[:, 0]
    learner._publish(COLD, outliers, "all objects compared")
    ids = [i for i in shared.cache.ids if i not in shared.audit]
    wait_for(learner, lambda: learner.computed == len(shared.cache))
    shared.labels.verdict(ids[:2], "anomaly", annotator="ann")
    wait_for(learner, lambda: learner._fitted_verdicts == 2)
    assert (PROBE in shared.scores) is (ranker == "active-search")
    shared.labels.verdict(ids[2:6], "nominal", annotator="ann")
    wait_for(learner, lambda: learner.fitted_on == "6 verdicts")
    first = shared.scores[PROBE]
    assert np.isfinite(first).all()
    session.train(ranker)
    np.testing.assert_allclose(first, -session.last_round.read_log_odds(shared.cache)[:, 0], atol=1e-4)
    shared.read_round()
    told = session.candidates(3).meta
    for by in (PROBE, LATEST):  # catalogues from the app name the same things in the same words
        meta = catalogue(shared, ids[:3], by, 0).meta
        assert {name: meta[name] for name in told if name not in ("round", "trained")} == {
            name: told[name] for name in told if name not in ("round", "trained")
        }
        assert (meta["ranker"], meta["trained_on_labels"]) == (ranker, told["trained_on_labels"])
        assert "c=5.0" in meta["ranker_settings"]
    assert catalogue(shared, ids[:3], PROBE, 0).meta["scores"] == f"{ranker} on 6 verdicts"
    assert catalogue(shared, ids[:3], LATEST, 0).meta == told | {"scores": f"round 1, {ranker}"}
    shared.labels.verdict(sorted(shared.audit), "anomaly", annotator="ann")
    wait_for(learner, lambda: learner._fitted_verdicts == 11)
    np.testing.assert_array_equal(shared.scores[PROBE], first)  # nothing is learnt from the audit set
    shared.labels.verdict(ids[6:9], "nominal", annotator="ann")
    wait_for(learner, lambda: learner.fitted_on == "9 verdicts")
    assert not np.array_equal(shared.scores[PROBE], first)


def test_a_ranking_that_rests_on_nothing_any_more_is_withdrawn(started):
    shared, learner = started(background=False, computed=True)
    ids = list(shared.cache.ids)
    wait_for(learner, lambda: learner.computed == len(shared.cache))
    shared.labels.verdict(ids[0], "nominal", annotator="ann")
    shared.labels.verdict(ids[1], "anomaly", annotator="ann")
    wait_for(learner, lambda: PROBE in shared.scores)
    before = shared.revision
    shared.labels.undo(annotator="ann")
    shared.labels.undo(annotator="ann")
    wait_for(learner, lambda: PROBE not in shared.scores)
    assert learner.fitted_on == ""
    assert PROBE not in shared.described
    assert shared.revision > before


def test_scores_of_other_objects_are_refused(started):
    shared, learner = started(background=False)
    with pytest.raises(SessionError, match=rf"^{len(shared.cache) + 1} scores .* {len(shared.cache)} objects"):
        shared.publish(PROBE, np.zeros(len(shared.cache) + 1), "test")
    assert PROBE not in shared.scores
    learner._publish(COLD, np.zeros(3), "test")  # as a job does that opened the session after a cache had joined it
    assert learner.problem == "the session has new caches: restart the server"
    assert COLD not in shared.scores


def test_a_locked_label_file_does_not_stop_a_page(started):
    shared, learner = started(background=False)
    shared.labels.verdict(shared.cache.ids[0], "nominal", annotator="ann")
    with contextlib.closing(sqlite3.connect(shared.labels.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        for _ in range(4):
            assert shared.refresh() == set()
            learner.tick()
        assert time.monotonic() - begun < 1
        other.execute("ROLLBACK")
    assert shared.refresh() == {shared.cache.ids[0]}


def test_questions_are_answered_on_a_thread_of_their_own(started):
    shared, learner = started(background=False, computed=True)
    first, second = threading.Event(), threading.Event()
    slow = learner.ask(lambda: first.set() or second.wait(30))
    assert first.wait(30)
    assert not slow.done()
    answer = learner.ask(learner.saliency, shared.cache.ids[0], COLD)
    assert not answer.done()  # one after another
    second.set()
    with pytest.raises(ConfigError, match="these scores rest on no label"):
        answer.result(30)
    wait_for(learner, lambda: learner._fitted_features == len(shared.cache))
    assert len(learner.ask(learner.nearest, str(shared.cache.ids[0]), 5).result(30)) == 5


def test_the_probe_can_wait_for_more_verdicts(started):
    shared, learner = started(background=False, computed=True)
    wait_for(learner, lambda: learner.computed == len(shared.cache) and learner._fitted_features == len(shared.cache))
    learner.refit_every = 5
    ids = list(shared.cache.ids)
    shared.labels.verdict(ids[:2], ["anomaly", "nominal"], annotator="ann")
    for _ in range(10):
        shared.refresh()
        learner.tick()
        time.sleep(0.1)
    assert PROBE not in shared.scores
    shared.labels.verdict(ids[2:5], "nominal", annotator="ann")
    wait_for(learner, lambda: learner.fitted_on == "5 verdicts")


def test_more_like_this(started):
    shared, learner = started(background=False, computed=True)
    wait_for(learner, lambda: learner._fitted_features == len(shared.cache))
    features = shared.session.points(list(shared.cache.ids))
    wanted = str(shared.cache.ids[7])
    found = learner.nearest(wanted, 5)
    assert found[0] == wanted
    likeness = features @ features[7]
    assert found == [str(shared.cache.ids[k]) for k in np.argsort(-likeness, kind="stable")[:5]]


@pytest.mark.slow
def test_a_network_is_trained_in_a_process_of_its_own(started):
    shared, learner = started(background=False)
    ids = list(shared.cache.ids)
    shared.labels.verdict(ids[:3], "anomaly", annotator="ann")
    shared.labels.verdict(ids[3:9], "nominal", annotator="ann")
    learner.train("fixmatch", {"iterations": 25})
    assert learner.training.stage == "starting a process"
    assert learner.training.elapsed_s < 5
    with pytest.raises(SessionError, match="running"):
        learner.train("probe", {})
    learner.training.wait(120)  # nobody looks meanwhile: the pipe must not fill up
    assert (learner.training.state, learner.training.error) == ("done", "")
    assert [step.done for step in learner.history()] == list(range(1, 26))
    assert isinstance(learner.training.last, Progress)
    early = ["loading the libraries", "loading the session", "preparing the ranker"]
    assert [step.stage for step in learner.training.reports[:3]] == early
    assert {"loss", "confident", "seconds"} <= set(learner.history()[0].values)
    assert shared.read_round()
    assert shared.described[LATEST] == "round 1, fixmatch"
    assert [item.ranker for item in Session.open(shared.session.path).rounds] == ["fixmatch"]
    assert np.isfinite(shared.scores[LATEST]).all()
    saliency = learner.saliency(ids[0])
    assert saliency.shape == (48, 48)
    assert np.isfinite(saliency).all()


def test_a_page_is_told_what_a_score_is_due_to(started, tiny):
    beside = {"settings": tiny | {"blocks": {"columns": ["mag_g", "r50"]}}}
    shared, learner = started(background=False, computed=True, **beside)
    ids = list(shared.cache.ids)
    shared.labels.verdict(ids[:3], "anomaly", annotator="ann")
    shared.labels.verdict(ids[3:9], "nominal", annotator="ann")
    wait_for(learner, lambda: learner.fitted_on == "9 verdicts")
    saliency, due_to = learner.explain(ids[20], PROBE)
    assert saliency.shape == (48, 48)
    assert re.fullmatch(r"image [+-]\d\.\d\d, columns [+-]\d\.\d\d(, outliers [+-]\d\.\d\d)?", due_to)
    shared.session.train("probe")
    assert re.fullmatch(r"image [+-]\d\.\d\d, columns [+-]\d\.\d\d", learner.explain(ids[20])[1])
    shared.session.train("fixmatch")
    assert learner.explain(ids[20])[1] == ""


def test_what_a_score_of_the_latest_round_is_due_to_takes_one_fit(started, tiny, monkeypatch):
    beside = {"settings": tiny | {"blocks": {"columns": ["mag_g", "r50"]}}}
    shared, learner = started(background=False, computed=True, **beside)
    ids = list(shared.cache.ids)
    shared.session.label(ids[:3], "anomaly")
    shared.session.label(ids[3:9], "nominal")
    Session.open(shared.session.path).train("probe")
    wait_for(learner, lambda: learner.fitted_on == "9 verdicts")
    fitted, fit = [], Probe.fit

    def counted(self, *given, **more):
        fitted.append(self)
        yield from fit(self, *given, **more)

    monkeypatch.setattr(Probe, "fit", counted)
    learner.explain(ids[20])
    learner.explain(ids[21])
    assert len(fitted) == 1


def test_a_training_that_fails_says_why_and_leaves_the_last_round(started):
    shared, learner = started(background=False)
    ids = list(shared.cache.ids)
    shared.labels.verdict(ids[:3], "anomaly", annotator="ann")
    learner.train("fixmatch", {})
    learner.training.wait(60)
    assert learner.training.state == "failed"
    assert "needs labels on both sides" in learner.training.error
    assert shared.session.rounds == []
    with pytest.raises(SessionError, match="no trained ranker"):
        learner.saliency(ids[0])


@pytest.mark.faults
def test_a_training_can_be_cancelled_at_any_time(started):
    shared, learner = started(background=False, computed=True)
    ids = list(shared.cache.ids)
    shared.labels.verdict(ids[:6], ["anomaly", "nominal"] * 3, annotator="ann")
    shared.session.train("probe")
    learner.train("fixmatch", {"iterations": 100_000})
    wait_for(learner, lambda: len(learner.history()) > 2)
    assert learner.time_left_s() > 1
    assert list((shared.session.path / "rounds").glob(".tmp-*"))
    learner.training.cancel()
    learner.training._process.join(20)
    assert learner.training.state == "cancelled"
    assert not list((shared.session.path / "rounds").glob(".tmp-*"))
    assert [item.ranker for item in shared.session.rounds] == ["probe"]


def test_a_killed_process_is_told_from_one_that_is_done(new_session):
    session = new_session()
    ids = list(session.cache.ids)
    session.label(ids[:3], "anomaly")
    session.label(ids[3:6], "nominal")
    job = BackgroundJob("training", train, session.path, "fixmatch", {"iterations": 100_000})
    end = time.monotonic() + 60
    while not job.reports and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(job._process.pid, signal.SIGKILL)
    job.wait(20)
    assert job.state == "failed"
    assert "killed by signal 9" in job.error


@pytest.mark.parametrize("method", ["neighbours", "principal"])
def test_a_feature_map_lays_like_beside_like(new_session, sky, method):
    session = new_session(computed=True)
    (found,) = map_features(session.path, method, "image", [str(session.cache.ids[0])], list)
    assert isinstance(found, FeatureMap)
    assert sorted(found.ids) == sorted(session.cache.ids)
    assert found.points.shape == (len(found.ids), 2)
    assert np.isfinite(found.points).all()
    features = session.features(found.ids)
    apart = np.linalg.norm(features[:, None] - features, axis=2)
    flat = np.linalg.norm(found.points[:, None] - found.points, axis=2)
    near = np.take_along_axis(flat, np.argsort(apart, axis=1)[:, 1:6], axis=1).mean()
    assert near < 0.6 * flat.mean()
