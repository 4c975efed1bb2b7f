"""Objects that take part in a benchmark: halves, shares of anomalies, small pools; drawn by the seed, reproducibly."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.errors import ConfigError, LabelError
from astroanomaly.records import ANOMALY, NOMINAL

__all__ = ["Case", "draw_pool", "in_part", "list_cases"]


@dataclass(frozen=True)
class Case:
    """The classes that one benchmark counts as anomalies.

    Attributes
    ----------
    name
        What it is called in the results where its kinds are not listed one by one.
    kinds
        Label class of every true class that is an anomaly.
    hidden
        Label classes of which no object is labelled at the start.
    """

    name: str
    kinds: Mapping[str, str]
    hidden: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Label classes of which some objects are labelled at the start."""
        return tuple(kind for kind in self.kinds.values() if kind not in self.hidden)

    @property
    def all_kinds(self) -> bool:
        """Whether its kinds are label classes of their own."""
        return ANOMALY not in self.kinds.values() or len(self.kinds) > 1


def list_cases(anomalies: Sequence[str], protocol: Protocol) -> list[Case]:
    """Return one case for every class, or one for all kinds at once.

    Raises
    ------
    ConfigError
        If a kind is named twice, or as nominal objects are.
    """
    if not protocol.all_kinds:
        return [Case(name, {name: ANOMALY}) for name in dict.fromkeys(anomalies)]
    kinds = [*anomalies, *protocol.unlabelled_kinds]
    if len(set(kinds)) < len(kinds) or NOMINAL in kinds:
        raise ConfigError(f"kinds of anomalies {', '.join(kinds)}: each may be named once, and none is {NOMINAL!r}")
    return [Case(" + ".join(kinds), {kind: kind for kind in kinds}, tuple(protocol.unlabelled_kinds))]


def in_part(object_id: str, number: int, parts: int) -> bool:
    """Tell whether an object falls into one of several parts of about equal size.

    The base name of its id decides, so that parts are the same whatever folder or prefix the objects came with.
    """
    return hashlib.sha256(object_id.rpartition("/")[2].encode()).digest()[0] % parts == number - 1


def draw_pool(
    classes: Mapping[str, str], case: Case, named: Collection[str], protocol: Protocol, seed: int
) -> dict[str, str]:
    """Choose the objects that take part.

    Parameters
    ----------
    classes
        True class of every object.
    case
        What is searched for.
    named
        Classes that are an anomaly in any case: a small pool takes none of them as nominal.
    protocol
        What is left out.
    seed
        Number of the repeat.

    Returns
    -------
    dict
        True label class (``nominal`` or an anomaly class) by object id.

    Raises
    ------
    LabelError
        If there are not enough objects or classes.
    """
    number, parts = protocol.fraction
    there = {i: name for i, name in sorted(classes.items()) if parts == 1 or in_part(i, number, parts)}
    rng = np.random.default_rng((seed, 8, zlib.crc32(case.name.encode())))
    if protocol.pool is not None:
        there = _small(there, case, named, protocol.pool, rng)
    odd = [i for i, name in there.items() if name in case.kinds]
    if protocol.rate is not None:
        wanted = round(protocol.rate / (1 - protocol.rate) * (len(there) - len(odd)))
        if not 0 < wanted <= len(odd):
            raise LabelError(
                f"{wanted} anomalies among {len(there) - len(odd)} other objects would be a share of {protocol.rate}, "
                f"but {case.name} has {len(odd)}"
            )
        for object_id in set(odd) - set(_some(odd, wanted, rng)):
            del there[object_id]
    return {i: case.kinds.get(name, NOMINAL) for i, name in there.items()}


def _small(
    there: Mapping[str, str], case: Case, named: Collection[str], size: tuple[int, int, int], rng: np.random.Generator
) -> dict[str, str]:
    """Draw a few other classes as nominal, and some anomalies of every kind."""
    count, each, anomalies = size
    members: dict[str, list[str]] = {}
    for object_id, name in there.items():
        members.setdefault(name, []).append(object_id)
    others = sorted(name for name, ids in members.items() if name not in named and len(ids) >= each)
    if len(others) < count:
        raise LabelError(f"a pool of {count} classes with {each} objects: only {len(others)} have as many")
    chosen = dict.fromkeys(_some(others, count, rng), each) | dict.fromkeys(case.kinds, anomalies)
    pool: dict[str, str] = {}
    for name, wanted in chosen.items():
        ids = members.get(name, [])
        if len(ids) < wanted:
            raise LabelError(f"a pool with {wanted} objects of {name}: it has only {len(ids)}")
        pool |= dict.fromkeys(_some(ids, wanted, rng), name)
    return pool


def _some(items: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [items[k] for k in rng.choice(len(items), count, replace=False)]
