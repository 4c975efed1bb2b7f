"""``astroanomaly serve`` in processes of its own, all made of one in which the libraries are loaded already."""

import multiprocessing
import os
import re
import signal
import sys
import time

_READY = multiprocessing.get_context("forkserver")
_READY.set_forkserver_preload(["astroanomaly.app.web.server", "astroanomaly.cli.serve"])


class Server:
    """The command with these words, once it has said its address.

    Attributes
    ----------
    process
        Its process.
    log
        File of what it says.
    url, port
        What it said.
    """

    def __init__(self, session, log, *words, port=0, background=False):
        command = ["serve", str(session), "--no-browser", "--port", str(port), *words]
        self.log = log
        log.touch()
        self.process = _READY.Process(target=_run, args=(command if background else [*command, "--no-background"], log))
        self.process.start()
        end = time.monotonic() + 60
        while (found := re.search(r"open (http://\S+?:(\d+)/\S*)", log.read_text())) is None:
            if not self.process.is_alive() or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"it does not say its address: {log.read_text()}")
            time.sleep(0.02)
        self.url, self.port = found[1], int(found[2])

    def send(self, how):
        """Send it a signal, if it runs."""
        if self.process.is_alive():
            os.kill(self.process.pid, how)

    def stop(self, how=signal.SIGTERM):
        """Have it end, and wait for that."""
        self.send(how)
        self.process.join(30)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"it runs 30 s after the signal {how}: {self.log.read_text()}")


def stop_all(servers):
    """End them at the same time."""
    for server in servers:
        server.send(signal.SIGTERM)
    for server in servers:
        server.stop()


def _run(command, log):
    with log.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    from astroanomaly.cli import main

    sys.exit(main(command))
