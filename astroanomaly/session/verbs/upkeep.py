"""Keeping a session in order: rounds, caches that moved, damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from astroanomaly.cache import Cache
from astroanomaly.cache.check import Integrity
from astroanomaly.records import Progress, drain
from astroanomaly.session.caches import cache_folders
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.integrity import session_integrity
from astroanomaly.session.pruning import StoredRound, prune_rounds, stored_rounds
from astroanomaly.session.relocation import RelocateReport, relocate

__all__ = ["UpkeepVerbs"]


class UpkeepVerbs(SessionFolder):
    """Keeping a session in order: rounds, caches that moved, damage."""

    def stored_rounds(self) -> list[StoredRound]:
        """Return the rounds with the space they take, and why one must stay, oldest first."""
        return stored_rounds(self)

    def prune_rounds(self, keep: int, *, dry_run: bool = False) -> list[StoredRound]:
        """Remove the rounds but the latest ones and those that are needed.

        Parameters
        ----------
        keep
            How many of the latest rounds stay. So do the round whose scores are shown and exported, the latest round of
            each ranker with weights, from which its next training goes on, and those that a process works on.
        dry_run
            Remove nothing.

        Returns
        -------
        list of StoredRound
            What was removed, or would be.

        Raises
        ------
        ConfigError
            If ``keep`` is less than 1.
        StorageError
            If a round cannot be removed.
        """
        return prune_rounds(self, keep, dry_run=dry_run)

    def relocate(self, caches: str | Path | Cache | Sequence[str | Path | Cache]) -> RelocateReport:
        """Tell the session where caches are that were moved.

        Each is compared with what the session has recorded of its caches: number of objects, and ids, positions and
        pixels of up to 1,000 of them. Scores and features stay. Nothing is changed if one does not fit.

        Parameters
        ----------
        caches
            The new place of one or more of its caches, in any order.

        Returns
        -------
        RelocateReport
            Where all caches of the session are, and what could not be compared.

        Raises
        ------
        CacheError
            If a cache does not hold the objects that it should.
        SessionError
            If it cannot be told which cache of the session is meant.
        UnreadableError
            If there is no cache.
        """
        return relocate(self, cache_folders(caches))

    def check(self, progress: Callable[[Progress], None] | None = None) -> Integrity:
        """Read every file of the session and of its caches, and compare it with the digest it was written with.

        Parameters
        ----------
        progress
            Called with a `Progress` after each file.

        Returns
        -------
        Integrity
            How many files were read, and those that are damaged, each with what is wrong and the way out.
        """
        return drain(session_integrity(self.path), progress)
