"""What catalogues know of the objects of a page: read when it changes on disk, for filters and the inspector."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.app.review.filters import evaluate
from astroanomaly.cache import Cache
from astroanomaly.config import nearest
from astroanomaly.errors import AstroAnomalyError, ConfigError
from astroanomaly.session.known import (
    KNOWN,
    NOT_KNOWN,
    NOT_LOOKED_UP,
    KnownIn,
    KnownObject,
    known_columns,
    known_files,
    read_known,
    state_of,
)

__all__ = ["STATES", "KnownObjects"]

STATES = (KNOWN, NOT_KNOWN, NOT_LOOKED_UP)
_log = logging.getLogger(__name__)


class KnownObjects:
    """Results of the crossmatches of a session.

    Parameters
    ----------
    session
        Folder of the session.

    Attributes
    ----------
    known
        The results; none while a file is damaged.
    problem
        Why they cannot be read; empty where they can.
    version
        Grows whenever they change.
    """

    def __init__(self, session: Path) -> None:
        self._session = session
        self._seen: tuple[tuple[str, int, int], ...] = ()
        self.known: list[KnownIn] = []
        self.problem = ""
        self.version = 0
        self.refresh()

    def refresh(self) -> bool:
        """Read the files if they are others than before; return whether they were."""
        try:
            states = [(path.name, path.stat()) for path in known_files(self._session)]
        except OSError:  # one was removed meanwhile; the next look sees it
            return False
        seen = tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.known, self.problem = read_known(self._session), ""
        except AstroAnomalyError as error:
            _log.warning("%s", error)
            self.known, self.problem = [], str(error)
        self.version += 1
        return True

    def of(self, object_id: str) -> list[tuple[KnownIn, KnownObject | None]]:
        """Return what each catalogue has of an object; None where it was not asked."""
        return [(one, one.objects.get(object_id)) for one in self.known]

    def passing(self, state: str, find: Callable[[Sequence[str]], np.ndarray], count: int) -> np.ndarray:
        """``(N,)`` boolean: which of all objects are in a state.

        Parameters
        ----------
        state
            One of `STATES`.
        find
            Returns the rows of objects by their ids, -1 for those that are not there.
        count
            How many objects there are.

        Raises
        ------
        ConfigError
            For any other word.
        """
        if state not in STATES:
            raise ConfigError(f"known={state!r}{nearest(state, STATES)}: expected one of {', '.join(STATES)}")
        asked = sorted({object_id for one in self.known for object_id in one.objects})
        rows = find(asked)
        free = np.full(count, state == NOT_LOOKED_UP)
        free[rows[rows >= 0]] = [
            state_of(self.known, object_id) == state for object_id, row in zip(asked, rows, strict=True) if row >= 0
        ]
        return free

    def is_named_in(self, expression: str) -> bool:
        """Whether an expression may name one of the `columns`."""
        return any(name in expression for name in known_columns(self.known, []))

    def where(self, expression: str, cache: Cache) -> np.ndarray:
        """``(N,)`` boolean: of which objects of a cache an expression holds, over its columns and what is known.

        Raises
        ------
        ConfigError
            If it cannot be read, see `astroanomaly.app.review.filters.evaluate`.
        """
        ra, dec = cache.positions
        named = self.is_named_in(expression)
        parts, start = [], 0
        for shard in cache.shards:
            stop = start + len(shard)
            columns: dict[str, Any] = {name: np.asarray(values) for name, values in shard.columns().items()}
            more = self.columns(shard.ids) if named else {}
            columns = {**more, "ra": ra[start:stop], "dec": dec[start:stop], **columns}
            parts.append(np.broadcast_to(evaluate(expression, columns), (len(shard),)))
            start = stop
        return np.concatenate(parts)

    def columns(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what is known of objects as plain columns for an expression; ``known_matches`` NaN where not asked."""
        found = known_columns(self.known, ids)
        matches = found.get("known_matches")
        plain = {name: np.asarray(values) for name, values in found.items()}
        if matches is not None:
            plain["known_matches"] = np.ma.filled(np.ma.asarray(matches).astype(float), np.nan)
        return plain
