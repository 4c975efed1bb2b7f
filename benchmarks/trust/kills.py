"""Kill every command at random moments: nothing that was acknowledged is lost, and the same command goes on.

    python benchmarks/trust/kills.py --kills 1000 --processes 2

Each case is a command. It is started again and again in a folder, and sent SIGKILL, SIGTERM or Ctrl-C at a random
moment, it alone or with its worker processes, until it has been let run to its end; then the next one begins in a fresh
folder. After each kill what lies there has to be readable, or not be there yet; at the end the result has to be that of
an undisturbed run. Of the label server every verdict that a page was told of has to be in the log.

The columns: *runs* that ended by themselves; *told* verdicts that pages were told of; *lost* results that differ, and
verdicts that are gone; *orphans* processes that were there 30 s later; *unreadable* what could not be opened, and
commands that did not go on; *left over* files that an undisturbed run does not leave.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # a process that has threads cannot be forked

from commands import Command, load_everything, names_of  # noqa: E402

_SIGNALS = ((signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGTERM, False), (signal.SIGTERM, True),
    (signal.SIGINT, True))  # fmt: skip
_WEIGHTS = (4, 2, 2, 1, 1)
_BATCH_BYTES = 40_000  # pixels of a batch, so that small inputs make many shards
_SETTINGS = {
    "input": {"size": 32},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "train": {"labelled_batch": 4, "unlabelled_ratio": 2, "pool": 40},
}
_RED = "CDS/P/red"
_SCORE_DIGITS = 3
_PAGES = 2
# of a server beside the session; an empty journal, which a killed writer leaves, stays until the next write
_OF_A_SERVER = {"app.json", "app-token", ".lock", "labels.sqlite-journal", "showings/xTx-x.jsonl"}
_MAX_START_S = 120.0  # until the pages of a server are open


@dataclass(frozen=True)
class Case:
    """A command, and how its results are judged.

    Attributes
    ----------
    name
        As the table calls it.
    parts
        What a fresh folder has of what was prepared.
    words
        The command, from the folder it works in.
    judge
        Returns what there is at the end, from the folder; equal where nothing is lost.
    look
        Opens what lies there after a kill; an exception says that it is unreadable.
    """

    name: str
    parts: tuple[str, ...]
    words: Callable[[Path], list[str]]
    judge: Callable[[Path], Any]
    look: Callable[[Path], object]


@dataclass
class Count:
    """The figures of a case."""

    kills: int = 0
    runs: int = 0
    told: int = 0
    lost: int = 0
    orphans: int = 0
    unreadable: int = 0
    left_over: int = 0
    seconds: float = 0.0


# --------------------------------------------------------------------------------------------------- what is judged


def _cache(folder: Path) -> str:
    from astroanomaly import Cache

    cache = Cache.open(folder / "out")
    failures = sorted(failure.object_id for failure in cache.failures)
    return f"{cache.digest()} {failures} {len(cache.ignored)}"


def _cache_if_there(folder: Path) -> object:
    return _cache(folder) if (folder / "out" / "cache.json").exists() else None


def _scores(folder: Path) -> list[tuple[str, list[float]]]:
    from astroanomaly import Session

    session = Session.open(folder / "s")
    ids, log_odds = session.scores()
    session.labels.close()
    return sorted(zip(ids, log_odds.round(_SCORE_DIGITS).tolist(), strict=True))


def _session(folder: Path) -> object:
    from astroanomaly import Session

    session = Session.open(folder / "s")
    try:
        return len(session.rounds), session.labels.counts(), _scores(folder) if session.is_scored else None
    finally:
        session.labels.close()


def _survey(folder: Path) -> Any:
    import csv

    from astroanomaly import Session

    session = Session.open(folder / "s")
    table = folder / "all.csv"
    session.export_scores(table, survey=folder / "out", overwrite=True)
    session.labels.close()
    with table.open() as handle:
        rows = sorted((row["object_id"], round(float(row["score"]), _SCORE_DIGITS)) for row in csv.DictReader(handle))
    table.unlink()
    return rows


def _file(name: str) -> Callable[[Path], Any]:
    def judge(folder: Path) -> Any:
        from astropy.table import Table

        path = folder / name
        if path.suffix == ".reg":
            return path.read_text()
        table = Table.read(path, format="votable") if path.suffix == ".vot" else Table.read(path)
        return [list(map(str, row)) for row in table]

    return judge


def _file_if_there(name: str) -> Callable[[Path], object]:
    return lambda folder: _file(name)(folder) if (folder / name).exists() else None


def _bundle(folder: Path) -> Any:
    from astroanomaly.session.outputs.check import check_bundle

    report = check_bundle(folder / "bundle")
    return report.problems, report.objects, report.files


def _bundle_if_there(folder: Path) -> object:
    if (folder / "bundle").exists():
        problems, *_ = _bundle(folder)
        if problems:
            raise AssertionError(problems)
    return None


# ------------------------------------------------------------------------------------------------------- the table


def _ingest(source: list[str], workers: int) -> Callable[[Path], list[str]]:
    return lambda folder: ["ingest", *source, "--out", str(folder / "out"), "--workers", str(workers)]


def _of_session(*words: str, **paths: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        more = [part for flag, name in paths.items() for part in (f"--{flag}", str(folder / name))]
        return [words[0], str(folder / "s"), *words[1:], *more]

    return make


def _train(*words: str) -> Callable[[Path], list[str]]:
    """Train; where that has made a round, go on as its message says: another training would make another round."""

    def make(folder: Path) -> list[str]:
        done = any((folder / "s" / "rounds").glob("[0-9]*"))
        return _of_session("score")(folder) if done else _of_session("train", *words)(folder)

    return make


def cases(prepared: Path, endpoint: str) -> dict[str, Case]:
    """Return all cases but that of the label server."""
    fits = [
        "fits",
        *map(str, sorted((prepared / "sky").glob("*.fits"))),
        "--catalog",
        str(prepared / "sky.ecsv"),
        "--size",
        "16",
    ]
    images = ["images", str(prepared / "pictures.zip")]
    hips = ["hips", "--catalog", str(prepared / "hips.csv"), "--survey", _RED, "--size", "8arcsec", "--pixels", "16",
        "--mirror", endpoint, "--keep", str(prepared / "kept"), "--requests", "4"]  # fmt: skip
    found = [
        Case(
            f"ingest {name}, {workers} worker{'s' * (workers > 1)}",
            (),
            _ingest(source, workers),
            _cache,
            _cache_if_there,
        )
        for name, source in (("fits", fits), ("images", images), ("hips", hips))
        for workers in (1, 2)
    ]
    untrained, unscored, scored = ("cache", "fresh"), ("cache", "unscored"), ("cache", "scored")
    found += [
        Case("train probe, features", untrained, _train("--ranker", "probe"), _scores, _session),
        Case("train fixmatch", untrained, _train("--ranker", "fixmatch", "--iterations", "2"), _scores,
             _session),
        Case("score", unscored, _of_session("score"), _scores, _session),
        Case("score --source", scored, _of_session(
            "score", "--source", "images", str(prepared / "pictures.zip"), "--top", "20", "--prefix", "x/",
            "--workers", "1", out="out"), _survey, _session),
    ]  # fmt: skip
    for suffix in ("fits", "vot", "ecsv", "csv", "reg"):
        name = f"top.{suffix}"
        words = _of_session("export", "--top", "60", "--overwrite", out=name)
        found.append(Case(f"export .{suffix}", scored, words, _file(name), _file_if_there(name)))
    found += [
        Case("export --all", scored, _of_session("export", "--all", "--overwrite", out="all.fits"),
             _file("all.fits"), _file_if_there("all.fits")),
        Case("labels export", scored, lambda folder: [
            "labels", "export", str(folder / "s"), str(folder / "labels.csv"), "--overwrite"],
            _file("labels.csv"), _file_if_there("labels.csv")),
        Case("bundle", scored, _of_session("bundle", "--top", "10", "--overwrite", out="bundle"), _bundle,
             _bundle_if_there),
    ]  # fmt: skip
    return {case.name: case for case in found}


LABEL_SERVER = "label server"


# ----------------------------------------------------------------------------------------------------- the killing


def run_case(case: Case, prepared: Path, work: Path, kills: int, seed: int) -> tuple[Count, list[str]]:
    """Kill a command so many times; return the figures, and what was wrong."""
    rng, count, wrong = random.Random(f"{seed} {case.name}"), Count(), []
    began = time.monotonic()
    log = work.with_suffix(".log")
    _fresh(case, prepared, work)
    ending = _start(case, work, log).finish()
    if ending.code != 0:
        raise RuntimeError(f"{case.name}: undisturbed, it ends with {ending.code}: {log.read_text()[-1000:]}")
    expected, names, takes = case.judge(work), names_of(work), ending.seconds
    while count.kills < kills:
        _fresh(case, prepared, work)
        for _ in range(rng.choice((1, 1, 2, 3))):
            command = _start(case, work, log)
            time.sleep(rng.uniform(0.02, 1.0) * takes)
            number, group = rng.choices(_SIGNALS, _WEIGHTS)[0]
            ending = command.kill(number, group=group)
            count.kills += ending.killed
            count.orphans += ending.orphans
            try:
                case.look(work)
            except Exception as error:
                count.unreadable += 1
                wrong.append(f"{case.name}: after {signal.Signals(number).name}: {error!r}"[:400])
        again = _start(case, work, log)
        ending = again.finish()
        count.runs += 1
        if ending.code != 0:
            count.unreadable += 1
            wrong.append(f"{case.name}: it does not go on ({ending.code}): {again.said()}")
            continue
        try:
            if case.judge(work) != expected:
                count.lost += 1
                wrong.append(f"{case.name}: the result differs")
        except Exception as error:
            count.lost += 1
            wrong.append(f"{case.name}: the result cannot be read: {error!r}"[:400])
        left = sorted(names_of(work) - names)
        count.left_over += len(left)
        wrong += [f"{case.name}: left over: {name}" for name in left[:3]]
    count.seconds = time.monotonic() - began
    return count, wrong


def _fresh(case: Case, prepared: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.rmtree(prepared / "kept", ignore_errors=True)  # what was fetched
    for part in case.parts:
        shutil.copytree(prepared / part, work / ("cache" if part == "cache" else "s"))


def _start(case: Case, work: Path, log: Path) -> Command:
    return Command(case.words(work), log, _small_batches)


def _small_batches() -> None:
    from astroanomaly.ingestion import workers

    workers._BATCH_BYTES = _BATCH_BYTES


def run_server(prepared: Path, work: Path, kills: int, seed: int) -> tuple[Count, list[str]]:
    """Kill the label server while pages press keys."""
    from astroanomaly.labels.log import LabelLog

    rng, count, wrong = random.Random(f"{seed} server"), Count(), []
    began = time.monotonic()
    log, kept = work.with_suffix(".log"), work.with_suffix(".told")
    case = Case(LABEL_SERVER, ("cache", "scored"), _of_session("serve"), _session, _session)
    names: set[str] = set()
    for turn in itertools.count():
        if count.kills >= kills:
            break
        _fresh(case, prepared, work)
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        log.unlink(missing_ok=True)
        words = ["serve", str(work / "s"), "--port", "0", "--no-browser", "--no-background", "--annotator", "ann"]
        server = Command(words, log)
        clients = multiprocessing.get_context("fork").Process(target=_press_keys, args=(log, kept, rng.random()))
        clients.start()
        end = time.monotonic() + _MAX_START_S
        while not all((kept / str(page)).exists() for page in range(_PAGES)) and time.monotonic() < end:
            if not server.running():
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1.5))
        number, group = rng.choices(_SIGNALS, _WEIGHTS)[0]
        ending = server.kill(number, group=group)
        clients.join(10)
        clients.kill()
        clients.join()
        count.kills += ending.killed
        count.orphans += ending.orphans
        count.runs += 1
        try:
            with LabelLog.open(work / "s" / "labels.sqlite") as labels:
                events = [event.annotator for event in labels.events() if event.kind in ("verdict", "skip", "flag")]
                labels.current()
            _session(work)
        except Exception as error:
            count.unreadable += 1
            wrong.append(f"{LABEL_SERVER}: turn {turn}: {error!r}"[:400])
            continue
        for page in range(_PAGES):
            told = len((kept / str(page)).read_text().split()) if (kept / str(page)).exists() else 0
            lost = max(0, told - events.count(f"page {page}"))
            count.told += told
            count.lost += lost
            if lost:
                wrong.append(f"{LABEL_SERVER}: {lost} of {told} are not in the log")
        names = names or names_of(prepared / "scored") | _OF_A_SERVER
        left = sorted(names_of(work / "s") - names)
        count.left_over += len(left)
        wrong += [f"{LABEL_SERVER}: left over: {name}" for name in left[:3]]
    count.seconds = time.monotonic() - began
    return count, wrong


def _press_keys(log: Path, kept: Path, seed: float) -> None:
    from page_client import address_in, label_for_ever

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng = random.Random(seed)
    keys: Iterator[str] = iter(lambda: rng.choice("nnnnaas"), "")

    async def all_pages() -> None:
        address = address_in(log)
        pages = (label_for_ever(address, f"page {page}", "ann", kept / str(page), keys) for page in range(_PAGES))
        await asyncio.gather(*pages, return_exceptions=True)

    asyncio.run(all_pages())


# -------------------------------------------------------------------------------------------------------- preparing


def prepare(folder: Path) -> None:
    """Write pictures, mosaics, catalogues, a cache and three sessions: fresh, trained, and scored."""
    import zipfile

    import numpy as np
    from PIL import Image

    from astroanomaly import Session, ingest
    from astroanomaly.demo.simulate import simulate

    rng = np.random.default_rng(0)
    (folder / "sky").mkdir()
    made = simulate(folder / "sky", n_objects=120, seed=1)
    shutil.move(made.catalog, folder / "sky.ecsv")
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for number in range(120):
            pixels = rng.normal(60, 15, (24, 24, 3)) + 120 * (number % 12 == 0)
            with archive.open(f"p{number:03d}.png", "w") as handle:
                Image.fromarray(pixels.clip(0, 255).astype("u1")).save(handle, "PNG")
    labels = [f"p{number:03d}.png,{'nominal' if number % 12 else 'anomaly'}\n" for number in range(48)]
    (folder / "labels.csv").write_text("object_id,label\n" + "".join(labels))
    places = rng.uniform(-0.004, 0.004, (40, 2))
    rows = [f"h{number},{150.1 + a},{2.2 + b}\n" for number, (a, b) in enumerate(places)]
    (folder / "hips.csv").write_text("id,ra,dec\n" + "".join(rows))
    _small_batches()
    ingest("images", folder / "pictures.zip", out=folder / "cache")
    Session.create(folder / "fresh", folder / "cache", labels=folder / "labels.csv", settings=_SETTINGS).labels.close()
    shutil.copytree(folder / "fresh", folder / "scored")
    session = Session.open(folder / "scored")
    session.train("probe")
    session.labels.close()
    shutil.copytree(folder / "scored", folder / "unscored")
    for path in (folder / "unscored").rglob("scores/*.h5"):
        path.unlink()
    shutil.rmtree(folder / "cache" / "derived", ignore_errors=True)


@contextlib.contextmanager
def archive() -> Iterator[str]:
    """Serve a survey on loopback from a process of its own; give the address of its service."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve_archive, args=(sender,), daemon=True)
    process.start()
    try:
        yield receiver.recv()
    finally:
        process.kill()
        process.join()


def _serve_archive(sender: Any) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    import numpy as np
    from astropy.wcs import WCS

    from servers.hips import HipsServer, HipsSurvey

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.1, 2.2], [100, 100]
    wcs.wcs.cdelt = [-0.5 / 3600, 0.5 / 3600]
    pixels = np.random.default_rng(1).normal(100, 9, (200, 200)).astype("f4")
    with HipsServer({_RED: HipsSurvey(((pixels, wcs),))}) as server:
        sender.send(server.endpoint)
        while True:
            time.sleep(60)


def _one(name: str, prepared: str, endpoint: str, kills: int, seed: int, answer: Any) -> None:
    """Run one case in a process of its own, and send what came of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load_everything()
    work = Path(tempfile.mkdtemp(prefix="kills-")) / "work"
    try:
        if name == LABEL_SERVER:
            found = run_server(Path(prepared), work, kills, seed)
        else:
            found = run_case(cases(Path(prepared), endpoint)[name], Path(prepared), work, kills, seed)
        answer.put((name, *found))
    except BaseException as error:
        answer.put((name, Count(), [f"{name}: the harness failed: {error!r}"]))
    finally:
        shutil.rmtree(work.parent, ignore_errors=True)
        answer.close()
        answer.join_thread()
        os._exit(0)  # what the libraries do at the end of a process is no matter here


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*cases(Path("."), ""), LABEL_SERVER]
    parser.add_argument("--kills", type=int, default=100, help="of all cases together (default: 100)")
    parser.add_argument("--processes", type=int, default=1, help="cases at the same time (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", choices=names, help="only this case; may be repeated")
    arguments = parser.parse_args()
    chosen = arguments.case or names
    each = -(-arguments.kills // len(chosen))
    context = multiprocessing.get_context("spawn")
    answer, total, wrong = context.Queue(), Count(), []
    with tempfile.TemporaryDirectory(prefix="kills-") as text, archive() as endpoint:
        prepared = Path(text)
        prepare(prepared)
        print(f"| case | {' | '.join(field.name.replace('_', ' ') for field in fields(Count))} |")
        print(f"|---|{'---|' * len(fields(Count))}", flush=True)
        waiting, running = list(chosen), 0
        while waiting or running:
            while waiting and running < arguments.processes:
                values = (waiting.pop(0), text, endpoint, each, arguments.seed, answer)
                context.Process(target=_one, args=values).start()
                running += 1
            name, count, told = answer.get()
            running -= 1
            wrong += told
            print(_row(name, count), flush=True)
            for field in fields(Count):
                setattr(total, field.name, getattr(total, field.name) + getattr(count, field.name))
    print(_row("all", total))
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def _row(name: str, count: Count) -> str:
    return f"| {name} | {' | '.join(f'{getattr(count, field.name):.0f}' for field in fields(Count))} |"


if __name__ == "__main__":
    sys.exit(main())
