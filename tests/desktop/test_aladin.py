"""SAMP both ways with Aladin itself: it loads a table and follows the app, and the app follows where it points.

Off unless asked for: ``pytest -n 0 -m desktop``. Debian: ``aladin xvfb xauth``. Aladin asks no archive with ``-local``.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient, SAMPProxyError, conf

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.background.samp import SampLink, send_by_samp
from astroanomaly.app.review.exports import catalogue
from astroanomaly.app.review.shared_state import COLD, SharedState
from astroanomaly.app.view.page import Page

pytestmark = pytest.mark.desktop

ALADIN = Path("/usr/share/java/aladin.jar")


def wait_for(what):
    end = time.monotonic() + 300
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub at the place in a home folder where Aladin looks for it."""
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / '.samp').as_uri()}")
    with conf.set_temp("use_internet", False):
        server = SAMPHubServer(web_profile=False, addr="127.0.0.1", lockfile=str(tmp_path / ".samp"))
    server.start()
    yield tmp_path
    server.stop()


@pytest.fixture
def aladin(hub):
    """Aladin on a screen that nobody sees, with an empty home folder; gives the file of what it says."""
    if not ALADIN.exists() or not shutil.which("java") or not shutil.which("xvfb-run"):
        pytest.fail("Aladin, Java or Xvfb is not installed: apt-get install aladin xvfb xauth")
    words = ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24"]
    words += ["java", f"-Duser.home={hub}", "-jar", str(ALADIN), "-local"]
    environment = os.environ | {"HOME": str(hub)}
    with (hub / "aladin.log").open("w") as log:
        program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        try:
            yield hub / "aladin.log"
        finally:
            program.stdin.write(b"quit\n")
            program.stdin.close()
            try:
                program.wait(60)
            finally:
                program.kill()
                program.wait()


class Remote:
    """Asks Aladin by SAMP what it shows."""

    def __init__(self):
        self.client = SAMPIntegratedClient(name="test", addr="127.0.0.1")
        self.client.connect()
        self.aladin = wait_for(self._found)

    def _found(self):
        takes = self.client.get_subscribed_clients("script.aladin.send")
        return next(iter(takes), None)

    def ask(self, mtype, **params):
        """Return what it answers, nothing while it starts."""
        try:
            answer = self.client.call_and_wait(self.aladin, {"samp.mtype": mtype, "samp.params": params}, "10")
        except SAMPProxyError:
            return {}
        return answer.get("samp.result", {})

    def status(self):
        return str(self.ask("script.aladin.send", script="status").get("script.result", ""))

    def points_at(self, ra, dec):
        found = self.ask("coord.get.sky")
        return bool(found) and np.hypot(float(found["ra"]) - ra, float(found["dec"]) - dec) < 1e-4


def test_aladin_and_the_app_follow_one_another(new_session, aladin):
    remote = Remote()
    session = new_session()
    shared = SharedState(session)
    shared.publish(COLD, np.arange(len(session.cache), dtype=np.float32), "test")
    learner, link = Learner(shared, background=False), SampLink()
    try:
        page = Page(Document(), shared, learner, "ann", desktop=link)
        ids = list(shared.cache.ids)[:6]
        ra, dec = (axis[shared.cache.rows(ids)] for axis in shared.cache.positions)
        wait_for(lambda: "Command>" in aladin.read_text())  # it takes commands
        listeners, table_id = send_by_samp(catalogue(shared, ids, COLD, 0.0), "search")
        assert listeners == 1
        page.desktop.sent(table_id, ids)
        wait_for(
            lambda: {"PlaneID search", "Type    Catalog", f"NbObj   {len(ids)}"} <= set(remote.status().split("\n"))
        )
        wait_for(lambda: link.is_connected)
        page.state.show([ids[4]], "map")
        page.state.open(0)
        wait_for(lambda: page._tick() or remote.points_at(ra[4], dec[4]))
        remote.client.notify(
            remote.aladin, {"samp.mtype": "script.aladin.send", "samp.params": {"script": f"{ra[2]:.6f} {dec[2]:+.6f}"}}
        )
        wait_for(lambda: page._tick() or (page.state.inspecting and page.state.current == ids[2]))
    finally:
        link.close()
        learner.close()
        shared.close()
        remote.client.disconnect()
