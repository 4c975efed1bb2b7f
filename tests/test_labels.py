"""The label log: nothing lost, nothing changed, undo without limit; tables matched all or nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from astroanomaly.errors import LabelError, StorageError, UnreadableError
from astroanomaly.label_files import export_labels, import_labels, match_ids, match_positions, read_truth_column
from astroanomaly.labels import DISPUTED, LabelLog
from astroanomaly.records import ANOMALY, NOMINAL

IDS = [f"field/obj-{i}.fits" for i in range(20)]
RA, DEC = np.linspace(10, 10.1, 20), np.linspace(-5, -4.9, 20)


@pytest.fixture
def log(tmp_path):
    with LabelLog.create(tmp_path / "labels.sqlite", (NOMINAL, ANOMALY, "lens")) as made:
        yield made


def test_the_last_verdict_of_each_annotator_counts_and_the_majority_decides(log):
    log.verdict(["a"], ANOMALY, annotator="ann")
    log.verdict(["a"], NOMINAL, annotator="ann")
    assert log.current()["a"].label == NOMINAL
    log.verdict(["a"], ANOMALY, annotator="bob")
    assert log.current()["a"].label == DISPUTED
    log.verdict(["a"], ANOMALY, annotator="cyd")
    assert log.current()["a"].label == ANOMALY
    assert log.current()["a"].votes == {"ann": NOMINAL, "bob": ANOMALY, "cyd": ANOMALY}


def test_disputed_and_audit_objects_are_not_learnt_from(log):
    log.set_audit(["audit"])
    log.verdict(["audit", "plain", "tie"], ANOMALY, annotator="ann")
    log.verdict(["tie"], NOMINAL, annotator="bob")
    assert log.labelled().ids == ("plain",)
    assert log.audit == {"audit"}
    assert log.counts() == {ANOMALY: 2, DISPUTED: 1}


def test_undo_takes_back_ones_own_batches_one_after_another(log):
    log.verdict(["a", "b"], ANOMALY, annotator="ann")
    log.verdict(["a"], NOMINAL, annotator="bob")
    log.verdict(["a"], "lens", annotator="ann")
    assert log.undo(annotator="ann") is not None
    assert log.current()["a"].votes == {"ann": ANOMALY, "bob": NOMINAL}
    assert log.undo(annotator="ann") is not None
    assert set(log.current()) == {"a"}
    assert log.undo(annotator="ann") is None
    assert [event.kind for event in log.events()] == ["verdict"] * 4 + ["undo"] * 2


def test_the_state_at_an_earlier_event_can_be_had_back(log):
    log.verdict(["a"], ANOMALY, annotator="ann")
    then = log.last_event
    log.verdict(["b"], NOMINAL, annotator="ann")
    log.undo(annotator="ann")
    log.undo(annotator="ann")
    assert log.labelled().ids == ()
    assert log.labelled(until=then).ids == ("a",)


def test_marks_and_notes_stand_beside_verdicts(log):
    log.skip(["a"], annotator="ann")
    log.flag(["a"], annotator="ann")
    log.note(["a"], "ghost?", annotator="ann")
    opinion = log.current()["a"]
    assert (opinion.label, opinion.skipped, opinion.flagged, opinion.notes) == ("", True, True, ("ghost?",))
    assert [event.value for event in log.history("a")] == ["", "", "ghost?"]


@pytest.mark.parametrize("sql", ["UPDATE event SET value = 'x'", "DELETE FROM event", "DELETE FROM audit"])
def test_nothing_can_be_changed_or_removed(log, sql):
    log.verdict(["a"], ANOMALY, annotator="ann")
    log.set_audit(["b"])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite3.connect(log.path).execute(sql)


def test_a_wrong_word_is_named_and_nothing_is_written(log):
    with pytest.raises(LabelError, match=r"'b': 'lense' is no label class; did you mean 'lens'"):
        log.verdict(["a", "b"], [ANOMALY, "lense"], annotator="ann")
    assert log.last_event == 0


def test_classes_can_be_added_but_not_twice_and_not_with_a_reserved_name(log):
    log.add_class("ring galaxy")
    assert log.classes == (NOMINAL, ANOMALY, "lens", "ring galaxy")
    for name in ("lens", "", DISPUTED, "two\nlines"):
        with pytest.raises(LabelError):
            log.add_class(name)


def test_strange_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at " * 100)
    with pytest.raises(LabelError, match="not a label file"):
        LabelLog.open(tmp_path / "text")
    sqlite3.connect(tmp_path / "other").executescript("CREATE TABLE t (x)")
    with pytest.raises(LabelError, match="SQLite file, but not a label file"):
        LabelLog.open(tmp_path / "other")
    with pytest.raises(UnreadableError, match="does not exist"):
        LabelLog.open(tmp_path / "none")


WRITER = """
import sys
from astroanomaly.labels import LabelLog
log = LabelLog.open({path!r})
for number in range({count}):
    log.verdict([f"{{sys.argv[1]}}-{{number}}"], "anomaly", annotator=sys.argv[1])
    print(number, flush=True)
"""


def writer(path, name, count):
    code = WRITER.format(path=str(path), count=count)
    return subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_without_losing_a_verdict(log):
    processes = [writer(log.path, name, 60) for name in ("ann", "bob")]
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0
    assert len(log.current()) == 120
    assert [event.number for event in log.events()] == list(range(1, 121))


def test_a_kill_loses_no_verdict_that_was_confirmed(log):
    process = writer(log.path, "ann", 100_000)
    for _ in range(20):
        process.stdout.readline()
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    confirmed = 20 + len(process.stdout.read().splitlines())
    process.stdout.close()
    process.wait()
    assert confirmed <= len(LabelLog.open(log.path).current()) <= confirmed + 1


def test_a_full_disk_is_an_error_and_loses_nothing(log):
    log.verdict([f"before-{i}" for i in range(50)], ANOMALY, annotator="ann")
    script = textwrap.dedent(
        f"""
        import resource, signal
        from astroanomaly.errors import StorageError
        from astroanomaly.labels import LabelLog
        log = LabelLog.open({str(log.path)!r})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))
        try:
            log.verdict([f"{{i:0300}}" for i in range(1000)], "anomaly", annotator="ann")
        except StorageError as error:
            print("STORAGE", error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "STORAGE" in done.stdout, done.stdout + done.stderr
    assert len(LabelLog.open(log.path).current()) == 50


class Undoing(RuleBasedStateMachine):
    """Whatever is said and undone in whatever order, the log agrees with a stack per annotator."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.log = LabelLog.create(os.path.join(self.folder.name, "l.sqlite"))
        self.stacks = {"ann": [], "bob": []}
        self.clock = 0

    @rule(
        who=st.sampled_from(["ann", "bob"]),
        ids=st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True),
        word=st.sampled_from([NOMINAL, ANOMALY]),
    )
    def say(self, who, ids, word):
        self.log.verdict(ids, word, annotator=who)
        self.clock += 1
        self.stacks[who].append((ids, word))

    @precondition(lambda self: self.clock)
    @rule(who=st.sampled_from(["ann", "bob"]))
    def undo(self, who):
        undone = self.log.undo(annotator=who)
        assert (undone is None) == (not self.stacks[who])
        if self.stacks[who]:
            self.stacks[who].pop()

    @invariant()
    def agrees(self):
        expected = {}
        for who, stack in self.stacks.items():
            for ids, word in stack:
                for object_id in ids:
                    expected.setdefault(object_id, {})[who] = word
        assert {i: dict(o.votes) for i, o in self.log.current().items()} == expected

    def teardown(self):
        self.log.close()
        self.folder.cleanup()


TestUndoing = Undoing.TestCase
TestUndoing.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)


# ------------------------------------------------------------------------------------------------------------- tables


def table(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def take(log, path, **extra):
    return import_labels(log, path, IDS, (RA, DEC), annotator="me", **extra)


def test_labels_by_id_and_by_base_name(log, tmp_path):
    path = table(tmp_path, "filename,Class\nfield/obj-1.fits,Anomaly\nobj-2.fits,0\nobj-3.fits,LENS\n")
    assert take(log, path).added == 3
    assert {i: o.label for i, o in log.current().items()} == {IDS[1]: ANOMALY, IDS[2]: NOMINAL, IDS[3]: "lens"}


def test_labels_by_position_take_the_nearest_and_say_when_there_were_several(log, tmp_path):
    path = table(tmp_path, f"ra,dec,label\n{RA[4]},{DEC[4] + 0.5 / 3600},anomaly\n")
    assert take(log, path).messages == ()
    assert set(log.current()) == {IDS[4]}
    report = take(log, path, radius_arcsec=60.0)
    assert "objects within 60 arcsec" in report.messages[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("object_id,label\nfield/obj-1.fits,anomaly\nfield/obj-2.fits,anomalie\n", "row 2: label is 'anomalie'"),
        ("object_id,label\nfield/obj-1.fits,anomaly\nfield/obj-99.fits,nominal\n", "1 of 2 labelled objects are unknown"),
        ("object_id,label\nobj-1.fits,anomaly\nobj-1.fits,nominal\n", "says both 'anomaly' and 'nominal'"),
        ("object_id,colour\nobj-1.fits,red\n", "no column with labels"),
        ("number,label\n1,anomaly\n", "says of no object which it is"),
        ("object_id,label\nobj-1.fits\n", "line 2: 1 values for 2 columns"),
        ("ra,dec,label\n200,10,anomaly\n", r"1 of 1 labelled positions have no object within 1 arcsec: 200.000000"),
        ("", "is empty"),
    ],
)
def test_one_wrong_row_and_nothing_is_written(log, tmp_path, text, message):
    with pytest.raises(LabelError, match=message):
        take(log, table(tmp_path, text))
    assert log.last_event == 0


def test_an_ambiguous_name_is_refused():
    with pytest.raises(LabelError, match=r"'x\.png' could be 'a/x\.png' or 'b/x\.png'"):
        match_ids(["x.png"], ["a/x.png", "b/x.png"])


def test_matching_on_the_sky_agrees_with_astropy():
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 300), np.degrees(np.arcsin(rng.uniform(-1, 1, 300)))
    ra[:3], dec[:3] = [0.0, 359.9999, 40], [89.9999, 0, -90]
    near_ra, near_dec = (ra + rng.normal(0, 1, 300) / 3600) % 360, np.clip(dec + rng.normal(0, 1, 300) / 3600, -90, 90)
    found, count = match_positions(near_ra, near_dec, ra, dec, 1.5)
    index, distance, _ = SkyCoord(near_ra, near_dec, unit="deg").match_to_catalog_sky(SkyCoord(ra, dec, unit="deg"))
    np.testing.assert_array_equal(found, np.where(distance < 1.5 * u.arcsec, index, -1))
    assert ((count > 0) == (found >= 0)).all()


def test_what_is_exported_can_be_imported_again(log, tmp_path):
    log.verdict(IDS[:2], ANOMALY, annotator="ann")
    log.verdict(IDS[1:3], NOMINAL, annotator="bob")
    log.note(IDS[:1], 'a "strange", one', annotator="ann")
    assert export_labels(log, tmp_path / "out.csv", IDS, (RA, DEC)) == 3
    header, first = (tmp_path / "out.csv").read_text().splitlines()[:2]
    assert header == "object_id,label,votes,annotators,time,ra,dec,audit,note"
    assert first.startswith(f"{IDS[0]},anomaly,anomaly:1,ann,")
    assert read_truth_column(tmp_path / "out.csv", "label") == {IDS[0]: ANOMALY, IDS[1]: DISPUTED, IDS[2]: NOMINAL}
    with pytest.raises(StorageError, match="exists already"):
        export_labels(log, tmp_path / "out.csv", IDS, (RA, DEC))
