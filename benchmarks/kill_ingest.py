"""Kill ingests again and again: what is left must resume to the cache of an undisturbed one, and no process may stay.

    python benchmarks/kill_ingest.py --kills 100

For each combination of one or two workers, FITS mosaics or pictures, and small or usual batches, an ingest is started
as a command of its own, killed with SIGKILL at a random moment, and started again in the same folder, until it ends by
itself; then the next one begins in a fresh folder. Needs psutil, which the extra ``test`` brings.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from astroanomaly import Cache
from astroanomaly.demo.simulate import simulate

_COMMAND = """
import sys
from astroanomaly.cli import main
from astroanomaly.ingestion import workers

if {batch_bytes}:
    workers._BATCH_BYTES = {batch_bytes}
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
_LEFT_OVER_S = 20.0  # a worker must have ended by then


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills for each combination")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kind", nargs="+", default=["fits", "images"], choices=["fits", "images"])
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        requests = make_inputs(Path(folder))
        print("| source | workers | batches | kills | ingests | digests wrong | processes left | files left |")
        print("|---|---|---|---|---|---|---|---|")
        for kind in arguments.kind:
            for workers in arguments.workers:
                for batch_bytes in (0, 300_000):
                    figures = measure(Path(folder), kind, requests[kind], workers, batch_bytes, arguments.kills, rng)
                    size = "usual" if not batch_bytes else "small"
                    print(f"| {kind} | {workers} | {size} | {' | '.join(map(str, figures))} |", flush=True)


def make_inputs(folder: Path) -> dict[str, list[str]]:
    """Write mosaics with a catalogue, and pictures; return the words of the commands."""
    sky = simulate(folder / "sky", n_objects=600, seed=1)
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(300):
        Image.fromarray(rng.integers(0, 255, (400, 400, 3), np.uint8)).save(pictures / f"p{number:04d}.png")
    return {
        "fits": ["fits", *map(str, sky.mosaics), "--catalog", str(sky.catalog), "--size", "64"],
        "images": ["images", str(pictures), "--size", "256"],
    }


def measure(
    folder: Path, kind: str, words: list[str], workers: int, batch_bytes: int, kills: int, rng: random.Random
) -> tuple[int, int, int, int, int]:
    """Kill one combination so many times."""
    script = folder / "command.py"
    script.write_text(_COMMAND.format(batch_bytes=batch_bytes))
    out = folder / "out"
    command = [sys.executable, str(script), "ingest", *words, "--out", str(out), "--workers", str(workers)]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    takes = time.monotonic() - began
    expected = Cache.open(out).digest()
    shutil.rmtree(out)
    done = ingests = wrong = processes = files = 0
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(rng.uniform(0.1, 1.0) * takes)
        children = []
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            done += 1
        _, said = process.communicate()
        processes += len(psutil.wait_procs(children, timeout=_LEFT_OVER_S)[1])
        if process.returncode == 0:
            ingests += 1
            wrong += Cache.open(out).digest() != expected or bool(Cache.open(out).ignored)
            files += sum(1 for path in out.rglob(".tmp-*"))
            shutil.rmtree(out)
        elif process.returncode > 0:
            print(f"exit {process.returncode}: {said.strip()[-300:]}", file=sys.stderr)
            wrong += 1
            shutil.rmtree(out)
    if out.is_dir():  # what the last kill left
        subprocess.run(command, check=True, capture_output=True)
        ingests += 1
        wrong += Cache.open(out).digest() != expected
        files += sum(1 for path in out.rglob(".tmp-*"))
        shutil.rmtree(out)
    return done, ingests, wrong, processes, files


if __name__ == "__main__":
    main()
