"""What images say: which objects are alike, and what a score rests on."""

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
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.score_parts import score_parts
from astroanomaly.session.similar import similar

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["ImageVerbs"]


class ImageVerbs(SessionFolder):
    """What images say: which objects are alike, and what a score rests on."""

    def similar(
        self,
        ids: Sequence[str],
        n: int = 100,
        *,
        survey: str | Path | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> QTable:
        """Find the objects most like some others, by their frozen features; blind audit objects are left out.

        Parameters
        ----------
        ids
            The objects: of the session, or of the survey.
        n
            How many to find.
        survey
            Folder of a survey that was scored with ``keep_features``: look there. None: in the session.
        progress
            Called with a `Progress` now and then.

        Returns
        -------
        astropy.table.QTable
            ``object_id``, ``ra``, ``dec``, ``score``, ``similarity`` (cosine, 1 for the same features; to the most
            similar of ``ids``) and ``label``, the most similar first.

        Raises
        ------
        SessionError
            If no features were kept of the survey.
        UnknownObjectError
            For an id that is in neither.
        """
        place = None if survey is None else as_path(survey, "the folder of the survey")
        return similar(self, as_ids(ids), as_whole(n, "n", 1), place, progress)

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
            able = [name for name, made in load_plugins().rankers.items() if issubclass(made, ImageRanker)]
            raise SessionError(
                f"the ranker {last.ranker!r} of round {last.number} cannot say what its scores rest on; these can: "
                f"{', '.join(able)}"
            )
        return fitted
