"""The simulated expert: knows the true labels and gives them one object at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from astroanomaly.errors import LabelError
from astroanomaly.records import ANOMALY, NOMINAL, Labelled

__all__ = ["Expert"]


class Expert:
    """Knows the true labels and gives them one object at a time; nothing else reads them.

    Parameters
    ----------
    truth
        True label class of each object: ``nominal`` or an anomaly class.
    kinds
        Anomaly classes that are known from the start; others get their labels when they are shown.
    wrong
        Share of the objects whose label is wrong: an anomaly is called nominal, a nominal object one of ``kinds``.
    seed
        Decides which objects these are.

    Attributes
    ----------
    given
        Label of every object that was labelled so far, in the order given; may be wrong.
    """

    def __init__(
        self, truth: Mapping[str, str], kinds: Sequence[str] = (ANOMALY,), *, wrong: float = 0.0, seed: int = 0
    ) -> None:
        self._truth = truth
        self._kinds = tuple(kinds)
        self._wrong = wrong
        self._seed = seed
        self.given: dict[str, str] = {}

    def label_random(self, anomalies: int, nominal: int, rng: np.random.Generator) -> None:
        """Label random objects, so many of each known kind and so many nominal ones, as if known beforehand.

        Raises
        ------
        LabelError
            If there are not that many.
        """
        for wanted, label in (*((anomalies, kind) for kind in self._kinds), (nominal, NOMINAL)):
            pool = sorted(i for i, true in self._truth.items() if true == label and i not in self.given)
            if len(pool) < wanted:
                raise LabelError(f"{wanted} objects were to be labelled {label}, but the truth has only {len(pool)}")
            for k in rng.choice(len(pool), wanted, replace=False) if wanted else ():
                self._label(pool[k])

    def label_ranked(self, ranked: Sequence[str], anomalies: int, nominal: int, how: str) -> None:
        """Go down a ranking and label; see `Protocol`. Objects without a truth are passed over."""
        unseen = (i for i in ranked if i in self._truth and i not in self.given)
        left = {True: anomalies, False: nominal}
        for count, object_id in enumerate(unseen):
            odd = self._truth[object_id] != NOMINAL
            if how == "top":
                if count == anomalies + nominal:
                    return
            elif not any(left.values()):
                return
            elif not left[odd]:
                continue
            left[odd] -= 1
            self._label(object_id)

    def _label(self, object_id: str) -> None:
        true = self._truth[object_id]
        digest = hashlib.sha256(f"{self._seed}\n{object_id}".encode()).digest()
        if int.from_bytes(digest[:8], "big") / 2**64 >= self._wrong:
            self.given[object_id] = true
        elif true != NOMINAL:
            self.given[object_id] = NOMINAL
        else:
            self.given[object_id] = self._kinds[int.from_bytes(digest[8:16], "big") % len(self._kinds)]

    @property
    def anomalies(self) -> int:
        """Number of true anomalies in all."""
        return sum(true != NOMINAL for true in self._truth.values())

    @property
    def labels(self) -> Labelled:
        """Labels given so far."""
        return Labelled(tuple(self.given), tuple(self.given.values()))

    @property
    def has_both_classes(self) -> bool:
        """Whether something was called nominal, and something else was not."""
        classes = set(self.given.values())
        return NOMINAL in classes and len(classes) > 1

    def unlabelled(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` boolean: which objects have a truth and no label yet."""
        return np.array([i in self._truth and i not in self.given for i in ids], bool)

    def truth_and_scores(self, ids: Sequence[str], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(m,)`` truth and scores of the objects without a label: for measuring only, once all is ranked."""
        rest = np.flatnonzero(self.unlabelled(ids)).tolist()
        return np.array([self._truth[ids[k]] != NOMINAL for k in rest], bool), np.asarray(scores)[rest]

    def true_classes(self, ids: Sequence[str]) -> list[str]:
        """Return the true label classes of some objects: for measuring only."""
        return [self._truth[i] for i in ids]
