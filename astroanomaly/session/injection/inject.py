"""Inject light into real cutouts of a session, rank them as its latest round ranks, and count what would be found."""

from __future__ import annotations

import datetime
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import figures
from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.errors import SessionError
from astroanomaly.files import atomic_folder, check_new
from astroanomaly.records import CutoutBlock, Progress
from astroanomaly.session.caches import INJECTIONS
from astroanomaly.session.export import origin
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.injection.add_light import BRIGHTNESS, HOST, SIZE, inject_into
from astroanomaly.session.injection.completeness import Completeness, keep
from astroanomaly.session.injection.efficiency import Axis, Efficiency
from astroanomaly.session.injection.hosts import draw_hosts
from astroanomaly.session.injection.request import InjectionRequest
from astroanomaly.session.outputs.provenance import public
from astroanomaly.tables.write import build_catalog, write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["InjectionReport", "draw", "injected_blocks", "injection_steps"]

_CACHE, _TABLE, _EFFICIENCY, _FIGURE = "cache", "injections.vot", "efficiency.ecsv", "efficiency.png"
_PSF = "psf.fits"  # as it was measured
_TASK_OBJECTS = 64  # injections that are written together
_LEAST_TOP = 100  # objects that are looked at, where fewer have labels
_DEPTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


@dataclass(frozen=True, eq=False)
class InjectionReport:
    """Result of injections.

    Attributes
    ----------
    folder
        Folder with the cache of the injections, their table, the table of the efficiency and its picture, and the PSF
        as ``psf.fits``, if it was measured.
    injections
        One row for each injection: id, position and columns of the host, what was added, ``score``, ``rank`` among the
        objects of the survey (1 is the most anomalous), ``found``, and ``host_rank``, that of the host itself.
    completeness
        What was counted: its ``efficiency`` has `Efficiency.table`.
    """

    folder: Path
    injections: QTable
    completeness: Completeness

    @property
    def table(self) -> QTable:
        """The fraction found, by brightness, by size and by both; see `Efficiency.table`."""
        return self.completeness.efficiency.table()

    @property
    def cache(self) -> Cache:
        """The cutouts of the injections."""
        return Cache.open(self.folder / _CACHE)


def injection_steps(
    session: SessionFolder, request: InjectionRequest, out: Path, *, overwrite: bool = False
) -> Generator[Progress, None, InjectionReport]:
    """Inject, rank and count; see `Session.inject`.

    The folder is there whole, or not at all, and nothing of the session changes but the file of the result.

    Parameters
    ----------
    session
        The session.
    request
        What is injected.
    out
        Folder to make.
    overwrite
        Replace a folder that was made so.

    Raises
    ------
    SessionError
        If nothing has scored all objects yet, no object can be injected into, or the session looks at numbers beside
        the image.
    StorageError
        If the folder is taken or cannot be written.
    AstroAnomalyError
        As for the brightness of a host, and as the ranker.
    """
    last = session.last_round
    if session.context.blocks:
        names = ", ".join(block.name for block in session.context.blocks)
        raise SessionError(
            f"{session.path} looks at numbers beside the image ({names}), and what those of an injected object would "
            "be is not simulated: measure a session of the same caches and labels without blocks"
        )
    check_new(out, overwrite=overwrite, folder=True)
    with atomic_folder(out, overwrite=overwrite) as folder:
        yield from _write(session, request, folder / _CACHE)
        if request.measured is not None:
            request.measured.write(folder / _PSF)
        injected = Cache.open(folder / _CACHE)
        ranker = yield from fitted_steps(session, last)
        scores = np.full(len(injected), np.nan)
        done = 0
        yield Progress("scoring injections", 0, len(injected))
        for part in ranker.score(injected):
            scores[injected.rows(list(part.ids))] = -part.log_odds[:, 0]
            done += len(part.ids)
            yield Progress("scoring injections", done, len(injected))
        survey = -last.read_log_odds(session.objects)[:, 0].astype(np.float64)
        top, why = _top(session, request)
        ids = list(injected.ids)
        columns = injected.columns(ids)
        own = survey[session.objects.rows([str(host) for host in columns[HOST]])]
        ranks, host_ranks = _ranks(scores, survey, own), _ranks(own, survey, own)
        efficiency = _count(request, session, columns, (ranks, host_ranks), top, int(np.isfinite(survey).sum()))
        completeness = Completeness(
            request.kind.name, request.kind.summary, efficiency, top, last.number, last.ranker,
            int(np.isfinite(survey).sum()), public(_about(request, origin(session, last), why)),
        )  # fmt: skip
        table = _table(injected, ids, columns, scores, (ranks, host_ranks), top, completeness)
        write_catalog(table, folder / _TABLE, contents="injections")
        efficiency.table().write(folder / _EFFICIENCY, format="ascii.ecsv")
        draw(completeness, folder / _FIGURE)
    keep(session.path, completeness)
    return InjectionReport(out, table, completeness)


def draw(found: Completeness, path: Path) -> None:
    """Draw the fraction found against brightness and size."""
    counts = found.efficiency
    brightness, size = counts.brightness, counts.size
    figures.efficiency(
        counts.n,
        counts.found,
        path,
        brightness=(brightness.label, brightness.edges, brightness.logarithmic),
        size=(size.label, size.edges, size.logarithmic),
        hosts=counts.hosts.fraction,
        title=f"{counts.total.n} injections of the kind {found.kind}: share among the first {found.top} of "
        f"{found.objects} objects, by {found.ranker} of round {found.round}",
    )


def injected_blocks(session: SessionFolder, request: InjectionRequest) -> Iterator[CutoutBlock]:
    """Yield the injections one after another, each with its id and its columns; see `inject_into`."""
    measured = request.ratios is None or request.brightness.quantity == "relative"
    rng = np.random.default_rng((request.seed, 0))
    hosts = draw_hosts(session, request.n, rng, request.hosts, measured=measured)
    return (inject_into(host, request, number) for number, host in enumerate(hosts))


def _write(session: SessionFolder, request: InjectionRequest, folder: Path) -> Generator[Progress, None, None]:
    """Write the cutouts of all injections as a cache."""
    layout = replace(session.cache.layout, auxiliary=())
    description = {"source": INJECTIONS, "inputs": [], "options": public(_about(request, {}, ""))}
    create_cache(folder, layout, (), description)
    yield Progress("injecting", 0, request.n)
    with ShardWriter(folder, layout) as writer:
        for number, block in enumerate(injected_blocks(session, request)):
            if number % _TASK_OBJECTS == 0:
                writer.begin(number // _TASK_OBJECTS, f"injections-{number // _TASK_OBJECTS}")
            writer.add(block)
            if (number + 1) % _TASK_OBJECTS == 0 or number + 1 == request.n:
                writer.commit()
                yield Progress("injecting", number + 1, request.n)
    load_index(folder)


def _top(session: SessionFolder, request: InjectionRequest) -> tuple[int, str]:
    """Return up to which rank an injection is found, and why."""
    if request.top is not None:
        return request.top, "as asked for"
    audit = session.labels.audit
    looked_at = sum(bool(one.label) for i, one in session.labels.current().items() if i not in audit)
    if looked_at >= _LEAST_TOP:
        return looked_at, "as many as have labels, without the audit set"
    return _LEAST_TOP, f"the least that is taken; {looked_at} objects have labels, without the audit set"


def _ranks(scores: np.ndarray, survey: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``(n,)`` rank of each injection among the objects of the survey without its own host; last without a score."""
    rising = np.sort(survey[np.isfinite(survey)])
    above = len(rising) - np.searchsorted(rising, scores, "right") - (own > scores)
    return np.where(np.isfinite(scores), 1 + above, len(survey) + 1)


def _count(
    request: InjectionRequest,
    session: SessionFolder,
    columns: dict[str, Any],
    ranks: tuple[np.ndarray, np.ndarray],
    top: int,
    objects: int,
) -> Efficiency:
    given, layout = request.brightness, session.cache.layout
    name = {"magnitude": f"mag_{given.band}", "flux": f"flux_{given.band}", "relative": "relative"}[given.quantity]
    size = Axis.of_size(request)
    return Efficiency.count(
        Axis.of_brightness(request, layout.units[layout.bands.index(given.band)]),
        size,
        np.asarray(columns[BRIGHTNESS.format(name)], np.float64),
        np.asarray(columns[f"{SIZE}_arcsec" if size.unit == "arcsec" else SIZE], np.float64),
        *ranks,
        top,
        [depth for depth in _DEPTHS if depth < objects],
    )


def _about(request: InjectionRequest, scores: dict[str, str], why: str) -> dict[str, str]:
    """Say how the injections were made."""
    given, low_high = request.brightness, "{:.4g} to {:.4g}"
    hosts = "drawn at random from the objects without a label, without the audit set"
    if request.hosts is not None:
        hosts = (
            f"drawn from {len(request.hosts)} given objects, without those that have a label or are in the audit set"
        )
    bands = f" in {given.band}" if given.quantity != "relative" else " of the flux of the host in each band"
    colours = (
        "as the host" if request.ratios is None else "flux ratios " + ", ".join(f"{r:.3g}" for r in request.ratios)
    )
    noise = "that of the cutouts is kept; photon noise of the light is not added, since the gain was not given"
    if request.gains is not None:
        noise = "that of the cutouts is kept; photon noise of the light is added, gain " + ", ".join(
            f"{gain:g}" for gain in request.gains
        )
    about = {
        "injected": f"{request.n} of the kind {request.kind.name}: {request.kind.summary}",
        "hosts": hosts,
        "brightness": f"{given.quantity} {low_high.format(given.low, given.high)}{bands}",
        "colours": colours,
        "size": f"{request.kind.size} {low_high.format(*request.size_px)} pixels",
        "psf": request.psf_text,
        "noise": noise,
        "seed": str(request.seed),
    }
    if why:
        about["looked_at"] = why
        about["made"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return about | scores


def _table(
    injected: Cache, ids: list[str], columns: dict[str, Any], scores: np.ndarray,
    both_ranks: tuple[np.ndarray, np.ndarray], top: int, completeness: Completeness,
) -> QTable:  # fmt: skip
    ra, dec = injected.positions
    ranks, host_ranks = both_ranks
    order = np.lexsort((np.array(ids, dtype=str), ranks))
    ours: dict[str, Any] = {
        "object_id": np.array(ids, dtype=str)[order],
        "ra": ra[order],
        "dec": dec[order],
        "score": scores[order],
        "rank": ranks[order],
        "found": ranks[order] <= top,
        "host_rank": host_ranks[order],
    }
    known = {name if name not in ours else f"catalog_{name}": column[order] for name, column in columns.items()}
    table = build_catalog({**ours, **known}, completeness.about)
    table["found"].info.description = f"whether the rank is {top} or less"
    table["host_rank"].info.description = "rank of the host in the survey, without the light"
    table["rank"].info.description = "1 + number of objects of the survey, without the host, with a higher score"
    return table
