"""Objects beside one another: what is like one, all of them on a plane; and the spectrum of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from astroanomaly.arguments import as_text, as_whole
from astroanomaly.records import Progress
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.similarity import feature_map, similar
from astroanomaly.session.stored_spectra import spectrum

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["ObjectVerbs"]


class ObjectVerbs(SessionFolder):
    """Objects beside one another, and the spectrum of one."""

    def similar(
        self, object_id: str, n: int = 25, *, by: str = "image", progress: Callable[[Progress], None] | None = None
    ) -> QTable:
        """Return the objects that are most like one.

        Parameters
        ----------
        object_id
            The object.
        n
            How many, with that object itself.
        by
            ``image``, the name of a block of numbers beside it, or ``together``: image and blocks, each counting alike.
        progress
            Called with a `Progress` while features that are missing are computed.

        Returns
        -------
        astropy.table.QTable
            ``object_id`` and ``distance``, the nearest first. Objects of the audit set, and those of which nothing is
            known in the block, are not among them.

        Raises
        ------
        ConfigError
            If ``by`` is something else, or nothing is known of the object in the block.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return similar(self, as_text(object_id, "object_id"), as_whole(n, "n", 1), as_text(by, "by"), progress)

    def feature_map(
        self,
        n: int = 3000,
        *,
        method: str = "neighbours",
        by: str = "image",
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Lay a random sample of objects out on a plane, so that like ones are near one another.

        Parameters
        ----------
        n
            How many objects, at most.
        method
            ``neighbours``: t-SNE. ``principal``: the first two principal components.
        by
            As in `similar`.
        progress
            Called with a `Progress` while features that are missing are computed.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``x`` and ``y``.

        Raises
        ------
        ConfigError
            If ``method`` or ``by`` is something else, or fewer than 10 objects can be compared.
        """
        return feature_map(self, as_whole(n, "n", 1), as_text(method, "method"), as_text(by, "by"), progress)

    def spectrum(self, object_id: str, block: str = "") -> QTable:
        """Return the spectrum of an object, as the session keeps it.

        Parameters
        ----------
        object_id
            The object.
        block
            Name of the block; empty: the first that has a spectrum of it.

        Returns
        -------
        astropy.table.QTable
            ``wavelength`` in Angstrom as observed, ``flux`` and ``error`` (one standard deviation) in the unit of the
            file, NaN where unknown. ``meta`` has ``object_id``, ``block`` and ``redshift`` (NaN where unknown).

        Raises
        ------
        SessionError
            If the session has no spectra, or none of that object.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return spectrum(self, as_text(object_id, "object_id"), as_text(block, "block"))
