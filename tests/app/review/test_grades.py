"""Grades on the pages: keys, buttons, marks, filters and decisions; and what those who decide are told."""

import re

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import ButtonClick
from bokeh.models import Button

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.shared_state import PROBE, SharedState
from astroanomaly.app.view.keys import KEYS, grade_keys, key_of_class, verdict_keys
from astroanomaly.app.view.page import Page
from astroanomaly.errors import ConfigError
from astroanomaly.labels.consensus import DECISION, DISPUTED
from astroanomaly.labels.grades import Grades
from astroanomaly.records import ANOMALY, NOMINAL

GRADES = {"A": "certain", "B": "probable", "C": "<possible>", "X": "not a candidate"}


@pytest.fixture
def page(new_session):
    session = new_session(grades=GRADES, classes=["ring"])
    shared = SharedState(session)
    shared.publish(PROBE, np.linspace(-3, 3, len(session.cache)), "test")
    made = Page(Document(), shared, Learner(shared, background=False), "ann")
    made.state.set_options(row_by_row=False)
    yield made
    made.learner.close()
    shared.close()


def press(page, *keys):
    for key in keys:
        page.bus.update(key=key, n=page.bus.n + 1)


def votes(page, count):
    return [page.shared.consensus_of(i).votes.get("ann", "") for i in page.state.page.ids[:count]]


def test_letters_and_numbers_give_grades_and_tiles_show_them(page):
    press(page, "a", "b", "c", "x", "n", "1", "3", "4", "s")
    assert votes(page, 9) == ["A", "B", "C", NOMINAL, NOMINAL, "A", "C", "ring", ""]
    cells = page.mosaic.cells.data
    assert cells["grade"][:9] == ["A", "B", "C", "X", "X", "A", "C", "", ""]
    assert cells["word"][:4] == ["A", "B", "C", NOMINAL]
    press(page, "u", "u")
    assert votes(page, 9)[7] == ""


def test_the_key_of_a_grade_comes_before_any_other_meaning():
    grades = Grades.of(["W", "A", "probable", "N"])
    assert grade_keys(grades) == {"w": "W", "a": "A", "n": NOMINAL}
    classes = (NOMINAL, ANOMALY, "W", "A", "probable", "ring")
    assert [key_of_class(word, classes, grades) for word in classes] == ["n", "", "w", "a", "3", "4"]
    assert [key_of_class(word, classes) for word in classes[:3]] == ["n", "a", "1"]
    assert grade_keys(None) == {}


def test_grades_that_are_digits_have_the_keys_of_their_names(new_session):
    grades = ["4", "3", "2", "0"]
    session = new_session(grades=grades, classes=["ring"])
    assert session.classes == (NOMINAL, ANOMALY, "4", "3", "2", "ring")
    assert verdict_keys(session.classes, session.grades) == {
        "4": "4", "3": "3", "2": "2", "0": NOMINAL, "a": ANOMALY, "n": NOMINAL,
    }  # fmt: skip
    assert [key_of_class(word, session.classes, session.grades) for word in session.classes] == [
        "0", "a", "4", "3", "2", "",
    ]  # fmt: skip
    shared = SharedState(session)
    shared.publish(PROBE, np.linspace(-3, 3, len(session.cache)), "test")
    page = Page(Document(), shared, Learner(shared, background=False), "ann")
    page.state.set_options(row_by_row=False)
    press(page, "4", "3", "2", "0", "n", "a", "1")
    assert votes(page, 7) == ["4", "3", "2", NOMINAL, NOMINAL, ANOMALY, ""]
    assert "no class 1" in page.state.message.text
    page.learner.close()
    shared.close()


def test_every_key_with_another_meaning_is_refused_as_a_grade():
    keys = {key for names, _, _ in KEYS for key in names if len(key) == 1 and key.isprintable() and key != " "}
    free = {"a", *"123456789"}
    for key in sorted(keys - free):
        with pytest.raises(ConfigError, match=f"the key {re.escape(key)} of the app"):
            Grades.of([key.upper(), "B", "X"])
        if key != "n":
            with pytest.raises(ConfigError, match="does something else"):
                Grades.of(["A", "B", key])
    assert Grades.of(["A", "B", "N"]).names[-1] == "N"
    with pytest.raises(ConfigError, match="which only the last grade is"):
        Grades.of(["A", "n", "X"])


def test_buttons_and_the_sidebar_say_what_grades_mean_in_their_order(page):
    buttons = [item for item in page.page_bar.below.children if isinstance(item, Button)]
    labels = [button.label.split()[-1] for button in buttons]
    assert labels[2:7] == ["A", "B", "C", "X", "ring"]
    told = [button.html_attributes["title"] for button in buttons]
    assert "label as A: certain: key a" in told
    assert "label as X: not a candidate: key x" in told
    (button,) = (one for one in buttons if one.label.endswith(" B"))
    button._trigger_event(ButtonClick(button))
    assert votes(page, 1) == ["B"]
    page.sidebar.settle()
    assert "B: probable" in page.sidebar.counts.text
    assert "&lt;possible&gt;" in page.sidebar.counts.text
    assert ">anomaly<" not in page.sidebar.counts.text  # it is not offered, and nobody gave it
    assert "certain" in page.keys.root.children[0].text
    assert "<possible>" not in page.keys.root.children[0].text


def test_the_page_can_show_a_grade_or_better(page):
    press(page, "a", "b", "c", "x")
    first = page.state.page.ids[:4]
    assert ("B or better") in page.sidebar.labels.options
    page.state.set_filters(labels="B or better")
    assert set(page.state.page.ids) == set(first[:2])
    page.state.set_filters(labels="C or better")
    assert set(page.state.page.ids) == set(first[:3])
    page.state.set_filters(labels="B")
    assert page.state.page.ids == (first[1],)
    page.state.set_filters(labels="X or better")
    assert page.state.message.kind == "error"
    assert page.state.filters == Filters(labels="B")


def test_people_who_decide_see_the_grades_that_were_given(page):
    session, ids = page.shared.session, list(page.shared.cache.ids)
    for who, grade in (("ben", "A"), ("carl", "X"), ("dora", "C"), ("eve", "X")):
        session.label(ids[:12], grade, annotator=who)
    page.shared.refresh()
    assert page.shared.consensus_of(ids[0]).label == DISPUTED
    annotators = page._panels_of_views["annotators"]()
    annotators.root.visible = True
    annotators.update({"marks"})
    assert "weighted κ (quadratic)" in annotators.pairs.text
    assert "ben: A, carl: X, dora: C, eve: X" in annotators.divided.text
    page.state.show([ids[0]], DECISION)
    assert page.state.tally(ids[0]) == "2 X · 1 A · 1 C"
    press(page, "b")
    assert page.shared.consensus_of(ids[0]).decision == "B"
