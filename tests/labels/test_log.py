"""The label log: nothing lost, nothing changed, undo without limit."""

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from astroanomaly.errors import BusyError, LabelError, StorageError, UnreadableError
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.labels.log import LabelLog
from astroanomaly.records import ANOMALY, NOMINAL


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
    one = log.current()["a"]
    assert (one.label, one.skipped, one.flagged, one.notes) == ("", True, True, ("ghost?",))
    assert [event.value for event in log.history("a")] == ["", "", "ghost?"]


@pytest.mark.parametrize("sql", ["UPDATE event SET value = 'x'", "DELETE FROM event", "DELETE FROM audit"])
def test_nothing_can_be_changed_or_removed(log, sql):
    log.verdict(["a"], ANOMALY, annotator="ann")
    log.set_audit(["b"])
    with (
        contextlib.closing(sqlite3.connect(log.path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        other.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR REPLACE INTO event SELECT number, object_id, kind, 'nominal', annotator, time, round, batch, "
        "refers_to, ordering, probability, blind_repeat FROM event",
        "INSERT OR REPLACE INTO label_class VALUES (1, 'anything')",
        "INSERT OR REPLACE INTO label_class VALUES (9, 'anomaly')",
    ],
)
def test_nothing_can_be_replaced(log, sql):
    log.verdict(["a"], ANOMALY, annotator="ann")
    before = log.events(), log.classes
    with (
        contextlib.closing(sqlite3.connect(log.path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        other.execute(sql)
    assert (log.events(), log.classes) == before


def test_an_event_keeps_everything_that_was_said_with_it(log):
    log.verdict(
        "a", np.str_("lens"), annotator="ann", round=np.int64(3), ordering="diverse", probability=np.float32(0.25),
        blind_repeat=True, time="2026-01-31T12:00:00.5+01:00",
    )  # fmt: skip
    (event,) = log.events()
    assert (event.number, event.batch, event.object_id, event.kind, event.value) == (1, 1, "a", "verdict", "lens")
    assert (event.round, event.ordering, event.probability, event.blind_repeat) == (3, "diverse", 0.25, True)
    assert event.time == "2026-01-31T11:00:00.500000+00:00"
    log.verdict("b", NOMINAL, annotator="ann")
    assert len(log.events()[1].time) == len(event.time)  # UTC with microseconds
    assert set(log.current()) == {"a", "b"}  # a single id is one object, not its letters


def test_the_history_of_an_object_tells_of_undos(log):
    log.verdict(["a", "b"], ANOMALY, annotator="ann")
    log.verdict(["b"], NOMINAL, annotator="ann")
    log.undo(annotator="ann")
    assert [event.kind for event in log.history("a")] == ["verdict"]
    assert [(event.kind, event.refers_to) for event in log.history("b")] == [
        ("verdict", None), ("verdict", None), ("undo", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "extra", "message"),
    [
        ((["a", "b"], [ANOMALY]), {}, "1 verdicts for 2 objects"),
        (([], ANOMALY), {}, "no object was named"),
        (([5], ANOMALY), {}, "5 is no object id"),
        ((["ok", ""], ANOMALY), {}, "'' is no object id"),
        ((["lone \udce9"], ANOMALY), {}, "not valid Unicode"),
        ((["a"], ANOMALY), {"probability": 3}, "probability=3.0"),
        ((["a"], ANOMALY), {"probability": float("nan")}, "probability=nan"),
        ((["a"], ANOMALY), {"time": "yesterday"}, "'yesterday' is no time"),
        ((["a"], ANOMALY), {"annotator": ""}, "needs an annotator"),
    ],
)
def test_what_cannot_be_is_refused_whole(log, arguments, extra, message):
    with pytest.raises(LabelError, match=message):
        log.verdict(*arguments, **{"annotator": "ann", **extra})
    assert log.last_event == 0


def test_what_is_said_together_is_written_together_or_not_at_all(log):
    log.verdict("before", ANOMALY, annotator="ann")

    def half_wrong():
        with log.transaction():
            log.verdict("a", ANOMALY, annotator="ann")
            log.verdict("b", "lense", annotator="ann")

    with pytest.raises(LabelError):
        half_wrong()
    assert set(log.current()) == {"before"}
    with log.transaction():
        log.verdict("a", ANOMALY, annotator="ann")
        with pytest.raises(LabelError):
            log.note("a", "lone \udce9", annotator="ann")
        log.verdict("b", NOMINAL, annotator="bob")
    assert set(log.current()) == {"before", "a", "b"}
    log.undo(annotator="ann")
    assert set(log.current()) == {"before", "b"}


def test_training_leaves_out_what_it_is_told_to(log):
    log.verdict(["a", "b", "c"], ANOMALY, annotator="ann")
    log.set_audit(["a"])
    assert log.labelled(exclude={"b"}).ids == ("c",)


def test_threads_share_one_log(log):
    def work(name):
        for number in range(25):
            log.verdict(f"{name}-{number}", ANOMALY, annotator=name)
            log.current()

    threads = [threading.Thread(target=work, args=(f"t{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.current()) == 100


def test_a_locked_file_is_busy_not_broken_and_nothing_is_lost(log):
    log.verdict(["a"], ANOMALY, annotator="ann")
    with LabelLog.open(log.path, busy_s=0.1) as impatient:
        holder = sqlite3.connect(log.path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        for action in (
            lambda: impatient.verdict(["b"], ANOMALY, annotator="ann"),
            impatient.current,
            lambda: LabelLog.open(log.path, busy_s=0.1),
        ):
            with pytest.raises(BusyError, match="locked by another process"):
                action()
        holder.execute("ROLLBACK")
        holder.close()
        impatient.verdict(["b"], ANOMALY, annotator="ann")
    assert set(log.current()) == {"a", "b"}


def test_a_log_that_cannot_be_made_leaves_nothing_behind(tmp_path):
    for classes in ((NOMINAL, ANOMALY, DISPUTED), (NOMINAL, ANOMALY, "x", "X"), (NOMINAL, ANOMALY, "1"), (NOMINAL,)):
        with pytest.raises(LabelError):
            LabelLog.create(tmp_path / "l.sqlite", classes)
    with pytest.raises(StorageError, match="cannot be made"):
        LabelLog.create(tmp_path / "none" / "l.sqlite")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "l.sqlite").write_text("precious")
    with pytest.raises(LabelError, match="exists already"):
        LabelLog.create(tmp_path / "l.sqlite")
    assert (tmp_path / "l.sqlite").read_text() == "precious"


def test_a_log_is_all_there_even_when_its_name_is_strange(tmp_path):
    path = tmp_path / "100% ?mode=ro #1 \u661f.sqlite"
    with LabelLog.create(path, (NOMINAL, ANOMALY, "Einstein's ring")) as made:
        made.verdict("a", "Einstein's ring", annotator="ann")
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    with LabelLog.open(path) as opened:
        assert opened.classes == (NOMINAL, ANOMALY, "Einstein's ring")
        assert opened.current()["a"].label == "Einstein's ring"


def test_damaged_and_newer_files_are_refused(log, tmp_path):
    log.verdict([f"o{i}" for i in range(2000)], ANOMALY, annotator="ann")
    content = log.path.read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(LabelError, match="damaged"), LabelLog.open(tmp_path / "cut") as cut:
        cut.current()
    ours = "PRAGMA application_id=0x41414C42; PRAGMA user_version="
    for name, sql, message in (
        ("newer", ours + "9", "version 9, newer than 2"),
        ("tables", ours + "1; CREATE TABLE event (x)", "damaged label file: its table 'event' has the columns"),
        ("none", ours + "1", "damaged label file"),
    ):
        strange = sqlite3.connect(tmp_path / name)
        strange.executescript(sql)
        strange.close()
        with pytest.raises(LabelError, match=message):
            LabelLog.open(tmp_path / name)


def work(log, action):
    """Steps of SQLite (in thousands of a virtual machine's instructions) and calls of Python that an action takes."""
    steps, calls = itertools.count(), itertools.count()
    log._database._connection.set_progress_handler(lambda: next(steps) < 0, 1000)
    sys.setprofile(lambda *_: next(calls))
    try:
        action()
    finally:
        sys.setprofile(None)
        log._database._connection.set_progress_handler(None, 0)
    return np.array([next(steps), next(calls)])


def test_work_grows_no_faster_than_the_log(tmp_path):
    def undo(log):
        for _ in range(6):
            log.undo(annotator="a0")

    def read(log):
        assert len(log.current()) == 3 * len(log.events()) // 5

    taken = {}
    for batch in (50, 500):
        with LabelLog.create(tmp_path / f"{batch}.sqlite") as log:
            for k in range(20):
                ids = [f"o{(k * batch + i) % (12 * batch)}" for i in range(batch)]
                log.verdict(ids, ANOMALY if k % 2 else NOMINAL, annotator=f"a{k % 3}")
            actions = (read, undo, lambda log: log.history("o5"))
            taken[batch] = np.array([work(log, lambda action=action: action(log)) for action in actions])
    assert (taken[500] <= 11 * taken[50] + 50).all(), taken
    assert (taken[500][2] <= taken[50][2] + 1).all(), "the history of one object takes more work in a larger log"


def test_a_wrong_word_is_named_and_nothing_is_written(log):
    with pytest.raises(LabelError, match=r"'b': 'lense' is no label class; did you mean 'lens'"):
        log.verdict(["a", "b"], [ANOMALY, "lense"], annotator="ann")
    assert log.last_event == 0


def test_strange_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at " * 100)
    with pytest.raises(LabelError, match="not a label file"):
        LabelLog.open(tmp_path / "text")
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as other:
        other.executescript("CREATE TABLE t (x)")
    with pytest.raises(LabelError, match="SQLite file, but not a label file"):
        LabelLog.open(tmp_path / "other")
    with pytest.raises(UnreadableError, match="does not exist"):
        LabelLog.open(tmp_path / "none")


WRITER = """
import sys
from astroanomaly.labels.log import LabelLog
log = LabelLog.open({path!r})
for number in range({count}):
    log.verdict([f"{{sys.argv[1]}}-{{number}}"], "anomaly", annotator=sys.argv[1])
    print(number, flush=True)
"""


def writer(path, name, count):
    code = WRITER.format(path=str(path), count=count)
    return subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_without_losing_a_verdict(log):
    processes = [writer(log.path, name, 500) for name in ("ann", "bob")]
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0
    assert len(log.current()) == 1000
    assert [event.number for event in log.events()] == list(range(1, 1001))


def test_a_kill_loses_no_verdict_that_was_confirmed(log):
    process = writer(log.path, "ann", 100_000)
    for _ in range(20):
        process.stdout.readline()
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    confirmed = 20 + len(process.stdout.read().splitlines())
    process.stdout.close()
    process.wait()
    with LabelLog.open(log.path) as again:
        assert confirmed <= len(again.current()) <= confirmed + 1


def test_a_full_disk_is_an_error_and_loses_nothing(log):
    log.verdict([f"before-{i}" for i in range(50)], ANOMALY, annotator="ann")
    script = textwrap.dedent(
        f"""
        import resource, signal
        from astroanomaly.errors import StorageError
        from astroanomaly.labels.log import LabelLog
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
    with LabelLog.open(log.path) as again:
        assert len(again.current()) == 50


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
TestUndoing.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("same", [True, False], ids=["a thread", "a process"])
def test_news_do_not_wait_as_others_do(log, same):
    """They are there before somebody gives up who waits for the file: a thread with the same log, or another's log."""
    log.verdict("a", ANOMALY, annotator="ann")
    last = log.last_event
    log.verdict("b", ANOMALY, annotator="ann")
    assert [event.object_id for event in log.news(after=last)] == ["b"]
    gave_up = []

    def wait():
        with pytest.raises(BusyError):
            patient.events()
        gave_up.append(True)

    with (
        LabelLog.open(log.path, busy_s=3) as patient,
        contextlib.closing(sqlite3.connect(log.path, isolation_level=None, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        assert (patient if same else log).news(after=0) == []
        assert not gave_up
        waiting.join()
        assert gave_up
        other.execute("ROLLBACK")
        assert len(log.news(after=0)) == 2


def test_one_action_on_objects_that_were_chosen_differently_keeps_how_each_was_shown(log):
    log.verdict(
        ["a", "b"], NOMINAL, annotator="ann", ordering=["random", "score:probe, 5 verdicts"], probability=[0.25, None]
    )
    log.skip(["c", "d"], annotator="ann", ordering=["random", "novel:cold, 9 objects compared"])
    log.flag(["c"], annotator="ann", ordering="random")
    assert [(event.object_id, event.ordering, event.probability, event.batch) for event in log.events()] == [
        ("a", "random", 0.25, 1), ("b", "score:probe, 5 verdicts", None, 1), ("c", "random", None, 3),
        ("d", "novel:cold, 9 objects compared", None, 3), ("c", "random", None, 5),
    ]  # fmt: skip
    for wrong in ({"ordering": ["random"]}, {"probability": [0.5]}, {"blind_repeat": [True]}, {"time": [""]}):
        with pytest.raises(LabelError, match="give one for all, or one for each"):
            log.verdict(["a", "b"], NOMINAL, annotator="ann", **wrong)
    with pytest.raises(LabelError, match="expected 0 to 1"):
        log.verdict(["a", "b"], NOMINAL, annotator="ann", probability=[0.5, 1.5])
    assert log.last_event == 5


def test_clearing_goes_back_as_far_as_each_object_allows(log):
    for object_id in "ab":
        log.verdict([object_id], NOMINAL, annotator="ann")
    for object_id in "ab":
        log.verdict([object_id], ANOMALY, annotator="ann")
    log.clear(["a", "b"], annotator="ann", after=[2, 0])
    assert {i: dict(one.votes) for i, one in log.current().items()} == {"a": {"ann": NOMINAL}}


@pytest.mark.parametrize("draw", ["'x', 't', 2, 3, 4", "1, 't', 2, 'x', 4", "1, NULL, 2, 3, 1", "1.5, 't', 2, 3, 1"])
def test_a_table_of_draws_that_somebody_made_anew_is_refused(tmp_path, draw):
    LabelLog.create(tmp_path / "labels.sqlite").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "labels.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE audit_draw (number, time, event, population, first)")
        connection.execute(f"INSERT INTO audit_draw VALUES ({draw})")
    with LabelLog.open(tmp_path / "labels.sqlite") as log, pytest.raises(LabelError, match=r"a draw of its audit set"):
        log.audit_set(1)
