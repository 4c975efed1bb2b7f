"""Twenty people at one label server: how long a verdict takes, and whether every one is in the log.

    python benchmarks/trust/annotators.py --annotators 20 --minutes 10

A server is started as a command of its own, on a session of a small simulated sky. Each annotator is a page of its own:
it presses a key, waits for the answer, and pauses as a person would. Printed are the time until a verdict is answered,
and the memory, open files and threads of the server at the beginning and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from astroanomaly import Session, ingest
from astroanomaly.demo.simulate import simulate
from astroanomaly.labels.log import LabelLog
from page_client import PageClient, address_in

_KEYS = {"n": "verdict", "a": "verdict", "s": "skip"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--pause", type=float, default=1.0, help="mean pause of a person, in seconds (default: 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        made = simulate(folder / "sky", n_objects=arguments.objects, seed=1)
        ingest("fits", made.mosaics, out=folder / "cache", catalog=made.catalog, size="32")
        Session.create(folder / "s", folder / "cache").labels.close()
        return label(folder, arguments.annotators, 60 * arguments.minutes, arguments.pause)


def label(folder: Path, annotators: int, seconds: float, pause_s: float) -> int:
    """Run a server and its annotators, and print what came of it."""
    log = folder / "said"
    words = ["serve", str(folder / "s"), "--port", "0", "--no-browser", "--no-background", "--annotator", "ann"]
    with log.open("w") as said:
        server = subprocess.Popen([sys.executable, "-m", "astroanomaly", *words], stdout=said, stderr=said)
    try:
        people = asyncio.run(_all_people(address_in(log), annotators, seconds, pause_s, psutil.Process(server.pid)))
    finally:
        server.terminate()
        server.wait(60)
    lost = told = 0
    with LabelLog.open(folder / "s" / "labels.sqlite") as labels:
        events = Counter((event.annotator, event.kind) for event in labels.events())
    for name, (_, answered) in people.items():
        for kind, number in answered.items():
            told += number
            lost += max(0, number - events[name, kind])
    waits = np.sort(np.concatenate([waits for waits, _ in people.values()]))
    print("| annotators | minutes | answered | lost | p50 ms | p95 ms | p99 ms | longest ms |")
    print("|---|---|---|---|---|---|---|---|")
    shares = " | ".join(f"{1000 * np.quantile(waits, share):.0f}" for share in (0.5, 0.95, 0.99, 1))
    print(f"| {annotators} | {seconds / 60:.1f} | {told} | {lost} | {shares} |")
    return 1 if lost or not told else 0


async def _all_people(
    address: str, annotators: int, seconds: float, pause_s: float, server: psutil.Process
) -> dict[str, tuple[list[float], Counter[str]]]:
    """Let them all begin once every page is open; return for each the times, and what was answered."""
    begin = asyncio.Event()
    pages = {f"person {number}": PageClient(address, f"person {number}", "ann") for number in range(annotators)}
    for page in pages.values():
        await page.open()
    print("| server | MB | open files | threads |")
    print("|---|---|---|---|")
    _show("all pages open", server)
    tasks = [asyncio.create_task(_person(page, name, begin, seconds, pause_s)) for name, page in pages.items()]
    begin.set()
    found = await asyncio.gather(*tasks)
    _show("at the end", server)
    print()
    return dict(zip(pages, found, strict=True))


async def _person(
    page: PageClient, name: str, begin: asyncio.Event, seconds: float, pause_s: float
) -> tuple[list[float], Counter[str]]:
    rng = random.Random(name)
    waits: list[float] = []
    answered: Counter[str] = Counter()
    await begin.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        key = rng.choice("nnnas")
        waits.append(await page.press(key))
        answered[_KEYS[key]] += 1
        if len(waits) % 25 == 0:
            await page.press(" ")
        await asyncio.sleep(rng.expovariate(1 / pause_s) if pause_s else 0)
    page.close()
    return waits, answered


def _show(when: str, server: psutil.Process) -> None:
    memory = server.memory_info().rss / 2**20
    print(f"| {when} | {memory:.0f} | {server.num_fds()} | {server.num_threads()} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
