"""Processor time of commands that do little, in fresh processes: ``python benchmarks/start_up.py SESSION``.

Commands are run in turn. With ``--other FOLDER``, the same commands of another checkout are run between them.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def once(words, checkout):
    """Run one command of a checkout; return its processor time and the time that passed, in seconds."""
    path = os.pathsep.join([str(checkout), str(checkout / "plugins"), os.environ.get("PYTHONPATH", "")])
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "astroanomaly", *words], env={**os.environ, "PYTHONPATH": path}, cwd=checkout,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path, help="a session that has been trained, as of `astroanomaly demo`")
    parser.add_argument("--other", type=Path, help="another checkout to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    session = str(arguments.session.absolute())
    commands = (["--help"], ["info"], ["info", session], ["candidates", session], ["ingest", "fits", "--help"])
    checkouts = [ROOT, *([arguments.other.absolute()] if arguments.other else [])]
    found = {(tuple(words), checkout): [] for words in commands for checkout in checkouts}
    for _ in range(arguments.repeats):
        for words, checkout in found:
            found[words, checkout].append(once(words, checkout))
    print("| command | checkout | processor time, s | passed, s |\n|---|---|---|---|")
    for (words, checkout), taken in found.items():
        cells = [f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" for s in zip(*taken, strict=True)]
        print(f"| `{' '.join(words)}` | {checkout.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
