"""Small programs that run in processes of their own and are killed: at the end, or once something has happened."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

__all__ = ["kill_once", "next_lines", "running", "start"]


def start(program, *words, **environment):
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


@contextlib.contextmanager
def running(program, *words, **environment):
    process = start(program, *words, **environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def next_lines(process, count):
    return [process.stdout.readline().strip() for _ in range(count)]


def kill_once(happened, program, *words):
    """Start a program that says ``started``, and kill it once something has happened."""
    process = start(program, *words)
    assert process.stdout.readline() == "started\n"
    while not happened():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
