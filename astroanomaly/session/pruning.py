"""Which rounds of a session take how much space, and removing those that nothing refers to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from astroanomaly.errors import ConfigError, StorageError, UnreadableError
from astroanomaly.files import sync_folder, temporary_path
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import Round

__all__ = ["StoredRound", "prune_rounds", "stored_rounds"]


@dataclass(frozen=True)
class StoredRound:
    """A round on disk.

    Attributes
    ----------
    round
        The round.
    nbytes
        How much space its files take.
    scored
        How many shards it has scored.
    needed
        Why it must stay; empty if nothing refers to it.
    """

    round: Round
    nbytes: int
    scored: int
    needed: str


def stored_rounds(session: SessionFolder) -> list[StoredRound]:
    """Return the rounds of a session, oldest first.

    Needed are: the round whose scores are shown and exported (the latest that has scored everything) and all later
    ones; the latest round of each ranker with weights, from which its next training goes on; and those that a process
    works on.
    """
    rounds = session.rounds
    needed = {item.number: "its scoring is not finished" for item in rounds}
    for item in reversed(rounds):
        if _is_scored(session, item):
            needed = {number: why for number, why in needed.items() if number > item.number}
            needed[item.number] = "its scores are shown and exported"
            break
    if rounds:
        needed.setdefault(rounds[-1].number, "the latest")
    latest = {item.ranker: item for item in rounds if item.weights.is_file()}
    for ranker, item in latest.items():
        needed.setdefault(item.number, f"the next training of {ranker} goes on from it")
    for item in rounds:
        if item.is_in_use:
            needed.setdefault(item.number, "a process works on it")
    return [
        StoredRound(item, _size(item), len(list(item.scores.glob("[!.]*.h5"))), needed.get(item.number, ""))
        for item in rounds
    ]


def prune_rounds(session: SessionFolder, keep: int, *, dry_run: bool = False) -> list[StoredRound]:
    """Remove the rounds of a session but the latest ones and those that are needed.

    Parameters
    ----------
    session
        The session.
    keep
        How many of the latest rounds stay.
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
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ConfigError(f"keep={keep!r}: expected a whole number of rounds, 1 or more")
    chosen = [item for item in stored_rounds(session)[:-keep] if not item.needed]
    for item in () if dry_run else chosen:
        _remove(item.round)
    return chosen


def _remove(item: Round) -> None:
    """Take a round away from the others in one step, then remove its files."""
    aside = temporary_path(item.path)
    try:
        item.path.rename(aside)
        sync_folder(item.path.parent)
        shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(
            f"round {item.number} in {item.path} cannot be removed: {error.strerror or error}"
        ) from error


def _is_scored(session: SessionFolder, item: Round) -> bool:
    try:
        return item.is_scored(session.objects)
    except UnreadableError:  # the caches are not there, and no round has scored everything
        return False


def _size(item: Round) -> int:
    return sum(file.lstat().st_size for file in item.path.rglob("*") if file.is_file())
