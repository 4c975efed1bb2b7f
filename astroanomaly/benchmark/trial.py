"""One ranker on one case with one seed: rounds of training, measuring and labelling. Goes on after the last round."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from astroanomaly import metrics
from astroanomaly.benchmark.expert import Expert
from astroanomaly.benchmark.pools import Case
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.statistics import DEPTHS
from astroanomaly.benchmark.store import FinishedRound, TrialFolder
from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import SessionConfig
from astroanomaly.hookspecs import Ranker, RankerContext
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.plugins import load_plugins
from astroanomaly.ranking import order
from astroanomaly.records import NOMINAL, Progress
from astroanomaly.session.blocks.given import catalog_block

__all__ = ["Trial"]

_TOP_DEPTH = 100  # how far down a person is thought to look for a kind that nobody has named yet


@dataclass
class Trial:
    """One ranker on one case with one seed.

    Attributes
    ----------
    cache
        The cutouts.
    settings
        Options by section.
    protocol
        How labels are given.
    ranker, case, seed
        What is measured.
    truth
        True label class of the objects that take part.
    folder
        Where its rounds are written.
    begin_with
        Labels given at the start beside those that the protocol draws, by object id.
    keep_scores
        Whether truth and scores of every round are written, not those of the last one of the first seed alone.
    """

    cache: Cache
    settings: Mapping[str, Any]
    protocol: Protocol
    ranker: str
    case: Case
    seed: int
    truth: Mapping[str, str]
    folder: TrialFolder
    begin_with: Mapping[str, str] = field(default_factory=dict)
    keep_scores: bool = False
    _rankers: dict[str, Ranker] = field(default_factory=dict)  # those that were used so far, by name

    def run(self) -> Generator[Progress, None, list[dict[str, Any]]]:
        """Do the rounds that are not there yet; return the rows of all."""
        expert = Expert(self.truth, self.case.known, wrong=self.protocol.wrong, seed=self.seed)
        expert.label_random(*self.protocol.initial, np.random.default_rng((self.seed, 7)))
        expert.given.update(self.begin_with)
        start = len(expert.given)
        done = self.folder.read()
        if done:
            expert.given = dict(done[-1].labels)
            if self.folder.weights(done[-1].number).is_file():
                self._ranker(self.ranker).load(self.folder.weights(done[-1].number))
        for cycle in range(len(done) + 1, self.protocol.cycles + 1):
            done.append((yield from self._round(cycle, expert, start)))
        return [dict(row) for finished in done for row in finished.rows]

    def _round(self, cycle: int, expert: Expert, start: int) -> Generator[Progress, None, FinishedRound]:
        """Train, score, measure, label, and write all that."""
        began = time.perf_counter()
        fitted = self._ranker(self.ranker)
        if fitted.needs_labels and not expert.has_both_classes:
            fitted = self._ranker(self.protocol.start_with)
        yield from fitted.fit(self.cache, expert.labels, self._outside)
        ids: list[str] = []
        parts = []
        for scores in fitted.score(self.cache):
            ids.extend(scores.ids)
            parts.append(scores.log_odds)
            yield Progress("scoring", len(ids), len(self.cache))
        log_odds = np.concatenate(parts)
        seconds = round(time.perf_counter() - began, 2)
        free = np.flatnonzero(expert.unlabelled(ids))
        kinds = np.array(expert.true_classes([ids[k] for k in free]), dtype=object)
        labels = list(expert.given.values())
        labelled = {
            "labelled_anomaly": len(labels) - labels.count(NOMINAL),
            "labelled_nominal": labels.count(NOMINAL),
            "unlabelled": len(free),
        }
        measured = list(self._measure(kinds, log_odds[free]))
        if self.seed == 0 and cycle == self.protocol.cycles:
            self.folder.write_scores(kinds != NOMINAL, -log_odds[free, 0])
        if self.keep_scores:
            self.folder.write_scores(kinds != NOMINAL, -log_odds[free, 0], cycle)
        add = self.protocol.labels_after(len(expert.given) - start)
        ranked = self._next(ids, -log_odds[:, 0], expert, cycle, sum(add))
        expert.label_ranked(ranked, *add, self.protocol.expert)
        given = expert.true_classes(list(expert.given)[start:])
        rows = [
            {
                "ranker": self.ranker,
                "class": name,
                "seed": self.seed,
                "round": cycle,
                **labelled,
                **figures,
                "seconds": seconds,
                "unlabelled_anomaly": int(there.sum()),
                "top_100": top,
                "given": len(given),
                "found": sum(kind in counted for kind in given),
                **self._found_early(given, counted),
            }
            for name, there, counted, figures, top in measured
        ]
        finished = FinishedRound(cycle, dict(expert.given), rows)
        lasts = fitted.has_weights and fitted is self._rankers[self.ranker] and cycle < self.protocol.cycles
        self.folder.write(finished, fitted.save if lasts else None)
        return finished

    def _measure(
        self, kinds: np.ndarray, log_odds: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray, tuple[str, ...], dict[str, float], float]]:
        """Give name, truth, label classes, figures and share of the top for each row of a round."""
        general = -log_odds[:, 0]
        known = np.isin(kinds, self.case.known)
        for number, kind in enumerate(self.case.kinds.values(), 1):
            there = kinds == kind
            if not self.case.all_kinds:
                name, figures = self.case.name, _figures(there, general)
            elif kind in self.case.hidden:  # whoever looks for it has seen the others
                name, figures = kind, _figures(there[~known], general[~known])
            else:
                name, figures = kind, _figures(there, log_odds[:, number])
            top = float(metrics.found_at(there, general, _TOP_DEPTH)) if _can_rank(there, general) else math.nan
            yield name, there, (kind,), figures, top

    def _found_early(self, given: Sequence[str], counted: tuple[str, ...]) -> dict[str, float]:
        """Count the anomalies among the first verdicts, in the order given; NaN before there are as many."""
        honest = self.protocol.expert == "top"
        return {
            f"found_{depth}": sum(kind in counted for kind in given[:depth])
            if honest and len(given) >= depth
            else math.nan
            for depth in DEPTHS
        }

    def _next(self, ids: Sequence[str], values: np.ndarray, expert: Expert, cycle: int, n: int) -> list[str]:
        """Put the objects into the order in which the expert sees them: at least the first n of them."""
        if self.protocol.expert == "paper":
            return [ids[k] for k in np.argsort(-values, kind="stable")]
        return order(
            ids,
            values,
            self.protocol.strategy,
            n=n,
            among=expert.unlabelled(ids),
            rng=np.random.default_rng((self.seed, 9, cycle)),
            features=self._scaled_features,
            labelled=list(expert.given),
        )

    # --------------------------------------------------------------------------------------- what is made when needed

    @cached_property
    def _context(self) -> RankerContext:
        session: SessionConfig = replace(self.settings["session"], seed=self.seed)
        rng = np.random.default_rng((self.settings["session"].seed, 0))  # all seeds see the same, and share features
        seen = ModelInput.measure(self.cache, self.settings["stretch"], self.settings["input"], rng)
        classes = (NOMINAL, *self.case.kinds.values())
        backbone = self.settings["backbone"].chosen(seen.views)
        blocks = tuple(one.block for one in catalog_block(self.cache, self.settings["blocks"], classes))
        return RankerContext(classes, seen, backbone, self.seed, session.device, engine=session.engine, blocks=blocks)

    @cached_property
    def _outside(self) -> frozenset[str]:
        """Objects that do not take part: no ranker learns from them."""
        if not self.protocol.narrows:
            return frozenset()
        return frozenset(i for i in self.cache.ids if i not in self.truth)

    def _ranker(self, name: str) -> Ranker:
        if name not in self._rankers:
            kind = load_plugins("ranker").ranker(name)
            self._rankers[name] = kind(self.settings[kind.section], self._context)
        return self._rankers[name]

    @cached_property
    def _features(self) -> tuple[FeatureStore, FeatureScaler]:
        """Frozen features of all objects, and their scale."""
        store = FeatureStore.of(self.cache, self._context)
        for _ in store.compute():
            pass
        return store, FeatureScaler.of(store, self.seed, self._outside)

    def _scaled_features(self, ids: Sequence[str]) -> np.ndarray:
        """Return features of some objects on the scale of the survey, for an order that compares them."""
        store, scaler = self._features
        return scaler.transform(store.get(ids))


def _figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return all figures of a ranking, NaN where there is nothing to tell apart or no score."""
    if not _can_rank(truth, scores):
        return dict.fromkeys(metrics.FIGURES, math.nan)
    return metrics.evaluate(truth, scores)


def _can_rank(truth: np.ndarray, scores: np.ndarray) -> bool:
    return bool(truth.any() and not truth.all() and np.isfinite(scores).all())
