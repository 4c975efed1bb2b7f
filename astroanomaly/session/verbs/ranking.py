"""Ranking: train, score, and what the scores say."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.arguments import as_flag, as_number, as_text, as_whole
from astroanomaly.cache import Cache
from astroanomaly.config import FetchConfig
from astroanomaly.files import as_path
from astroanomaly.hookspecs import Source
from astroanomaly.imaging.orientation import OrientationChoice
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.parallel.dask import connect
from astroanomaly.parallel.limits import ReadLimits
from astroanomaly.records import DEFAULT_RANKER, Progress, drain
from astroanomaly.session import cluster_tasks, training
from astroanomaly.session.caches import cache_folders, refuse_injections
from astroanomaly.session.candidates import candidates, contact_sheet, next_objects, suspects
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import Round
from astroanomaly.session.survey.score import SurveyReport, score_source
from astroanomaly.session.training import TrainReport

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["RankingVerbs"]


class RankingVerbs(SessionFolder):
    """Ranking: train, score, and what the scores say."""

    def train(
        self,
        ranker: str = DEFAULT_RANKER,
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
    ) -> TrainReport:
        """Train a ranker on the labels so far and score every object: one round.

        Parameters
        ----------
        ranker
            Its name, see `astroanomaly sources`: ``tuned``, ``active-search``, ``fixmatch``, ``cold`` ...; ``auto``:
            what suits the labels and the images.
        scheduler, workers
            As in `score`. The ranker learns in this process; features and scores come from the cluster.
        progress
            Called with a `Progress` now and then.
        **options
            Options of the ranker for this round only, as in ``iterations=50``.

        Raises
        ------
        TrainingError
            If it cannot learn from the labels there are.
        """
        return drain(self.train_steps(ranker, scheduler=scheduler, workers=workers, **options), progress)

    def train_steps(
        self,
        ranker: str = DEFAULT_RANKER,
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        **options: Any,
    ) -> Generator[Progress, None, TrainReport]:
        """As `train`, as a generator of progress reports.

        The round is added when it is trained, whole, or not at all. Scores are kept as they come; what is missing when
        the generator is not drained is scored by `score`.
        """
        if ranker == DEFAULT_RANKER:
            ranker, reason = training.choose_ranker(self, options)
            yield Progress("choosing a ranker", 1, 1, message=f"ranker {ranker}: {reason}")
        with connect(scheduler, workers) as cluster:
            learner = self.ranker(ranker, **options)
            report = yield from training.train(self, learner, cluster)
            self.fitted = (report.round.number, learner)
            self.record_caches()
            yield from training.score(self, learner, report.round, self.cache, cluster)
        return report

    def score(
        self,
        cache: str | Path | Cache | None = None,
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Round:
        """Score every object with the latest round's ranker; what is scored already is not scored again.

        Parameters
        ----------
        cache
            A further cache to bring into this session, for instance the whole survey after training on a part of it.
        scheduler
            Address of a Dask scheduler, such as ``tcp://host:8786``, whose workers compute features and scores; or
            ``local``, a cluster of processes on this machine.
        workers
            Number of processes of a local cluster; None: as many as there are cores.
        progress
            Called with a `Progress` now and then.
        """
        return drain(self.score_steps(cache, scheduler=scheduler, workers=workers), progress)

    def score_steps(
        self, cache: str | Path | Cache | None = None, *, scheduler: str | None = None, workers: int | None = None
    ) -> Generator[Progress, None, Round]:
        """As `score`, as a generator of progress reports."""
        last = self._trained[-1]
        whole = self.cache
        known = [folder.resolve() for folder in whole.folders]
        added = [] if cache is None else [one for one in cache_folders(cache) if one.resolve() not in known]
        if added:
            refuse_injections(added)
            whole = Cache.open(*whole.folders, *(one.absolute() for one in added))
        self.model_input.check(whole)
        if not last.is_scored(whole):
            with connect(scheduler, workers) as cluster:
                if cluster is not None:
                    yield from cluster_tasks.compute_features(self, self.ranker(last.ranker), whole, cluster)
                fitted = yield from fitted_steps(self, last)
                yield from training.score(self, fitted, last, whole, cluster)
        for one in added:
            self._join(one.absolute())
        return last

    def score_source(
        self,
        source: str | Source,
        inputs: str | Path | Sequence[str | Path] = (),
        *,
        out: str | Path,
        top: int = 1000,
        recall: float | None = None,
        keep_features: bool = False,
        prefix: str = "",
        workers: int | None = None,
        scheduler: str | None = None,
        fetch: FetchConfig | Mapping[str, Any] | None = None,
        limits: ReadLimits | Mapping[str, Any] | None = None,
        retry_failed: bool = False,
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
    ) -> SurveyReport:
        """Score a whole survey with the latest round's ranker without keeping its cutouts, but for the best.

        The best join the session. The same call resumes what was interrupted; after a later round it scores everything
        again, with that round's ranker.

        Parameters
        ----------
        source, inputs, prefix, workers, scheduler, fetch, limits
            As in `astroanomaly.ingest`; workers of a cluster score as well.
        out
            Folder that gets the plan of the survey and, in a folder for each round, the scores of all objects and a
            cache of the best cutouts; made when missing.
        top
            How many of the highest scores are kept as cutouts.
        recall
            Share of these that is enough, for instance .95; None: score every object. A small network then guesses the
            scores of all objects, and the ranker scores those that need it. The others have no score. A random sample
            of the survey tells how many are missing, see the report's ``cascade``.
        keep_features
            Keep features of all objects at 8 bits beside the scores, 256 bytes an object, for `similar`. What was
            scored without them is scored again. Not with ``recall``.
        retry_failed
            First forget the scores of the tasks in which objects have failed, so that they are cut and scored again.
        progress
            Called with a `Progress` now and then.
        **options
            Options of the source.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the ranker scores objects of caches only.
        ConfigError
            If ``recall`` is asked for with ``keep_features``, or for so few objects that all have to be scored.
        TrainingError
            If the session has fewer than 200 scored objects, from which ``recall`` learns.
        AstroAnomalyError
            As `astroanomaly.ingest`, and if the survey does not fit this session's caches.
        """
        request = SourceRequest.of(
            source,
            inputs,
            options=options,
            prefix=prefix,
            fetch=fetch,
            limits=limits,
            retry_failed=retry_failed,
        )
        steps = self.score_source_steps(
            request,
            out=out,
            top=top,
            recall=recall,
            keep_features=keep_features,
            workers=workers,
            scheduler=scheduler,
        )
        return drain(steps, progress)

    def score_source_steps(
        self,
        request: SourceRequest,
        *,
        out: str | Path,
        top: int = 1000,
        recall: float | None = None,
        keep_features: bool = False,
        workers: int | None = None,
        scheduler: str | None = None,
    ) -> Generator[Progress, None, SurveyReport]:
        """As `score_source`, as a generator of progress reports.

        Parameters
        ----------
        request
            The survey, as `astroanomaly.ingestion.request.SourceRequest.of` makes it.
        out, top, recall, keep_features, workers, scheduler
            As in `score_source`.
        """
        last = self._trained[-1]
        fitted = yield from fitted_steps(self, last)
        report = yield from score_source(
            self,
            last,
            fitted,
            request,
            out=as_path(out, "the folder of the survey"),
            top=as_whole(top, "top", 1),
            recall=None if recall is None else as_number(recall, "recall", 0),
            keep_features=as_flag(keep_features, "keep_features"),
            workers=workers,
            scheduler=scheduler,
        )
        if report.kept:
            self.__dict__.pop("cache", None)  # the best may have joined before they were all there
            yield from self.score_steps(report.best)
        return report

    def scores(self) -> tuple[list[str], np.ndarray]:
        """Return the ids of all objects and their ``(N, classes)`` float32 log-odds by the latest round.

        The score of an object is the log-odds that it is not nominal: minus the first column.
        """
        return self.last_round.read_scores(self.objects)

    def candidates(
        self,
        n: int = 50,
        order: str = "score",
        *,
        include_labelled: bool = False,
        merge_radius_arcsec: float = 1.0,
    ) -> QTable:
        """Return the objects to look at next.

        Parameters
        ----------
        n
            How many.
        order
            ``score`` (most anomalous first), ``uncertain``, ``diverse``, ``novel``, ``mixed``, ``random``, ``nominal``,
            ``median`` or ``mean``.
        include_labelled
            Whether objects that have a label already are among them. Audit objects never are.
        merge_radius_arcsec
            Of objects closer than this, as cutouts of one galaxy from overlapping images, only the first is listed;
            ``merged_ids`` names the others. 0 lists all.

        Returns
        -------
        astropy.table.QTable
            One row per object: id, position, score, log-odds per class, label, catalogue columns.
        """
        radius = as_number(merge_radius_arcsec, "merge_radius_arcsec", 0)
        found = next_objects(
            self, as_whole(n, "n", 1), as_text(order, "order"), merge_radius_arcsec=radius,
            include_labelled=as_flag(include_labelled, "include_labelled"),
        )  # fmt: skip
        return candidates(self, found, merged=radius > 0)

    def contact_sheet(self, table: QTable, path: str | Path, *, orientation: OrientationChoice = "north") -> None:
        """Draw the objects of a table of candidates as one picture.

        Parameters
        ----------
        table
            What `candidates` gives.
        path
            ``.png``, ``.svg`` or ``.pdf``.
        orientation
            How objects with a WCS are turned: ``north``, ``north-quarter`` (by quarter turns), or ``stored``.
        """
        contact_sheet(self, table, as_path(path, "the picture"), orientation)

    def suspects(self, n: int = 50, *, progress: Callable[[Progress], None] | None = None) -> QTable:
        """Return the labels that look most wrong: those that a model contradicts which learnt from all the others.

        Parameters
        ----------
        n
            How many, at most. Labels of the audit set are not among them.
        progress
            Called with a `Progress` while features that are missing are computed.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``label``, ``looks_like`` (the class the model finds most likely) and ``confidence`` (what it
            gives the label, 0 to 1; no calibrated probability), the most doubtful first.

        Raises
        ------
        TrainingError
            If only one side is labelled.
        """
        return suspects(self, as_whole(n, "n", 1), progress)
