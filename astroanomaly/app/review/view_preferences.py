"""What a person chose on a page: taken up when they come, and kept as they change it."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.preferences import load_preferences, save_preferences
from astroanomaly.app.review.scatter import ScatterAxes
from astroanomaly.config import build
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.imaging.display import Display

__all__ = ["ViewPreferences"]

_log = logging.getLogger(__name__)
_OPTIONS = ("page_size", "row_by_row", "column", "ordering", "by")


class ViewPreferences:
    """The preferences of whoever sits at a page; those of an earlier visit are taken up at once."""

    def __init__(self, state: ViewState) -> None:
        self._state = state
        self._saved: tuple[str, dict[str, Any]] = ("", {})
        self._take_up()

    def follow(self) -> None:
        """Keep what has changed; where somebody else sits there now, take up what they chose before."""
        now = (self._state.annotator, self._values())
        if now == self._saved:
            return
        if now[0] == self._saved[0]:
            save_preferences(self._state.shared.session.path, *now)
            self._saved = now
        else:
            self._take_up()

    def _values(self) -> dict[str, Any]:
        state = self._state
        usual = state.display == state.shared.cache.pictures.usual_display
        return {
            **({} if usual else {"display": state.display.to_plain()}),
            **{name: getattr(state, name) for name in _OPTIONS},
            "scatter": dataclasses.asdict(state.scatter),
            "filters": dataclasses.asdict(state.filters),
            "auto_advance": state.auto_advance,
        }

    def _take_up(self) -> None:
        """Take up what this person chose on an earlier visit; what cannot be is left out."""
        state = self._state
        kept = load_preferences(state.shared.session.path, state.annotator)
        try:
            if "display" in kept:
                display = Display.from_plain(kept["display"])
                display.rows(state.shared.cache.bands)
                state.display = display
                state.dirty |= {"display", "options"}
            elif kept:
                state.display = state.shared.cache.pictures.usual_display
                state.dirty |= {"display", "options"}
            if kept.get("column") and kept["column"] not in state.shared.number_columns.names:
                kept = {name: value for name, value in kept.items() if name not in ("column", "ordering")}
            changes: dict[str, Any] = {name: kept[name] for name in _OPTIONS if name in kept}
            if "filters" in kept:
                changes["filters"] = build(Filters, kept["filters"], "filters")
            if changes:
                state.set_options(**changes)
            state.auto_advance = bool(kept.get("auto_advance", state.auto_advance))
            if "scatter" in kept:
                state.set_scatter(**dataclasses.asdict(build(ScatterAxes, kept["scatter"], "scatter")))
        except (AstroAnomalyError, TypeError, AttributeError) as error:
            _log.warning("the preferences of %s are left out: %s", state.annotator, error)
        self._saved = (state.annotator, self._values())
