"""One session as every page of the app sees it: cutouts, verdicts and scores, held once for all browsers."""

from __future__ import annotations

import bisect
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from astroanomaly import ranking
from astroanomaly.app.review.assignments import Assignments
from astroanomaly.app.review.filters import EVERYTHING, LABELLED, NOT_MINE, SPECIAL, UNLABELLED, Filters, within
from astroanomaly.app.review.known_objects import KnownObjects
from astroanomaly.app.review.number_columns import NumberColumns
from astroanomaly.errors import BusyError, ConfigError, LabelError, SessionError
from astroanomaly.labels.consensus import DISPUTED, Consensus, ObjectConsensus
from astroanomaly.labels.log import LabelLog
from astroanomaly.labels.truth_columns import truth_columns
from astroanomaly.records import NOMINAL
from astroanomaly.session.campaign.showings import ShowingLog
from astroanomaly.session.export import round_origin
from astroanomaly.session.instant import cold_start_ranker_name, instant_ranker_name
from astroanomaly.session.session import Session

__all__ = ["COLD", "LATEST", "PROBE", "SharedState"]

PROBE = "probe"
LATEST = "round"
COLD = "cold"
_BUSY_S = 2.0  # what is read waits no longer for another process that writes labels
_PATIENCE_S = 5.0  # what is written does, beside the event loop
_CACHED_FILTERS = 8
_DISPUTED_CODE = -1
_FRESH_SHARE = 0.9  # share of the verdicts that a round has to know to be preferred to the instant ranker


class SharedState:
    """State that all pages of one session share.

    Per object it holds a label code (1 byte) and up to three scores (4 bytes each) beside what the cache's index needs.

    Parameters
    ----------
    session, showings
        The session, and whether to keep an account of what is shown to whom.

    Attributes
    ----------
    scores
        By name (``probe``: live; ``round``: the latest round's; ``cold``: without labels) ``(N,)`` float32 in the order
        of the cache, higher is more anomalous, NaN where there is none yet.
    described
        By the same names, in words: what the scores come from.
    labels, journal
        The label log to read from, and once more to write to: who reads does not wait for who writes.
    audit, audit_rows, audit_draws
        The audit set, its rows in the cache, and how often one was drawn.
    held_out
        What labels were held out of, and the scores that came of it; see `astroanomaly.app.review.held_out`.
    known_objects, assignments
        What catalogues know of the objects; and who judges which.
    number_columns
        The columns of numbers of the session's own catalogue.
    revision
        Grows whenever verdicts or scores change; a page compares it with what it has shown.
    """

    def __init__(self, session: Session, *, showings: bool = True) -> None:
        self.session = session
        self.showings = ShowingLog(session.path) if showings else None
        self.cache = session.cache
        self.labels = LabelLog.open(session.labels.path, busy_s=_BUSY_S, grades=session.grades)
        self.journal = LabelLog.open(session.labels.path, busy_s=_PATIENCE_S, grades=session.grades)
        self.classes = self.labels.classes
        self.grades = session.grades
        self.consensus = Consensus(grades=self.grades)
        self.audit = self.labels.audit
        self.audit_draws = self.labels.count_draws()
        self.scores: dict[str, np.ndarray] = {}
        self.described: dict[str, str] = {}
        self._origins: dict[str, dict[str, str]] = {}
        self.features: Callable[[Sequence[str]], np.ndarray] | None = None  # (n, D) float32, once there are some
        self.held_out: tuple[Any, np.ndarray] | None = None
        self.known_objects = KnownObjects(session.path)
        self.number_columns = NumberColumns(session.cache)
        self.assignments = Assignments(session.path, self.cache.find, self.consensus, lambda: self.audit)
        self.revision = 0
        self.verdicts = 0  # events that change what can be learnt
        self.last_verdict_at = 0.0  # when the last of them came, on the monotonic clock
        self._codes = np.zeros(len(self.cache), np.int8)
        self._special: dict[str, set[str]] = {name: set() for name in SPECIAL}
        self.audit_rows = self.cache.rows(sorted(self.audit)) if self.audit else np.zeros(0, np.int64)
        self._matching: OrderedDict[str, np.ndarray] = OrderedDict()
        self._truth_columns: dict[int, frozenset[str]] = {}  # by number of the shard
        self._current_consensus: tuple[int, dict[str, ObjectConsensus]] | None = None
        self._verdict_numbers: list[int] = []
        self._lock = threading.RLock()
        self._round = self._round_event = 0
        self._refreshed = 0.0
        self.refresh()
        self.read_round()

    # -------------------------------------------------------------------------------------------------------- verdicts

    def refresh(self, *, at_most_every_s: float = 0.0) -> set[str]:
        """Read new events, from here or from other processes; return the objects concerned."""
        with self._lock:
            now = time.monotonic()
            if now - self._refreshed < at_most_every_s:
                return set()
            first, self._refreshed = not self._refreshed, now
            self._read_audit()
            self.revision += self.known_objects.refresh() + self.assignments.refresh()
            events = self.labels.events() if first else self.labels.news(after=self.consensus.last)
            if not events:
                return set()
            changed = self.consensus.add(events)
            self.last_verdict_at = now
            self._verdict_numbers += [event.number for event in events if event.kind in ("verdict", "undo", "skip")]
            self.verdicts = len(self._verdict_numbers)
            self.revision += 1
            self._update_codes(changed)
            return changed

    def _read_audit(self) -> None:
        """Take in an audit set that was drawn since, from here or by another process."""
        draws = self.labels.count_draws()
        if draws > self.audit_draws:
            try:
                self.audit, self.audit_draws = self.labels.audit, draws
            except BusyError:  # the next look finds it
                return
            self.audit_rows = self._rows_of(sorted(self.audit))
            self.revision += 1

    def _update_codes(self, changed: Iterable[str]) -> None:
        ids = sorted(changed)
        for object_id, row in zip(ids, self.cache.find(ids), strict=True):
            consensus = self.consensus.of(object_id)
            for name, is_there in SPECIAL.items():
                there = is_there(consensus)
                (self._special[name].add if there else self._special[name].discard)(object_id)
            if row >= 0:  # labels of a cache that is no longer part of the session
                self._codes[row] = self._code(consensus.label)

    def _code(self, label: str) -> int:
        if label == DISPUTED:
            return _DISPUTED_CODE
        return self.classes.index(label) + 1 if label in self.classes else 0

    def current_consensus(self) -> dict[str, ObjectConsensus]:
        """Return the consensus on every object that has events; computed anew when events come."""
        if self._current_consensus is None or self._current_consensus[0] != self.consensus.last:
            self._current_consensus = (self.consensus.last, self.consensus.current())
        return self._current_consensus[1]

    def blind_for(self, annotator: str) -> frozenset[str]:
        """Return what somebody must see blind: the audit set, and their list of a campaign until it is done."""
        return self.audit | self.assignments.withheld(annotator)

    def known(self, ids: Sequence[str]) -> list[str]:
        """Return those of some objects that the caches hold."""
        return [object_id for object_id, row in zip(ids, self.cache.find(ids), strict=True) if row >= 0]

    def consensus_of(self, object_id: str) -> ObjectConsensus:
        """Return the consensus on an object."""
        return self.consensus.of(object_id)

    def counts(self) -> dict[str, int]:
        """Count the objects of each label class, disputed, skipped and flagged ones; what has none is left out."""
        found = {name: int((self._codes == number).sum()) for number, name in enumerate(self.classes, 1)}
        found[DISPUTED] = int((self._codes == _DISPUTED_CODE).sum())
        found |= {name: len(self._special[name]) for name in ("skipped", "flagged")}
        return {name: count for name, count in found.items() if count}

    @property
    def has_both_kinds(self) -> bool:
        """Whether there are labels to learn from: nominal objects and anomalies outside of the audit set."""
        labels = {one.label for i, one in self.current_consensus().items() if i not in self.audit} - {"", DISPUTED}
        return NOMINAL in labels and len(labels) > 1

    @property
    def rounds(self) -> int:
        """Number of the latest round."""
        return self._round

    # ---------------------------------------------------------------------------------------------------------- scores

    def read_round(self) -> bool:
        """Take the scores of the latest round that has scored everything, if it is new; return whether it was."""
        newer = [item for item in self.session.rounds if item.number > self._round]
        last = next((item for item in reversed(newer) if item.is_scored(self.cache)), None)
        if last is None:
            return False
        scores = -last.read_log_odds(self.cache)[:, 0]
        self.publish(LATEST, scores, f"round {last.number}, {last.ranker}", round_origin(last))
        self._round, self._round_event = last.number, last.last_event
        return True

    def publish(self, name: str, scores: np.ndarray, described: str, origin: Mapping[str, str] | None = None) -> None:
        """Make new scores known to all pages; may be called from any thread.

        Parameters
        ----------
        scores
            ``(N,)`` in the order of the cache.
        described
            In words, on what they rest.
        origin
            For catalogues, as `astroanomaly.session.export.ranker_origin` names it; None: the name of the ranker only.

        Raises
        ------
        SessionError
            If they are those of other objects: a cache joined the session meanwhile.
        """
        found = np.asarray(scores, np.float32)
        if found.shape != (len(self.cache),):
            raise SessionError(f"{found.size} scores for a page of {len(self.cache)} objects: restart the server")
        with self._lock:
            self.scores[name] = found
            self.described[name] = described
            self._origins[name] = dict(origin or {})
            self.revision += 1

    def withdraw(self, name: str) -> None:
        """Take scores back that rest on nothing any more; may be called from any thread."""
        with self._lock:
            if self.scores.pop(name, None) is not None:
                self.described.pop(name, None)
                self.revision += 1

    def best_scores(self) -> str:
        """Name of the scores to order by unless somebody chooses: empty while there are none.

        The latest round while it knows nine tenths of the verdicts, else the instant ranker, else the outlier scores.
        """
        known = bisect.bisect_right(self._verdict_numbers, self._round_event)
        fresh = self.verdicts and known >= _FRESH_SHARE * self.verdicts
        names = (LATEST, PROBE, COLD) if fresh else (PROBE, LATEST, COLD)
        return next((name for name in names if name in self.scores), "")

    @cached_property
    def instant_ranker(self) -> str:
        """Name of the ranker that is fitted again after every verdict."""
        return instant_ranker_name(self.session)

    def describe_scores(self, name: str) -> str:
        """Say whose scores these are, as in *ranked by* ...; empty while there are none."""
        kind = {PROBE: f"{self.instant_ranker} on ", COLD: "outlier score, "}.get(name, "")
        return kind + self.described[name] if name in self.described else ""

    def origin_of(self, name: str) -> dict[str, str]:
        """Say where scores come from, in the words of `Session.candidates`, for the head of a catalogue."""
        if name not in self.scores:
            return {"ranker": "none", "scores": "none"}
        rankers = {PROBE: self.instant_ranker, COLD: cold_start_ranker_name(self.session)}
        return {"ranker": rankers.get(name, name)} | self._origins[name] | {"scores": self.describe_scores(name)}

    def score_of(self, ids: Sequence[str], name: str) -> np.ndarray:
        """``(n,)`` scores of some objects, NaN where there is none."""
        scores = self.scores.get(name)
        return np.full(len(ids), np.nan, np.float32) if scores is None else scores[self.cache.rows(ids)]

    # ------------------------------------------------------------------------------------------------- which to show

    def choose(
        self, n: int, how: str, by: str, filters: Filters, *, column: str = "", seen: Iterable[str] = (),
        rng: np.random.Generator | None = None,
    ) -> tuple[list[str], int]:  # fmt: skip
        """Choose objects to show.

        Parameters
        ----------
        n
            How many, at most.
        how
            One of `astroanomaly.ranking.ORDERS`.
        by
            Name of the scores.
        filters
            What they must be.
        column
            A catalogue column whose values are taken for the scores; objects without a value come last.
        seen
            Objects not to show again.
        rng
            For a random, novel or mixed order.

        Returns
        -------
        tuple
            The ids, and how many objects there were to choose from.

        Raises
        ------
        ConfigError
            If a filter cannot be read, or the column is no column of numbers.
        """
        free = self.matching(filters, by)
        shown = list(seen)
        if shown:
            free[self.cache.rows(shown)] = False
        if column:
            scores = self.number_columns.values(column)
        else:
            scores = self.scores.get(by, np.full(len(self.cache), np.nan, np.float32))
        if how in ranking.COMPARING and self.features is None:
            raise ConfigError(f"the features that a {how} order compares are not there yet: try again in a moment")
        labelled = [object_id for object_id, consensus in self.current_consensus().items() if consensus.label]
        ids = ranking.order(
            self.cache.ids, scores, how, n=n, among=free, rng=rng, features=self.features, labelled=labelled
        )
        if column and len(ids) < n:
            ids += self.cache.ids_at(np.flatnonzero(free & np.isnan(scores))[: n - len(ids)])
        return ids, int(free.sum())

    def matching(self, filters: Filters, by: str) -> np.ndarray:
        """``(N,)`` boolean: objects that pass the filters; those of the audit set never do."""
        free = self._by_label(filters.labels)
        free[self.audit_rows] = False
        if filters.annotator:
            free &= self._by_annotator(filters.annotator)
        if filters.without:
            free &= ~self._by_annotator(filters.without, skipped=True)
        scores = self.scores.get(by)
        with np.errstate(invalid="ignore"):
            if filters.lowest is not None and scores is not None:
                free &= scores >= filters.lowest
            if filters.highest is not None and scores is not None:
                free &= scores <= filters.highest
        if filters.region:
            free &= self._cached(f"region {filters.region}", lambda: within(filters.region, *self.cache.positions))
        if filters.expression:
            key = f"where {filters.expression} {self.known_objects.version}"
            free &= self._cached(key, lambda: self.known_objects.where(filters.expression, self.cache))
        if filters.known:
            key = f"{filters.known} {self.known_objects.version}"
            find, count = self.cache.find, len(self.cache)
            free &= self._cached(key, lambda: self.known_objects.passing(filters.known, find, count))
        return free

    def _by_label(self, labels: str) -> np.ndarray:
        if labels in (EVERYTHING, NOT_MINE):
            return np.ones(len(self.cache), bool)
        if labels in (LABELLED, UNLABELLED):
            free = (self._codes != 0) == (labels == LABELLED)
            if labels == UNLABELLED and self._special["skipped"]:
                free[self._rows_of(self._special["skipped"])] = False
            return free
        if labels in self._special:
            free = np.zeros(len(self.cache), bool)
            free[self._rows_of(self._special[labels])] = True
            return free
        several = () if self.grades is None else self.grades.or_better(labels)
        if several:
            return np.isin(self._codes, [self._code(label) for label in several])
        if labels != DISPUTED and labels not in self.classes:
            raise LabelError(f"{labels!r} is no label class (known: {', '.join(self.classes)})")
        return self._codes == self._code(labels)

    def _by_annotator(self, annotator: str, *, skipped: bool = False) -> np.ndarray:
        free = np.zeros(len(self.cache), bool)
        ids = [
            i
            for i, consensus in self.current_consensus().items()
            if annotator in consensus.votes or (skipped and annotator in consensus.skipped_by)
        ]
        free[self._rows_of(ids)] = True
        return free

    def _rows_of(self, ids: Iterable[str]) -> np.ndarray:
        rows = self.cache.find(list(ids))
        return rows[rows >= 0]

    def _cached(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what was made for this key before; a page asks for the same again and again."""
        if key not in self._matching:
            self._matching[key] = make()
            if len(self._matching) > _CACHED_FILTERS:
                self._matching.popitem(last=False)
        return self._matching[key]

    def truth_columns(self, object_id: str) -> frozenset[str]:
        """Return the names of the catalogue columns of an object that may tell its class, see `truth_columns`."""
        number = int(self.cache.locate([object_id])[0][0])
        if number not in self._truth_columns:
            self._truth_columns[number] = truth_columns(self.cache.shards[number].columns(), self.classes)
        return self._truth_columns[number]

    def close(self) -> None:
        """Close the label file."""
        self.labels.close()
        self.journal.close()
