"""The whole job on a small simulated sky: ingest, rank, look and label, rank anew, export."""

from __future__ import annotations

import csv
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import figures
from astroanomaly.benchmark.expert import Expert
from astroanomaly.demo.simulate import simulate
from astroanomaly.errors import StorageError
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.records import ANOMALY, NOMINAL, Progress
from astroanomaly.session.session import Session

__all__ = ["DemoResult", "demo_steps"]

_RANKERS = ("cold", "active-search", "tuned")  # one after the other; the first needs no labels
_LOOKED_AT = 15  # objects that the expert looks at after each ranking
_RARE_SHARE, _FEWEST_RARE = 0.01, 8
_CUTOUT_PX = 64  # pixels


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo.

    Attributes
    ----------
    objects, planted
        Objects in the cache, rarities among them.
    looked_at, found
        Objects that the expert looked at, rarities among them.
    columns, rows
        Table of what each ranking brought.
    files
        Pictures and catalogues that were written.
    advice
        What to try next.
    """

    objects: int
    planted: int
    looked_at: int
    found: int
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    files: Sequence[Path]
    advice: Sequence[str]


def demo_steps(
    out: Path, *, seed: int = 0, objects: int = 2000, iterations: int = 100
) -> Generator[Progress, None, DemoResult]:
    """Run the demo; a generator of progress reports.

    Parameters
    ----------
    out
        Folder to work in; must not exist, or be empty.
    seed
        Seed of the sky and of everything else random.
    objects
        Objects on the sky, about 1 % of them rarities, at least 8.
    iterations
        Training steps of the network.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} exists already: remove it, or choose another --out")
    yield Progress("simulating", 0, 1)
    sky = simulate(
        out / "sky", n_objects=objects, anomaly_rate=min(1, max(_RARE_SHARE, _FEWEST_RARE / objects)), seed=seed
    )
    yield Progress("simulating", 1, 1)
    options = {"catalog": sky.catalog, "size": str(_CUTOUT_PX)}
    yield from ingest_steps(SourceRequest.of("fits", sky.mosaics, options=options), out / "cache")
    session = Session.create(
        out / "session",
        out / "cache",
        settings={"session": {"seed": seed}, "input": {"size": _CUTOUT_PX}, "tune": {"iterations": iterations}},
    )
    expert = _expert(sky.truth, session)
    rankings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    rows = []
    for ranker in _RANKERS:
        started = time.perf_counter()
        yield from session.train_steps(ranker)
        seconds = time.perf_counter() - started
        ids, log_odds = session.scores()
        rankings[ranker] = expert.truth_and_scores(ids, -log_odds[:, 0])
        labels, hidden = len(expert.given), rankings[ranker][0]
        looked_at = _look(expert, session, ids, -log_odds[:, 0])
        found = sum(expert.given[object_id] != NOMINAL for object_id in looked_at)
        chance = len(looked_at) * hidden.mean()
        rows.append(
            (ranker, f"{labels}", f"{len(looked_at)}", f"{found} of {hidden.sum()}", f"{chance:.1f}", f"{seconds:.0f}")
        )
    return DemoResult(
        len(session.cache),
        expert.anomalies,
        len(expert.given),
        sum(label != NOMINAL for label in expert.given.values()),
        ("ranked by", "labels so far", "looked at", "rare found", "by chance", "seconds"),
        rows,
        _write(session, rankings, out),
        _advice(out),
    )


def _expert(truth: Path, session: Session) -> Expert:
    """Somebody who knows the truth when looking at an object."""
    with truth.open(newline="", encoding="utf-8") as handle:
        known = {row["object_id"]: row["class"] for row in csv.DictReader(handle)}
    return Expert({i: NOMINAL if kind == NOMINAL else ANOMALY for i, kind in known.items() if i in session.cache})


def _look(expert: Expert, session: Session, ids: Sequence[str], scores: np.ndarray) -> list[str]:
    """Let the expert look at the objects that come first and have no label yet; return them.

    The next ranking needs examples of both kinds: until there are some, the expert looks on.
    """
    ranked = [ids[row] for row in np.argsort(-scores, kind="stable")]
    before = set(expert.given)
    while len(expert.given) < len(ranked):
        expert.label_ranked(ranked, _LOOKED_AT, 0, "top")
        if expert.has_both_classes:
            break
    looked_at = [object_id for object_id in expert.given if object_id not in before]
    for label in (NOMINAL, ANOMALY):
        chosen = [object_id for object_id in looked_at if expert.given[object_id] == label]
        if chosen:
            session.label(chosen, label, annotator="simulated expert")
    return looked_at


def _write(session: Session, rankings: Mapping[str, tuple[np.ndarray, np.ndarray]], out: Path) -> list[Path]:
    figures.performance_curves(
        rankings,
        out / "curves.png",
        title="simulated sky; each ranking on the objects that had no label when it was made",
    )
    for name in ("anomalies.vot", "anomalies.fits"):
        table = session.export(out / name, top=50)
    session.contact_sheet(table, out / "candidates.png")
    names = ("candidates.png", "curves.png", "anomalies.vot", "anomalies.fits")
    return [out / name for name in names]


def _advice(out: Path) -> tuple[str, ...]:
    return (
        "what to try next:",
        f"  astroanomaly serve {out / 'session'}",
        f"  astroanomaly info {out / 'session'}",
        f"  astroanomaly candidates {out / 'session'} -n 20 --order uncertain",
        f"  astroanomaly export {out / 'session'} --top 20 --out {out / 'anomalies.reg'}",
        "  your own survey: astroanomaly ingest fits MOSAICS --catalog CATALOGUE --size 64 --out CACHE",
    )
