"""The consensus of annotators: events added one by one give what replaying all of them gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly.labels.consensus import DISPUTED, Consensus, majority
from astroanomaly.labels.log import LabelLog
from astroanomaly.records import ANOMALY, NOMINAL

IDS = ("a", "b", "c")
PEOPLE = ("ann", "ben")
ACTION = st.tuples(
    st.sampled_from(PEOPLE),
    st.sampled_from(("verdict", "verdict", "skip", "flag", "clear", "undo", "undo")),
    st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True),
    st.sampled_from((NOMINAL, ANOMALY)),
)


def replay(actions):
    """Last word of each person on each object, and who flagged what, after the actions that were not undone."""
    kept = []
    for who, kind, ids, value in actions:
        if kind != "undo":
            words = [(i, w) for i, w, _ in state(kept)[0]]
            if kind == "clear" and not any((i, who) in words or (i, who) in state(kept)[1] for i in ids):
                continue  # nothing to take back: no action
            kept.append((who, kind, ids, value))
        else:
            own = [k for k, action in enumerate(kept) if action[0] == who]
            if own:
                del kept[own[-1]]
    return state(kept)


def state(actions):
    words, flags = {}, set()
    for who, kind, ids, value in actions:
        for object_id in ids:
            if kind == "verdict":
                words[object_id, who] = value
            elif kind == "skip":
                words[object_id, who] = "skip"
            elif kind == "flag":
                flags.add((object_id, who))
            else:
                words.pop((object_id, who), None)
                flags.discard((object_id, who))
    return {(i, w, word) for (i, w), word in words.items()}, flags


@settings(deadline=None, max_examples=60)
@given(st.lists(ACTION, max_size=14))
def test_what_stands_is_what_a_replay_gives(tmp_path_factory, actions):
    with LabelLog.create(tmp_path_factory.mktemp("log") / "labels.sqlite") as log:
        consensus = Consensus()
        for who, kind, ids, value in actions:
            if kind == "verdict":
                log.verdict(ids, value, annotator=who)
            elif kind == "undo":
                log.undo(annotator=who)
            else:
                getattr(log, kind)(ids, annotator=who)
            consensus.add(log.events(after=consensus.last))
        words, flags = replay(actions)
        for object_id in IDS:
            one = consensus.of(object_id)
            assert one.votes == {w: word for i, w, word in words if i == object_id and word != "skip"}
            assert one.skipped == bool(one.skipped_by)
            assert one.skipped == any(i == object_id and word == "skip" for i, _, word in words)
            assert one.flagged == any(i == object_id for i, _ in flags)
            assert one.label == majority(one.votes)
        assert consensus.current() == Consensus(log.events()).current() == log.current()


def test_a_tie_is_disputed():
    assert majority({}) == ""
    assert majority({"ann": "x", "ben": "y", "cas": "x"}) == "x"
    assert majority({"ann": "x", "ben": "y"}) == DISPUTED


def test_adding_events_tells_which_objects_are_concerned(tmp_path):
    with LabelLog.create(tmp_path / "labels.sqlite") as log:
        consensus = Consensus()
        batch = log.verdict(["a", "b"], ANOMALY, annotator="ann")
        assert consensus.add(log.events()) == {"a", "b"}
        assert consensus.members(batch) == ("a", "b")
        log.clear("a", annotator="ann")
        assert consensus.add(log.events(after=consensus.last)) == {"a"}
        log.undo(annotator="ann")
        assert consensus.add(log.events(after=consensus.last)) == {"a"}
        log.undo(annotator="ann")
        assert consensus.add(log.events(after=consensus.last)) == {"a", "b"}
        assert log.clear(["a", "b"], annotator="ann") is None


def test_the_history_of_an_object_tells_of_its_own_undos_only(tmp_path):
    with LabelLog.create(tmp_path / "labels.sqlite") as log:
        log.verdict(["a", "b"], ANOMALY, annotator="ann")
        log.clear("a", annotator="ann")
        assert [event.kind for event in log.history("a")] == ["verdict", "undo"]
        assert [event.kind for event in log.history("b")] == ["verdict"]
        log.undo(annotator="ann")
        log.undo(annotator="ann")
        assert [event.kind for event in log.history("b")] == ["verdict", "undo"]


def test_it_is_known_who_skipped(tmp_path):
    with LabelLog.create(tmp_path / "l.sqlite") as log:
        log.skip("a", annotator="ann")
        log.skip("a", annotator="ben")
        log.verdict("a", "nominal", annotator="ben")
        one = log.current()["a"]
    assert one.skipped_by == {"ann"}
    assert one.skipped
