"""How far annotators agree: kappa of pairs, of all and of each class, with intervals, and what they disagree on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.labels.grades import Grades
from astroanomaly.metrics import cohen_kappa, fleiss_kappas

__all__ = [
    "WEIGHTS",
    "Agreement",
    "ClassAgreement",
    "Kappa",
    "PairAgreement",
    "agreement",
    "disagreed",
    "pair_agreements",
]

WEIGHTS = {"quadratic": 2, "linear": 1}  # of disagreements on ordered grades: the power of their distance

_SAMPLES = 2000  # of the bootstrap
_FEWEST = 10  # objects, for an interval
_INTERVAL = (5.0, 95.0)  # percentiles


@dataclass(frozen=True)
class Kappa:
    """Agreement beyond chance, with its 90 % interval.

    Attributes
    ----------
    value
        1: full agreement, 0: as by chance; NaN where nothing can be said, since all verdicts are alike.
    low, high
        Percentiles 5 and 95 of a bootstrap over objects; NaN with fewer than 10 objects, or if all samples are alike.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        """Say the value and its interval: ``0.62 (0.51 to 0.72)``."""
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.2f}" + (f" ({self.low:.2f} to {self.high:.2f})" if np.isfinite(self.low) else "")


@dataclass(frozen=True)
class PairAgreement:
    """Two people: objects on which both gave a verdict, on how many the same, and Cohen's kappa.

    ``graded`` is the number of these on which both gave a grade, and ``weighted`` Cohen's weighted kappa on them: it
    counts how far two grades lie apart. 0 and NaN where the session has no grades.
    """

    first: str
    second: str
    objects: int
    alike: int
    kappa: Kappa
    graded: int = 0
    weighted: Kappa = Kappa(float("nan"))


@dataclass(frozen=True)
class ClassAgreement:
    """One label class: verdicts that chose it, and Fleiss' kappa of the question whether an object is of it."""

    label: str
    verdicts: int
    kappa: Kappa


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Attributes
    ----------
    objects
        Objects on which at least two people gave a verdict.
    alike
        On how many of these all gave the same.
    decided
        On how many of those where they differ somebody has decided.
    people
        Those whose verdicts are compared, in the order of their names.
    by_all
        Objects on which each of them gave a verdict.
    kappa
        Fleiss' kappa of all of them, on these objects.
    classes
        The same for each class that was chosen there.
    pairs
        Every two of them, on the objects they have in common.
    mean_weighted
        Mean of the weighted kappas of the pairs that have one, NaN without any.
    """

    objects: int
    alike: int
    decided: int
    people: tuple[str, ...]
    by_all: int
    kappa: Kappa
    classes: tuple[ClassAgreement, ...]
    pairs: tuple[PairAgreement, ...]
    mean_weighted: float = float("nan")


def agreement(
    consensus: Mapping[str, ObjectConsensus],
    classes: Sequence[str],
    *,
    people: Iterable[str] | None = None,
    only: Iterable[str] | None = None,
    grades: Grades | None = None,
    weights: str = "quadratic",
) -> Agreement:
    """Measure how far annotators agree.

    Decisions are no verdicts here: what is compared is what people said for themselves.

    Parameters
    ----------
    consensus
        By object id.
    classes
        Label classes, in the order of the answer.
    people
        Whose verdicts are compared; None: of all who have an object in common with somebody.
    only
        The objects to compare; None: all.
    grades
        The grades of the session; None: it has none.
    weights
        ``quadratic`` or ``linear``: how a disagreement counts by the number of grades between.

    Raises
    ------
    ConfigError
        If there are no such weights.
    """
    chosen = consensus.keys() if only is None else [i for i in dict.fromkeys(only) if i in consensus]
    asked = None if people is None else set(people)
    votes = {i: {who: v for who, v in consensus[i].votes.items() if asked is None or who in asked} for i in chosen}
    votes = {object_id: said for object_id, said in votes.items() if len(said) > 1}
    names = tuple(sorted({who for said in votes.values() for who in said} if asked is None else asked))
    differ = [object_id for object_id, said in votes.items() if len(set(said.values())) > 1]
    by_all = [said for said in votes.values() if len(said) == len(names)]
    pairs = tuple(pair_agreements(votes.values(), grades, weights))
    weighted = [pair.weighted.value for pair in pairs if np.isfinite(pair.weighted.value)]
    kappa = Kappa(float("nan"))
    by_class: tuple[ClassAgreement, ...] = ()
    if by_all:
        counts = np.array([[list(said.values()).count(label) for label in classes] for said in by_all])
        kappa, *each = _fleiss(counts)
        by_class = tuple(
            ClassAgreement(label, int(number), one)
            for label, number, one in zip(classes, counts.sum(0), each, strict=True)
            if number
        )
    return Agreement(
        len(votes), len(votes) - len(differ), sum(bool(consensus[i].decision) for i in differ), names, len(by_all),
        kappa, by_class, pairs, float(np.mean(weighted)) if weighted else float("nan"),
    )  # fmt: skip


def pair_agreements(
    votes: Iterable[Mapping[str, str]], grades: Grades | None = None, weights: str = "quadratic"
) -> list[PairAgreement]:
    """Compare every two people who gave verdicts on the same objects.

    Parameters
    ----------
    votes
        For each object, the verdict of each person.
    grades, weights
        As in `agreement`.
    """
    if weights not in WEIGHTS:
        raise ConfigError(f"weights={weights!r}: expected {' or '.join(WEIGHTS)}")
    both: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for said in votes:
        for pair in itertools.combinations(sorted(said), 2):
            both.setdefault(pair, []).append((said[pair[0]], said[pair[1]]))
    found = []
    for (first, second), given in sorted(both.items()):
        made = PairAgreement(first, second, len(given), sum(a == b for a, b in given), _cohen(given))
        if grades is not None:
            graded = [one for one in given if set(one) <= set(grades.labels)]
            made = replace(made, graded=len(graded), weighted=_cohen(graded, grades.labels, WEIGHTS[weights]))
        found.append(made)
    return found


def disagreed(consensus: Mapping[str, ObjectConsensus]) -> list[str]:
    """Return the objects on which people differ and nobody has decided, those with most different verdicts first."""
    kinds = {object_id: len(set(one.votes.values())) for object_id, one in consensus.items() if one.is_disagreed}
    return sorted(kinds, key=lambda object_id: (-kinds[object_id], object_id))


def _cohen(given: Sequence[tuple[str, str]], order: Sequence[str] = (), power: int = 0) -> Kappa:
    """Cohen's kappa of two people; with an order, disagreements count by their distance to a power."""
    weights = {power: name for name, power in WEIGHTS.items()}.get(power)
    value = cohen_kappa([a for a, _ in given], [b for _, b in given], order=order, weights=weights)
    if not np.isfinite(value):
        return Kappa(value)
    labels = list(order) or sorted({label for pair in given for label in pair})
    table = np.zeros((len(labels), len(labels)))
    for first, second in given:
        table[labels.index(first), labels.index(second)] += 1
    places = np.arange(len(labels), dtype=float)
    apart = np.abs(places[:, None] - places) ** power if power else 1 - np.eye(len(labels))
    samples = _samples(table.ravel()).reshape(-1, *table.shape) / table.sum()
    seen = np.einsum("bij,ij->b", samples, apart)
    chance = np.einsum("bi,bj,ij->b", samples.sum(2), samples.sum(1), apart)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _with_interval(value, 1 - seen / chance, len(given))


def _fleiss(counts: np.ndarray) -> list[Kappa]:
    """Fleiss' kappa of all, then of each class; ``counts (N, k)``."""
    values = fleiss_kappas(counts)[0]
    patterns, numbers = np.unique(counts, axis=0, return_counts=True)  # few, however many objects there are
    samples = fleiss_kappas(patterns, _samples(numbers))
    return [_with_interval(float(value), samples[:, k], len(counts)) for k, value in enumerate(values)]


def _samples(numbers: np.ndarray) -> np.ndarray:
    """``(b, m)``: how often each of m kinds of objects is drawn when as many objects are drawn with replacement."""
    total = int(numbers.sum())
    return np.random.default_rng(0).multinomial(total, numbers / total, size=_SAMPLES)


def _with_interval(value: float, samples: np.ndarray, objects: int) -> Kappa:
    finite = samples[np.isfinite(samples)]
    if objects < _FEWEST or not np.isfinite(value) or not len(finite) or np.ptp(finite) < 1e-9:
        return Kappa(value)
    low, high = np.percentile(finite, _INTERVAL)
    return Kappa(value, float(low), float(high))
