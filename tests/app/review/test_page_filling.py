"""Pages that are filled row by row: from the newest ranking, and nothing that was seen moves."""

import dataclasses
import time

import numpy as np
import pytest
from bokeh.document import Document
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review import page_filling
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.paging import ObjectChoice, ObjectPage, objects_wanted
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE, SharedState
from astroanomaly.app.view.keys import press
from astroanomaly.app.view.page import Page
from astroanomaly.app.view.panels.mosaic import Mosaic
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import ANOMALY, NOMINAL


@pytest.fixture
def shared(new_session):
    session = new_session(audit=12)
    made = SharedState(session)
    publish(made, PROBE, lambda row: row, "2 verdicts")
    yield made
    made.close()


@pytest.fixture
def state(shared):
    made = ViewState(shared, "ann", seed=3)
    made.set_shape(500, 500)
    made.restart()
    assert (made.columns, made.rows) == (5, 5)
    return made


def publish(shared, name, of_row, described):
    shared.publish(name, of_row(np.arange(len(shared.cache), dtype=np.float32)), described)


def ranked(shared, but=(), reverse=False):
    ids = [i for i in shared.cache.ids if i not in shared.audit and i not in but]
    return ids[::-1] if reverse else ids


def events(shared):
    return [event for event in shared.labels.events() if event.kind == "verdict"]


def test_a_row_is_chosen_when_the_one_before_has_its_verdicts_and_nothing_moves(shared, state):
    first = state.page.ids
    assert list(first) == ranked(shared, reverse=True)[:5]
    assert (state.page.cells, state.page.waiting, state.columns, state.rows) == (25, 20, 5, 5)
    publish(shared, PROBE, lambda row: -row, "9 verdicts")
    for key in "nans":
        press(state, key)
        assert state.page.ids == first
    press(state, "n")
    assert list(state.page.ids) == [*first, *ranked(shared)[:5]]
    assert (state.cursor, state.columns, state.rows) == (5, 5, 5)
    press(state, "a")
    assert [(event.object_id, event.ordering) for event in events(shared)[-2:]] == [
        (first[4], "score:probe, 2 verdicts"), (ranked(shared)[0], "score:probe, 9 verdicts")
    ]  # fmt: skip
    assert state.page.score(first[0]) == len(shared.cache) - 1 - list(shared.cache.ids)[::-1].index(first[0])
    assert state.page.score(state.page.ids[5]) <= 0  # the scores with which each was chosen
    before = [page.ids for page in state.pages]
    press(state, "u")
    assert ([page.ids for page in state.pages], state.cursor) == (before, 5)


def test_cells_that_wait_are_drawn_as_outlines_and_no_object_has_a_frame(shared, state):
    mosaic = Mosaic(state)
    mosaic.update({"page", "marks"})
    left, top = mosaic.waiting.data["left"], mosaic.waiting.data["top"]
    assert len(left) == 20
    assert {int(x) for x in left} == set(range(5))
    assert max(top) < 4  # below the first row
    assert mosaic.cells.data["width"] == [0] * 5
    press(state, "a")
    press(state, "PageDown")
    mosaic.update({"page", "marks"})
    assert mosaic.waiting.data["left"] == []
    assert [width > 0 for width in mosaic.cells.data["width"]] == [True, *[False] * 24]


def test_from_one_ranking_rows_are_the_page_that_would_be_chosen_at_once(shared, state):
    for _ in range(25):
        press(state, "n")
    assert list(state.pages[0].ids) == ranked(shared, reverse=True)[:25]
    assert (state.number, state.cursor, len(state.page.ids)) == (1, 0, 5)
    press(state, "PageUp")
    assert list(state.page.ids) == ranked(shared, reverse=True)[:25]
    assert (state.page.waiting, state.cursor) == (0, 0)


def test_the_rest_of_a_row_is_one_key_and_the_cursor_stands_on_the_next(shared, state):
    press(state, "a")
    press(state, "r")
    assert (len(state.page.ids), state.cursor) == (10, 5)
    assert "4 objects labelled nominal" in state.message.text
    press(state, "r")
    assert [event.value for event in events(shared)] == [ANOMALY, *[NOMINAL] * 9]
    press(state, "u")
    assert (len(state.page.ids), state.cursor) == (15, 5)
    state.click(3)  # clicks in any order: the row is done when its last object has a verdict
    assert len(state.page.ids) == 15


def test_next_page_first_has_the_rest_chosen_without_verdicts(shared, state):
    press(state, "PageDown")
    assert (state.number, state.cursor) == (0, 5)
    assert list(state.page.ids) == ranked(shared, reverse=True)[:25]
    press(state, " ")
    assert (state.number, len(state.page.ids)) == (1, 5)


def test_arrows_and_the_inspector_have_the_next_row_chosen(shared, state):
    for _ in range(5):
        press(state, "ArrowRight")
    assert (state.cursor, len(state.page.ids)) == (5, 10)
    press(state, "ArrowDown")
    assert (state.cursor, len(state.page.ids)) == (10, 15)
    press(state, "Enter")
    for _ in range(14):
        press(state, "ArrowRight")
    assert (state.number, state.cursor, state.inspecting, state.page.waiting) == (0, 24, True, 0)
    press(state, "ArrowRight")
    assert (state.number, state.cursor, len(state.page.ids)) == (1, 0, 5)
    press(state, "ArrowLeft")
    assert (state.number, state.cursor) == (0, 24)


def test_rows_wait_for_the_ranking_that_is_under_way_and_keys_have_no_object_meanwhile(shared, state, monkeypatch):
    behind = True
    state.is_ranking_behind = lambda: behind
    for _ in range(5):
        press(state, "n")
    assert (len(state.page.ids), state.cursor, state.current, state.is_held_up) == (5, 5, "", True)
    press(state, "a")
    state.click(5)
    press(state, "Enter")
    assert (len(events(shared)), state.inspecting) == (5, False)
    publish(shared, PROBE, lambda row: -row, "5 verdicts")
    state.fill_rows()
    assert len(state.page.ids) == 5
    behind = False
    state.fill_rows()
    assert list(state.page.ids[5:]) == ranked(shared)[:5]
    assert (state.current, state.is_held_up) == (ranked(shared)[0], False)
    behind = True
    press(state, "r")
    assert state.is_held_up
    press(state, "u")
    assert not state.is_held_up
    assert state._due_since is None
    press(state, "r")
    press(state, " ")  # wants all the rest, and waits as well; a second one does not
    assert (state.number, len(state.page.ids), state.cursor) == (0, 10, 10)
    press(state, " ")
    assert (state.number, len(state.page.ids), state.cursor) == (0, 25, 10)
    press(state, "r")
    press(state, " ")
    assert (state.number, state.page.ids, state.page.waiting, state.cursor) == (1, (), 25, 0)
    monkeypatch.setattr(page_filling, "_PATIENCE_S", 0.0)  # it does not wait for ever
    state.fill_rows()
    assert len(state.page.ids) == 5


def test_a_page_opened_for_a_ranking_that_has_nothing_more_is_left_again(shared, state):
    while len(state.page.ids) < 118 and sum(len(page.ids) for page in state.pages) < 118:
        press(state, "r")
        if not state.page.waiting:
            press(state, " ")
    last = state.number, state.page.ids
    press(state, "r")
    state.is_ranking_behind = lambda: True
    if state.page.waiting:
        press(state, " ")
    else:
        press(state, " ")
        assert state.page.ids == ()
    state.is_ranking_behind = lambda: False
    state.fill_rows()
    assert (state.number, state.page.ids) == last
    assert "nothing more" in state.message.text
    assert state.current in state.page.ids


@pytest.mark.parametrize("ordering", ["diverse", "novel", "mixed", "random", "median", "mean", "cold"])
def test_orders_that_verdicts_do_not_change_or_that_compare_fill_the_page_at_once(shared, state, ordering):
    publish(shared, COLD, lambda row: row, "test")
    shared.features = lambda ids: np.random.default_rng(1).normal(size=(len(ids), 8)).astype(np.float32)
    state.set_options(ordering=ordering)
    assert (state.message.text, len(state.page.ids), state.page.waiting) == ("", 25, 0)


def test_scores_of_a_round_fill_the_page_at_once_and_so_does_who_wants_it(shared, state):
    publish(shared, LATEST, lambda row: row, "round 1, fixmatch")
    state.set_options(by=LATEST)
    assert len(state.page.ids) == 25
    state.set_options(by=PROBE)
    assert len(state.page.ids) == 5
    state.set_options(row_by_row=False)
    assert len(state.page.ids) == 25
    state.set_options(row_by_row=True, audit=True)
    assert set(state.page.ids) == shared.audit


def test_before_there_is_a_ranking_each_row_has_its_own_chance(shared, state):
    shared.withdraw(PROBE)
    known = [i for i in shared.cache.ids if i not in shared.audit][-2:]
    shared.labels.verdict(known, [NOMINAL, ANOMALY], annotator="ben")  # there is something to learn from
    shared.refresh()
    state.restart()
    first = state.page.ids
    free = len(shared.cache) - 14
    press(state, "r")
    publish(shared, COLD, lambda row: row, "test")
    press(state, "r")
    press(state, "r")
    said = [event for event in events(shared) if event.annotator == "ann"]
    assert [event.ordering for event in said] == ["random"] * 10 + ["score:cold, test"] * 5
    assert [event.probability for event in said[:5]] == pytest.approx([5 / free] * 5)
    assert [event.probability for event in said[5:10]] == pytest.approx([5 / (free - 5)] * 5)
    assert {event.probability for event in said[10:]} == {None}
    assert state.page.ids[:5] == first


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("labels", [[], [NOMINAL], [ANOMALY, ANOMALY]])
def test_a_page_is_whole_until_there_is_something_to_learn_from(shared, state, labels, ranked):
    shared.withdraw(PROBE)
    if ranked:
        publish(shared, COLD, lambda row: row, "test")
    ids = [i for i in shared.cache.ids if i not in shared.audit]
    shared.labels.verdict(sorted(shared.audit)[:2], [NOMINAL, ANOMALY], annotator="ann", ordering="audit")  # not learnt
    if labels:
        shared.labels.verdict(ids[: len(labels)], labels, annotator="ann")
    shared.refresh()
    state.restart()
    assert (len(state.page.ids), state.page.waiting) == (25, 0)
    shared.labels.verdict(ids[-2:], [NOMINAL, ANOMALY], annotator="ann")
    shared.refresh()
    assert len(state.page.ids) == 25  # nothing that is there goes
    press(state, "PageDown")
    assert (len(state.page.ids), state.page.waiting) == (5, 20)


def test_verdicts_across_rows_carry_the_ranking_of_each(shared, state):
    press(state, "r")
    publish(shared, PROBE, lambda row: -row, "5 verdicts")
    press(state, "r")
    state.move_cursor_to(8)
    state.click(11, extend=True)
    press(state, "a")
    assert [event.ordering for event in events(shared)[-4:]] == [
        "score:probe, 2 verdicts", "score:probe, 2 verdicts", "score:probe, 5 verdicts", "score:probe, 5 verdicts"
    ]  # fmt: skip
    assert len({event.batch for event in events(shared)[-4:]}) == 1


def test_a_repeat_in_a_later_row_hides_what_was_said_until_that_row_was_chosen(shared, state):
    state.set_options(page_size=9, repeat_share=0.5)
    said = {}
    seen = []
    for _ in range(60):
        for object_id in state.page.ids:
            if object_id in state.page.choice_of(object_id).repeats and object_id not in seen:
                seen.append(object_id)
                assert state.mark(object_id).label == ""
                assert state.page.ids.count(object_id) == 1
                recent = [i for page in state.pages[-3:-1] for i in page.ids]
                assert object_id not in recent
        said |= dict.fromkeys(state.page.ids, ANOMALY)
        if not state.current:
            break
        press(state, "a")
    assert seen
    assert {event.object_id for event in events(shared) if event.blind_repeat} <= set(seen)


def test_pages_of_two_browsers_do_not_disturb_one_another(shared, state):
    other = ViewState(shared, "ben")
    other.set_shape(500, 500)
    other.restart()
    before = other.page.ids
    press(state, "r")
    assert other.page.ids == before  # marked by another, so that the next row is due: chosen at the next look
    other.fill_rows()
    assert other.page.ids[:5] == before
    assert len(other.page.ids) == 10
    press(other, "r")
    assert not set(other.page.ids[10:]) & set(before)
    assert state.page.ids[:5] == before


def test_images_keep_their_place_when_too_few_are_left(shared, state):
    while sum(len(page.ids) for page in state.pages) < 118:
        grid = state.columns, state.rows
        press(state, "r")
        if not state.page.waiting:
            press(state, " ")
    assert len(state.page.ids) == 18
    assert (state.columns, state.rows, state.page.cells) == (*grid, 25)


@given(st.data())
def test_a_page_only_ever_grows(data):
    columns = data.draw(st.integers(1, 13))
    cells = data.draw(st.integers(1, 100))
    page = ObjectPage(cells=cells, waiting=cells)
    marked = []
    while page.waiting:
        wanted = objects_wanted(columns, marked, cells)
        assert len(page.ids) <= wanted <= cells
        if wanted == len(page.ids):
            assert not all(marked)
            marked = [True] * len(marked) if data.draw(st.booleans()) else [*marked[1:], True]
            continue
        assert wanted % columns == 0 or wanted == cells
        assert all(marked)
        before = page
        new = ObjectChoice(tuple(f"o{k}" for k in range(len(page.ids), wanted)))
        page = page.with_choice(new, wanted - len(page.ids))
        assert page.ids[: len(before.ids)] == before.ids
        assert (page.cells, page.waiting) == (cells, cells - wanted)
        marked = [*marked, *[False] * (wanted - len(marked))]
    short = dataclasses.replace(page, waiting=3)
    assert short.with_choice(ObjectChoice(("z",)), 3).waiting == 0


def test_a_page_of_the_app_waits_for_the_probe_that_learns_from_its_row(new_session, monkeypatch):
    monkeypatch.setattr(page_filling, "_PATIENCE_S", 600.0)
    session = new_session()
    for _ in FeatureStore.of(session.cache, session.context).compute():
        pass
    ids = list(session.cache.ids)
    shared = SharedState(session)
    shared.labels.verdict(ids[:4], [ANOMALY, NOMINAL, ANOMALY, NOMINAL], annotator="ben")
    shared.refresh()
    learner = Learner(shared, background=False)
    learner.computed = len(ids)
    learner.tick(hurry=True)
    if learner._running is not None:
        learner._running.result(60)
    page = Page(Document(), shared, learner, "ann")
    try:
        assert not learner.is_behind
        page.state.restart()
        page.flush()
        row = page.state.page.ids
        page.bus.update(key="r", n=page.bus.n + 1)
        assert page.state.page.ids == row
        end = time.monotonic() + 60
        while page.state.is_held_up:  # as the callbacks of the document do
            assert len(page.document.session_callbacks) == 2, "nobody looks whether the ranking is there"
            page.document.remove_timeout_callback(page.document.session_callbacks[-1])
            page._look()
            assert time.monotonic() < end
            time.sleep(0.02)
        assert page.state.page.ids[: len(row)] == row
        assert page.state.cursor == len(row)
        page.bus.update(key="n", n=page.bus.n + 1)
        assert events(shared)[-1].ordering == f"score:probe, {4 + len(row)} verdicts"
        assert page.mosaic.words.data["text"] == ["the next row comes when the one above has its verdicts"]
    finally:
        learner.close()
        shared.close()


def test_the_probe_is_behind_until_it_has_learnt_and_hurries_when_somebody_waits(new_session):
    session = new_session()
    ids = list(session.cache.ids)
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    try:
        assert not learner.is_behind
        shared.labels.verdict(ids[:4], [ANOMALY, NOMINAL, ANOMALY, NOMINAL], annotator="ann")
        shared.refresh()
        assert not learner.is_behind, "without features nobody fits"
        learner.computed = len(ids)
        assert learner.is_behind
        learner.tick(hurry=True)  # at once, however short ago the verdict was
        learner._running.result(60)
        assert not learner.is_behind
        learner.refit_every = 3
        shared.labels.verdict(ids[4:6], NOMINAL, annotator="ann")
        shared.refresh()
        assert not learner.is_behind, "it will not be fitted yet"
    finally:
        learner.close()
        shared.close()
