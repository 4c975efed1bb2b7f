"""Audit sets that are drawn later: what they are samples of, that intervals hold, and that nothing is mixed up."""

import contextlib
import io
import shutil
import sqlite3

import numpy as np
import pytest

from astroanomaly import Session
from astroanomaly.cli import main
from astroanomaly.errors import ConfigError, LabelError, SessionError
from astroanomaly.labels.audit import AuditSet
from astroanomaly.labels.consensus import Consensus, Event
from astroanomaly.labels.log import LabelLog
from astroanomaly.session import calibration
from astroanomaly.session.audit import draw_audit, population
from astroanomaly.session.calibration import interval_of_total
from astroanomaly.session.remaining import forecast_scores
from folders import TESTS


def command(*given, check=0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main([str(word) for word in given]) == check, err.getvalue()
    return out.getvalue() if check == 0 else err.getvalue()


# ------------------------------------------------------------------------------------------------ simulated sessions


class Shard:
    uuid = "a"

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


class Cache:
    """Objects without pixels, called by their number."""

    def __init__(self, count):
        self.shards, self.folders = [Shard(count)], ["cache"]
        self.count = count

    def __len__(self):
        return self.count

    def find(self, ids):
        return np.array([int(i) for i in ids], int)

    rows = find

    def ids_at(self, rows):
        return [str(row) for row in rows]


class Log:
    """A label log in memory."""

    def __init__(self):
        self.events, self.drawn = [], AuditSet(frozenset())

    def verdict(self, rows, odd, ordering=""):
        for row in rows:
            number = len(self.events) + 1
            value = "anomaly" if odd[row] else "nominal"
            self.events.append(
                Event(number, str(row), "verdict", value, "ann", "", 0, number, None, ordering, None, False)
            )

    @property
    def last_event(self):
        return len(self.events)

    def current(self, until=None):
        return Consensus(self.events[:until]).current()

    def audit_set(self):
        return self.drawn

    def transaction(self):
        return contextlib.nullcontext()

    def set_audit(self, ids, *, event, shards, population, new):
        kept = frozenset() if new else self.drawn.ids
        of = (event, frozenset(shards), population) if new else (self.drawn.event, self.drawn.shards, population)
        self.drawn = AuditSet(kept | set(ids), self.drawn.draws + 1, *of, "2026-01-01")


def simulate(seed, *, enlarged=False):
    """Label the best of a ranking, draw an audit set from the rest, label on by another ranking; return the estimate.

    Also what is true, and the interval that the set would give if it were taken for a sample of the whole.
    """
    rng = np.random.default_rng(seed)
    count = 1500
    cache, log = Cache(count), Log()
    odd = rng.random(count) < rng.choice([0.05, 0.1, 0.2])
    scores = rng.normal(size=count) + 2 * odd
    log.verdict(np.argsort(-(scores + 0.7 * rng.normal(size=count)))[:200], odd)
    draw_audit(log, cache, 60 if enlarged else 150, seed)
    if enlarged:
        draw_audit(log, cache, 90, seed)
    audit = cache.rows(sorted(log.drawn.ids))
    log.verdict(audit, odd, "audit")
    again = scores + rng.normal(size=count)
    again[[int(i) for i in log.current()]] = -np.inf
    log.verdict(np.argsort(-again)[:80], odd)
    free = np.ones(count, bool)
    free[[int(i) for i in log.current()]] = False
    found = forecast_scores(
        cache, scores, Consensus(log.events), log, learnt=(), points=None, regression={}, depths=(100,)
    )
    true = int(odd[free].sum()), int(odd[free][np.argsort(-scores[free])][:100].sum())
    known = int(odd[~free].sum() - odd[audit].sum())
    assert (found.audit, found.unlabelled, found.known, found.outside) == (150, int(free.sum()), known, 0)
    assert found.known_outside == int(odd[[int(i) for i in log.current(until=200)]].sum())
    assert found.sample_of == "the 1,300 objects that had no label on 2026-01-01"
    naive = np.array(interval_of_total(found.audit_anomalies, 150, count)) - found.audit_anomalies - known
    return found, true, naive


@pytest.mark.parametrize("enlarged", [False, True])
def test_intervals_from_a_set_drawn_later_hold_the_truth(monkeypatch, enlarged):
    """Two hundred simulated sessions in all."""
    monkeypatch.setattr(calibration, "_DRAWS_WITH_LABELS", 500)
    total, naively, within = [], [], []
    for seed in range(100):
        found, (left, first), naive = simulate((seed, int(enlarged)), enlarged=enlarged)
        total.append(found.total.low <= left <= found.total.high)
        within += [item.low <= first <= item.high for item in found.within]  # none without an anomaly in the set
        naively.append(naive[0] <= left <= naive[1])
    assert np.mean(total) >= 0.86  # exact: 90 % or more
    assert np.mean(within) >= 0.84
    assert np.mean(naively) < 0.6  # a sample of the rest is none of the whole


# ------------------------------------------------------------------------------------------------------ real sessions


def label(session, ids, annotator="ann", **more):
    words = ["anomaly" if k % 4 == 0 else "nominal" for k in range(len(ids))]
    session.labels.verdict(list(ids), words, annotator=annotator, **more)


@pytest.fixture
def labelled(new_session):
    """A session with 24 labels, a skipped object, and one label that was taken back."""
    session = new_session()
    ids = list(session.cache.ids)
    label(session, ids[:24])
    session.labels.skip([ids[24]], annotator="ann")
    label(session, [ids[25]])
    session.labels.undo(annotator="ann")
    return session


def test_a_set_is_drawn_from_what_nobody_has_labelled(labelled):
    ids = list(labelled.cache.ids)
    count = len(ids)
    draw = labelled.add_audit(count - 25)  # all but one of what has no label
    assert (draw.drawn, draw.size, draw.population, draw.labelled) == (count - 25, count - 25, count - 24, 24)
    audit = labelled.labels.audit
    assert not audit & set(ids[:24])
    assert len(audit) == count - 25
    assert population(labelled.labels, labelled.cache).tolist() == [False] * 24 + [True] * (count - 24)
    again = Session.open(labelled.path)
    assert again.labels.audit == audit
    assert again.labels.audit_set().event == labelled.labels.last_event
    assert set(labelled.labels.labelled().ids) == set(ids[:24])


def test_what_was_estimated_is_about_what_had_no_label(labelled):
    labelled.train("probe")
    labelled.add_audit(60)
    audit = sorted(labelled.labels.audit)
    label(labelled, audit, ordering="audit")
    rest = [i for i in labelled.cache.ids if i not in {*audit, *labelled.labels.current()}]
    label(labelled, rest[:8])
    labelled.train("probe")
    assert labelled.rounds[0].audit_draws == 0
    assert labelled.rounds[1].audit_draws == 1
    found = labelled.remaining([10])
    count = len(labelled.cache)
    assert (found.audit, found.audit_anomalies, found.known, found.known_outside) == (60, 15, 8, 6)
    assert found.unlabelled == count - 24 - 60 - 8
    total = interval_of_total(15, 60, count - 24)
    assert (found.total.low, found.total.high) == (total[0] - 15 - 2, min(total[1] - 15 - 2, found.unlabelled))
    said = command("remaining", labelled.path)
    assert f"drawn from the {count - 24} objects that had no label on" in said
    assert "6 known anomalies were labelled before" in said
    assert "that had no label on" in command("info", labelled.path)


def test_an_object_that_the_set_is_no_sample_of_has_no_probability(labelled, tmp_path):
    labelled.add_audit(60)
    label(labelled, sorted(labelled.labels.audit), ordering="audit")
    outside = list(labelled.cache.ids)[1]
    labelled.labels.clear([outside], annotator="ann")  # it was labelled when the set was drawn
    labelled.train("probe")
    assert labelled.remaining().outside == 1
    assert "nothing is said of 1 object without a label" in command("remaining", labelled.path)
    table = labelled.export(tmp_path / "a.fits", top=1000, merge_radius_arcsec=0)
    bare = {str(i) for i in table["object_id"][np.isnan(table["probability"]) & (table["label"] == "")]}
    assert bare == {outside}
    assert table.meta["without_probability"] == "1 objects that the audit set is no sample of"
    assert "that had no label on" in table.meta["calibration"]


def test_a_set_grows_only_while_it_stays_one_sample(labelled):
    first = labelled.add_audit(20)
    before = labelled.labels.audit
    label(labelled, sorted(before)[:5], ordering="audit")  # blind verdicts change nothing
    second = labelled.add_audit(10)
    assert (second.drawn, second.size, second.population) == (10, 30, first.population)
    assert before < labelled.labels.audit
    free = [i for i in labelled.cache.ids if i not in {*labelled.labels.audit, *labelled.labels.current()}]
    label(labelled, free[:3])
    with pytest.raises(SessionError, match=r"random sample of 106 objects, 3 of which were labelled since.*--replace"):
        labelled.add_audit(10)
    assert "labelled since" in command("audit", labelled.path, 10, check=2)
    assert len(labelled.labels.audit) == 30
    labelled.labels.undo(annotator="ann")
    assert labelled.add_audit(5).size == 35


def test_a_set_that_is_replaced_is_there_to_learn_from(labelled):
    labelled.add_audit(20)
    old = sorted(labelled.labels.audit)
    label(labelled, old[:12], ordering="audit")
    labelled.train("probe")
    event = labelled.rounds[-1].last_event
    said = command("audit", labelled.path, 30, "--replace")
    assert "The set of 20 before is given up" in said
    audit = labelled.labels.audit_set()
    assert len(audit.ids) == 30
    assert not audit.ids & set(old[:12])
    assert set(old[:12]) <= set(labelled.labels.labelled().ids)
    assert not set(old[:12]) & set(labelled.labels.labelled(until=event, draws=1).ids)  # what the round had learnt from
    assert audit.population == len(labelled.cache) - 24 - 12
    scores = labelled.rounds[-1].read_log_odds(labelled.cache)
    shutil.rmtree(labelled.rounds[-1].scores)
    again = Session.open(labelled.path)
    again.score()  # fitted again, on what it knew then
    np.testing.assert_allclose(again.rounds[-1].read_log_odds(again.cache), scores, atol=1e-5)


def test_what_cannot_be_drawn_is_refused(labelled):
    count = len(labelled.cache)
    for n in (0, -1):
        with pytest.raises(ConfigError, match=f"n={n}: expected a whole number, 1 or more"):
            labelled.add_audit(n)
    for n in (count - 24, count):
        with pytest.raises(ConfigError, match=f"expected 1 to {count - 25}, of {count - 24} that nobody has labelled"):
            labelled.add_audit(n)
    assert labelled.labels.audit == frozenset()
    assert "Nothing can be estimated from fewer than 20" in command("audit", labelled.path, 5)


def test_the_draw_of_a_new_session_says_what_it_was_drawn_from(new_session):
    session = new_session(audit=30)
    audit = session.labels.audit_set()
    assert (len(audit.ids), audit.event, audit.population) == (30, 0, len(session.cache))
    assert audit.shards == {shard.uuid for shard in session.cache.shards}
    grown = session.add_audit(10)
    assert (grown.size, grown.population, grown.labelled) == (40, len(session.cache), 0)


def test_a_session_of_version_1_takes_an_audit_set(tmp_path):
    home = shutil.copytree(TESTS / "data" / "session-v1", tmp_path / "home")
    for path in home.rglob("*.toml"):
        path.write_text(path.read_text("utf-8").replace("/home/astronomer", str(home)), "utf-8")
    session = Session.open(home / "session")
    before = session.labels.audit
    events = session.labels.events()
    draw = session.add_audit(5, replace=bool(before))
    assert len(session.labels.audit) == draw.size == 5
    assert session.labels.audit_set(0).ids == before
    assert session.labels.events() == events


def test_a_log_says_which_set_held_when(tmp_path):
    log = LabelLog.create(tmp_path / "labels.sqlite")
    with contextlib.closing(sqlite3.connect(log.path)) as other, other:
        other.execute("INSERT INTO audit VALUES ('old')")  # as version 0.1 wrote it
    assert log.audit_set() == AuditSet(frozenset({"old"}))
    log.set_audit(["a"])
    log.set_audit(["b", "c"], event=7, shards=["x"], population=9, new=True)
    log.set_audit(["d"])
    assert [log.audit_set(k).ids for k in range(5)] == [
        {"old"}, {"old", "a"}, {"b", "c"}, {"b", "c", "d"}, {"b", "c", "d"},
    ]  # fmt: skip
    now = log.audit_set()
    assert (now.draws, now.event, now.shards, now.population) == (3, 7, {"x"}, 9)
    assert log.count_draws() == 3
    for sql in ("DELETE FROM audit_draw", "UPDATE audit_member SET object_id = 'z'", "DELETE FROM audit_shard",
                "INSERT OR REPLACE INTO audit_draw VALUES (1, '', 0, 0, 1)"):  # fmt: skip
        with (
            contextlib.closing(sqlite3.connect(log.path)) as other,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            other.execute(sql)
    with contextlib.closing(sqlite3.connect(log.path)) as other:  # older software does not take it for a whole sample
        assert other.execute("PRAGMA user_version").fetchone() == (2,)
    with pytest.raises(LabelError, match="object id"):
        log.set_audit([""])
    log.close()
