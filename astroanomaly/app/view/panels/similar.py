"""More like this: the button of the inspector, and by what objects are compared."""

from __future__ import annotations

from typing import Any

from bokeh.models import Button, Select

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.learn.features.compare import comparisons
from astroanomaly.learn.rankers.score_parts import IMAGE

__all__ = ["Similar"]


class Similar:
    """Shows the objects that are most like the one under the cursor, by the image, a block or all together."""

    def __init__(self, state: ViewState, act: Any, later: Any, learner: Any) -> None:
        self._state, self._later, self._learner = state, later, learner
        self.button = Button(label="similar objects", width=115)
        self.button.on_click(act(self._show))
        ways = comparisons(state.shared.session.context.blocks)
        self.by = Select(
            title="similar by", options=list(ways), value=IMAGE, width=150, visible=len(ways) > 1, name="similar_by"
        )

    def _show(self) -> None:
        state, current, by = self._state, self._state.current, str(self.by.value)
        state.say(f"finding objects similar to {current}{'' if by == IMAGE else f' by {by}'} …")
        self._later(
            lambda found: state.show(found, f"like:{current}"), self._learner.nearest, current, state.page_size, by
        )
