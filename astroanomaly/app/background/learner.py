"""Learning while people label: features in the background, an instant ranker, networks on request."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from astroanomaly.app.background.jobs import (
    BackgroundJob,
    ColdScores,
    FeatureMap,
    compute_features,
    map_features,
    train,
)
from astroanomaly.app.background.writer import Writer
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE, SharedState
from astroanomaly.config import to_plain
from astroanomaly.errors import AstroAnomalyError, ConfigError, SessionError
from astroanomaly.hookspecs import ImageRanker, InstantRanker, OutlierPriorRanker, PartsRanker
from astroanomaly.learn.features.compare import Comparison
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.label_leaks import leak_text, telling_columns
from astroanomaly.learn.rankers.score_parts import IMAGE
from astroanomaly.records import NOMINAL, Progress
from astroanomaly.session.export import ranker_origin
from astroanomaly.session.instant import instant_ranker
from astroanomaly.session.score_parts import parts_text

__all__ = ["Learner"]

_TICK_S = 0.4  # ticks that come sooner after the last do nothing
_DEBOUNCE_S = 0.4  # the probe is fitted when no verdict came for so long
_MAX_WAIT_S = 3.0  # or when the last fit began so long ago
_FEATURE_GROWTH = 1.25  # features have to grow by this factor before the probe is fitted again for their sake
_NEW_CACHES_MESSAGE = "the session has new caches: restart the server"
_AnswerT = TypeVar("_AnswerT")
_log = logging.getLogger(__name__)


def _be_nice() -> None:
    """Let this thread wait for those that answer keys (Linux, where threads have a priority of their own)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class Learner:
    """One for all pages of a session.

    Parameters
    ----------
    shared
        Where scores are published.
    background
        Whether to compute features at once.

    Attributes
    ----------
    refit_every
        Verdicts after which the probe is fitted again.
    computed
        Number of objects whose features exist, as far as is known.
    fitted_on
        What the probe was last fitted on, in words; empty before, and again when there are no labels on both sides.
    seconds
        How long that took, ranking included.
    problem, warning
        Why it could not be fitted, and what to know of the numbers beside the image; empty most of the time.
    training
        The latest training, or None.
    writer
        Writes verdicts for all pages.
    map, map_job
        The latest feature map, and the work that makes one, or None.
    """

    def __init__(self, shared: SharedState, *, background: bool = True) -> None:
        self.shared = shared
        self.refit_every = 1
        self.computed = 0
        self.fitted_on = ""
        self.seconds = 0.0
        self.problem = self.warning = ""
        self.training: BackgroundJob | None = None
        self.map: FeatureMap | None = None
        self.map_job: BackgroundJob | None = None
        self._features: BackgroundJob | None = None
        self._store: FeatureStore | None = None
        self._scaler: FeatureScaler | None = None
        self._probe: InstantRanker | None = None  # as it was last fitted
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="probe", initializer=_be_nice)
        self.writer = Writer()
        self._questions = ThreadPoolExecutor(1, thread_name_prefix="questions", initializer=_be_nice)
        self._running: Future[None] | None = None
        self._fitted_verdicts = -1
        self._fitted_features = 0
        self._requested: set[str] = set()
        self._ticked = 0.0
        self._started = 0.0
        self._lock = threading.RLock()
        if background:
            self.compute()
        elif self._there_may_be_features():
            self._running = self._thread.submit(self._refit)

    def compute(self) -> None:
        """Compute the features that are missing, in the background, unless that is being done."""
        if self._features is None or self._features.state != "running":
            self._features = BackgroundJob("features", compute_features, self.shared.session.path)

    def _there_may_be_features(self) -> bool:
        folders = [folder / "derived" for folder in self.shared.cache.folders]
        return any(folder.is_dir() for folder in (*folders, self.shared.session.path / "features"))

    @property
    def computing(self) -> bool:
        """Whether features are being computed."""
        return self._features is not None and self._features.state == "running"

    # ---------------------------------------------------------------------------------------------------- look after it

    @property
    def is_behind(self) -> bool:
        """Whether the probe is being fitted, or will be, on verdicts that the newest ranking does not know."""
        return bool(self.computed) and self.shared.verdicts - max(self._fitted_verdicts, 0) >= self.refit_every

    def tick(self, *, hurry: bool = False) -> None:
        """Take in what jobs report, and fit the probe if it is time; cheap, and called by every page.

        Parameters
        ----------
        hurry
            Whether somebody waits for the ranking: new verdicts are learnt from at once.
        """
        with self._lock:
            now = time.monotonic()
            if not hurry and now - self._ticked < _TICK_S:
                return
            self._ticked = now
            if self._features is not None:
                last = self._features.last
                if last is not None and last.stage == "features":
                    self.computed = max(self.computed, last.done)
                while self._features.results:
                    result = self._features.results.pop(0)
                    if isinstance(result, ColdScores):
                        self._publish(COLD, result.scores, f"{result.compared:,} objects compared", result.origin)
                if self._features.state == "failed":
                    self.problem = f"features: {self._features.error}"
            if self.map_job is not None and self.map_job.results:
                self.map = self.map_job.results.pop(0)
            if self._running is not None and self._running.done():
                self._running = None
            if self._running is None and self._is_time(hurry=hurry):
                self._running = self._thread.submit(self._refit)

    def _publish(self, name: str, scores: np.ndarray, described: str, origin: Mapping[str, str] | None = None) -> None:
        try:
            self.shared.publish(name, scores, described, origin)
        except SessionError as error:
            _log.warning("%s", error)
            self.problem = _NEW_CACHES_MESSAGE

    def _is_time(self, *, hurry: bool) -> bool:
        if not self.computed:
            return False
        now = time.monotonic()
        soon = now - self.shared.last_verdict_at < _DEBOUNCE_S and now - self._started < _MAX_WAIT_S
        if soon and not hurry:
            return False  # somebody is in full swing, and keys come first
        new = self.shared.verdicts - max(self._fitted_verdicts, 0)
        first = self._fitted_verdicts < 0
        grown = self.computed >= _FEATURE_GROWTH * self._fitted_features or (
            self.computed == len(self.shared.cache) > self._fitted_features
        )
        return new >= self.refit_every or first or grown

    def _refit(self) -> None:
        """Fit the probe on what has labels and features, and rank whatever has features."""
        shared, started = self.shared, time.monotonic()
        self._started = started
        verdicts, computed = shared.verdicts, self.computed
        try:
            event = shared.labels.last_event
            labelled = shared.labels.labelled(until=event)
            store = self._open_store()
            self._request(labelled.ids, store)
            there = set(self._with_features(labelled.ids, store))
            chosen = labelled.some(there.__contains__)
            known = set(chosen.classes)
            shared.features = self._vectors
            probe = instant_ranker(shared.session, shared.instant_ranker)
            if (NOMINAL in known and len(known) > 1) or (known and not probe.needs_labels):
                probe.share(store, complete=False)
                if isinstance(probe, OutlierPriorRanker):
                    nothing = np.full(len(shared.cache), np.nan, np.float32)
                    probe.begin_with(shared.cache, shared.scores.get(COLD, nothing))
                for _ in probe.fit(shared.cache, chosen, shared.audit):
                    pass
                scores = [-part.log_odds[:, 0] for part in probe.score(shared.cache)]
                described = f"{len(chosen)} verdicts"
                self.seconds = time.monotonic() - started
                self._probe = probe
                leaks = telling_columns(shared.cache, shared.session.context.blocks, chosen)
                self.warning = " ".join(leak_text(*one) for one in leaks)
                now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                counts = Counter(chosen.classes)
                options = to_plain(probe.options)
                origin = ranker_origin(shared.instant_ranker, options, counts, now, event)
                self._publish(PROBE, np.concatenate(scores), described, origin)
                self.fitted_on = described  # last: who sees it may look at the scores
            else:  # undone, or not there yet
                self.fitted_on, self.warning, self._probe = "", "", None
                shared.withdraw(PROBE)
            self.problem = _NEW_CACHES_MESSAGE if self.problem == _NEW_CACHES_MESSAGE else ""
        except AstroAnomalyError as error:
            self.problem = f"{shared.instant_ranker}: {error}"
        except Exception as error:  # noqa: BLE001 - the page says it; the next verdict tries again
            _log.exception("the instant ranker could not be fitted")
            self.problem = f"{shared.instant_ranker}: {type(error).__name__}: {error}"
        finally:
            self._fitted_verdicts, self._fitted_features = verdicts, computed

    def _open_store(self) -> FeatureStore:
        """Return the features, opened anew while others are still filling them."""
        if self._store is None or self._store.done < len(self.shared.cache):
            self._store = FeatureStore.of(self.shared.cache, self.shared.session.context)
            self.computed = max(self.computed, self._store.done)
            if self._store.done:
                self._scaler = FeatureScaler.of(
                    self._store, self.shared.session.context.seed, frozenset(self.shared.audit)
                )
        return self._store

    def _with_features(self, ids: Sequence[str], store: FeatureStore) -> list[str]:
        numbers, rows = self.shared.cache.locate(ids)
        shards = self.shared.cache.shards
        there = [store.computed(shards[n].uuid)[p] for n, p in zip(numbers, rows, strict=True)]
        return [object_id for object_id, yes in zip(ids, there, strict=True) if yes]

    def _request(self, ids: Sequence[str], store: FeatureStore) -> None:
        """Have the features of labelled objects computed before those of others."""
        if self._features is None or self._features.state != "running":
            return
        missing = set(ids) - set(self._with_features(ids, store)) - self._requested
        if missing:
            self._requested |= missing
            self._features.send(sorted(missing))

    # ------------------------------------------------------------------------------------------------------- questions

    def ask(self, function: Callable[..., _AnswerT], *arguments: Any) -> Future[_AnswerT]:
        """Have something found out that takes long, as in ``ask(learner.nearest, object_id, 25)``, one after another.

        A page looks at each tick whether the answer is there (``done()``) and takes it, or the error (``result()``); it
        must touch its document there, and not in ``add_done_callback``, which another thread calls.

        Parameters
        ----------
        function
            `nearest`, `saliency`, or any other that neither changes what pages share nor touches a document.
        """
        return self._questions.submit(function, *arguments)

    def _vectors(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, D)`` float32 features on the scale of the survey, of length 1; zero where there are none yet."""
        if self._store is None or self._scaler is None:
            raise ConfigError("features are not there yet: try again in a moment")
        return np.nan_to_num(self._scaler.transform(self._store.get(ids)))

    def nearest(self, object_id: str, n: int, by: str = IMAGE) -> list[str]:
        """Return the objects that are most like one, itself first, by the image, by a block or by all together.

        Raises
        ------
        ConfigError
            If there are no features yet, or nothing is known of it in the block.
        """
        if self._store is None or self._scaler is None:
            raise ConfigError(f"the features of {object_id} are not computed yet: try again in a moment")
        audit, context = frozenset(self.shared.audit), self.shared.session.context
        return Comparison(self._store, context, by, audit, self._scaler).nearest(object_id, n, audit)

    def saliency(self, object_id: str, by: str = LATEST) -> np.ndarray:
        """``(height, width)``: what an object's score rests on, the live probe's or that of the latest round.

        Parameters
        ----------
        object_id
            The object.
        by
            Name of the scores that are shown.

        Raises
        ------
        ConfigError
            For the scores without labels, whose ranker lives in another process, or if the instant ranker cannot say.
        SessionError
            If there is no round yet, or its ranker cannot say.
        """
        probe = self._probe
        if by == PROBE and probe is not None:
            if not isinstance(probe, ImageRanker):
                raise ConfigError(f"the ranker {probe.name} cannot say what its scores rest on")
            return probe.saliency(self.shared.cache, object_id)
        if by == COLD:
            raise ConfigError(
                "these scores rest on no label, and what they rest on is not shown here: label objects of both kinds, "
                "or train a round"
            )
        return self.shared.session.saliency(object_id)

    def explain(self, object_id: str, by: str = LATEST) -> tuple[np.ndarray, str]:
        """Return `saliency`, and how much of the score is due to what; empty where it is due to the image alone."""
        return self.saliency(object_id, by), self._due_to(object_id, by)

    def _due_to(self, object_id: str, by: str) -> str:
        session, probe = self.shared.session, self._probe
        if not session.context.blocks:
            return ""
        if by == PROBE and probe is not None:
            return parts_text(probe.parts(self.shared.cache, [object_id])) if isinstance(probe, PartsRanker) else ""
        with contextlib.suppress(SessionError):  # the latest round's ranker cannot say
            table = session.score_parts([object_id])
            return parts_text({name: table[name] for name in table.colnames[2:]})
        return ""

    def map_features(self, method: str, by: str = IMAGE) -> None:
        """Start to draw a feature map, ``neighbours`` or ``principal``, unless that is being done.

        ``by`` is what objects are compared by, as in `nearest`.

        Raises
        ------
        ConfigError
            If there are too few features.
        """
        if self.map_job is not None and self.map_job.state == "running":
            return
        if self.computed < 10:
            raise ConfigError("there are too few features for a map yet: try again in a moment")
        labelled = [i for i, o in self.shared.consensus.current().items() if o.label and i not in self.shared.audit]
        self.map_job = BackgroundJob("feature map", map_features, self.shared.session.path, method, by, labelled)

    # -------------------------------------------------------------------------------------------------------- training

    def train(self, ranker: str, options: dict[str, Any]) -> None:
        """Start a round in a process of its own.

        Raises
        ------
        SessionError
            If one is running.
        """
        if self.training is not None and self.training.state == "running":
            raise SessionError("a training is running: cancel it first, or wait for its end")
        self.training = BackgroundJob(f"training {ranker}", train, self.shared.session.path, ranker, options)

    def time_left_s(self) -> float | None:
        """Seconds to the end of the stage that the training is in, None while unknown."""
        job = self.training
        if job is None or job.state != "running" or job.last is None or not job.last.total:
            return None
        stage = [step for step in job.reports if step.stage == job.last.stage]
        times = [step.values["seconds"] for step in stage if "seconds" in step.values]
        if times:
            return float(np.median(times[-20:])) * (job.last.total - job.last.done)
        return None

    def history(self) -> list[Progress]:
        """Return the reports of the training's steps."""
        return [step for step in self.training.reports if step.stage == "training"] if self.training else []

    def close(self) -> None:
        """Stop everything."""
        for job in (self._features, self.training, self.map_job):
            if job is not None:
                job.cancel()
        for thread in (self._thread, self._questions):
            thread.shutdown(wait=False, cancel_futures=True)
        self.writer.close()
