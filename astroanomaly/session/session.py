"""The class `Session`: create, train, score, export. What lies on disk is in `astroanomaly.session.folder`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.arguments import as_flag, as_ids, as_list, as_mapping, as_number, as_text, as_texts, as_whole
from astroanomaly.cache import Cache
from astroanomaly.cache.check import Integrity
from astroanomaly.config import FetchConfig
from astroanomaly.errors import SessionError
from astroanomaly.files import as_path
from astroanomaly.hookspecs import ImageRanker, Source
from astroanomaly.imaging.orientation import OrientationChoice
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.labels.agreement import Agreement
from astroanomaly.labels.consensus import DECISION
from astroanomaly.labels.naming import given_labels, named_objects
from astroanomaly.labels.tables import ImportReport, import_labels, refuse_contradictions
from astroanomaly.parallel.dask import connect
from astroanomaly.parallel.limits import ReadLimits
from astroanomaly.plugins import load_plugins
from astroanomaly.records import DEFAULT_RANKER, Progress, drain
from astroanomaly.session import cluster_tasks, training
from astroanomaly.session.audit import AuditDraw, draw_audit
from astroanomaly.session.caches import cache_folders, refuse_injections
from astroanomaly.session.calibration import DEPTHS, Forecast
from astroanomaly.session.campaign import (
    Campaign,
    PersonProgress,
    agreement_in,
    assign,
    disagreements_table,
    progress_of,
    read_campaign,
)
from astroanomaly.session.candidates import candidates, contact_sheet, suspects, usual_display
from astroanomaly.session.crossmatch import CrossmatchReport, crossmatch_steps, named_catalogs, within_errors
from astroanomaly.session.export import export, selected
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder, user_name
from astroanomaly.session.injection.inject import InjectionReport, injection_steps
from astroanomaly.session.injection.request import InjectionRequest
from astroanomaly.session.integrity import session_integrity
from astroanomaly.session.known import read_known
from astroanomaly.session.label_table import labels_table, write_labels
from astroanomaly.session.outputs.bundle import write_bundle
from astroanomaly.session.outputs.completeness import completeness_html
from astroanomaly.session.outputs.cutouts import write_cutouts_of
from astroanomaly.session.outputs.footprint import Footprint, write_footprint
from astroanomaly.session.outputs.methods import MethodText, methods, write_methods
from astroanomaly.session.outputs.report import write_report
from astroanomaly.session.outputs.stored_ranking import write_ranking
from astroanomaly.session.pruning import StoredRound, prune_rounds, stored_rounds
from astroanomaly.session.relocation import RelocateReport, relocate
from astroanomaly.session.remaining import remaining
from astroanomaly.session.reproduce import TOLERANCE, Reproduction, reproduce_steps
from astroanomaly.session.rounds import Round
from astroanomaly.session.score_parts import score_parts
from astroanomaly.session.score_table import export_scores
from astroanomaly.session.summary import summary
from astroanomaly.session.survey import SurveyReport, score_source
from astroanomaly.session.training import TrainReport
from astroanomaly.tables.coordinates import angle_arcsec

if TYPE_CHECKING:
    from astropy.table import QTable, Table
    from astropy.units import Quantity

__all__ = ["Session"]

_NOTEBOOK_MODULE = "astroanomaly.app.web.notebook"


class Session(SessionFolder):
    """A session: make one with `Session.create`, come back to it with `Session.open`.

    Attributes
    ----------
    path
        Its folder.
    classes
        Label classes: ``nominal``, ``anomaly``, then the session's own anomaly classes.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(path, content)
        self._app: Any = None

    # ------------------------------------------------------------------------------------------------------- labels

    def label(
        self,
        ids: Any,
        value: str | Iterable[str],
        *,
        radius: Quantity | str = "1arcsec",
        annotator: str | None = None,
        note: str | None = None,
        decision: bool = False,
    ) -> ImportReport:
        """Say of one or more objects what they are: ``nominal``, ``anomaly`` or a class of the session's own.

        Parameters
        ----------
        ids
            The objects: an id, or a list, array or column of ids; `astropy.coordinates.SkyCoord` in any frame, one
            position or a list, each of which is the nearest object within ``radius``; a `Cutout`; or a table or a row
            of one, by its column ``object_id`` or its positions, as a table of labels.
        value
            One label class for all, or one for each.
        radius
            How far an object may be from a position: an angle with its unit, ``1 * u.arcsec`` or ``"1arcsec"``.
        annotator
            Who says so; None: your user name.
        note
            A note to each object.
        decision
            Whether this closes the case: it counts whatever others have said or will say.

        Returns
        -------
        ImportReport
            How many labels were written, and where several objects were within the radius.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches; then no label is written.
        LabelError
            For an unknown label class, for a position without an object, or for something that names no object.
        ConfigError
            If the radius is no angle.
        """
        chosen, messages = named_objects(ids, lambda: self.objects.ids, lambda: self.objects.positions, radius)
        values = given_labels(value, len(chosen))
        who = _annotator(annotator)
        note = as_text(note, "note") if note is not None else ""
        refuse_contradictions(chosen, values, [who] * len(chosen), "one call")
        self.objects.rows(chosen)
        with self.labels.transaction():
            ordering = DECISION if as_flag(decision, "decision") else ""
            self.labels.verdict(chosen, values, annotator=who, round=len(self.rounds), ordering=ordering)
            if note:
                self.labels.note(chosen, note, annotator=who, round=len(self.rounds))
        return ImportReport(len(chosen), tuple(messages))

    def labels_table(self) -> QTable:
        """Return one row per labelled object.

        Returns
        -------
        astropy.table.QTable
            As `export_labels` writes it: ``object_id``, ``label`` (of a decision, else of the majority), ``votes``,
            ``annotators``, ``decided_by`` (empty without a decision), ``time`` (of the last verdict, ISO 8601 in UTC,
            as `astropy.time.Time` reads it), ``ra`` and ``dec`` (ICRS, NaN where unknown), ``audit`` (whether it is of
            the audit set) and ``note``.
        """
        return labels_table(self)

    def import_labels(
        self,
        path: str | Path | Table,
        *,
        match_radius_arcsec: float = 1.0,
        annotator: str | None = None,
        label: str | None = None,
        ra: str | None = None,
        dec: str | None = None,
        frame: str | None = None,
        unit: str | None = None,
        words: Mapping[str, str] | None = None,
        skip_unmatched: bool = False,
        decision: bool = False,
    ) -> ImportReport:
        """Take labels from a table, matched by object id, by base name, or by position on the sky.

        Nothing is written if any row is wrong.

        Parameters
        ----------
        path
            Path of a table of any format that `read_catalog` reads, or of a folder with a folder of files for each
            class; or an `astropy.table.Table` or `~astropy.table.QTable`.
        match_radius_arcsec
            How far a labelled position may be from its object.
        annotator
            Who says so, where the table does not; None: your user name.
        label, ra, dec
            Names of the columns of labels and positions; by default usual names are looked for, and ids go before
            positions.
        frame, unit
            Frame and unit of the positions, as in `read_catalog`.
        words
            What words of the table mean: the label of each, or an empty text for no label.
        skip_unmatched
            Leave out rows that match no object; the report counts them.
        decision
            Whether each label closes the case of its object: it counts whatever others have said or will say.
        """
        return import_labels(
            self.labels,
            path,
            self.objects.ids,
            self.objects.positions,
            radius_arcsec=as_number(match_radius_arcsec, "match_radius_arcsec", 0),
            annotator=_annotator(annotator),
            round=len(self.rounds),
            label=label,
            ra=ra,
            dec=dec,
            frame=frame,
            unit=unit,
            words=None if words is None else as_mapping(words, "words"),
            skip_unmatched=skip_unmatched,
            decision=as_flag(decision, "decision"),
        )

    def export_labels(self, path: str | Path, *, overwrite: bool = False, escape_formulas: bool = False) -> int:
        """Write one row per labelled object; return how many.

        Parameters
        ----------
        path
            ``.vot``, ``.votable`` or ``.xml`` (VOTable), ``.fits``, ``.ecsv`` or ``.reg`` (DS9 regions): what
            `labels_table` gives, in that format. Any other name: CSV, with a header line.
        overwrite
            Replace the file if it exists.
        escape_formulas
            Write a CSV in which no text is a formula to a spreadsheet.

        Raises
        ------
        ConfigError
            If formulas are to be escaped in what is no CSV.
        StorageError
            If the file exists and must not be replaced, or cannot be written.
        """
        return write_labels(self, as_path(path, "the file"), overwrite=overwrite, escape_formulas=escape_formulas)

    # ------------------------------------------------------------------------------------------------ several people

    def assign(
        self,
        annotators: Sequence[str],
        *,
        shared: int = 0,
        top: int | None = None,
        random: int | None = None,
        ids: Sequence[str] | None = None,
        replace: bool = False,
    ) -> Campaign:
        """Divide objects among several people; in the app each of them gets a list, and judges it blind.

        Everybody gets the shared objects, drawn at random from those to divide, and an equal part of the others, in an
        order of their own.

        Parameters
        ----------
        annotators
            Names of the people, as they call themselves in the app.
        shared
            How many objects everybody judges: agreement is measured on them.
        top
            Divide the so many highest scores of the latest round that have no label, duplicates left out; or
        random
            so many objects without a label, drawn at random; or
        ids
            these objects, whether they have labels or not.
        replace
            Give up the lists of an earlier campaign. Verdicts stay.

        Returns
        -------
        Campaign
            ``lists``, ids by name in the order in which they are shown, and ``shared``; as text, who judges how many.

        Raises
        ------
        ConfigError
            If a name, a number or the choice of objects cannot be.
        SessionError
            If there is a campaign already; or if nothing was scored and ``top`` is asked for.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return assign(
            self, as_texts(annotators, "annotators"), shared=as_whole(shared, "shared"),
            top=None if top is None else as_whole(top, "top", 1),
            random=None if random is None else as_whole(random, "random", 1),
            ids=None if ids is None else as_ids(ids, "ids"), replace=as_flag(replace, "replace"),
        )  # fmt: skip

    @property
    def campaign(self) -> Campaign | None:
        """Who judges which objects; None unless `assign` has divided some."""
        return read_campaign(self.path)

    def campaign_progress(self) -> list[PersonProgress]:
        """Say how far each person of the campaign is; empty without one.

        Returns
        -------
        list of PersonProgress
            ``annotator``, ``objects`` on the list, ``judged``, ``skipped``, ``left``, and ``shared_left`` of these.
        """
        campaign = self.campaign
        return [] if campaign is None else progress_of(campaign, self.labels.current(), self.labels.audit)

    def agreement(self) -> Agreement:
        """Say how far annotators agree: on the objects that all of a campaign share, else on all that several judged.

        Returns
        -------
        Agreement
            ``kappa`` (Fleiss, of all), ``classes`` (of each class), ``pairs`` (Cohen), each kappa with its 90 %
            interval; ``objects``, ``alike``, ``decided``. Decisions are left out of all kappas.
        """
        return agreement_in(self.campaign, self.labels.current(), self.classes)

    def disagreements(self) -> QTable:
        """Return the objects on which annotators differ and nobody has decided, the most divided first.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec``, ``label`` (empty: fill it in, and `import_labels` with ``decision=True``),
            ``consensus``, ``verdicts`` and ``note``. Objects of the audit set are left out.
        """
        return disagreements_table(self)

    # ------------------------------------------------------------------------------------------------------- its place

    def stored_rounds(self) -> list[StoredRound]:
        """Return the rounds with the space they take, and why one must stay, oldest first."""
        return stored_rounds(self)

    def prune_rounds(self, keep: int, *, dry_run: bool = False) -> list[StoredRound]:
        """Remove the rounds but the latest ones and those that are needed.

        Parameters
        ----------
        keep
            How many of the latest rounds stay. So do the round whose scores are shown and exported, the latest round of
            each ranker with weights, from which its next training goes on, and those that a process works on.
        dry_run
            Remove nothing.

        Returns
        -------
        list of StoredRound
            What was removed, or would be.

        Raises
        ------
        ConfigError
            If ``keep`` is less than 1.
        StorageError
            If a round cannot be removed.
        """
        return prune_rounds(self, keep, dry_run=dry_run)

    def relocate(self, caches: str | Path | Cache | Sequence[str | Path | Cache]) -> RelocateReport:
        """Tell the session where caches are that were moved.

        Each is compared with what the session has recorded of its caches: number of objects, and ids, positions and
        pixels of up to 1,000 of them. Scores and features stay. Nothing is changed if one does not fit.

        Parameters
        ----------
        caches
            The new place of one or more of its caches, in any order.

        Returns
        -------
        RelocateReport
            Where all caches of the session are, and what could not be compared.

        Raises
        ------
        CacheError
            If a cache does not hold the objects that it should.
        SessionError
            If it cannot be told which cache of the session is meant.
        UnreadableError
            If there is no cache.
        """
        return relocate(self, cache_folders(caches))

    def check(self, progress: Callable[[Progress], None] | None = None) -> Integrity:
        """Read every file of the session and of its caches, and compare it with the digest it was written with.

        Parameters
        ----------
        progress
            Called with a `Progress` after each file.

        Returns
        -------
        Integrity
            How many files were read, and those that are damaged, each with what is wrong and the way out.
        """
        return drain(session_integrity(self.path), progress)

    def add_audit(self, n: int, *, replace: bool = False) -> AuditDraw:
        """Draw an audit set at random from the objects that nobody has labelled, or draw more of the one there is.

        It is then a sample of what had no label: `remaining`, probabilities and curves are about these objects, and
        what was labelled before is known and added. Skipped objects have no label, and may be drawn.

        Parameters
        ----------
        n
            How many objects; they are never trained on from then on, and never shown as candidates.
        replace
            Give the audit set up that there is, whose labels are then ordinary ones, and begin a new one.

        Returns
        -------
        AuditDraw
            How many were drawn from how many; as text, what that means.

        Raises
        ------
        ConfigError
            If fewer objects have no label, or not a single one would be left.
        SessionError
            If there is an audit set, and objects beside it that it is a sample of have been labelled since: two such
            samples cannot be put together exactly.
        """
        return draw_audit(
            self.labels, self.cache, as_whole(n, "n", 1), self.context.seed, replace=as_flag(replace, "replace")
        )

    # ----------------------------------------------------------------------------------------------------- learning

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
            If ``recall`` is asked for on a cluster, or for so few objects that all have to be scored.
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
        steps = self.score_source_steps(request, out=out, top=top, recall=recall, workers=workers, scheduler=scheduler)
        return drain(steps, progress)

    def score_source_steps(
        self,
        request: SourceRequest,
        *,
        out: str | Path,
        top: int = 1000,
        recall: float | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
    ) -> Generator[Progress, None, SurveyReport]:
        """As `score_source`, as a generator of progress reports.

        Parameters
        ----------
        request
            The survey, as `astroanomaly.ingestion.request.SourceRequest.of` makes it.
        out, top, recall, workers, scheduler
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
            workers=workers,
            scheduler=scheduler,
        )
        if report.kept:
            self.__dict__.pop("cache", None)  # the best may have joined before they were all there
            yield from self.score_steps(report.best)
        return report

    # ------------------------------------------------------------------------------------------------------ results

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
        return candidates(
            self, as_whole(n, "n", 1), as_text(order, "order"), merge_radius_arcsec=radius,
            include_labelled=as_flag(include_labelled, "include_labelled"),
        )  # fmt: skip

    def crossmatch(
        self,
        catalogs: Any,
        *,
        radius: Quantity | str = "2arcsec",
        sigma: float | None = None,
        position_error: Quantity | str | None = None,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        fetch: FetchConfig | Mapping[str, Any] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Look objects up in catalogues and online services, and keep what they are known as.

        What is found joins the tables of `candidates`, `export`, reports and bundles, and is shown in the app. A second
        call replaces what the same catalogue has said of the same objects, and nothing else.

        Parameters
        ----------
        catalogs
            Name of a service (``simbad``, ``ned``, ``gaia``, ``skybot``, see ``astroanomaly sources``); path of a table
            of any format that `read_catalog` reads; a table or `~astropy.coordinates.SkyCoord`; a list of these; or a
            dictionary of names and these.
        radius
            How far an entry may be from an object: an angle with its unit, at most 10 arcmin.
        sigma
            An entry of a table may also be no further than this many times the error of its position, which is found
            by UCD or name. None: errors do not count.
        position_error
            Error of the positions of the session's objects, an angle, added in quadrature. None: 0.
        top, threshold, labelled, merge_radius_arcsec
            Which objects, as in `export`.
        ids
            These objects instead.
        fetch
            How services are asked, see `astroanomaly.FetchConfig`.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec``; ``known``, ``known_type``, ``known_in``, ``known_separation`` (arcsec),
            ``known_reference`` and ``known_matches``; ``known_position_error`` with ``sigma``; numbers of services, as
            ``simbad_redshift``; ``not_asked`` where a service did not answer for an object. What others have answered
            is kept: call again.

        Raises
        ------
        CatalogError, UnreadableError
            If a table cannot be read, or has no positions.
        ConfigError
            If there is no such service, or the radius cannot be.
        """
        steps = self.crossmatch_steps(
            catalogs, radius=radius, sigma=sigma, position_error=position_error, top=top, threshold=threshold,
            labelled=labelled, ids=ids, merge_radius_arcsec=merge_radius_arcsec, fetch=fetch,
        )  # fmt: skip
        return drain(steps, progress).table

    def crossmatch_steps(
        self,
        catalogs: Any,
        *,
        radius: Quantity | str = "2arcsec",
        sigma: float | None = None,
        position_error: Quantity | str | None = None,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        fetch: FetchConfig | Mapping[str, Any] | None = None,
    ) -> Generator[Progress, None, CrossmatchReport]:
        """As `crossmatch`, as a generator of progress reports; it returns failures too."""
        named = named_catalogs(catalogs)
        arcsec = angle_arcsec(radius, "radius")
        within = within_errors(sigma, position_error)
        objects = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        return (yield from crossmatch_steps(self, named, objects, arcsec, fetch, within))

    def summary(self, *, merge_radius_arcsec: float = 1.0) -> QTable:
        """Count the objects labelled as anomalies, by class, by whether they are known, and by reference.

        Parameters
        ----------
        merge_radius_arcsec
            Objects closer than this count as one; 0 counts all.

        Returns
        -------
        astropy.table.QTable
            ``label``, ``known`` (``known``, ``not known``, or ``not looked up`` where one of the catalogues was not
            asked), ``known_in``, ``reference`` and ``n``.
        """
        return summary(self, as_number(merge_radius_arcsec, "merge_radius_arcsec", 0))

    def remaining(self, depths: Sequence[int] | None = None) -> Forecast:
        """Say how many anomalies are left among the unlabelled objects, and how many the next ones hold.

        Parameters
        ----------
        depths
            Numbers of unlabelled objects, the highest scores of the latest round first; None: 10, 20, 50, 100 ...

        Returns
        -------
        Forecast
            ``total`` and ``within``, with their 90 % and 95 % intervals, and ``probability(scores)``.

        Raises
        ------
        SessionError
            If nothing was trained yet, or fewer than 20 objects of the audit set are labelled: without it nothing is
            known of what nobody has looked at.
        """
        chosen = DEPTHS if depths is None else as_list(depths, "depths", "whole numbers")
        return remaining(self, [as_whole(depth, "depths", 1) for depth in chosen])

    def inject(
        self,
        kind: str | Path,
        out: str | Path,
        *,
        psf: Any,
        n: int = 500,
        magnitude: Sequence[float] | None = None,
        flux: Sequence[float] | None = None,
        relative: Sequence[float] | None = None,
        size: Any = None,
        band: str | None = None,
        colours: Mapping[str, float] | None = None,
        gain: float | Mapping[str, float] | None = None,
        zero_points: float | Mapping[str, float] | None = None,
        hosts: Sequence[str] | None = None,
        top: int | None = None,
        seed: int = 0,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> InjectionReport:
        """Add simulated light to real cutouts, rank them as the latest round ranks, and count what would be found.

        Of the session itself nothing changes but the file of the result, which `write_report` shows: injections are
        never labelled, learnt from, or part of the audit set.

        Parameters
        ----------
        kind
            ``lens``, ``ring`` or ``tidal``; or the path of a stamp as FITS, with one image, or one by the name of each
            band.
        out
            Folder to make: a cache of the injections, their table, and the efficiency as a table and as a picture.
        psf
            Full width at half maximum of the PSF, in pixels or as an angle, or a dictionary by band; or the path of an
            image of it as FITS. 0 convolves with nothing.
        n
            How many injections.
        magnitude, flux, relative
            One range of brightness, the lower end first: AB magnitudes in ``band``; flux in ``band``, in the unit of
            the pixels; or flux relative to the host's in each band. None of them: 0.03 to 1 of the host's.
        size
            Range of sizes, in pixels or as angles: Einstein radius of a lens, radius of a ring, radius that tidal light
            reaches, half-light radius of a stamp. None: from the width of the PSF to a fifth of the cutout; a stamp as
            it is.
        band
            Band of magnitude and flux; None: the middle one.
        colours
            Flux in each band, up to a factor; None: as the host, or as the stamp.
        gain
            Electrons a unit of flux, one for all bands or by band: then the light has photon noise.
        zero_points
            AB magnitude of one unit of flux, where the cache does not know it.
        hosts
            Ids of the objects to draw hosts from; None: all. Those with a label, or in the audit set, are left out.
        top
            An injection is found if it is among the first so many objects. None: as many as have labels, at least 100.
        seed
            Seed of everything random.
        overwrite
            Replace a folder that was made so.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        InjectionReport
            ``table`` (the fraction found by brightness and size, with 90 % intervals), ``injections`` (one row each),
            ``cache``.

        Raises
        ------
        ConfigError, BandError, UnreadableError
            If anything given does not fit.
        CacheError
            If the cutouts have no flux: 8-bit pictures.
        SessionError
            If nothing was trained yet, or no object can be injected into.
        """
        request = InjectionRequest.of(
            self.cache, kind, psf=psf, n=n, magnitude=magnitude, flux=flux, relative=relative, size=size, band=band,
            colours=colours, gain=gain, zero_points=zero_points, hosts=hosts, top=top, seed=seed,
        )  # fmt: skip
        steps = injection_steps(self, request, as_path(out, "the folder"), overwrite=as_flag(overwrite, "overwrite"))
        return drain(steps, progress)

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

    def export(
        self,
        path: str | Path,
        *,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        merge_radius_arcsec: float = 1.0,
        overwrite: bool = False,
        escape_formulas: bool = False,
        acronym: str = "",
        journal: str = "aas",
    ) -> QTable:
        """Write a catalogue of anomalies: FITS, VOTable, ECSV, CSV or DS9 regions, by the suffix of the path.

        Or a table for a paper: ``.mrt`` (machine-readable table of AAS journals), ``.dat`` (fixed-width table with a
        ``ReadMe`` beside it, for the CDS) or ``.tex`` (LaTeX).

        Objects labelled nominal are left out of the first two selections.

        Parameters
        ----------
        path
            File to write.
        top
            The so many highest scores, duplicates merged before they are counted; 100 when no selection is given.
        threshold
            All objects whose probability is at least this, and those labelled as anomalies. Without a labelled audit
            set it is 1 / (1 + exp(-score)), which is not calibrated.
        labelled
            All objects with this label; ``anomalies``: with any label but ``nominal``.
        merge_radius_arcsec
            Objects closer than this are merged into one row; 0 keeps all.
        overwrite
            Replace the file if it exists.
        escape_formulas
            Put an apostrophe before each text of a CSV that a spreadsheet would run as a formula.
        acronym
            In a table for a paper: what stands before the position in the names of objects, as in
            ``AA J012345.67+123456.7``.
        journal
            Of LaTeX: ``aas`` (``deluxetable``) or ``mnras``.
        """
        place = as_path(path, "the catalogue")
        return export(
            self, place, top, threshold, labelled, merge_radius_arcsec, overwrite, escape_formulas=escape_formulas,
            acronym=as_text(acronym, "acronym"), journal=as_text(journal, "journal"),
        )  # fmt: skip

    def export_scores(
        self,
        path: str | Path,
        *,
        survey: str | Path | None = None,
        overwrite: bool = False,
        escape_formulas: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> int:
        """Write the scores of all objects by the latest round as one table; return how many objects.

        Shard by shard, in memory of one shard: as many objects as there are. Nothing is merged or left out.

        Parameters
        ----------
        path
            ``.fits``, ``.parquet`` (one row group for each shard; extra ``parquet``) or ``.csv``.
        survey
            Folder of a survey that this round has scored (`score_source`): its objects instead of
            those of the session's caches.
        overwrite
            Replace the file if it exists.
        escape_formulas
            Put an apostrophe before each text of a CSV that a spreadsheet would run as a formula.
        progress
            Called with a `Progress` after each shard.

        Raises
        ------
        SessionError
            If no round has scored all objects yet.
        ConfigError
            For another suffix, or if pyarrow is missing.
        StorageError
            If the file exists, or cannot be written; nothing half-written is left.
        """
        steps = export_scores(
            self,
            as_path(path, "the table"),
            survey=None if survey is None else as_path(survey, "the survey"),
            overwrite=overwrite,
            escape_formulas=escape_formulas,
        )
        return drain(steps, progress)

    def write_cutouts(
        self,
        path: str | Path,
        *,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        one_file: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[str]:
        """Write objects as FITS with their WCS, score and label; return the name of each one's file.

        Parameters
        ----------
        path
            Folder to make, or with ``one_file`` a FITS file; as in `Cache.write_cutouts`.
        top, threshold, labelled, merge_radius_arcsec
            Which objects, as in `export`.
        ids
            These objects instead.
        overwrite
            Replace the file, or a folder that was made so.
        progress
            Called with a `Progress` after each object.
        """
        place = as_path(path, "the folder of cutouts")
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        return write_cutouts_of(self.cache, table, place, one_file=one_file, overwrite=overwrite, progress=progress)

    def write_report(
        self,
        path: str | Path,
        *,
        title: str = "",
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        pages: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Write a report with pictures of objects as one HTML file, which a browser prints into a PDF.

        It ends with the method in sentences, see `methods`, where something was scored.

        Parameters
        ----------
        path
            The file, called ``.html``.
        title
            Heading; empty: the name of the session.
        top, threshold, labelled, ids, merge_radius_arcsec
            Which objects, as in `write_cutouts`.
        pages
            Add a page for each of the first 100 objects: pictures in colour and in every band, what was said of it,
            crossmatches, and all columns of the catalogue.
        overwrite
            Replace the file if it exists.
        progress
            Called with a `Progress` after each object.
        """
        place, heading = as_path(path, "the report"), as_text(title, "title") or self.path.absolute().name
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        write_report(
            self.cache, table, place, heading,
            display=usual_display(self), completeness=completeness_html(self),
            method=methods(self).html if self.is_scored else "", pages=as_flag(pages, "pages"),
            known=read_known(self.path) if pages else (), overwrite=overwrite, progress=progress,
        )  # fmt: skip
        return table

    def methods(self) -> MethodText:
        r"""Say in sentences, for a paper, how the latest ranking was made, with citations and versions; to be edited.

        Returns
        -------
        MethodText
            ``text``, ``latex`` (with ``\citep``) and ``bibtex``.

        Raises
        ------
        SessionError
            If nothing was scored to the end.
        """
        return methods(self)

    def write_methods(self, path: str | Path, *, overwrite: bool = False) -> MethodText:
        """Write what `methods` says, and return it.

        Parameters
        ----------
        path
            ``.txt``, with BibTeX at the end; or ``.tex``, with a file ``.bib`` beside it.
        overwrite
            Replace what is there.

        Raises
        ------
        SessionError
            If nothing was scored to the end.
        ConfigError
            For another suffix.
        StorageError
            If a file exists and must not be replaced, or cannot be written.
        """
        found = methods(self)
        write_methods(found, as_path(path, "the method"), overwrite=as_flag(overwrite, "overwrite"))
        return found

    def write_footprint(
        self,
        path: str | Path,
        *,
        size: Quantity | str | None = None,
        order: int | None = None,
        overwrite: bool = False,
    ) -> Footprint:
        """Write which part of the sky was searched: discs around all objects, as a multi-order coverage map (MOC).

        Parameters
        ----------
        path
            File called ``.fits``.
        size
            Diameter of each disc: an angle with its unit, ``10 * u.arcsec`` or ``"10arcsec"``. None: the shorter side
            of the cutouts.
        order
            Of the smallest cells, 0 to 29; None: cells of about a quarter of a disc.
        overwrite
            Replace the file if it exists.

        Returns
        -------
        Footprint
            ``moc``, with its ``area_deg2``, and how many objects are in it.

        Raises
        ------
        ConfigError
            If no object has a position, the cutouts are of no known size, or the order is too fine for them.
        StorageError
            If the file exists and must not be replaced, or cannot be written.
        """
        diameter = None if size is None else angle_arcsec(size, "size")
        return write_footprint(
            self.cache, as_path(path, "the footprint"), diameter_arcsec=diameter,
            order=None if order is None else as_whole(order, "order"), overwrite=as_flag(overwrite, "overwrite"),
        )  # fmt: skip

    def write_bundle(
        self,
        path: str | Path,
        *,
        title: str = "",
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        ids: Sequence[str] | None = None,
        merge_radius_arcsec: float = 1.0,
        ranking: bool = False,
        include_caches: bool = False,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Write objects with table, FITS cutouts, pictures, report and labels, for another machine.

        Parameters
        ----------
        path
            A folder to make, or an archive called ``.zip``.
        title, top, threshold, labelled, ids, merge_radius_arcsec
            As in `write_report`.
        ranking
            Add what the ranking of all objects can be computed again from, see `reproduce`: settings, all labels
            without notes, the checkpoint if there is one, and all scores.
        include_caches
            Add the caches too, so that nothing else is needed for that.
        overwrite
            Replace the archive, or a folder that was made so.
        progress
            Called with a `Progress` after each cutout and each picture.

        Raises
        ------
        SessionError
            If the ranking is asked for, and nothing was scored to the end.
        """
        place, heading = as_path(path, "the bundle"), as_text(title, "title") or self.path.absolute().name
        table = selected(self, top, threshold, labelled, ids, merge_radius_arcsec=merge_radius_arcsec)
        stored = None
        if as_flag(ranking, "ranking") or as_flag(include_caches, "include_caches"):
            self.last_round  # noqa: B018 - says that nothing was scored before anything is written
            stored = functools.partial(write_ranking, self, include_caches=include_caches, progress=progress)
        write_bundle(
            self.cache, table, self.labels.current(), place, heading,
            display=usual_display(self), ranking=stored, overwrite=overwrite, progress=progress,
        )  # fmt: skip
        return table

    @staticmethod
    def reproduce(
        bundle: str | Path,
        caches: str | Path | Cache | Sequence[str | Path | Cache] | None = None,
        *,
        weights: str | Path = "",
        tolerance: float = TOLERANCE,
        progress: Callable[[Progress], None] | None = None,
    ) -> Reproduction:
        """Compute the ranking of a bundle again, and compare it with the scores that the bundle holds.

        Nothing of the bundle is used before it has been compared with its checksums. A ranker with a checkpoint scores
        with it; others learn anew from the settings and labels of the bundle.

        Parameters
        ----------
        bundle
            A folder or a zip archive, written by `write_bundle` with ``ranking``.
        caches
            The caches that were ranked; not needed where the bundle includes them. They are compared with what the
            bundle knows of them.
        weights
            Where the network began with weights that are not part of this package: the file, which must be the same;
            or ``pretrained``, which lets timm download what the settings name.
        tolerance
            How much log-odds may differ.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        Reproduction
            The greatest difference, the rank correlation, versions then and now, whether it is within the tolerance,
            and if not, what may be the reason.

        Raises
        ------
        UnreadableError, CacheError
            If it is no bundle, was changed, or holds no ranking; or if the caches are others.
        ConfigError
            If weights are missing, or others.
        """
        steps = reproduce_steps(
            as_path(bundle, "the bundle"), [] if caches is None else cache_folders(caches),
            weights=str(weights), tolerance=as_number(tolerance, "tolerance", 0),
        )  # fmt: skip
        return drain(steps, progress)

    def saliency(self, object_id: str) -> np.ndarray:
        """Show what the latest ranker's score of an object rests on.

        Returns
        -------
        numpy.ndarray
            ``(height, width)`` float32: how much the score falls when that part of the cutout is covered.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the latest ranker cannot say.
        """
        return self._explaining().saliency(self.cache, as_text(object_id, "object_id"))

    def score_parts(self, ids: Sequence[str]) -> QTable:
        """Say how much of the latest scores is due to the image, and how much to each block of numbers beside it.

        Parameters
        ----------
        ids
            The objects.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``score``, then ``image``, a column for each block, and ``outliers`` (the outlier score of
            `active-search`): how much the score falls when that part of the object is as in the mean of the survey.
            ``meta["shares"]`` says how much all scores of the survey rest on each.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the latest ranker cannot say.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return score_parts(self, as_ids(ids))

    def _explaining(self) -> ImageRanker:
        """Return the latest round's ranker if it can say what its scores rest on."""
        last = self.last_round
        fitted = drain(fitted_steps(self, last))
        if not isinstance(fitted, ImageRanker):
            able = [name for name, made in load_plugins().rankers.items() if issubclass(made, ImageRanker)]
            raise SessionError(
                f"the ranker {last.ranker!r} of round {last.number} cannot say what its scores rest on; these can: "
                f"{', '.join(able)}"
            )
        return fitted

    def app(self, *, annotator: str | None = None, url: str = "", height: int = 800) -> None:
        """Show the labelling app in a notebook; on the command line it is ``astroanomaly serve``.

        Parameters
        ----------
        annotator
            Name that verdicts are given under; None: your user name. On a JupyterHub that is its user name, and nobody
            can enter another on the page.
        url
            Address under which your browser reaches a port of the kernel's computer, with ``{port}`` in it, as in
            ``https://hub.org/user/ann/proxy/{port}/``. Empty: found out, on your computer, on a JupyterHub with
            jupyter-server-proxy, and in VS Code.
        height
            Height of the app, in pixels.

        Raises
        ------
        ConfigError
            If the address or the height cannot be.
        """
        name = annotator or ""
        if self._app is None:  # the app lies above the session, which knows nothing of it but its name
            self._app = importlib.import_module(_NOTEBOOK_MODULE).NotebookApp(self, name)
        self._app.show(name, url, height)

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


def _annotator(name: str | None) -> str:
    return user_name() if name is None else as_text(name, "annotator") or user_name()
