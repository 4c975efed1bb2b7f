"""What must not be seen before a verdict is given: the audit set, blind repeats, and what others said."""

import numpy as np
import pytest
from bokeh.document import Document

from astroanomaly import Session
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review import agreement
from astroanomaly.app.review.exports import select
from astroanomaly.app.review.filters import NOT_MINE
from astroanomaly.app.review.shared_state import PROBE, SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.records import ANOMALY, NOMINAL, CutoutBlock, Layout, Task


@pytest.fixture
def make_page(new_session):
    made = []

    def make(session, annotator="ann"):
        shared = SharedState(session)
        shared.publish(PROBE, np.linspace(-3, 3, len(session.cache)), "test")
        page = Page(Document(), shared, Learner(shared, background=False), annotator)
        page.state.set_options(row_by_row=False)
        made.append(page)
        return page

    yield make
    for page in made:
        page.learner.close()
        page.shared.close()


def press(page, *keys):
    for key in keys:
        page.bus.update(key=key, n=page.bus.n + 1)


def said_on(page):
    """Everything that the page says about its objects, as one text."""
    panels = page.inspector
    page.footer.settle()
    return " ".join([
        *page.mosaic.cells.data["caption"], *page.mosaic.cells.data["word"], page.footer.message.text,
        panels.title.text, panels.history.text, panels.columns.text,
    ])  # fmt: skip


def test_the_audit_set_is_labelled_without_seeing_scores_catalogue_or_what_others_said(new_session, make_page):
    session = new_session(audit=40)
    audit = sorted(session.labels.audit)
    session.labels.verdict(audit, ANOMALY, annotator="ben")
    session.labels.note(audit, "secret", annotator="ben")
    page = make_page(session)
    page.state.set_options(audit=True)
    page.flush()
    press(page, "Enter")
    assert set(page.state.page.ids) <= set(audit)
    for _ in range(3):
        text = said_on(page).replace(page.state.current, "").replace("scores, catalogue", "")
        for leak in ("anomaly", "+", "-0", "-1", "-2", "score", "ben", "secret", "mag"):
            assert leak not in text, leak
        press(page, "ArrowRight")
    press(page, "n")
    page.flush()
    assert page.state.verdicts.mark(page.state.page.ids[3], page.state.page).label == NOMINAL


@pytest.fixture
def labelled_table_session(tmp_path, tiny):
    """A session on a table that knows the truth, in a folder for each class."""
    rng = np.random.default_rng(0)
    words = ["spiral", "ring"] * 10
    ids = [f"sky/{word}/{k}" for k, word in enumerate(words)]
    bands, layout = ("g", "r"), Layout(("g", "r"), 16, 16)
    columns = {
        "mag": rng.normal(20, 1, 20), "label": np.array([int(word == "ring") for word in words]),
        "remark": np.array(words), "file": np.array([f"{i}.fits" for i in ids]),
    }  # fmt: skip
    create_cache(tmp_path / "c", layout, [Task("t")], {"source": "test"})
    with ShardWriter(tmp_path / "c", layout) as writer:
        writer.begin(0, "t")
        images = rng.normal(1, 0.2, (20, 2, 16, 16)).astype(np.float32)
        positions = {"ra": rng.uniform(0, 1, 20), "dec": rng.uniform(0, 1, 20)}
        writer.add(CutoutBlock(ids, images, bands, **positions, columns=columns))
        writer.commit()
    return Session.create(tmp_path / "s", tmp_path / "c", settings=tiny, classes=["ring"], audit=6)


def test_a_truth_column_is_shown_to_who_asks(labelled_table_session, make_page):
    page = make_page(labelled_table_session)
    press(page, "Enter")
    inspector = page.inspector
    table = inspector.columns.text.partition("</table>")[0]
    assert "mag" in table
    for word in ("label", "remark", "file", "spiral", "ring"):
        assert word not in table
    assert "file, label, remark" in inspector.columns.text  # it says what is left out
    assert inspector.reveal.visible
    inspector.reveal.active = True
    table = inspector.columns.text.partition("</table>")[0]
    assert "label" in table
    assert "remark" in table
    again = make_page(labelled_table_session)  # another visit begins without it
    press(again, "Enter")
    assert "<th>label" not in again.inspector.columns.text


def test_a_blind_page_shows_neither_truth_nor_folders(labelled_table_session, make_page):
    page = make_page(labelled_table_session)
    press(page, "Enter")
    page.inspector.reveal.active = True
    shown = page.state.current
    page.inspector.saliency.active = True
    page.state.set_options(repeat_share=0.5, page_size=16)
    page.state.move_cursor_to(page.state.page.ids.index(shown))  # the same object, from here on blind
    page.flush()
    assert page.state.current == shown
    text = said_on(page) + page.page_bar.words.text
    for leak in ("mag", "label<", "remark", "spiral", "ring/", "sky/"):
        assert leak not in text, leak
    assert not page.inspector.reveal.visible
    assert page.inspector.similar.disabled
    assert page.inspector.saliency.disabled
    assert not page.inspector.saliency.active
    page.state.set_options(repeat_share=0.0)
    page.flush()
    assert not page.inspector.similar.disabled
    assert "mag" in page.inspector.columns.text


def test_counts_of_a_blind_page_tell_nothing_of_repeats(new_session, make_page):
    page = make_page(new_session())
    shown = repeated(page)
    page.learner.fitted_on = "48 verdicts"
    page.header.show_progress(page.learner)
    assert "48 verdicts" not in page.header.progress.text
    told = []
    for again in (True, False):
        place = next(k for k, i in enumerate(shown.ids) if (i in shown.last.repeats) == again)
        page.state.move_cursor_to(place)
        press(page, "a")
        page._tick()
        told.append((page.sidebar.counts.text, page.page_bar.words.text, page.sidebar.summary.text))
        press(page, "u")
        page._tick()
    assert told[0] == told[1]
    assert ">1<" in told[0][0]
    assert "1 of 16 on this page" in told[0][1]


def test_objects_of_the_audit_set_are_nowhere_else(new_session, make_page):
    session = new_session(audit=40)
    audit = sorted(session.labels.audit)
    session.labels.verdict(audit[:10], ANOMALY, annotator="ben")
    session.labels.verdict(audit[:10], NOMINAL, annotator="cid")
    page = make_page(session)
    page.state.open_view("maps")
    page.flush()
    drawn = page.views["maps"].near.data["object_id"]
    assert drawn
    assert not set(drawn) & set(audit)
    assert agreement.disagreements(page.shared) == []
    free = page.shared.matching(page.state.filters, PROBE)
    for which in ("page", "selection", "filter", "top"):
        assert not set(select(page.shared, which, audit, free, PROBE, 10_000, audit)) & set(audit)
    page.state.show(audit[:5], "map")  # however they came there
    page.flush()
    assert set(page.mosaic.cells.data["caption"]) == {""}
    assert set(page.mosaic.cells.data["word"]) == {""}


def repeated(page, share=0.5):
    """Give a page of verdicts, then make pages with blind repeats among them."""
    page.state.set_options(page_size=16)
    for _ in range(3):
        press(page, *["n", "a"] * 8)
    page.state.set_options(repeat_share=share)
    page.flush()
    while not page.state.page.last.repeats:
        press(page, "PageDown")
    return page.state.page


def test_a_blind_repeat_looks_like_any_other_object(new_session, make_page):
    page = make_page(new_session())
    shown = repeated(page)
    assert 0 < len(shown.last.repeats) < len(shown.ids)
    assert len(set(shown.ids)) == len(shown.ids)  # none is there twice
    cells = page.mosaic.cells.data
    for name in ("caption", "word", "edge", "width", "dash", "colour", "size", "flag"):
        assert len(set(cells[name])) == 1, name
    press(page, "Enter")
    places = [
        shown.ids.index(next(iter(shown.last.repeats))),
        next(k for k, i in enumerate(shown.ids) if i not in shown.last.repeats),
    ]
    told = []
    for place in places:
        page.state.move_cursor_to(place)
        page.flush()
        told.append(said_on(page).replace(shown.ids[place], "ID"))
    assert told[0] == told[1]


def test_no_repeats_among_objects_with_marks(new_session, make_page):
    page = make_page(new_session())
    repeated(page)
    for labels in ("everything", "labelled", NOMINAL):
        page.state.set_filters(labels=labels)
        assert page.state.page.last.repeats == frozenset()


def test_a_second_click_on_a_repeat_leaves_the_first_verdict(new_session, make_page):
    page = make_page(new_session())
    shown = repeated(page)
    object_id = next(iter(shown.last.repeats))
    before = page.shared.consensus_of(object_id).votes
    place = shown.ids.index(object_id)
    page.state.set_click_marks(ANOMALY)
    page.state.click(place)
    assert page.state.mark(object_id).label == ANOMALY
    page.state.click(place)
    assert page.state.mark(object_id).label == ""
    assert page.shared.consensus_of(object_id).votes == before


def test_a_slip_on_a_repeat_that_is_put_right_counts_once(new_session, make_page):
    page = make_page(new_session())
    shown = repeated(page)
    object_id = next(iter(shown.last.repeats))
    first = page.shared.consensus_of(object_id).votes["ann"]
    other = {"n": "a", "a": "n"}
    key = {NOMINAL: "n", ANOMALY: "a"}[first]
    page.state.auto_advance = False
    page.state.move_cursor_to(shown.ids.index(object_id))
    press(page, other[key], key)
    (ann,) = agreement.annotators(page.shared)
    assert (ann.repeats, ann.repeated_alike) == (1, 1)


def test_a_second_opinion_is_given_without_seeing_the_first(new_session, make_page):
    session = new_session()
    ids = list(session.cache.ids)
    session.labels.verdict(ids[:5], ANOMALY, annotator="ben")
    session.labels.verdict(ids[5:8], NOMINAL, annotator="ann")
    session.labels.skip(ids[8:9], annotator="ann")
    page = make_page(session)
    page.state.set_options(page_size=100)
    page.state.set_filters(labels=NOT_MINE)
    page.flush()
    shown = set(page.state.page.ids)
    while page.state.page.last.left > len(page.state.page.ids):
        press(page, "PageDown")
        if set(page.state.page.ids) <= shown:
            break
        shown |= set(page.state.page.ids)
        assert set(page.mosaic.cells.data["word"]) == {""}
        assert set(page.mosaic.cells.data["caption"]) == {""}
    assert set(ids[:5]) <= shown
    assert not set(ids[5:9]) & shown


def test_what_others_skipped_is_theirs(new_session, make_page):
    session = new_session()
    page = make_page(session)
    object_id = page.state.current
    page.shared.labels.skip([object_id], annotator="ben")
    page.shared.refresh()
    mark = page.state.mark(object_id)
    assert (mark.label, mark.own) == ("skipped", False)
    page.state.set_click_marks(ANOMALY)
    page.state.click(0)
    assert page.shared.consensus_of(object_id).votes == {"ann": ANOMALY}
