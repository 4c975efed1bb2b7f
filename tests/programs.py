"""Small programs that run in processes of their own and are killed at the end."""

import contextlib
import os
import subprocess
import sys
import textwrap

__all__ = ["next_lines", "running", "start"]


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
