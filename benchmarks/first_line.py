"""Time to the first line that a command writes, without a terminal: ``python benchmarks/first_line.py DEMO``.

``DEMO`` is the folder of ``astroanomaly demo``. Each command runs in a fresh process on a copy of its session, with its
output in pipes, and is stopped at its first line or at its end. The processor time is that of the command up to then.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_S = 120.0  # that are waited for a line
TICKS = os.sysconf("SC_CLK_TCK")


def commands(demo, session, folder):
    """Return the commands that may take long, by name."""
    cache, sky = demo / "cache", demo / "sky"
    mosaics, catalogue = [str(path) for path in sorted(sky.glob("*.fits"))], str(sky / "catalogue.ecsv")
    cut = ["--catalog", catalogue, "--size", "32", "--out", str(folder / "cache")]
    truth = ["--truth", str(sky / "truth.csv"), "--column", "class"]
    return {
        "ingest": ["ingest", "fits", *mosaics, *cut],
        "init": ["init", str(folder / "session"), "--cache", str(cache)],
        "train --ranker cold": ["train", str(session), "--ranker", "cold"],
        "train --ranker tuned": ["train", str(session), "--ranker", "tuned"],
        "score": ["score", str(session)],
        "score --source": ["score", str(session), "--source", "fits", *mosaics, *cut],
        "benchmark": ["benchmark", str(cache), *truth, "--anomaly", "arc", "--out", str(folder / "bench")],
        "similar": ["similar", str(session), "SIM-000001"],
        "crossmatch": ["crossmatch", str(session), "--with", catalogue],
        "report": ["report", str(session), "--out", str(folder / "report.html")],
        "bundle": ["bundle", str(session), "--out", str(folder / "bundle")],
        "inject": ["inject", str(session), "--kind", "arc", "--psf", "0.8arcsec", "--out", str(folder / "light")],
        "audit": ["audit", str(session), "10"],
        "info": ["info", str(session)],
        "candidates": ["candidates", str(session)],
    }


def once(words):
    """Run a command up to its first line; return seconds, seconds of its processor time, and the line."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    began, found, lines = time.perf_counter(), threading.Event(), []
    process = subprocess.Popen(
        [sys.executable, "-m", "astroanomaly", *words], env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def listen(stream):
        line = stream.readline()
        if line and not found.is_set():
            lines.append(line.strip())
            found.set()
        stream.read()

    for stream in (process.stdout, process.stderr):
        threading.Thread(target=listen, args=(stream,), daemon=True).start()
    found.wait(MOST_S)
    seconds = time.perf_counter() - began
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    process.kill()
    process.wait()
    return seconds, (int(fields[11]) + int(fields[12])) / TICKS, lines[0] if lines else "nothing"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder of `astroanomaly demo`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of commands")
    arguments = parser.parse_args()
    demo = arguments.demo.absolute()
    print("| command | seconds | processor time, s | first line |\n|---|---|---|---|")
    folder = Path(tempfile.mkdtemp(prefix="first-line-", dir=demo))  # the session refers to its cache by ../cache
    try:
        for name in commands(demo, demo / "session", folder):
            if arguments.only and name not in arguments.only:
                continue
            found = []
            for number in range(arguments.repeats):
                work = folder / str(number)
                session = demo / f"{folder.name}-session"
                shutil.copytree(demo / "session", session)
                try:
                    work.mkdir()
                    found.append(once(commands(demo, session, work)[name]))
                finally:
                    shutil.rmtree(work)
                    shutil.rmtree(session)
            seconds, processor, lines = zip(*found, strict=True)
            cells = [f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" for s in (seconds, processor)]
            said = lines[-1].replace(str(demo) + "/", "").replace(folder.name + "-", "")
            print(f"| `{name}` | {' | '.join(cells)} | {said} |", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
