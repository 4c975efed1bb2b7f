"""Label errors: labels that models trained without them contradict, and weights for a fit robust against them.

Labels are left out in turn (stratified folds, several times over), a logistic regression on frozen features learns from
the others, and what it says of those left out is compared with what people said: the out-of-fold probability of the
given label, called self-confidence in confident learning (Northcutt et al. 2021, JAIR 70, 1373).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astroanomaly.learn.scoring import log_odds
from astroanomaly.parallel.blas import one_blas_thread

__all__ = ["confidence", "held_out", "odds", "suspects", "trust"]

_FOLDS, _REPEATS = 5, 3
_REGRESSION_C = 10.0  # inverse regularisation; without balance, as in a rare class most errors are false alarms
_MIN_WEIGHT = 0.02  # of any label


def held_out(points: np.ndarray, class_indices: np.ndarray, *, c: float, balanced: bool, seed: int = 0) -> np.ndarray:
    """Predict the classes of labelled objects by models that did not see their labels (cross-validation).

    Parameters
    ----------
    points
        ``(n, D)`` features of unit length.
    class_indices
        ``(n,)`` class indices from 0; every index below the largest occurs.
    c, balanced
        Inverse regularisation, and whether every label class weighs alike, as in the settings of the probe.
    seed
        Draws the folds.

    Returns
    -------
    numpy.ndarray
        ``(n, classes)`` log-odds of each class against all others, the mean over three draws of the folds; NaN for the
        only object of its class, and where fewer than two classes have two.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(class_indices)
    found = np.full((len(points), len(counts)), np.nan)
    several = np.flatnonzero(counts[class_indices] > 1)  # what is the only one of its class cannot be left out
    alone = np.flatnonzero(counts[class_indices] == 1)
    if len(set(class_indices[several].tolist())) < 2:
        return found
    folds = min(_FOLDS, int(counts[counts > 1].min()))
    total = np.zeros((len(several), len(counts)))
    # many small fits: threads that wait for one another on a busy machine make .3 s of 550 labels 3 to 12
    with one_blas_thread():
        points = _on_own_axes(points)
        for draw in range(_REPEATS):
            parts = StratifiedKFold(folds, shuffle=True, random_state=seed + draw)
            for learn, ask in parts.split(points[several], class_indices[several]):
                rows = np.concatenate([several[learn], alone])
                total[ask] += odds(points[rows], class_indices[rows], points[several[ask]], c=c, balanced=balanced)
    found[several] = total / _REPEATS
    return found


def confidence(points: np.ndarray, class_indices: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """``(n,)`` probability of each given label by models that did not see it; NaN where none can be left out."""
    from scipy.special import expit

    odds = held_out(points, class_indices, c=_REGRESSION_C, balanced=False, seed=seed)
    return expit(odds[np.arange(len(class_indices)), class_indices])


def trust(points: np.ndarray, class_indices: np.ndarray) -> np.ndarray:
    """``(n,)`` weights of labels for a fit that wrong ones harm less: the probability of each, at least 0.02."""
    return np.maximum(np.nan_to_num(confidence(points, class_indices), nan=1.0), _MIN_WEIGHT)


def suspects(points: np.ndarray, labels: Sequence[str]) -> list[tuple[int, float, str]]:
    """Order labels by how much they look wrong.

    Parameters
    ----------
    points
        ``(n, D)`` features of unit length.
    labels
        ``(n,)`` label classes.

    Returns
    -------
    list of tuple
        Index of the label, its confidence as in `confidence`, and the class that a model finds most likely which did
        not see it; the most doubtful first. Labels that cannot be left out are not among them.
    """
    from scipy.special import expit

    names = sorted(set(labels))
    class_indices = np.array([names.index(label) for label in labels], int)
    if not len(class_indices):
        return []
    found = held_out(points, class_indices, c=_REGRESSION_C, balanced=False)
    sure = expit(found[np.arange(len(class_indices)), class_indices])
    order = [int(k) for k in np.argsort(sure, kind="stable") if np.isfinite(sure[k])]
    return [(k, float(sure[k]), names[int(found[k].argmax())]) for k in order]


def odds(points: np.ndarray, class_indices: np.ndarray, asked: np.ndarray, *, c: float, balanced: bool) -> np.ndarray:
    """``(k, classes)`` log-odds of further points ``(k, D)`` by a regression on labelled ones."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, class_weight="balanced" if balanced else None, max_iter=2000)
    logits = model.fit(points.astype(np.float64), class_indices).decision_function(asked)
    return log_odds(np.stack([np.zeros_like(logits), logits], axis=1) if logits.ndim == 1 else logits)


def _on_own_axes(points: np.ndarray) -> np.ndarray:
    """``(n, n)`` where n is less than D: the same points on their own axes; a regression is the same there."""
    if len(points) >= points.shape[1]:
        return points.astype(np.float64)
    axes, lengths, _ = np.linalg.svd(points.astype(np.float64), full_matrices=False)
    return axes * lengths
