"""The app inside a notebook: the kernel serves it, the page of the notebook shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bokeh.io import output_notebook, show
from bokeh.resources import INLINE

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page

if TYPE_CHECKING:
    from bokeh.document import Document

    from astroanomaly.session.session import Session

__all__ = ["NotebookApp"]


class NotebookApp:
    """What the cells of one notebook share: however often the app is shown, its state is one.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self.shared = SharedState(session)
        self.learner = Learner(self.shared)

    def show(self, annotator: str, origin: str) -> None:
        """Show the app below the current cell.

        Parameters
        ----------
        annotator
            Name that the page begins with.
        origin
            ``HOST`` or ``HOST:PORT`` under which the browser sees the notebook.
        """

        def make(document: Document) -> None:
            Page(document, self.shared, self.learner, annotator, alone=False, same_host=origin.startswith("localhost"))

        output_notebook(INLINE, hide_banner=True)
        show(make, notebook_url=origin, address="127.0.0.1")
