"""What keys and clicks do to one page, without a browser: a mark follows the disk, and pages stay as they are."""

import contextlib
import os
import resource
import sqlite3

import numpy as np
import pytest

from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.grid_layout import grid_shape, inspector_sizes
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.shared_state import COLD, PROBE, SharedState
from astroanomaly.app.review.verdicts import Mark
from astroanomaly.app.view.keys import KEYS, press
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.labels.log import LabelLog
from astroanomaly.records import ANOMALY, NOMINAL


@pytest.fixture
def shared(new_session):
    session = new_session(classes=["ring", "merger"], audit=12)
    made = SharedState(session)
    made.publish(COLD, np.arange(len(session.cache), dtype=np.float32), "test")
    yield made
    made.close()


@pytest.fixture
def state(shared):
    made = ViewState(shared, "ann")
    made.set_options(row_by_row=False)  # rows have their own tests: test_page_filling.py
    return made


def on_disk(shared):
    with LabelLog.open(shared.session.labels.path) as log:
        return {object_id: consensus.votes for object_id, consensus in log.current().items() if consensus.votes}


def test_pages_follow_the_ranking_and_never_show_audit_objects(shared, state):
    ranked = [i for i in reversed(list(shared.cache.ids)) if i not in shared.audit]
    assert list(state.page.ids) == ranked[:25]
    press(state, "PageDown")
    assert list(state.page.ids) == ranked[25:50]
    press(state, "PageUp")
    assert list(state.page.ids) == ranked[:25]
    press(state, "PageUp")
    assert state.message.text == "this is the first page"


def test_a_new_ranking_moves_nothing_on_show_and_orders_what_comes(shared, state):
    first = state.page.ids
    shared.publish(PROBE, -np.arange(len(shared.cache), dtype=np.float32), "reversed")
    assert state.page.ids == first
    press(state, "PageDown")
    ranked = [i for i in shared.cache.ids if i not in shared.audit and i not in first]
    assert list(state.page.ids) == ranked[:25]
    press(state, "PageUp")
    assert state.page.ids == first


def test_one_key_is_one_verdict_and_the_cursor_goes_on(shared, state):
    ids = state.page.ids
    for key in ("a", "n", "1", "2", "s"):
        press(state, key)
    assert on_disk(shared) == {
        ids[0]: {"ann": ANOMALY}, ids[1]: {"ann": NOMINAL}, ids[2]: {"ann": "ring"}, ids[3]: {"ann": "merger"}
    }  # fmt: skip
    assert [state.mark(i).label for i in ids[:6]] == [ANOMALY, NOMINAL, "ring", "merger", "skipped", ""]
    assert state.cursor == 5
    press(state, "3")
    assert "no class 3" in state.message.text
    press(state, "f")
    assert state.mark(ids[5]) == Mark("", False, True)
    assert state.cursor == 5


def test_verdicts_carry_how_the_object_was_shown(shared, state):
    press(state, "a")
    event = shared.labels.events()[-1]
    assert (event.ordering, event.probability, event.blind_repeat) == ("score:cold, test", None, False)
    state.set_options(ordering="random")
    press(state, "a")
    event = shared.labels.events()[-1]
    assert event.ordering == "random"
    assert event.probability == pytest.approx(25 / (len(shared.cache) - 12 - 1))


def test_undo_is_without_limit_and_goes_back_to_the_page(shared, state):
    ids = state.page.ids
    for _ in range(25):
        press(state, "n")
    assert state.number == 1
    press(state, "a")
    for _ in range(26):
        press(state, "u")
    assert on_disk(shared) == {}
    assert (state.number, state.cursor) == (0, 0)
    assert not any(state.mark(i).label for i in ids)
    press(state, "Backspace")
    assert "nothing left" in state.message.text


def test_the_rest_of_a_page_is_one_action(shared, state):
    press(state, "a")
    press(state, "s")
    press(state, "r")
    assert sorted(map(str, (v["ann"] for v in on_disk(shared).values()))) == [ANOMALY] + [NOMINAL] * 23
    press(state, "u")
    assert on_disk(shared) == {state.page.ids[0]: {"ann": ANOMALY}}
    assert state.mark(state.page.ids[1]).label == "skipped"


def test_a_click_selects_and_writes_nothing(shared, state):
    state.click(3)
    assert (state.cursor, state.selection, on_disk(shared)) == (3, {3}, {})
    state.click(3)
    assert (state.selection, shared.verdicts, state.inspecting) == ({3}, 0, False)
    press(state, "n")
    assert on_disk(shared) == {state.page.ids[3]: {"ann": NOMINAL}}
    assert (state.cursor, state.selection) == (4, frozenset())


def test_control_adds_to_a_selection_and_takes_out(shared, state):
    state.click(5, toggle=True)  # the cursor was nobody's choice: the first object does not come along
    assert state.selection == {5}
    state.click(7, toggle=True)
    state.click(5, toggle=True)
    assert state.selection == {7}
    state.click(9, extend=True, toggle=True)  # a range from the last click, beside what is selected
    assert state.selection == {5, 6, 7, 8, 9}
    state.click(2)
    state.click(4, toggle=True)
    assert state.selection == {2, 4}
    press(state, "1")
    assert on_disk(shared) == {state.page.ids[k]: {"ann": "ring"} for k in (2, 4)}
    assert state.cursor == 5


@pytest.mark.parametrize("key", ["ArrowRight", "ArrowDown", "Home", "End", "PageDown", "Escape"])
def test_a_key_that_moves_on_leaves_a_selection_behind(shared, state, key):
    state.click(3)
    state.click(6, extend=True)
    press(state, key)
    assert len(state.targets()) == 1
    press(state, "n")
    assert len(on_disk(shared)) == 1


def test_a_verdict_in_the_inspector_is_on_what_is_seen_there(shared, state):
    state.click(3)
    state.click(6, extend=True)
    press(state, "Enter")
    shown = state.current
    press(state, "a")
    assert on_disk(shared) == {shown: {"ann": ANOMALY}}


def test_a_click_marks_and_a_second_one_clears(shared, state):
    state.set_click_marks(ANOMALY)
    state.click(3)
    assert on_disk(shared) == {state.page.ids[3]: {"ann": ANOMALY}}
    state.click(3)
    assert on_disk(shared) == {}
    press(state, "u")
    assert on_disk(shared) == {state.page.ids[3]: {"ann": ANOMALY}}
    press(state, "r")
    state.click(7)  # one of many that were called nominal together: only this one is cleared
    assert state.page.ids[7] not in on_disk(shared)
    assert len(on_disk(shared)) == 24


def test_a_range_is_selected_and_a_key_applies_to_it(shared, state):
    state.move_cursor_to(2)
    state.click(6, extend=True)
    assert state.selection == {2, 3, 4, 5, 6}
    press(state, "1")
    assert on_disk(shared) == {i: {"ann": "ring"} for i in state.page.ids[2:7]}
    assert state.selection == frozenset()
    press(state, "u")
    assert on_disk(shared) == {}


def test_the_cursor_moves_in_the_grid(state):
    state.set_shape(1000, 1000)
    assert (state.columns, state.rows) == (5, 5)
    for key, place in (("ArrowRight", 1), ("ArrowDown", 6), ("ArrowLeft", 5), ("ArrowUp", 0), ("End", 24), ("Home", 0)):
        press(state, key)
        assert state.cursor == place
    press(state, "ArrowUp")
    assert state.cursor == 0


def test_auto_advance_can_be_switched_off(state):
    state.auto_advance = False
    press(state, "a")
    assert state.cursor == 0


def test_every_key_that_is_promised_does_something(state):
    state.set_shape(1000, 1000)
    for names, _, _ in KEYS:
        for key in names:
            state.move_cursor_to(12)
            before = (state.cursor, state.number, state.message, state.inspecting, state.helping, state.display)
            state.dirty.clear()
            press(state, key)
            after = (state.cursor, state.number, state.message, state.inspecting, state.helping, state.display)
            assert state.dirty or before != after, key


def test_nothing_shows_that_is_not_on_disk(shared, state):
    path = shared.session.labels.path
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        press(state, "a")
        assert state.message.kind == "error"
        assert "NOT saved" in state.message.text
        assert "locked" in state.message.text
        assert state.mark(state.page.ids[0]) == Mark()
        assert state.cursor == 0
        other.execute("ROLLBACK")
    press(state, "a")
    assert state.message.text == ""
    assert state.mark(state.page.ids[0]).label == ANOMALY


def test_a_full_disk_is_said_and_loses_nothing(shared, state):
    press(state, "a")
    size = os.path.getsize(shared.session.labels.path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    first = on_disk(shared)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # no file may grow beyond this
    try:
        for _ in range(300):  # until the free pages of the file are used up
            place = state.cursor
            press(state, "r" if state.number % 2 else "n")
            if state.message.kind == "error":
                break
            state.note("x" * 2000)
            if state.message.kind == "error":
                break
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "NOT saved" in state.message.text
    assert state.cursor in (place, place + 1)
    assert first.items() <= on_disk(shared).items()
    shown = {i for i in state.page.ids if state.mark(i).label}
    assert shown <= set(on_disk(shared))
    press(state, "n")
    assert state.message.kind == "info"


def test_two_people_do_not_override_one_another(shared):
    ann, ben = ViewState(shared, "ann"), ViewState(shared, "ben")
    first = ann.page.ids[0]
    press(ann, "a")
    assert ben.mark(first) == Mark(ANOMALY, False)
    press(ben, "n")
    assert on_disk(shared)[first] == {"ann": ANOMALY, "ben": NOMINAL}
    assert shared.consensus_of(first).label == DISPUTED
    press(ben, "u")
    assert on_disk(shared)[first] == {"ann": ANOMALY}
    press(ben, "u")
    assert on_disk(shared)[first] == {"ann": ANOMALY}


def test_verdicts_of_another_server_are_taken_in(shared, state):
    with LabelLog.open(shared.session.labels.path) as other:
        other.verdict(state.page.ids[4], "ring", annotator="elsewhere")
    assert state.mark(state.page.ids[4]) == Mark()
    assert shared.refresh() == {state.page.ids[4]}
    assert state.mark(state.page.ids[4]) == Mark("ring", False)


def test_filters(shared, state):
    for key in "an1s":
        press(state, key)
    ids = state.page.ids
    state.set_filters(labels="ring")
    assert state.page.ids == (ids[2],)
    state.set_filters(labels="labelled")
    assert set(state.page.ids) == set(ids[:3])
    state.set_filters(labels="skipped")
    assert state.page.ids == (ids[3],)
    state.set_filters(labels="everything")
    assert state.page.ids == ids
    state.set_filters(labels="unlabelled")
    assert not set(ids[:4]) & set(state.page.ids)
    state.set_filters(labels="everything", annotator="ben")
    assert state.page.ids == ()
    state.set_filters(annotator="", lowest=10.0, highest=20.0)
    scores = shared.score_of(state.page.ids, COLD)
    assert len(scores)
    assert ((scores >= 10) & (scores <= 20)).all()


def test_filters_by_sky_and_by_catalogue(shared, state):
    cutout = shared.cache[state.page.ids[3]]
    state.set_filters(region=f"{cutout.ra} {cutout.dec} 1arcsec")
    assert state.page.ids == (cutout.object_id,)
    state.set_filters(region="", expression=f"mag_g <= {cutout.columns['mag_g']!r} and dec > -90")
    assert cutout.object_id in {i for page in state.pages for i in page.ids} | set(state.page.ids)
    assert all(shared.cache[i].columns["mag_g"] <= cutout.columns["mag_g"] for i in state.page.ids)
    before = state.page.ids, state.filters
    state.set_filters(expression="mag_g <")
    assert state.message.kind == "error"
    assert (state.page.ids, state.filters) == before
    state.set_filters(region="nowhere")
    assert state.filters == before[1]


@pytest.mark.parametrize(
    "ordering", ["score", "uncertain", "novel", "mixed", "random", "median", "mean", "nominal", "cold"]
)
def test_every_order_shows_each_object_once(shared, state, ordering):
    drawn = np.random.default_rng(0).normal(size=(len(shared.cache), 8))
    shared.features = lambda ids: drawn[shared.cache.rows(ids)]
    state.set_options(ordering=ordering, page_size=49)
    for _ in range(5):
        state.turn(1)
    shown = [i for page in state.pages for i in page.ids]
    assert sorted(shown) == sorted(set(shared.cache.ids) - shared.audit)


def test_a_diverse_order_waits_for_features(shared, state):
    before = state.page.ids
    state.set_options(ordering="diverse")
    assert "features" in state.message.text
    assert (state.ordering, state.page.ids) == ("score", before)
    shared.features = lambda ids: np.eye(len(ids), dtype=np.float32)
    state.set_options(ordering="diverse")
    assert (state.ordering, len(state.page.ids)) == ("diverse", 25)


def test_the_audit_set_is_shown_blind_and_once(shared, state):
    shared.labels.verdict(sorted(shared.audit)[:3], ANOMALY, annotator="ben")
    shared.refresh()
    state.set_options(audit=True)
    assert set(state.page.ids) == shared.audit
    assert all(state.is_hidden(i) for i in state.page.ids)
    for _ in range(12):
        press(state, "n")
    assert shared.labels.events()[-1].ordering == "audit"
    state.set_options(audit=True)
    assert state.page.ids == ()


def test_blind_repeats_come_back_unmarked_and_are_recorded(shared, state):
    for _ in range(3):
        press(state, "r")
        press(state, "PageDown")
    state.repeat_share = 0.5
    press(state, "PageDown")
    repeats = state.page.last.repeats
    assert repeats
    assert not repeats & set(state.pages[-2].ids)
    assert all(state.mark(i) == Mark("", True) for i in repeats)
    place = state.page.ids.index(min(repeats))
    state.move_cursor_to(place)
    press(state, "a")
    assert state.mark(min(repeats)).label == ANOMALY
    assert shared.labels.events()[-1].blind_repeat
    press(state, "r")
    said = {event.object_id: event.blind_repeat for event in shared.labels.events()}
    assert all(said[i] == (i in repeats) for i in state.page.ids)


def test_options_that_cannot_be_are_refused_with_a_message(state):
    before = (state.page_size, state.repeat_share, state.ordering, state.annotator, state.display)
    state.set_options(page_size=7)
    state.set_options(repeat_share=0.9)
    state.set_options(ordering="best")
    state.set_annotator("  ")
    state.set_annotator("a\x00b")
    state.set_display(contrast=-1.0)
    state.set_display(low=99.9, high=1.0)
    state.set_display(channels="nothing,at,all")
    assert state.message.kind == "error"
    assert (state.page_size, state.repeat_share, state.ordering, state.annotator, state.display) == before


def test_the_look_is_kept_for_the_next_object_and_changes_no_label(shared, state):
    state.set_display(curve="log", invert=True)
    press(state, "n")
    press(state, "PageDown")
    assert (state.display.stretch.curve, state.display.invert) == ("log", True)
    assert set(state.filters.__dataclass_fields__) == set(Filters().__dataclass_fields__)


def test_objects_of_a_selection_are_shown_as_pages_of_their_own(shared, state):
    before = state.page.ids
    chosen = [str(i) for i in list(shared.cache.ids)[:30]]
    state.show(chosen, "map")
    assert state.page.ids == tuple(chosen[:25])
    assert state.page.last.ordering == "map"
    press(state, "PageDown")
    assert state.page.ids == tuple(chosen[25:])
    press(state, "PageUp")
    press(state, "PageUp")
    assert state.page.ids == before


def test_a_grid_makes_cells_as_large_as_can_be():
    for n in (9, 25, 49, 100):
        for width, height in ((1000, 600), (600, 1000), (500, 500)):
            columns, rows = grid_shape(n, width, height)
            assert columns * rows >= n
            side = min(width / columns, height / rows)
            others = (min(width / c, height / -(-n // c)) for c in range(1, n + 1))
            assert side == pytest.approx(max(others))


def test_the_inspector_shares_its_place_between_one_large_and_several_small_images():
    for bands in (0, 1, 3, 8):
        for width, height in ((2400, 1600), (670, 590), (500, 900)):
            for aspect in (1.0, 0.5, 2.0):
                large, small, area = inspector_sizes(bands, aspect, width, height)
                assert large <= width
                assert large * aspect <= height
                if not bands:
                    assert large == int(min(width, height / aspect))
                    continue
                assert 0 < small <= large / 2
                columns = (area + 4) // (small + 4)
                rows = -(-bands // columns)
                below = large * aspect + rows * (small * aspect + 4) <= height + 1 and area <= width
                beside = large + 4 + area <= width + 1 and rows * (small * aspect + 4) - 4 <= height
                assert below or beside


def test_keys_give_no_verdict_while_another_view_is_open(shared, state):
    before = shared.verdicts
    state.open_view("export")
    for key in ("a", "n", "s", "r", "u", "1", "PageDown", "Enter", "i"):
        press(state, key)
    assert shared.verdicts == before
    assert (state.number, state.inspecting) == (0, False)
    press(state, "Escape")
    press(state, "a")
    assert shared.verdicts == before + 1
