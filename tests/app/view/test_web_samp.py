"""SAMP's Web Profile: a page in Chromium and a real hub, with a client that says what Aladin and TOPCAT say."""

import threading
import time

import pytest
from playwright.sync_api import expect
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient, conf

from astroanomaly.app.review.pointed import POINT
from astroanomaly.app.view.web_samp import WebSamp
from astroanomaly.app.web.server import AppServer
from astroanomaly.errors import ConfigError
from serving import Server, stop_all


class Consent:
    """The person at the desktop, whom the hub asks whether a page may come in."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        if name == "queue_request":  # the hub has put its queues here
            threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self):
        while True:
            identity, _, origin = self.queue_request.get()
            self.asked.append((identity["samp.name"], origin))
            self.queue_result.put(self.answer)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Start a hub with a Web Profile on its usual port; return what its user was asked."""
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    hubs = []

    def start(answer):
        consent = Consent(answer)
        with conf.set_temp("use_internet", False):
            hubs.append(
                SAMPHubServer(
                    web_profile=True, web_profile_dialog=consent, addr="127.0.0.1", lockfile=str(tmp_path / "hub")
                )
            )
            hubs[-1].start()
        return consent

    yield start
    for one in hubs:
        one.stop()


@pytest.fixture
def other():
    """Another program of the desktop, which says what it hears."""
    clients = []

    def start():
        client = SAMPIntegratedClient(name="another program", addr="127.0.0.1")
        with conf.set_temp("use_internet", False):
            client.connect()
        clients.append(client)
        client.heard = []
        client.bind_receive_message(
            POINT, lambda key, sender, msg, mtype, params, extra: client.heard.append((float(params["ra"]), params))
        )
        return client

    yield start
    for client in clients:
        client.disconnect()


@pytest.fixture
def open_page(chromium, tmp_path):
    servers, contexts = [], []

    def start(session, *words):
        servers.append(Server(session.path, tmp_path / "log", "--annotator", "ann", *words))
        contexts.append(chromium.new_context(viewport={"width": 1280, "height": 800}))
        page = contexts[-1].new_page()
        page.forbidden, page.asked = [], []
        page.on(
            "console",
            lambda said: page.forbidden.append(said.text) if "Content Security Policy" in said.text else None,
        )
        page.on("request", lambda request: page.asked.append(request.url) if "21012" in request.url else None)
        page.goto(servers[-1].url)
        page.get_by_role("button", name="export", exact=True).click()
        return page

    yield start
    for context in contexts:
        context.close()
    stop_all(servers)


def wait_for(what):
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def pump(page, what):
    """Wait while the events of the page are heard."""
    wait_for(lambda: page.wait_for_timeout(20) or what())


@pytest.mark.browser
def test_positions_go_both_ways_between_a_page_and_the_programs_on_the_computer_of_its_browser(
    new_session, hub, other, open_page
):
    consent = hub(True)
    aladin = other()
    session = new_session()
    page = open_page(session, "--web-samp")
    button = page.get_by_role("button", name="connect to the programs on my desktop (SAMP)")
    expect(button).to_be_visible()
    assert page.asked == []  # nothing before somebody wants it
    button.click()
    expect(page.get_by_text("connected", exact=True)).to_be_visible()
    ((name, origin),) = consent.asked
    assert (name, origin) == ("AstroAnomaly", page.url.split("/?")[0].rstrip("/"))
    assert "AstroAnomaly" in {aladin.get_metadata(one).get("samp.name") for one in aladin.get_registered_clients()}

    ra, dec = (values[40] for values in session.cache.positions)
    target = session.cache.ids[40]
    aladin.notify_all({"samp.mtype": POINT, "samp.params": {"ra": f"{ra + 1 / 3600}", "dec": f"{dec}"}})
    expect(page.get_by_text(target).first).to_be_visible()
    replies = aladin.call_all("tag", {"samp.mtype": POINT, "samp.params": {"ra": "<b>", "dec": {"x": ["&"]}}})
    assert len(replies) == 1  # it listens; what is no position is none
    page.keyboard.press("ArrowRight")
    pump(page, lambda: aladin.heard)
    told = aladin.heard[-1][1]
    shown = session.cache.positions
    assert min(abs(shown[0] - float(told["ra"])) + abs(shown[1] - float(told["dec"]))) < 1e-7
    assert set(page.asked) == {"http://localhost:21012/"}

    page.get_by_role("button", name="export", exact=True).click()
    page.get_by_role("button", name="disconnect from the programs on my desktop").click()
    pump(page, lambda: len(aladin.get_registered_clients()) == 1)  # the hub itself
    assert page.forbidden == []


@pytest.mark.browser
def test_a_page_says_that_it_was_refused_and_that_there_is_no_hub(new_session, hub, open_page):
    page = open_page(new_session(), "--web-samp")
    button = page.get_by_role("button", name="connect to the programs on my desktop (SAMP)")
    button.click()
    expect(page.get_by_text("no SAMP hub answers on the computer of your browser")).to_be_visible()
    consent = hub(False)
    button.click()
    expect(page.get_by_text("has refused")).to_be_visible()
    assert len(consent.asked) == 1


@pytest.mark.browser
def test_the_policy_of_a_page_names_the_hub_only_where_it_was_asked_for(new_session, open_page):
    page = open_page(new_session())
    assert page.get_by_role("button", name="connect to the programs on my desktop (SAMP)").count() == 0
    failed = page.evaluate("fetch('http://localhost:21012/').then(() => 'came', (error) => String(error))")
    assert "Failed to fetch" in failed
    pump(page, lambda: page.forbidden)


def test_two_ways_to_a_hub_exclude_one_another(new_session):
    with pytest.raises(ConfigError, match="exclude one another"):
        AppServer(new_session().path, port=0, samp=True, web_samp=True)


def test_what_a_browser_says_of_a_message_is_a_position_or_nothing():
    class Bus:
        samp_told = None

    link = WebSamp()
    for heard in (
        None,
        [],
        ["1", "2"],
        ["x", "y", 1],
        ["1", "91", 1],
        [{"a": 1}, "2", 1],
        ["1" * 99, "2", 1],
        {"ra": 1},
    ):
        link._hear(heard)
        assert link.take(None) is None
    link._hear(["10.5", "-2", 1])
    assert link.take(None).position == (10.5, -2.0)
    assert link.take(None) is None
    link._bus = Bus()
    link.tell("a", float("nan"), 1.0)
    assert link._bus.samp_told is None
    link.tell("a", 10.0, -1.0)
    assert link._bus.samp_told == ["10.00000000", "-1.00000000", 1]
