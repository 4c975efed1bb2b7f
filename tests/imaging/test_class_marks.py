"""One table of marks: a label class looks the same on a page, on a map and on a contact sheet."""

import numpy as np
import pytest
from PIL import Image

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.imaging.class_marks import mark_style
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import ANOMALY, NOMINAL


@pytest.mark.parametrize("word", [NOMINAL, ANOMALY, DISPUTED, "skipped", "flagged"])
def test_words_of_the_program_look_the_same_in_every_session(word):
    assert mark_style(word, []) == mark_style(word, ["ring", word, "arc"])
    assert mark_style(word, []) != mark_style("ring", ["ring"])


def test_words_have_marks_of_their_own():
    classes = (NOMINAL, ANOMALY, "ring", "arc", "merger")
    styles = [mark_style(word, classes) for word in (*classes, DISPUTED, "skipped")]
    for part in ("marker", "letter", "colour"):
        assert len({getattr(style, part) for style in styles}) == len(styles)


def test_an_own_class_has_the_colour_of_the_page_on_a_contact_sheet(new_session, tmp_path):
    session = new_session(classes=["ring", "merger"])
    shown = [str(i) for i in session.cache.ids[:4]]
    session.label(shown, ["merger", "nominal", "nominal", "anomaly"], annotator="ann")
    session.train("cold")
    shared = SharedState(session)
    page = ViewState(shared, "ann")
    on_the_page = mark_style(page.mark(shown[0]).label, shared.classes)
    shared.close()
    table = session.candidates(len(session.cache), include_labelled=True)
    session.contact_sheet(table[[str(i) in shown for i in table["object_id"]]], tmp_path / "sheet.png")
    drawn = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    found = (drawn == tuple(bytes.fromhex(on_the_page.colour[1:]))).all(-1)
    assert found.sum() > 500
