"""SAMP both ways, with a real hub and a client that stands for TOPCAT and Aladin."""

import time

import numpy as np
import pytest
from bokeh.document import Document
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient, conf

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.background.samp import SampLink, send_by_samp
from astroanomaly.app.review.exports import catalogue
from astroanomaly.app.review.page_status import showing
from astroanomaly.app.review.pointed import HIGHLIGHT, POINT, ROW_LIST, Pointed, read_message
from astroanomaly.app.review.shared_state import COLD, SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.web.server import AppServer
from astroanomaly.errors import ConfigError

TABLES = {"file:///t": ("a", "b", "c")}


@pytest.mark.parametrize(
    ("mtype", "params", "expected"),
    [
        (HIGHLIGHT, {"table-id": "file:///t", "row": "1"}, Pointed(("b",))),
        (ROW_LIST, {"table-id": "file:///t", "row-list": ["2", "0", "2"]}, Pointed(("c", "a"))),
        (POINT, {"ra": "150.5", "dec": "-2e0"}, Pointed(position=(150.5, -2.0))),
        (HIGHLIGHT, {"table-id": "file:///t", "row": "3"}, None),
        (HIGHLIGHT, {"table-id": "file:///t", "row": "-1"}, None),
        (HIGHLIGHT, {"table-id": "file:///t", "row": "9" * 5000}, None),
        (HIGHLIGHT, {"table-id": "file:///t", "row": ["1"]}, None),
        (HIGHLIGHT, {"table-id": ["file:///t"], "row": "1"}, None),
        (HIGHLIGHT, {"table-id": "file:///other", "url": "http://x.example/t", "row": "1"}, None),
        (HIGHLIGHT, {}, None),
        (HIGHLIGHT, "file:///t", None),
        (ROW_LIST, {"table-id": "file:///t", "row-list": "0"}, None),
        (ROW_LIST, {"table-id": "file:///t", "row-list": []}, None),
        (ROW_LIST, {"table-id": "file:///t", "row-list": ["x", {}, "1"]}, Pointed(("b",))),
        (POINT, {"ra": "nan", "dec": "0"}, None),
        (POINT, {"ra": "10", "dec": "inf"}, None),
        (POINT, {"ra": "10", "dec": "91"}, None),
        (POINT, {"ra": "1" + "0" * 100, "dec": "0"}, None),
        (POINT, {"ra": "10"}, None),
        ("table.load.votable", {"url": "http://x.example/t"}, None),
    ],
)
def test_a_message_of_a_stranger_means_what_it_says_or_nothing(mtype, params, expected):
    assert read_message(mtype, params, TABLES) == expected


def test_no_more_rows_are_taken_than_a_person_looks_at():
    many = {"t": [f"o{k}" for k in range(20_000)]}
    found = read_message(ROW_LIST, {"table-id": "t", "row-list": [str(k) for k in range(20_000)]}, many)
    assert len(found.ids) == 10_000


def wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def hub_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    return tmp_path / "hub"


@pytest.fixture
def make_hub(hub_file):
    hubs = []

    def start():
        with conf.set_temp("use_internet", False):
            hubs.append(SAMPHubServer(web_profile=False, addr="127.0.0.1", lockfile=str(hub_file), label="test"))
        hubs[-1].start()
        return hubs[-1]

    yield start
    for hub in hubs:
        if hub.is_running:
            hub.stop()


@pytest.fixture
def make_other():
    """Another program: what it received is in ``heard``."""
    clients = []

    def start():
        client = SAMPIntegratedClient(name="another program", addr="127.0.0.1")
        with conf.set_temp("use_internet", False):
            client.connect()
        clients.append(client)
        client.heard = []

        def hear(private_key, sender, msg_id, mtype, params, extra):
            client.heard.append((mtype, params))

        for mtype in (HIGHLIGHT, POINT, "table.load.votable"):
            client.bind_receive_message(mtype, hear)
        return client

    yield start
    for client in clients:
        client.disconnect()


@pytest.fixture
def link(hub_file):
    made = SampLink()
    yield made
    made.close()


@pytest.fixture
def page(new_session, link):
    session = new_session(audit=10)
    shared = SharedState(session)
    shared.publish(COLD, np.arange(len(session.cache), dtype=np.float32), "test")
    learner = Learner(shared, background=False)
    made = Page(Document(), shared, learner, "ann", desktop=link)
    made.flush()
    yield made
    learner.close()
    shared.close()


def say(client, mtype, **params):
    """Send a message to all; return once the hub has it."""
    client.notify_all({"samp.mtype": mtype, "samp.params": params})


def test_rows_and_positions_go_both_ways(page, link, make_hub, make_other):
    assert not link.is_connected  # the program waits for a hub
    make_hub()
    other = make_other()
    wait_for(lambda: link.is_connected)
    shared, state = page.shared, page.state
    seen = [i for i in shared.cache.ids if i not in shared.audit]
    reached, table_id = send_by_samp(catalogue(shared, seen[:5], COLD, 0.0), "search")
    assert reached == 1
    page.desktop.sent(table_id, seen[:5])

    def opened(object_id):
        page._tick()
        return state.inspecting and state.current == object_id

    say(other, HIGHLIGHT, **{"table-id": table_id, "row": "3"})
    wait_for(lambda: opened(seen[3]))
    assert len(state.page.ids) == 1
    assert showing(state) == "chosen in another program; PageUp goes back"
    row = shared.cache.rows([seen[40]])[0]
    ra, dec = (float(values[row]) for values in shared.cache.positions)
    state.open_view("maps")
    say(other, POINT, ra=str(ra), dec=str(dec + 0.3 / 3600))
    wait_for(lambda: opened(seen[40]))
    assert state.view == "candidates"
    say(other, POINT, ra=str(ra), dec=str(dec + 1))
    wait_for(lambda: page._tick() or "no object within 10 arcsec" in state.message.text)
    assert state.current == seen[40]
    reply = other.call_and_wait(link._client.get_public_id(), {"samp.mtype": HIGHLIGHT, "samp.params": {}}, "20")
    assert reply["samp.status"] == "samp.error"
    say(other, ROW_LIST, **{"table-id": table_id, "row-list": ["4", "1", "77"]})
    wait_for(lambda: page._tick() or state.page.ids == (seen[4], seen[1]))
    heard = [message for message in other.heard if message[0] != "table.load.votable"]
    assert heard == []  # nothing is told to those who have said it
    state.click(1)
    wait_for(lambda: page._tick() or len(other.heard) >= 3)
    told = dict(other.heard[-2:])
    assert told[HIGHLIGHT] == {"table-id": table_id, "url": table_id, "row": "1"}
    row = shared.cache.rows([seen[1]])[0]
    for name, values in zip(("ra", "dec"), shared.cache.positions, strict=True):
        assert float(told[POINT][name]) == pytest.approx(values[row], abs=1e-7)


def test_the_audit_set_stays_unseen_and_untold(page, link, make_hub, make_other):
    make_hub()
    other = make_other()
    wait_for(lambda: link.is_connected)
    state, hidden = page.state, sorted(page.shared.audit)[0]
    before = state.page
    link.remember("t", [hidden])
    say(other, HIGHLIGHT, **{"table-id": "t", "row": "0"})
    wait_for(lambda: page._tick() or "audit set" in state.message.text)
    assert state.page == before
    state.set_options(audit=True)
    state.open(0)
    page._tick()
    shown = link._to_tell
    assert shown is None
    assert other.heard == []


def test_a_message_opens_one_page_the_one_that_was_used_last(page, link, make_hub, make_other):
    again = Page(Document(), page.shared, page.learner, "ben", desktop=link)
    make_hub()
    other = make_other()
    wait_for(lambda: link.is_connected)
    wanted = page.state.page.ids[7]
    link.remember("t", [wanted])
    page.act(lambda: page.state.move(1))()
    say(other, HIGHLIGHT, **{"table-id": "t", "row": "0"})
    wait_for(lambda: again._tick() or page._tick() or page.state.inspecting)
    again._tick()
    assert page.state.current == wanted
    assert len(page.state.pages) == 1  # it was on the page
    assert not again.state.inspecting


def test_a_hub_that_comes_back_is_found_again(link, make_hub, make_other):
    hub = make_hub()
    wait_for(lambda: link.is_connected)
    hub.stop()
    wait_for(lambda: not link.is_connected)
    make_hub()
    other = make_other()
    wait_for(lambda: link.is_connected)
    link.tell("x", 10.0, 20.0)
    wait_for(lambda: other.heard == [(POINT, {"ra": "10.00000000", "dec": "20.00000000"})])


def test_it_is_off_unless_asked_for_and_refused_where_others_come_in(new_session):
    session = new_session()
    for more in ({"address": "0.0.0.0", "origins": ["host.org"]}, {"origins": ["hub.org"]}):
        with pytest.raises(ConfigError, match="--samp"):
            AppServer(session.path, port=0, samp=True, **more)
