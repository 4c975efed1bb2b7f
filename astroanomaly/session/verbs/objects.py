"""What is known of single objects: which are alike, its spectrum or light curve, and what its score rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.arguments import as_ids, as_text, as_whole
from astroanomaly.errors import SessionError
from astroanomaly.files import as_path
from astroanomaly.hookspecs import ImageRanker
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Progress, drain
from astroanomaly.session.blocks.stored import light_curve, spectrum
from astroanomaly.session.feature_map import feature_map
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.score_parts import score_parts
from astroanomaly.session.similar import similar

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["ObjectVerbs"]


class ObjectVerbs(SessionFolder):
    """What is known of single objects: which are alike, its spectrum or light curve, and what its score rests on."""

    def similar(
        self,
        ids: str | Sequence[str],
        n: int = 100,
        *,
        by: str = "image",
        survey: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Find the objects that are most like one or several others.

        Parameters
        ----------
        ids
            These objects: of the session, or of the survey.
        n
            How many to find.
        by
            ``image``, the name of a block of numbers beside it, or ``together``: image and blocks, each counting alike.
            Of a survey only the image is known.
        survey
            Folder of a survey that was scored with ``keep_features``: look there. None: in the session.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec``, ``score`` (NaN without a round), ``distance`` to the nearest of ``ids`` (0
            for the same features, at most 2 by image) and ``label``, the nearest first. The objects asked for, those of
            the audit set, and those of which nothing is known in the block, are not among them.

        Raises
        ------
        ConfigError
            If ``by`` is something else, or nothing is known of the objects in the block.
        SessionError
            If no features were kept of the survey.
        UnknownObjectError
            For an id that is in neither.
        """
        place = None if survey is None else as_path(survey, "the folder of the survey")
        names = [ids] if isinstance(ids, str) else as_ids(ids)
        return similar(self, names, as_whole(n, "n", 1), as_text(by, "by"), place, progress)

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

    def light_curve(self, object_id: str, block: str = "") -> QTable:
        """Return the light curve of an object, as the session keeps it.

        Parameters
        ----------
        object_id
            The object.
        block
            Name of the block; empty: the first that has a light curve of it.

        Returns
        -------
        astropy.table.QTable
            ``time`` in days, rising; ``band``; ``flux`` or ``magnitude``, and ``error`` (one standard deviation, NaN
            where unknown), in the unit of the file. ``meta`` has ``object_id``, ``block``, and what ``time`` is: MJD,
            or as in its file.

        Raises
        ------
        SessionError
            If the session has no light curves, or none of that object.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return light_curve(self, as_text(object_id, "object_id"), as_text(block, "block"))

    def saliency(self, object_id: str) -> np.ndarray:
        """Show what the latest ranker's score of an object rests on.

        Returns
        -------
        numpy.ndarray
            ``(height, width)`` float32: how much the score falls when that part of the cutout is covered.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the latest ranker cannot say.
        """
        return self._explaining().saliency(self.cache, as_text(object_id, "object_id"))

    def score_parts(self, ids: Sequence[str]) -> QTable:
        """Say how much of the latest scores is due to the image, and how much to each block of numbers beside it.

        Parameters
        ----------
        ids
            The objects.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``score``, then ``image``, a column for each block, and ``outliers`` (the outlier score of
            `active-search`): how much the score falls when that part of the object is as in the mean of the survey.
            ``meta["shares"]`` says how much all scores of the survey rest on each.

        Raises
        ------
        SessionError
            If nothing was trained yet, or the latest ranker cannot say.
        UnknownObjectError
            For an id that is in none of the caches.
        """
        return score_parts(self, as_ids(ids))

    def _explaining(self) -> ImageRanker:
        """Return the latest round's ranker if it can say what its scores rest on."""
        last = self.last_round
        fitted = drain(fitted_steps(self, last))
        if not isinstance(fitted, ImageRanker):
            able = [name for name, made in load_plugins("ranker").rankers.items() if issubclass(made, ImageRanker)]
            raise SessionError(
                f"the ranker {last.ranker!r} of round {last.number} cannot say what its scores rest on; these can: "
                f"{', '.join(able)}"
            )
        return fitted
