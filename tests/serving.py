"""``astroanomaly serve`` in processes of its own: as it is typed, or with the libraries loaded already."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

_READY = multiprocessing.get_context("forkserver")
_READY.set_forkserver_preload(["astroanomaly.app.web.server", "astroanomaly.cli.serve"])


def _address(log, is_alive, kill):
    """Wait for the address that a server says; return it, and its port."""
    end = time.monotonic() + 60
    while (found := re.search(r"open (http://\S+?:(\d+)/\S*)", log.read_text())) is None:
        if not is_alive() or time.monotonic() > end:
            kill()
            raise AssertionError(f"it does not say its address: {log.read_text()}")
        time.sleep(0.02)
    return found[1], int(found[2])


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
        self.url, self.port = _address(log, self.process.is_alive, self.process.kill)

    def send(self, how):
        """Send it a signal, if it runs."""
        if self.process.is_alive():
            os.kill(self.process.pid, how)

    def stop(self, how=signal.SIGTERM):
        """Have it end, and wait for that."""
        self.send(how)
        self.process.join(120)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"it runs 120 s after the signal {how}: {self.log.read_text()}")


class Command:
    """The command as somebody types it, in a process that begins with nothing; as `Server`."""

    def __init__(self, session, log, *words, verbose=False, browser=False, environment=()):
        command = [sys.executable, "-m", "astroanomaly", *(["--verbose"] if verbose else []), "serve", str(session),
                   "--port", "0", *([] if browser else ["--no-browser"]), "--no-background", *words]  # fmt: skip
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **dict(environment)},
            )
        self.url, self.port = _address(log, lambda: self.process.poll() is None, self.process.kill)

    def send(self, how):
        """Send it a signal, if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(how)

    def stop(self, how=signal.SIGTERM):
        """Have it end, and wait for that."""
        self.send(how)
        self.process.wait(30)


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
