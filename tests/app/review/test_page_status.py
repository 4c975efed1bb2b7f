"""What a page says of itself follows every verdict, and names the filters that hold."""

import numpy as np
import pytest

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.page_status import label_counts, page_name, progress, showing
from astroanomaly.app.review.shared_state import COLD, SharedState
from astroanomaly.app.view.keys import press


@pytest.fixture
def state(new_session):
    shared = SharedState(new_session(classes=["ring"], audit=12))
    shared.publish(COLD, np.arange(len(shared.cache), dtype=np.float32), "test")
    made = ViewState(shared, "ann")
    made.set_options(row_by_row=False)  # rows have their own tests: test_page_filling.py
    yield made
    shared.close()


def test_numbers_follow_each_verdict_and_each_undo(state):
    total = len(state.shared.cache)
    left = total - 12
    assert showing(state) == f"unlabelled; {left} of {total} objects"
    assert progress(state) == "0 of 25 on this page labelled or skipped"
    press(state, "a")
    press(state, "n")
    press(state, "s")
    assert showing(state) == f"unlabelled; {left - 3} of {total} objects"
    assert progress(state) == "3 of 25 on this page labelled or skipped"
    assert label_counts(state) == {"nominal": 1, "anomaly": 1, "skipped": 1}
    press(state, "u")
    assert showing(state) == f"unlabelled; {left - 2} of {total} objects"


def test_the_filters_that_hold_are_named_and_not_what_was_rejected(state):
    state.set_filters(labels="everything", lowest=50.0)
    assert showing(state).startswith("everything, score ≥ 50; ")
    state.set_filters(expression="mag_g <")
    assert "mag_g" not in showing(state)
    assert state.rejected["expression"].value == "mag_g <"
    before = state.page.ids
    state.set_options(page_size=16)  # something else is changed: it stays rejected
    assert set(state.rejected) == {"expression"}
    assert state.page.ids == before[:16]
    state.set_filters(expression="mag_g < 99")
    assert "mag_g < 99" in showing(state)
    assert state.rejected == {}
    state.set_filters(region="nowhere")
    state.clear_filters()
    assert state.rejected == {}
    assert showing(state).startswith("unlabelled; ")


def test_a_rejected_filter_moves_nothing(state):
    press(state, "PageDown")
    shown = state.page.ids
    state.set_filters(region="nowhere")
    assert (state.page.ids, state.number) == (shown, 1)
    assert state.message.kind == "error"


def test_pages_and_objects_are_counted_from_one(state):
    assert page_name(state) == "page 1"
    press(state, "PageDown")
    press(state, "ArrowRight")
    assert page_name(state) == "page 2"
    press(state, "Enter")
    assert page_name(state) == "object 2 of 25"
    state.show(list(state.shared.cache.ids)[:3], "map")
    assert showing(state) == "selected on a map; PageUp goes back"
    state.set_options(audit=True)
    assert showing(state) == "the audit set, blind; 12 of 12 objects left"
    press(state, "n")
    assert showing(state) == "the audit set, blind; 11 of 12 objects left"
