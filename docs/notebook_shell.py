"""Run in the kernel of every tutorial: ``%%bash`` shows plain lines, as a command does that writes into a file."""

import os
import subprocess

from IPython import get_ipython

_COLOURS = ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "TERM")


def bash(line, cell):
    """Run the lines; an error of one of them is an error of the cell, with what was said on standard error."""
    environment = {name: value for name, value in os.environ.items() if name not in _COLOURS}
    done = subprocess.run(["bash", "-e", "-c", cell], capture_output=True, text=True, env=environment)
    print(done.stdout.replace(f"{os.path.realpath('.')}/", "").replace(f"{os.getcwd()}/", ""), end="")  # noqa: T201
    if done.returncode:
        raise RuntimeError(f"a command ended with {done.returncode}: {done.stderr[-3000:]}")


get_ipython().register_magic_function(bash, "cell", "bash")
