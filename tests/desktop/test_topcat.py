"""SAMP both ways with TOPCAT itself: rows that it highlights open objects, and an object is highlighted in it.

Off unless asked for: ``pytest -n 0 -m desktop``. Debian: ``topcat default-jdk-headless xvfb xauth``.
"""

import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from bokeh.document import Document
from pyvo.samp import SAMPHubServer, conf

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.background.samp import SampLink, send_by_samp
from astroanomaly.app.review.exports import catalogue
from astroanomaly.app.review.shared_state import COLD, SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.errors import StorageError

pytestmark = pytest.mark.desktop

TOPCAT = Path("/usr/share/java/starlink-topcat.jar")
DRIVER = Path(__file__).parent / "TopcatRows.java"


def wait_for(what):
    end = time.monotonic() + 300
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def topcat(tmp_path, monkeypatch):
    """TOPCAT on a screen that nobody sees, and a hub."""
    if not TOPCAT.exists() or not shutil.which("javac") or not shutil.which("xvfb-run"):
        pytest.fail("TOPCAT, a JDK or Xvfb is not installed: apt-get install topcat default-jdk-headless xvfb xauth")
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'hub').as_uri()}")
    with conf.set_temp("use_internet", False):
        hub = SAMPHubServer(web_profile=False, addr="127.0.0.1", lockfile=str(tmp_path / "hub"))
    hub.start()
    words = ["xvfb-run", "-a", "-s", "-screen 0 1024x768x24", "java", "-cp", str(TOPCAT), str(DRIVER)]
    with (tmp_path / "topcat.log").open("w") as log:
        program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield program
        finally:
            program.stdin.close()  # ends it
            try:
                program.wait(60)
            finally:
                program.kill()
                program.wait()
                program.stdout.close()
                hub.stop()


def test_topcat_and_the_app_follow_one_another(new_session, topcat):
    session = new_session()
    shared = SharedState(session)
    shared.publish(COLD, np.arange(len(session.cache), dtype=np.float32), "test")
    learner, link = Learner(shared, background=False), SampLink()
    try:
        page = Page(Document(), shared, learner, "ann", desktop=link)
        ids = list(shared.cache.ids)[:6]
        sent = []

        def taken():
            try:
                sent.append(send_by_samp(catalogue(shared, ids, COLD, 0.0), "search"))
            except StorageError:  # it starts yet
                return False
            return True

        wait_for(taken)
        page.desktop.sent(sent[0][1], ids)
        assert topcat.stdout.readline() == "ready\n"  # it has the table
        wait_for(lambda: link.is_connected)

        def highlight(row):
            print(row, file=topcat.stdin, flush=True)

        for row in (3, 1):
            highlight(row)
            wait_for(lambda row=row: page._tick() or (page.state.inspecting and page.state.current == ids[row]))

        def highlighted():
            print("which", file=topcat.stdin, flush=True)
            return topcat.stdout.readline()

        assert highlighted() == "row 1\n"
        page.state.show([ids[4]], "map")
        page.state.open(0)
        wait_for(lambda: page._tick() or highlighted() == "row 4\n")
    finally:
        link.close()
        learner.close()
        shared.close()
