"""The audit set of a session: drawn at random, with the session or later, and what it is a sample of.

A set that is drawn later is a random sample of the objects that have no label then, its population. What is labelled
already is known and outside of it, so that nothing has to be estimated there. A set is enlarged only as long as nothing
of its population beside it has been labelled: both draws together are then one random sample of that population. After
that, a further draw would be a sample of something else, which depends on what people chose to label.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.labels.audit import AuditSet
from astroanomaly.labels.log import LabelLog
from astroanomaly.session.calibration import MIN_AUDIT_LABELS
from astroanomaly.session.stored_objects import StoredObjects

__all__ = ["AuditDraw", "describe_sample", "draw_audit", "population"]


@dataclass(frozen=True)
class AuditDraw:
    """Result of drawing an audit set, or more of one.

    Attributes
    ----------
    drawn
        Objects drawn.
    size
        Objects in the set.
    population
        Objects that the set is a random sample of, itself included.
    labelled
        Objects that had a label when it was drawn: they are known, and outside of the population.
    given_up
        Objects of an earlier set that this one replaces.
    """

    drawn: int
    size: int
    population: int
    labelled: int
    given_up: int = 0

    def __str__(self) -> str:
        """Say in words what was drawn, and what that means."""
        what = f"{self.drawn:,} objects drawn at random from the {self.population:,} "
        what += "without a label" if self.labelled else "objects of the session"
        if self.size > self.drawn:
            what += f"; the audit set has {self.size:,}"
        lines = [f"{what}. They are hidden, and never trained on: label them blind"]
        if self.labelled:
            lines.append(
                f"Estimates from this set are about these {self.population:,} objects; the {self.labelled:,} that were "
                "labelled before are known, and added. Rounds trained before have seen its images without labels, as "
                "those of all others; curves say how well what was left is ranked"
            )
        if self.given_up:
            lines.append(f"The set of {self.given_up:,} before is given up: its labels are there to learn from")
        if self.size < MIN_AUDIT_LABELS:
            lines.append(f"Nothing can be estimated from fewer than {MIN_AUDIT_LABELS} labelled objects: draw more")
        return ". ".join(lines) + "."


def draw_audit(labels: LabelLog, cache: Cache, n: int, seed: int, *, replace: bool = False) -> AuditDraw:
    """Draw an audit set from what nobody has labelled, or enlarge the one there is; see `Session.add_audit`.

    Parameters
    ----------
    labels
        The log, which gets the set.
    cache
        The cutouts.
    n
        How many objects to draw.
    seed
        Of the session; each draw has its own random numbers.
    replace
        Whether the new set takes the place of the one there is.

    Raises
    ------
    ConfigError
        If fewer objects have no label, or not a single one would be left.
    SessionError
        If there is a set that cannot be enlarged.
    """
    with labels.transaction():
        before = labels.audit_set()
        labelled = [object_id for object_id, one in labels.current().items() if one.label]
        new = replace or not before.ids
        free = np.ones(len(cache), bool) if new else population(labels, cache, before)
        whole = len(cache) if new else int(population(labels, cache, dataclasses.replace(before, event=0)).sum())
        everyone = free.copy()
        rows = cache.find([i for i in labelled if new or i not in before.ids])
        taken = rows[rows >= 0]
        if not new:
            _check_can_grow(before, cache, int(everyone.sum()), int(everyone[taken].sum()))
            members = cache.find(sorted(before.ids))
            free[members[members >= 0]] = False
        else:
            everyone[taken] = free[taken] = False
        left = np.flatnonzero(free)
        if not 1 <= n < len(left):
            raise ConfigError(
                f"an audit set of {n} objects: expected 1 to {max(len(left) - 1, 0)}, of {len(left)} that nobody has "
                "labelled"
            )
        rng = np.random.default_rng((seed, 1, max(before.draws, 0)))
        event = labels.last_event if new and len(taken) else 0
        labels.set_audit(
            cache.ids_at(np.sort(rng.choice(left, n, replace=False))),
            event=event if new else before.event,
            shards=[shard.uuid for shard in cache.shards] if new else (),
            population=int(everyone.sum()),
            new=new,
        )
    size = n if new else len(before.ids) + n
    drawn_from = int(everyone.sum())
    return AuditDraw(n, size, drawn_from, whole - drawn_from, len(before.ids) if new else 0)


def _check_can_grow(before: AuditSet, cache: Cache, population: int, since: int) -> None:
    way_out = (
        "`astroanomaly audit SESSION N --replace` (in Python `replace=True`) gives the set up, whose labels are then "
        "ordinary ones to learn from, and draws a new one from what has no label"
    )
    if before.shards is None and len(cache.folders) > 1:
        raise SessionError(
            f"of the audit set of {len(before.ids)} it is not known which caches it was drawn from, so that it cannot "
            f"be enlarged: {way_out}"
        )
    if since:
        raise SessionError(
            f"the audit set of {len(before.ids)} is a random sample of {population:,} objects, {since:,} of which were "
            "labelled since, beside it. What is drawn now would be a sample of what people left, and the two together "
            f"a sample of nothing: {way_out}"
        )


def population(labels: LabelLog, cache: Cache | StoredObjects, audit: AuditSet | None = None) -> np.ndarray:
    """``(N,)`` boolean in the order of the cache: the objects that the audit set is a random sample of.

    Parameters
    ----------
    labels
        The log.
    cache
        The cutouts.
    audit
        The set; None: that of the log.
    """
    chosen = labels.audit_set() if audit is None else audit
    shards = [(chosen.shards is None or shard.uuid in chosen.shards, len(shard)) for shard in cache.shards]
    within = np.repeat([there for there, _ in shards], [count for _, count in shards]).astype(bool)
    if chosen.event:
        rows = cache.find([i for i, one in labels.current(until=chosen.event).items() if one.label])
        within[rows[rows >= 0]] = False
    return within


def describe_sample(audit: AuditSet) -> str:
    """Say what an audit set is a random sample of; empty where that is the whole session."""
    if not audit.event:
        return ""
    return f"the {audit.population:,} objects that had no label on {audit.time[:10]}"
