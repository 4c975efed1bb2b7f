"""A server of the app in a process of its own."""

import pytest

from serving import Command, Server, stop_all


@pytest.fixture
def start(tmp_path):
    """Start ``astroanomaly serve`` and return its address and port; ``start.servers`` are those that were started."""
    running = []

    def run(session, *words, verbose=False, browser=False, environment=()):
        log = tmp_path / f"server-{len(running)}.log"
        if verbose or browser or environment:
            made = Command(session.path, log, *words, verbose=verbose, browser=browser, environment=environment)
        else:
            made = Server(session.path, log, *words)
        running.append(made)
        return made.url, made.port

    run.servers = running
    yield run
    stop_all(running)
