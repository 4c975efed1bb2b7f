"""A server of the app in a process of its own."""

import os
import re
import subprocess
import sys
import time

import pytest


@pytest.fixture
def start(tmp_path):
    """Start ``astroanomaly serve`` and return its address and port."""
    running: list[subprocess.Popen] = []

    def run(session, *words, verbose=False, browser=False, environment=()):
        log = tmp_path / f"server-{len(running)}.log"
        command = [sys.executable, "-m", "astroanomaly", *(["--verbose"] if verbose else []), "serve",
                   str(session.path), "--port", "0", *([] if browser else ["--no-browser"])]  # fmt: skip
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--no-background", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **dict(environment)},
            )
        running.append(process)
        run.logs.append(log)
        end = time.monotonic() + 60
        while (found := re.search(r"open (http://\S+?:(\d+)/\S*)", log.read_text())) is None:
            assert running[-1].poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        return found[1], int(found[2])

    run.processes, run.logs = running, []
    yield run
    for process in running:
        process.terminate()
        process.wait(30)
