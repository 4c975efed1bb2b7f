"""Check that there are labels to learn from: nominal ones, and anomalies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from astroanomaly.errors import TrainingError
from astroanomaly.records import NOMINAL

__all__ = ["check_labels"]


def check_labels(
    labels: Iterable[str], classes: Sequence[str], who: str, session: Path | None = None
) -> tuple[str, ...]:
    """Return the label classes that have labels, in the order of ``classes``, or say what is missing.

    Parameters
    ----------
    labels
        Label class of each labelled object.
    classes
        All label classes, ``nominal`` among them.
    who
        Who needs the labels, for messages.
    session
        Folder of the session, for the commands in messages.

    Raises
    ------
    TrainingError
        If a label class is unknown, or only one side is labelled.
    """
    counts = Counter(labels)
    unknown = sorted(set(counts) - set(classes))
    if unknown:
        raise TrainingError(f"label class {unknown[0]!r} is not one of {', '.join(classes)}")
    learnt = tuple(name for name in classes if counts[name])
    if NOMINAL in learnt and len(learnt) > 1:
        return learnt
    found = ", ".join(f"{counts[name]} {name}" for name in learnt) or "none"
    missing = NOMINAL if learnt and NOMINAL not in learnt else "anomaly"
    to_import, to_rank = "", "use --ranker cold"
    if session is not None:
        to_import = f", import labels with `astroanomaly labels import {session} FILE`"
        to_rank = f"run `astroanomaly train {session} --ranker cold`"
    raise TrainingError(
        f"{who} needs labels on both sides, nominal and anomaly; found: {found}. Label at least one object as "
        f"{missing}{to_import}, or {to_rank}, which needs no labels"
    )
