"""The lists of a campaign as the pages follow them: read when the file changes, and what each person has left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from astroanomaly.errors import AstroAnomalyError
from astroanomaly.labels.consensus import Consensus
from astroanomaly.session.campaign.lists import CAMPAIGN_FILE, Campaign, read_campaign

__all__ = ["Assignments"]

_log = logging.getLogger(__name__)


class Assignments:
    """Who judges which objects.

    Parameters
    ----------
    session
        Folder of the session.
    find
        Returns the rows of objects by their ids, -1 for those that are not there.
    consensus, audit
        What was said so far, and the audit set, whose objects are on no list; both go on changing.

    Attributes
    ----------
    campaign
        The campaign; None while there is none, or its file is damaged.
    problem
        Why it cannot be read; empty where it can.
    version
        Grows whenever it changes.
    """

    def __init__(
        self,
        session: Path,
        find: Callable[[Sequence[str]], np.ndarray],
        consensus: Consensus,
        audit: Callable[[], frozenset[str]],
    ) -> None:
        self._session = session
        self._find = find
        self._consensus = consensus
        self._audit = audit
        self._seen: tuple[int, int] | None = None
        self._lists: dict[str, tuple[str, ...]] = {}  # of the objects that the caches hold
        self._left: dict[str, tuple[tuple[int, int], tuple[str, ...], frozenset[str]]] = {}  # and when that was so
        self.campaign: Campaign | None = None
        self.problem = ""
        self.version = 0
        self.refresh()

    def refresh(self) -> bool:
        """Read the file if it is another than before; return whether it was."""
        try:
            state = (self._session / CAMPAIGN_FILE).stat()
            seen = (state.st_mtime_ns, state.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.campaign, self.problem = read_campaign(self._session), ""
        except AstroAnomalyError as error:
            _log.warning("%s", error)
            self.campaign, self.problem = None, str(error)
        self._lists, self._left = {}, {}
        self.version += 1
        return True

    def list_of(self, annotator: str) -> tuple[str, ...]:
        """Return the objects that somebody is to judge, in their order; none without a list."""
        if self.campaign is None or annotator not in self.campaign.lists:
            return ()
        if annotator not in self._lists:
            own = self.campaign.lists[annotator]
            self._lists[annotator] = tuple(i for i, row in zip(own, self._find(own), strict=True) if row >= 0)
        return self._lists[annotator]

    def left(self, annotator: str) -> tuple[str, ...]:
        """Return those of them that this person has neither judged nor skipped."""
        return self._look(annotator)[1]

    def withheld(self, annotator: str) -> frozenset[str]:
        """Return the objects of which this person must not see what others said: the whole list, until it is done."""
        return self._look(annotator)[2]

    def _look(self, annotator: str) -> tuple[tuple[int, int], tuple[str, ...], frozenset[str]]:
        known, audit = self._left.get(annotator), self._audit()
        now = (self._consensus.last, len(audit))
        if known is None or known[0] != now:
            of = self._consensus.of
            own = [object_id for object_id in self.list_of(annotator) if object_id not in audit]
            left = tuple(i for i in own if annotator not in of(i).votes and annotator not in of(i).skipped_by)
            known = (now, left, frozenset(own if left else ()))
            self._left[annotator] = known
        return known
