"""A campaign on the pages: everybody gets a list of their own, sees nothing of others, and decisions close cases."""

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import ButtonClick

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review import agreement
from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.page_status import showing
from astroanomaly.app.review.pointed import Pointed, open_pointed, selected_object
from astroanomaly.app.review.shared_state import PROBE, SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.files import write_json
from astroanomaly.labels.consensus import DECISION
from astroanomaly.records import ANOMALY, NOMINAL


@pytest.fixture
def open_page():
    made = []

    def start(session, annotator):
        shared = SharedState(session)
        shared.publish(PROBE, np.linspace(-3, 3, len(session.cache)), "test")
        page = Page(Document(), shared, Learner(shared, background=False), annotator)
        made.append(page)
        return page

    yield start
    for page in made:
        page.learner.close()
        page.shared.close()


def press(page, *keys):
    for key in keys:
        page.bus.update(key=key, n=page.bus.n + 1)


def label_the_list(page, word="n"):
    for _ in range(len(page.shared.assignments.left(page.state.annotator))):
        press(page, word)


def test_what_is_on_a_list_is_neither_on_maps_nor_opened_by_other_programs(new_session, open_page):
    session = new_session()
    own = session.assign(["ann", "ben"], shared=4, random=12).lists["ann"]
    session.label(list(own[:3]), ANOMALY, annotator="ben")
    page = open_page(session, "ann")
    state, maps = page.state, page._panels_of_views["maps"]()
    assert not set(own) & set(maps._which())
    open_pointed(state, Pointed((own[0],)))
    assert "of your list, which is shown blind only" in state.message.text
    assert not state.inspecting
    assert selected_object(state) == ""
    label_the_list(page)
    assert set(own[:3]) & set(maps._which())
    open_pointed(state, Pointed((own[0],)))
    assert (state.inspecting, state.current) == (True, own[0])


def test_everybody_gets_what_is_shared_and_an_equal_part_of_the_rest(new_session):
    session = new_session()
    campaign = session.assign(["ann", "ben", "carl"], shared=20, random=80)
    own = {name: set(ids) for name, ids in campaign.lists.items()}
    assert [len(ids) for ids in campaign.lists.values()] == [40, 40, 40]
    assert own["ann"] & own["ben"] == own["ann"] & own["carl"] == set(campaign.shared)
    assert len(set.union(*own.values())) == 80
    assert len(campaign.shared) == 20
    orders = [[i for i in ids if i in campaign.shared] for ids in campaign.lists.values()]
    assert orders[0] != orders[1]
    assert orders[0] != list(campaign.lists["ann"][:20])  # they are among the others
    assert session.campaign == campaign
    assert str(campaign).endswith("for ann, ben and carl; 20 of them for each, the other 60 divided")
    assert all(check.path.name != "campaign.json" for check in session.check().damaged)


def test_what_cannot_be_divided_is_refused(new_session):
    session = new_session(audit=10)
    ids = [object_id for object_id in session.cache.ids if object_id not in session.labels.audit]
    for wrong in (
        {"annotators": []}, {"annotators": ["ann", " ann "]}, {"annotators": ["a\nb\0"]}, {"shared": 9}, {"shared": -1},
        {"random": 3}, {"ids": None}, {"ids": [*ids[:3], min(session.labels.audit)]}, {"ids": None, "random": 500},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            session.assign(**{"annotators": ["ann"], "ids": ids[:4]} | wrong)
    assert session.campaign is None
    with pytest.raises(SessionError, match="train"):
        session.assign(["ann"], top=5)
    session.assign(["ann"], ids=ids[:4])
    with pytest.raises(SessionError, match="--replace"):
        session.assign(["ben"], ids=ids[:4])
    assert list(session.assign(["ben"], ids=ids[:4], replace=True).lists) == ["ben"]


def test_a_damaged_file_is_named_and_the_page_stays(new_session, open_page):
    session = new_session()
    session.assign(["ann"], random=5)
    path = session.path / "campaign.json"
    path.write_text(path.read_text().replace('"ann"', '"bob"'))
    with pytest.raises(SessionError, match=r"campaign\.json.*move it aside"):
        session.campaign
    page = open_page(session, "ann")
    assert page.state.page.ids
    assert not page.state.assigned
    assert [damage.path.name for damage in session.check().damaged] == ["campaign.json"]
    write_json(path, {"format": "astroanomaly-campaign", "version": 99})
    with pytest.raises(SessionError, match="newer"):
        session.campaign


def test_a_list_is_judged_in_its_order_without_what_others_said(new_session, open_page):
    session = new_session()
    campaign = session.assign(["ann", "ben"], shared=6, random=30)
    session.labels.verdict(campaign.lists["ann"], ANOMALY, annotator="ben")
    session.labels.note(campaign.lists["ann"], "secret", annotator="ben")
    page = open_page(session, "ann")
    state = page.state
    assert state.assigned
    assert state.page.ids == campaign.lists["ann"][: len(state.page.ids)]
    assert showing(state) == "your list, blind; 18 of 18 objects left"
    assert [state.mark(object_id).label for object_id in state.page.ids] == [""] * len(state.page.ids)
    press(page, "Enter")
    assert "secret" not in page.inspector.history.text
    press(page, "Enter", "n")
    assert showing(state) == "your list, blind; 17 of 18 objects left"
    assert session.labels.history(campaign.lists["ann"][0])[-1].ordering == "assigned"
    state.set_options(assigned=False, filters=Filters(labels=ANOMALY))  # where others' labels would tell
    assert not set(state.page.ids) & set(campaign.lists["ann"])
    state.show(campaign.lists["ann"][:3], "map")
    assert state.mark(campaign.lists["ann"][0]).label == NOMINAL  # one's own
    assert state.mark(campaign.lists["ann"][1]).label == ""
    assert agreement.disagreements(page.shared, "ann") == []
    assert agreement.disagreements(page.shared, "eve") == [campaign.lists["ann"][0]]


def test_a_list_goes_on_where_it_was_left_and_opens_all_when_it_is_done(new_session, open_page):
    session = new_session()
    campaign = session.assign(["ann", "ben"], shared=4, random=12)
    own = campaign.lists["ann"]
    page = open_page(session, "ann")
    press(page, "n", "s", "a")
    again = open_page(session, "ann")
    assert again.state.page.ids == own[3:]
    press(again, "End", "n")
    assert "4 before it are left" in again.state.message.text
    again.state.restart()
    assert again.state.page.ids == own[3:-1]
    label_the_list(again)
    assert again.shared.assignments.withheld("ann") == frozenset()
    assert "your list is done" in again.state.message.text
    assert not open_page(session, "ann").state.assigned
    ann, ben = session.campaign_progress()
    assert (ann.objects, ann.judged, ann.skipped, ann.left, ann.shared_left) == (8, 7, 1, 0, 0)
    assert (ben.left, ben.shared_left) == (8, 4)


def test_a_name_that_is_entered_brings_its_list_and_others_see_what_they_did(new_session, open_page):
    session = new_session()
    page = open_page(session, "eve")
    before = page.state.page.ids
    campaign = session.assign(["ann", "ben"], random=12)  # while the page is open
    page.shared.refresh()
    page._tick()
    assert (page.state.assigned, page.state.page.ids) == (False, before)
    assert page.sidebar.mode.visible is False
    page.state.set_annotator("ben")
    page.flush()
    assert page.state.page.ids == campaign.lists["ben"]
    assert (page.sidebar.mode.value, page.sidebar.ordering.disabled) == ("list", True)
    page.sidebar.mode.value = "candidates"
    assert not page.state.assigned
    assert not set(page.state.page.ids) & set(campaign.lists["ben"])
    page.state.set_annotator("eve")
    assert not page.state.assigned


def test_objects_of_an_audit_set_drawn_since_are_on_no_list(new_session, open_page):
    session = new_session()
    session.assign(["ann"], random=len(session.cache) - 1)
    session.add_audit(20)
    page = open_page(session, "ann")
    left = set(page.shared.assignments.left("ann"))
    assert left
    assert not left & session.labels.audit
    assert session.campaign_progress()[0].left == len(left)


def test_disagreements_are_decided_on_pages_of_their_own(new_session, open_page):
    session = new_session(classes=["arc"])
    ids = sorted(session.cache.ids_at(np.arange(4)))
    for who, words in (("ann", "aann"), ("ben", "anan"), ("carl", "annn")):
        session.labels.verdict(
            ids, [{"a": ANOMALY, "n": NOMINAL}[word] for word in words], annotator=who, ordering="assigned"
        )
    page = open_page(session, "ann")
    state = page.state
    state.open_view("annotators")
    page.flush()
    panel = page.views["annotators"]
    assert "ann and ben" in panel.pairs.text
    assert "κ (Fleiss)" in panel.pairs.text
    assert all(f">{object_id}<" in panel.divided.text for object_id in ids[1:3])
    state.set_filters(labels="disagreed")
    assert set(state.page.ids) == set(ids[1:3])
    panel.decide._trigger_event(ButtonClick(panel.decide))
    assert state.page.ids == tuple(ids[1:3])
    assert "your key is the decision" in showing(state)
    assert page.mosaic.cells.data["caption"] == ["2 nominal · 1 anomaly"] * 2
    assert page.mosaic.cells.data["word"] == ["", ""]
    press(page, "1", "a")
    assert page.mosaic.cells.data["word"] == ["arc", ANOMALY]
    first, second = (page.shared.consensus_of(object_id) for object_id in ids[1:3])
    assert (first.label, first.decided_by, first.votes["ann"]) == ("arc", "ann", ANOMALY)
    assert second.label == ANOMALY
    assert session.labels.history(ids[1])[-1].ordering == DECISION
    assert agreement.disagreements(page.shared, "ann") == []
    state.set_filters(labels="decided")
    assert set(state.page.ids) == set(ids[1:3])
    press(page, "Home", "Enter")
    assert "(decision)" in page.inspector.history.text
    press(page, "u")
    assert page.shared.consensus_of(ids[2]).label == NOMINAL
    row = {str(r["object_id"]): r for r in session.labels_table()}[ids[1]]
    assert (row["label"], row["decided_by"]) == ("arc", "ann")
