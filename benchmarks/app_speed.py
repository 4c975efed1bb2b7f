"""How quick the labelling app is, in a real Chromium: ``python benchmarks/app_speed.py --folder DIR``.

It makes a cache of 100,000 cutouts (128 px, 3 bands, float32: 20 GB) with made-up features once, serves a session on it
in a process of its own, and measures in the browser, from the event to the frame after the change was drawn.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from astroanomaly.app.review.preferences import save_preferences

ANNOTATOR = "timed"
BANDS = ("g", "r", "i")
DRAWN = """async ([source, act]) => {
    const model = Bokeh.documents[0].get_model_by_name(source)
    const started = performance.now()
    const changed = new Promise((done) => {
        const see = () => { model.properties.data.change.disconnect(see); done() }
        model.properties.data.change.connect(see)
    })
    new Function("Bokeh", act)(Bokeh)
    await changed
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
    return performance.now() - started
}"""
KEY = (
    "window.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true, cancelable: true, composed: true}}))"
)
READY = """() => window.Bokeh && Bokeh.documents.length
    && Bokeh.documents[0].get_model_by_name('page_image').get_column('image').length"""
SET = """
const all = Bokeh.documents[0]._all_models ? [...Bokeh.documents[0]._all_models.values()] : []
const widget = all.find((model) => model.title == '{}' && 'value' in model)
widget.value = {}
"""


SET_NOW = """([title, value]) => {
    const all = [...Bokeh.documents[0]._all_models.values()]
    const widget = all.find((model) => model.title == title && 'value' in model)
    widget.value = value
}"""


def make_cache(folder, objects, side):
    """Write a cache of noise with a blob in the middle, every thousand cutouts on a mosaic of their own with a WCS."""
    from astroanomaly.cache.writer import ShardWriter, create_cache
    from astroanomaly.cutting.grids import tan_grid
    from astroanomaly.records import CutoutBlock, Layout, Task

    layout = Layout(BANDS, side, side, units=("nJy",) * len(BANDS))
    step = 1000
    create_cache(folder, layout, [Task(f"t{start}") for start in range(0, objects, step)], {})
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - side / 2
    blob = np.exp(-(x**2 + y**2) / (2 * (side / 12) ** 2)).astype(np.float32)
    noise = rng.normal(0, 0.1, (step, len(BANDS), side, side)).astype(np.float32)
    with ShardWriter(folder, layout) as writer:
        for number, start in enumerate(range(0, objects, step)):
            count = min(step, objects - start)
            images = np.roll(noise, number, axis=0)[:count] + blob * rng.uniform(
                0.5, 9, (count, len(BANDS), 1, 1)
            ).astype("f4")
            ids = [f"object-{start + i:09d}" for i in range(count)]
            centre = float(rng.uniform(0, 360)), float(np.degrees(np.arcsin(rng.uniform(-0.9, 0.9))))
            grid = tan_grid(centre, 0.2, (40 * side, 25 * side))
            offsets = side * np.stack([np.arange(count) % 25, np.arange(count) // 25], axis=1)
            ra, dec = grid.wcs.wcs_pix2world(offsets + side / 2, 0).T
            columns = {"mag": rng.normal(20, 1, count)}
            writer.begin(number, f"t{start}")
            writer.add(CutoutBlock(ids, images, BANDS, ra, dec, grid, offsets, columns=columns, units=layout.units))
            writer.commit()


def make_features(session):
    """Write features that say nothing: how long ranking takes does not depend on what they mean."""
    from astroanomaly.learn.features.store import FeatureStore

    store = FeatureStore.of(session.cache, session.context)
    rng = np.random.default_rng(1)
    for shard in session.cache.shards:
        path = store.folders(shard.uuid)[0] / f"{shard.uuid}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.abs(rng.normal(0, 1, (len(shard), 1280))).astype(np.float16))


def prepare(folder, objects, side):
    """Return the session, made anew on a cache that is kept."""
    import shutil

    from astroanomaly import Session

    if not (folder / "cache").exists():
        make_cache(folder / "cache", objects, side)
    shutil.rmtree(folder / "session", ignore_errors=True)
    settings = {"input": {"size": side}, "backbone": {"layers": "last"}}  # the 1280 features that are made up
    session = Session.create(folder / "session", folder / "cache", settings=settings)
    if not (folder / "cache" / "derived").exists():
        make_features(session)
    rng = np.random.default_rng(2)
    ids = session.cache.sample(200, rng)
    session.label(ids[:20], "anomaly", annotator="before")
    session.label(ids[20:], "nominal", annotator="before")
    save_preferences(session.path, ANNOTATOR, {"row_by_row": False})  # whole pages are timed; rows wait for the probe
    return session


def serve(session):
    """Start the server; return its process, address, and seconds until it listened."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "astroanomaly", "serve", str(session), "--no-browser", "--port", "0",
         "--annotator", ANNOTATOR],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    for line in process.stdout:
        if found := re.search(r"open (http://\S+)", line):
            return process, found[1], time.perf_counter() - started
    raise SystemExit("the server did not start")


def resident(pid):
    """Memory that a process asked for, in MB (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    return float("nan")


def measure(session, count):
    """Return all figures."""
    from playwright.sync_api import sync_playwright

    figures = {}
    process, url, figures["server listens"] = serve(session)
    try:
        with sync_playwright() as playwright:
            program = os.environ.get("ASTROANOMALY_CHROMIUM", "/usr/bin/chromium")
            switches = [
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--enable-precise-memory-info",
            ]
            browser = playwright.chromium.launch(executable_path=program, args=switches)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            started = time.perf_counter()
            page.goto(url)
            page.wait_for_function(READY, polling=20)
            figures["page opens"] = time.perf_counter() - started
            time.sleep(20)  # the probe is fitted, features are looked at: what is measured is the steady state

            def timed(source, act, times, between=0.25):
                found = []
                for k in range(times):
                    found.append(page.evaluate(DRAWN, [source, act(k) if callable(act) else act]))
                    time.sleep(between)
                return found

            page.evaluate(DRAWN, ["page_image", SET.format("objects per page", "'100'")])
            time.sleep(2)
            figures["verdict to next cursor position"] = timed("cursor", KEY.format("n"), count, 0.12)
            figures["page of 100"] = timed("page_image", KEY.format("PageDown"), 20, 1.0)
            figures["brightness"] = timed("page_image", lambda k: SET.format("brightness", 0.01 * (k + 1)), 20)
            figures["invert"] = timed("page_image", KEY.format("i"), 20)
            for title, value in (("colours", "rgb"), ("bands on", "band"), ("measured on", "cutout")):
                page.evaluate(SET_NOW, [title, value])  # curves and intervals of each cutout; Lupton has neither
                time.sleep(1)
            curves = ["linear", "sqrt", "log", "asinh"]
            figures["curve"] = timed("page_image", lambda k: SET.format("curve", f"'{curves[k % 4]}'"), 20)
            for interval in ("minmax", "percentile", "zscale", "sigma", "mad"):
                figures[f"interval {interval}"] = []
            for _ in range(5):
                for interval in ("minmax", "percentile", "zscale", "sigma", "mad"):
                    figures[f"interval {interval}"] += timed("page_image", SET.format("interval", f"'{interval}'"), 1)
            page.get_by_role("button", name="learning", exact=True).click()
            page.get_by_role("button", name="train and score a round").click()
            page.get_by_text(re.compile(r"^training \d+ of")).wait_for(timeout=300_000)
            page.get_by_role("button", name="candidates", exact=True).click()
            time.sleep(2)
            figures["verdict while a network trains"] = timed("cursor", KEY.format("n"), count, 0.12)
            figures["page of 100 while a network trains"] = timed("page_image", KEY.format("PageDown"), 20, 1.0)
            page.get_by_role("button", name="learning", exact=True).click()
            print("the network meanwhile:", page.get_by_text(re.compile(r"^training ")).first.inner_text())
            if page.get_by_text("cancel", exact=True).is_enabled():  # or it has ended by now
                page.get_by_text("cancel", exact=True).click()
            page.get_by_role("button", name="candidates", exact=True).click()
            time.sleep(2)
            heap = "() => performance.memory.usedJSHeapSize / 1e6"
            before = page.evaluate(heap), resident(process.pid)
            timed("page_image", KEY.format("PageDown"), 50, 0.3)
            page.evaluate("() => window.gc && window.gc()")
            after = page.evaluate(heap), resident(process.pid)
            figures["heap of the page, before and after 50 more pages [MB]"] = [before[0], after[0]]
            figures["memory of the server, before and after 50 more pages [MB]"] = [before[1], after[1]]
            browser.close()
    finally:
        process.terminate()
        process.wait(30)
    return figures


def held(session):
    """Bytes an object that a server holds for a session with three kinds of scores, modules left out (tracemalloc)."""
    import tracemalloc

    from astroanomaly import Session
    from astroanomaly.app.review.page_state import ViewState
    from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE, SharedState

    def hold():
        shared = SharedState(Session.open(session.path))
        for name in (PROBE, LATEST, COLD):
            shared.publish(name, np.random.default_rng(0).normal(size=len(shared.cache)), "made up")
        state = ViewState(shared, "ann")
        for _ in range(20):
            state.turn(1)
        return shared

    hold().close()
    tracemalloc.start()
    shared = hold()
    total = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    shared.close()
    return total / len(shared.cache)


def refit(session):
    """Seconds to fit the probe and to rank everything again, five times."""
    from astroanomaly.app.background.learner import Learner
    from astroanomaly.app.review.shared_state import SharedState

    shared = SharedState(session)
    learner = Learner(shared, background=False)
    found = []
    for _ in range(6):
        learner.computed = len(shared.cache)
        learner._refit()
        found.append(learner.seconds)
        if learner.problem:
            raise SystemExit(learner.problem)
    learner.close()
    shared.close()
    return found[1:]  # the first one imports torch


def main():
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the cache is made and kept")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--verdicts", type=int, default=200)
    arguments = parser.parse_args()
    session = prepare(arguments.folder, arguments.objects, arguments.side)
    figures = measure(session.path, arguments.verdicts)
    figures["probe refitted, everything ranked"] = [1000 * value for value in refit(session)]
    print(f"held for each object: {held(session):.0f} bytes")
    for name, values in figures.items():
        if isinstance(values, float):
            print(f"{name}: {values:.2f} s")
        elif "MB" in name:
            print(f"{name}: {values[0]:.0f}, {values[1]:.0f}")
        else:
            middle, late = statistics.median(values), np.percentile(values, 95)
            print(f"{name}: median {middle:.0f} ms, p95 {late:.0f} ms, n = {len(values)}")
    (arguments.folder / "figures.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
