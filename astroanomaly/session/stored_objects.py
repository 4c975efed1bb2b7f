"""The objects of a session as its score files know them, for what needs no pixels while the caches are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache.id_hashes import hash_ids
from astroanomaly.cache.scores import has_scores, read_positions, read_scores
from astroanomaly.config import nearest
from astroanomaly.errors import UnknownObjectError
from astroanomaly.session.rounds import Round

__all__ = ["StoredObjects", "StoredShard"]


@dataclass(frozen=True)
class StoredShard:
    """Objects of one shard, from the scores that a round has given them.

    Attributes
    ----------
    uuid
        Of the shard.
    folder
        Folder of the scores.
    path
        The score file.
    """

    uuid: str
    folder: Path

    @property
    def path(self) -> Path:
        """The score file."""
        return self.folder / f"{self.uuid}.h5"

    @cached_property
    def ids(self) -> list[str]:
        """Ids of its objects, in order."""
        return list(read_scores(self.folder, self.uuid).ids)

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """``(n,)`` right ascension and declination in ICRS degrees, NaN where they were not kept with the scores."""
        return read_positions(self.folder, self.uuid)

    def __len__(self) -> int:
        return len(self.ids)


class StoredObjects:
    """Ids and positions of the objects that a round has scored: the part of a cache that needs no pixels.

    Parameters
    ----------
    scored
        The round.
    shards
        Uuids of the shards.
    folders
        Where the caches were.
    """

    def __init__(self, scored: Round, shards: Sequence[str], folders: Sequence[Path]) -> None:
        there = [uuid for uuid in shards if has_scores(scored.scores, uuid)]
        self.shards = tuple(StoredShard(uuid, scored.scores) for uuid in there)
        self.folders = tuple(folders)

    @property
    def uuids(self) -> tuple[str, ...]:
        """Uuids of the shards."""
        return tuple(shard.uuid for shard in self.shards)

    @cached_property
    def ids(self) -> list[str]:
        """All object ids."""
        return [object_id for shard in self.shards for object_id in shard.ids]

    @cached_property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """``(N,)`` right ascension and declination in ICRS degrees in the order of `ids`, NaN where unknown."""
        parts = [shard.positions for shard in self.shards]
        ra, dec = (np.concatenate([np.zeros(0), *(part[axis] for part in parts)]) for axis in (0, 1))
        return ra, dec

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, object_id: object) -> bool:
        return isinstance(object_id, str) and self.find([object_id])[0] >= 0

    @cached_property
    def _hashes(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted hashes of the ids, and their rows."""
        hashes = _hash(self.ids)
        rows = np.argsort(hashes, kind="stable")
        return hashes[rows], rows

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` int64 rows of objects, -1 for ids that are not here."""
        hashes, rows = self._hashes
        wanted = _hash(ids)
        found = np.full(len(ids), -1, np.int64)
        starts, stops = np.searchsorted(hashes, wanted, "left"), np.searchsorted(hashes, wanted, "right")
        for k, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            found[k] = next((row for row in rows[start:stop].tolist() if self.ids[row] == ids[k]), -1)
        return found

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` int64 rows of objects.

        Raises
        ------
        UnknownObjectError
            For an id that no round has scored.
        """
        found = self.find(ids)
        if (found < 0).any():
            unknown = ids[int(np.argmax(found < 0))]
            raise UnknownObjectError(
                f"no object {unknown!r} among those that were scored{nearest(unknown, self.ids[:10_000])}; the caches "
                f"are not there: {', '.join(map(str, self.folders))}"
            )
        return found

    def ids_at(self, rows: np.ndarray) -> list[str]:
        """Ids of the objects at some rows."""
        return [self.ids[row] for row in np.asarray(rows).tolist()]

    def columns(self, ids: Sequence[str]) -> dict[str, Any]:
        """Catalogue columns of some objects: there are none, they are kept in the caches."""
        return {}


def _hash(ids: Sequence[str]) -> np.ndarray:
    return hash_ids([object_id.encode("utf-8", "surrogatepass") for object_id in ids])
