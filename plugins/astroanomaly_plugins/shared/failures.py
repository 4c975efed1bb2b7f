"""Objects that are known to fail when a request is planned: a task that reports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from astroanomaly import Failure, Task

__all__ = ["NO_POSITION", "Kind", "failure_tasks", "read_failures"]

Kind = Literal["failed", "no coverage", "no position"]
NO_POSITION = "no valid position in the catalogue"
_NO_COVERAGE_PREFIX = "outside all "  # of reasons of version 0.1.0, which stored no kind, without coverage


def failure_tasks(
    key: str,
    ids: np.ndarray | Sequence[str],
    ra: np.ndarray | float,
    dec: np.ndarray | float,
    reasons: str | Sequence[str],
    kinds: Kind | Sequence[Kind],
) -> list[Task]:
    """Make the task of objects that fail; none for no objects.

    Parameters
    ----------
    key
        Key of the task.
    ids
        ``(n,)`` ids.
    ra, dec
        ``(n,)`` ICRS degrees, NaN where unknown; or one value for all.
    reasons, kinds
        ``(n,)``, or one for all; see `astroanomaly.Failure`.
    """
    if not len(ids):
        return []
    columns = {"reason": reasons, "failure": kinds, "ra": ra, "dec": dec}
    table = {name: np.array(np.broadcast_to(np.asarray(values), len(ids))) for name, values in columns.items()}
    return [Task(key, {"kind": "failures"}, {"id": np.asarray(ids), **table})]


def read_failures(task: Task) -> Iterator[Failure]:
    """Report the objects of a task of `failure_tasks`, also of a plan that version 0.1.0 made."""
    table, payload = task.table, task.payload
    for row, object_id in enumerate(table["id"]):
        reason = str(table["reason"][row]) if "reason" in table else payload["reason"]
        known = str(table["failure"][row]) if "failure" in table else ""
        unseen = known == "no coverage"
        if not known:  # of version 0.1.0
            unseen = (
                payload["failure"] == "no coverage" if "failure" in payload else reason.startswith(_NO_COVERAGE_PREFIX)
            )
        yield Failure(
            str(object_id),
            reason,
            float(table["ra"][row]),
            float(table["dec"][row]),
            "no coverage" if unseen else "no position" if reason == NO_POSITION else "failed",
        )
