"""The whole job on a small simulated sky: ingest, label a few objects, rank, export."""

from __future__ import annotations

import csv
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import figures, metrics
from astroanomaly.benchmark.expert import Expert
from astroanomaly.demo.simulate import simulate
from astroanomaly.errors import StorageError
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.records import ANOMALY, DEFAULT_RANKER, NOMINAL, Progress
from astroanomaly.session.session import Session

__all__ = ["DemoResult", "demo_steps"]

_LABEL_COUNTS = (8, 100)  # anomalies and nominal objects that the expert has labelled
_FIGURES = (
    ("auroc", "AUROC"),
    ("auprc", "AUPRC"),
    ("precision_10", "P@10"),
    ("precision_20", "P@20"),
    ("precision_50", "P@50"),
    ("precision_1pct", "P@1%"),
)
_CUTOUT_PX = 64  # pixels


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo.

    Attributes
    ----------
    objects, planted, labels
        Objects in the cache, rarities among them, labels given.
    columns, rows
        Table of the rankers' figures on the objects without a label.
    files
        Pictures and catalogues that were written.
    advice
        What to try next.
    """

    objects: int
    planted: int
    labels: int
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
        Objects on the sky, about 1 % of them rarities.
    iterations
        Training steps of the network.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} exists already: remove it, or choose another --out")
    yield Progress("simulating", 0, 1)
    sky = simulate(out / "sky", n_objects=objects, anomaly_rate=0.01, seed=seed)
    yield Progress("simulating", 1, 1)
    options = {"catalog": sky.catalog, "size": str(_CUTOUT_PX)}
    yield from ingest_steps(SourceRequest.of("fits", sky.mosaics, options=options), out / "cache")
    session = Session.create(
        out / "session",
        out / "cache",
        settings={"session": {"seed": seed}, "input": {"size": _CUTOUT_PX}, "tune": {"iterations": iterations}},
    )
    expert = _expert(sky.truth, session)
    scores: dict[str, tuple[list[str], np.ndarray]] = {}
    seconds: dict[str, float] = {}
    _tell(session, expert)
    for ranker in ("cold", "probe", DEFAULT_RANKER):
        started = time.perf_counter()
        yield from session.train_steps(ranker)
        seconds[ranker] = time.perf_counter() - started
        ids, log_odds = session.scores()
        scores[ranker] = ids, -log_odds[:, 0]
    rankings = {ranker: expert.truth_and_scores(*found) for ranker, found in scores.items()}
    measured = {ranker: metrics.evaluate(truth, values) for ranker, (truth, values) in rankings.items()}
    rows = [
        (ranker, *(f"{found[key]:.3f}" for key, _ in _FIGURES), f"{seconds[ranker]:.0f}")
        for ranker, found in measured.items()
    ]
    return DemoResult(
        len(session.cache),
        expert.anomalies,
        len(expert.given),
        ("ranker", *(title for _, title in _FIGURES), "seconds"),
        rows,
        _write(session, rankings, out),
        _advice(out),
    )


def _expert(truth: Path, session: Session) -> Expert:
    """Somebody who knows the truth and has labelled a few objects already."""
    with truth.open(newline="", encoding="utf-8") as handle:
        known = {row["object_id"]: row["class"] for row in csv.DictReader(handle)}
    expert = Expert({i: NOMINAL if kind == NOMINAL else ANOMALY for i, kind in known.items() if i in session.cache})
    expert.label_random(*_LABEL_COUNTS, np.random.default_rng((session.settings["session"]["seed"], 11)))
    return expert


def _tell(session: Session, expert: Expert) -> None:
    """Put the expert's labels into the session's log."""
    for label in (NOMINAL, ANOMALY):
        session.label(expert.labels.of(label), label, annotator="simulated expert")


def _write(session: Session, rankings: Mapping[str, tuple[np.ndarray, np.ndarray]], out: Path) -> list[Path]:
    session.contact_sheet(session.candidates(50, include_labelled=True), out / "candidates.png")
    figures.performance_curves(rankings, out / "curves.png", title="simulated sky, objects without a label")
    for name in ("anomalies.vot", "anomalies.fits"):
        session.export(out / name, top=50)
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
