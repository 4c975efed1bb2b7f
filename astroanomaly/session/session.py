"""One search: a folder with configuration, labels, rounds, scores and checkpoints, and the verbs to work with it."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.config import (
    BackboneConfig,
    FetchConfig,
    SessionConfig,
    build,
    current_names,
    read_toml,
    replace_many,
    to_plain,
)
from astroanomaly.errors import (
    CheckpointError,
    ConfigError,
    SessionError,
    StorageError,
    UnreadableError,
)
from astroanomaly.files import atomic_path
from astroanomaly.hookspecs import ImageRanker, Ranker, RankerContext, Source
from astroanomaly.labels.log import LabelLog
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.parallel import dask as clusters
from astroanomaly.plugins import load_plugins
from astroanomaly.records import ANOMALY, DEFAULT_RANKER, NOMINAL, Progress
from astroanomaly.session import cluster_tasks as shard_work
from astroanomaly.session import training as round_work
from astroanomaly.session.rounds import ROUNDS, Round, list_rounds, new_round
from astroanomaly.session.training import TrainReport

if TYPE_CHECKING:
    from astropy.table import QTable

    from astroanomaly.cache.model_input import ModelInput
    from astroanomaly.labels.tables import ImportReport
    from astroanomaly.learn.explain import Deletion
    from astroanomaly.session.calibration import Forecast
    from astroanomaly.session.survey import SurveyReport

__all__ = ["Session", "user_name"]

_VERSION = 1
_CONFIG, _LABELS = "session.toml", "labels.sqlite"
_ReturnT = TypeVar("_ReturnT")


class Session:
    """A search in progress. Make one with `Session.create`, come back to it with `Session.open`.

    Attributes
    ----------
    path
        Its folder.
    classes
        Label classes: ``nominal``, ``anomaly``, then the session's own anomaly classes.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self._content = dict(content)
        self.classes: tuple[str, ...] = tuple(content["classes"])
        self._fitted: tuple[int, Ranker] | None = None
        self._app: Any = None

    def __repr__(self) -> str:
        return f"<Session {self.path}, {len(self.rounds)} rounds, on {', '.join(self._content['caches'])}>"

    # ------------------------------------------------------------------------------------------------ create and open

    @classmethod
    def create(
        cls,
        path: str | Path,
        caches: str | Path | Sequence[str | Path],
        *,
        classes: Sequence[str] = (),
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        labels: str | Path | None = None,
        audit: int = 0,
        start_from: str | Path | None = None,
    ) -> Session:
        """Start a search.

        Parameters
        ----------
        path
            Folder of the new session; must not exist, or be empty.
        caches
            One or more caches.
        classes
            Anomaly classes of your own beside ``nominal`` and ``anomaly``.
        settings
            Settings by section, as in ``{"train": {"iterations": 50}}``.
        labels
            Label table to import.
        audit
            Number of objects to draw at random for a blind check: never trained on.
        start_from
            Checkpoint of another session: its network becomes the first round; its classes, stretch and channels hold
            here too.

        Raises
        ------
        AstroAnomalyError
            If anything given does not fit; then no session is left behind.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SessionError(f"{path} exists already: open it, or choose another folder")
        folders = [caches] if isinstance(caches, str | Path) else list(caches)
        cache = Cache.open(*(Path(folder).absolute() for folder in folders))
        if not len(cache):
            raise SessionError(f"{folders[0]} holds no cutout: there is nothing to search in")
        if not 0 <= audit < len(cache):
            raise ConfigError(f"an audit set of {audit} objects: expected 0 to {len(cache) - 1}")
        chosen = build_settings(settings or {})
        seed = chosen["session"].seed
        seen, own, ranker = _what_the_model_sees(cache, chosen, classes, start_from)
        content = {
            "format": "astroanomaly-session",
            "version": _VERSION,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "caches": [str(folder) for folder in cache.folders],
            "classes": list(own),
            "settings": {section: to_plain(options) for section, options in chosen.items()},
            "seen": seen.to_plain(),
        }
        with _all_or_nothing(path):
            LabelLog.create(path / _LABELS, own).close()
            session = cls(path, content)
            session.cache = cache
            if audit:
                session.labels.set_audit(cache.sample(audit, np.random.default_rng((seed, 1))))
            if labels is not None:
                session.import_labels(labels)
            if start_from is not None:
                made = session.ranker(ranker)
                with new_round(path / ROUNDS, ranker, 0) as first:
                    shutil.copyfile(start_from, first.round.weights)
                    first.recipe.update({"options": to_plain(made.options), "from": str(start_from)})
            session._save()
        return session

    @classmethod
    def open(cls, path: str | Path) -> Session:
        """Come back to a search.

        Raises
        ------
        UnreadableError
            If there is no session.
        SessionError
            If it is of a newer version or damaged.
        """
        path = Path(path)
        if not (path / _CONFIG).is_file():
            raise UnreadableError(f"{path} is no session: it has no {_CONFIG}; make one with `astroanomaly init`")
        content = read_toml(path / _CONFIG)
        version = content.get("version")
        if content.get("format") != "astroanomaly-session" or not isinstance(version, int):
            raise SessionError(f"{path / _CONFIG} is not the description of a session")
        if version > _VERSION:
            raise SessionError(
                f"{path} has version {version}, newer than {_VERSION}, the newest known here: update astroanomaly"
            )
        missing = [key for key in ("caches", "classes", "settings", "seen") if key not in content]
        if missing:
            raise SessionError(f"{path / _CONFIG} is damaged: it has no {missing[0]!r}")
        return cls(path, content)

    def _save(self) -> None:
        import tomli_w

        with atomic_path(self.path / _CONFIG) as temporary:
            temporary.write_text(tomli_w.dumps(self._content), encoding="utf-8")

    # ------------------------------------------------------------------------------------------------- what there is

    @cached_property
    def cache(self) -> Cache:
        """The cutouts that are searched."""
        return Cache.open(*self._content["caches"])

    @cached_property
    def labels(self) -> LabelLog:
        """The log of all verdicts."""
        return LabelLog.open(self.path / _LABELS)

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings by section, as plain values."""
        known = settings_sections()
        return {
            section: current_names(known[section], values) if section in known else dict(values)
            for section, values in self._content["settings"].items()
        }

    @cached_property
    def model_input(self) -> ModelInput:
        """What the model sees: stretch, channels and size, frozen when the session was made."""
        from astroanomaly.cache.model_input import ModelInput

        return ModelInput.from_plain(self._content["seen"])

    @property
    def rounds(self) -> list[Round]:
        """The rounds so far, oldest first."""
        return list_rounds(self.path / ROUNDS)

    @property
    def last_round(self) -> Round:
        """The latest round that has scored all objects; that of `unfinished_round` is not.

        Raises
        ------
        SessionError
            If nothing has been trained, or nothing scored to the end yet.
        """
        rounds = self._trained
        for item in reversed(rounds):
            if item.is_scored(self.cache):
                return item
        raise SessionError(
            f"round {rounds[-1].number} of {self.path} has not scored all objects yet: run "
            f"`astroanomaly score {self.path}`, which goes on where it stopped"
        )

    @property
    def is_scored(self) -> bool:
        """Whether there is a round that has scored all objects."""
        return any(item.is_scored(self.cache) for item in reversed(self.rounds))

    @property
    def unfinished_round(self) -> Round | None:
        """The latest round, if it was trained but has not scored all objects: `score` goes on with it."""
        rounds = self.rounds
        return rounds[-1] if rounds and not rounds[-1].is_scored(self.cache) else None

    @property
    def _trained(self) -> list[Round]:
        """The rounds, of which there is at least one."""
        rounds = self.rounds
        if not rounds:
            raise SessionError(
                f"{self.path} has no trained ranker yet: run `astroanomaly train {self.path}`, "
                "or with --ranker cold, which needs no labels"
            )
        return rounds

    # ------------------------------------------------------------------------------------------------------- labels

    def label(
        self, ids: str | Iterable[str], value: str, *, annotator: str | None = None, note: str | None = None
    ) -> None:
        """Say of one or more objects what they are: ``nominal``, ``anomaly`` or a class of the session's own.

        Raises
        ------
        UnknownObjectError
            For an id that is in none of the caches; then no label is written.
        LabelError
            For a word that is no label class.
        """
        chosen = [ids] if isinstance(ids, str) else list(ids)
        self.cache.locate(chosen)
        who = annotator or user_name()
        self.labels.verdict(chosen, value, annotator=who, round=len(self.rounds))
        if note:
            self.labels.note(chosen, note, annotator=who, round=len(self.rounds))

    def import_labels(
        self, path: str | Path, *, match_radius_arcsec: float = 1.0, annotator: str | None = None
    ) -> ImportReport:
        """Take labels from a table, matched by object id, by base name, or by position on the sky.

        Nothing is written if any row is wrong.
        """
        from astroanomaly.labels.tables import import_labels

        return import_labels(
            self.labels,
            Path(path),
            self.cache.ids,
            self.cache.positions,
            radius_arcsec=match_radius_arcsec,
            annotator=annotator or user_name(),
            round=len(self.rounds),
        )

    def export_labels(self, path: str | Path, *, overwrite: bool = False) -> int:
        """Write one row per labelled object as CSV; return how many."""
        from astroanomaly.labels.tables import export_labels

        return export_labels(self.labels, Path(path), self.cache.ids, self.cache.positions, overwrite=overwrite)

    # ----------------------------------------------------------------------------------------------------- learning

    def ranker(self, name: str, **options: Any) -> Ranker:
        """Make an unfitted ranker with this session's settings.

        Raises
        ------
        PluginError
            If there is no such ranker.
        ConfigError
            For an unknown option.
        """
        made = load_plugins().ranker(name)
        base: Any = build(made.Options, self.settings.get(made.section, {}), made.section)
        return made(replace_many(base, options, made.section), self.context)

    @property
    def context(self) -> RankerContext:
        """What rankers and frozen features are made with."""
        general = build(SessionConfig, self.settings["session"], "session")
        return RankerContext(
            classes=self.classes,
            input=self.model_input,
            backbone=build(BackboneConfig, self.settings["backbone"], "backbone"),
            seed=general.seed,
            device=general.device,
            features=self.path / "features",
            engine=general.engine,
        )

    def features(self, ids: Sequence[str]) -> np.ndarray:
        """Frozen features of some objects, computed where they are missing: ``(n, D)`` float32."""
        from astroanomaly.learn.features.store import FeatureStore

        store = FeatureStore.of(self.cache, self.context)
        for _ in store.compute(first=ids, only=()):
            pass
        return store.get(ids)

    def points(self, ids: Sequence[str]) -> np.ndarray:
        """Frozen features on the scale of the survey: ``(n, D)`` float32 of length 1, to compare objects by.

        Features are computed where they are missing, of the random sample too that the scale is measured on.
        """
        from astroanomaly.learn.features.scaling import FeatureScaler
        from astroanomaly.learn.features.store import FeatureStore

        store = FeatureStore.of(self.cache, self.context)
        seed, audit = self.context.seed, frozenset(self.labels.audit)
        for _ in store.compute(first=[*FeatureScaler.sample(store, seed, audit), *ids], only=()):
            pass
        return FeatureScaler.of(store, seed, audit).transform(store.get(ids))

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
            Its name, see `astroanomaly sources`: ``tuned``, ``fixmatch``, ``probe``, ``cold`` ...
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
        return _drain(self.train_steps(ranker, scheduler=scheduler, workers=workers, **options), progress)

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
        with clusters.connect(scheduler, workers) as cluster:
            learner = self.ranker(ranker, **options)
            report = yield from round_work.train(self, learner, cluster)
            self._fitted = (report.round.number, learner)
            yield from round_work.score(self, learner, report.round, self.cache, cluster)
        return report

    def score(
        self,
        cache: str | Path | None = None,
        *,
        scheduler: str | None = None,
        workers: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Round:
        """Score every object with the latest round's ranker; what is scored already is not scored again.

        Parameters
        ----------
        cache
            A further cache to bring into this search, for instance the whole survey after training on a part of it.
        scheduler
            Address of a Dask scheduler, such as ``tcp://host:8786``, whose workers compute features and scores; or
            ``local``, a cluster of processes on this machine.
        workers
            Number of processes of a local cluster; None: as many as there are cores.
        progress
            Called with a `Progress` now and then.
        """
        return _drain(self.score_steps(cache, scheduler=scheduler, workers=workers), progress)

    def score_steps(
        self, cache: str | Path | None = None, *, scheduler: str | None = None, workers: int | None = None
    ) -> Generator[Progress, None, Round]:
        """As `score`, as a generator of progress reports."""
        last = self._trained[-1]
        whole = self.cache
        if cache is not None and Path(cache).resolve() not in (folder.resolve() for folder in whole.folders):
            whole = Cache.open(*whole.folders, Path(cache).absolute())
        self.model_input.check(whole)
        if not last.is_scored(whole):
            with clusters.connect(scheduler, workers) as cluster:
                if cluster is not None:
                    yield from shard_work.compute_features(self, self.ranker(last.ranker), whole, cluster)
                fitted = yield from self.fitted_steps(last)
                yield from round_work.score(self, fitted, last, whole, cluster)
        if cache is not None and whole is not self.cache:
            self._join(Path(cache).absolute())
        return last

    def score_source(
        self,
        source: str | Source,
        inputs: str | Path | Sequence[str | Path] = (),
        *,
        out: str | Path,
        top: int = 1000,
        prefix: str = "",
        workers: int | None = None,
        scheduler: str | None = None,
        fetch: FetchConfig | Mapping[str, Any] | None = None,
        retry_failed: bool = False,
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
    ) -> SurveyReport:
        """Score a whole survey with the latest round's ranker without keeping its cutouts, but for the best.

        The best join the session. The same call resumes what was interrupted; after a later round it scores everything
        again, with that round's ranker.

        Parameters
        ----------
        source, inputs, prefix, workers, scheduler, fetch
            As in `astroanomaly.ingest`; workers of a cluster score as well.
        out
            Folder that gets the plan of the survey and, in a folder for each round, the scores of all objects and a
            cache of the best cutouts; made when missing.
        top
            How many of the highest scores are kept as cutouts.
        retry_failed
            First forget the scores of the pieces in which objects have failed, so that they are cut and scored again.
        progress
            Called with a `Progress` now and then.
        **options
            Options of the source.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the ranker scores objects of caches only.
        AstroAnomalyError
            As `astroanomaly.ingest`, and if the survey does not fit this session's caches.
        """
        steps = self.score_source_steps(
            source,
            inputs,
            out=out,
            top=top,
            prefix=prefix,
            workers=workers,
            scheduler=scheduler,
            fetch=fetch,
            retry_failed=retry_failed,
            options=options,
        )
        return _drain(steps, progress)

    def score_source_steps(
        self, source: str | Source, inputs: str | Path | Sequence[str | Path] = (), *, out: str | Path, **how: Any
    ) -> Generator[Progress, None, SurveyReport]:
        """As `score_source`, as a generator of progress reports; the source's options are one dictionary."""
        from astroanomaly.session.survey import score_source

        last = self._trained[-1]
        fitted = yield from self.fitted_steps(last)
        report = yield from score_source(self, last, fitted, source, inputs, out=Path(out), **how)
        if report.kept:
            self.__dict__.pop("cache", None)  # the best may have joined before they were all there
            yield from self.score_steps(report.best)
        return report

    def _join(self, folder: Path) -> None:
        """Make a cache part of the search; others may have joined by another process meanwhile."""
        self._content["caches"] = read_toml(self.path / _CONFIG)["caches"]
        if str(folder) not in self._content["caches"]:
            self._content["caches"].append(str(folder))
        self._save()
        self.cache = Cache.open(*self._content["caches"])

    def fitted(self, last: Round) -> Ranker:
        """Return the ranker of a round, as it was when it scored."""
        return _drain(self.fitted_steps(last), None)

    def fitted_steps(self, last: Round) -> Generator[Progress, None, Ranker]:
        """Bring the ranker of a round back: from its checkpoint, or by fitting it again from its recipe."""
        if self._fitted is not None and self._fitted[0] == last.number:
            return self._fitted[1]
        fitted = yield from round_work.bring_back(self, last)
        self._fitted = (last.number, fitted)
        return fitted

    # ------------------------------------------------------------------------------------------------------ results

    def scores(self) -> tuple[list[str], np.ndarray]:
        """Return the ids of all objects and their ``(N, classes)`` float32 log-odds by the latest round.

        The score of an object is the log-odds that it is not nominal: minus the first column.
        """
        return self.last_round.read_scores(self.cache)

    def candidates(self, n: int = 50, order: str = "score", *, include_labelled: bool = False) -> QTable:
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

        Returns
        -------
        astropy.table.QTable
            One row per object: id, position, score, log-odds per class, label, catalogue columns.
        """
        from astroanomaly.session.candidates import candidates

        return candidates(self, n, order, include_labelled=include_labelled)

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
        from astroanomaly.session.calibration import DEPTHS
        from astroanomaly.session.remaining import remaining

        return remaining(self, DEPTHS if depths is None else depths)

    def suspects(self, n: int = 50) -> QTable:
        """Return the labels that look most wrong: those that a model contradicts which learnt from all the others.

        Parameters
        ----------
        n
            How many, at most. Labels of the audit set are not among them.

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
        from astroanomaly.session.candidates import suspects

        return suspects(self, n)

    def export(
        self,
        path: str | Path,
        *,
        top: int | None = None,
        threshold: float | None = None,
        labelled: str | None = None,
        merge_radius_arcsec: float = 1.0,
        overwrite: bool = False,
    ) -> QTable:
        """Write a catalogue of anomalies: FITS, VOTable, ECSV, CSV or DS9 regions, by the suffix of the path.

        Objects labelled nominal are left out of the first two selections.

        Parameters
        ----------
        path
            File to write.
        top
            The so many highest scores; 100 when no selection is given.
        threshold
            All objects whose probability is at least this, and those labelled as anomalies. Without a labelled audit
            set it is 1 / (1 + exp(-score)), which is not calibrated.
        labelled
            All objects with this label.
        merge_radius_arcsec
            Objects closer than this are merged into one row; 0 keeps all.
        overwrite
            Replace the file if it exists.
        """
        from astroanomaly.session.export import export

        return export(self, Path(path), top, threshold, labelled, merge_radius_arcsec, overwrite)

    def export_scores(
        self,
        path: str | Path,
        *,
        survey: str | Path | None = None,
        overwrite: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> int:
        """Write the scores of all objects by the latest round as one table; return how many objects.

        Shard by shard, in memory of one shard: as many objects as there are. Nothing is merged or left out.

        Parameters
        ----------
        path
            ``.fits``, ``.parquet`` (one row group for each shard; extra ``parquet``) or ``.csv``.
        survey
            Folder of a survey that this round has scored straight through (`score_source`): its objects instead of
            those of the session's caches.
        overwrite
            Replace the file if it exists.
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
        from astroanomaly.session.score_table import export_scores

        steps = export_scores(self, Path(path), survey=Path(survey) if survey else None, overwrite=overwrite)
        return _drain(steps, progress)

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
        return self._explaining().saliency(self.cache, object_id)

    def deletion_check(self, ids: Sequence[str], *, share: float = 0.1) -> list[Deletion]:
        """Check `saliency`: the score should fall more when the salient pixels are covered than when others are.

        Parameters
        ----------
        ids
            Objects to check it on, for instance the candidates.
        share
            Share of the pixels that is covered.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the latest ranker cannot say.
        """
        score: Any = self._explaining().image_score(self.cache)
        rng = np.random.default_rng(self.context.seed)
        return [score.deletion(object_id, rng, share=share) for object_id in ids]

    def _explaining(self) -> ImageRanker:
        """Return the latest round's ranker if it can say what its scores rest on."""
        last = self.last_round
        fitted = self.fitted(last)
        if not isinstance(fitted, ImageRanker):
            able = [name for name, made in load_plugins().rankers.items() if issubclass(made, ImageRanker)]
            raise SessionError(
                f"the ranker {last.ranker!r} of round {last.number} cannot say what its scores rest on; these can: "
                f"{', '.join(able)}"
            )
        return fitted

    def app(self, *, annotator: str | None = None, origin: str = "localhost:8888") -> None:
        """Show the labelling app in a notebook; on the command line it is ``astroanomaly serve``.

        Parameters
        ----------
        annotator
            Name that verdicts are given under; None: your user name.
        origin
            ``HOST`` or ``HOST:PORT`` under which the browser sees the notebook, for instance ``hub.org``.
        """
        from astroanomaly.app.web.notebook import NotebookApp

        if self._app is None:
            self._app = NotebookApp(self)
        self._app.show(annotator or user_name(), origin)

    def contact_sheet(self, table: QTable, path: str | Path) -> None:
        """Draw the objects of a table of candidates as one picture."""
        from astroanomaly.session.candidates import contact_sheet

        contact_sheet(self, table, Path(path))


# ------------------------------------------------------------------------------------------------------------ helpers


def _what_the_model_sees(
    cache: Cache, chosen: Mapping[str, Any], classes: Sequence[str], start_from: str | Path | None
) -> tuple[ModelInput, tuple[str, ...], str]:
    """Measure the stretch on the cache, or take stretch, classes and name of the ranker from a checkpoint."""
    from astroanomaly.cache.model_input import ModelInput

    own = (NOMINAL, ANOMALY, *(name for name in classes if name not in (NOMINAL, ANOMALY)))
    if start_from is None:
        rng = np.random.default_rng((chosen["session"].seed, 0))
        return ModelInput.measure(cache, chosen["stretch"], chosen["input"], rng), own, ""
    from astroanomaly.learn.network.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(Path(start_from))
    checkpoint.model_input.check(cache)
    if classes and tuple(checkpoint.classes) != own:
        raise CheckpointError(
            f"{start_from} knows the classes {', '.join(checkpoint.classes)}, not {', '.join(own)}: "
            "leave --classes out, or start without --from"
        )
    return checkpoint.model_input, tuple(checkpoint.classes), checkpoint.ranker


@contextlib.contextmanager
def _all_or_nothing(path: Path) -> Iterator[None]:
    """Make a folder; take it away again if what follows fails."""
    was_there = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if was_there:
            path.mkdir()
        if isinstance(error, OSError) and not isinstance(error, StorageError | UnreadableError):
            raise StorageError(f"the session {path} cannot be made: {error.strerror or error}") from error
        raise


def _drain(steps: Generator[Progress, None, _ReturnT], progress: Callable[[Progress], None] | None) -> _ReturnT:
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None:
            progress(step)


def user_name() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no user name in this container
        return "unknown"
