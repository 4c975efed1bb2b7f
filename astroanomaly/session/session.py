"""The class `Session`: create, train, score, export. What lies on disk is in `astroanomaly.session.folder`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astroanomaly.arguments import as_flag
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.verbs.campaign import CampaignVerbs
from astroanomaly.session.verbs.completeness import CompletenessVerbs
from astroanomaly.session.verbs.labels import LabelVerbs
from astroanomaly.session.verbs.objects import ObjectVerbs
from astroanomaly.session.verbs.outputs import OutputVerbs
from astroanomaly.session.verbs.ranking import RankingVerbs
from astroanomaly.session.verbs.upkeep import UpkeepVerbs

__all__ = ["Session"]

_NOTEBOOK_MODULE = "astroanomaly.app.web.notebook"


class Session(
    LabelVerbs, CampaignVerbs, RankingVerbs, ObjectVerbs, CompletenessVerbs, OutputVerbs, UpkeepVerbs, SessionFolder
):
    """A session: make one with `Session.create`, come back to it with `Session.open`.

    Attributes
    ----------
    path
        Its folder.
    classes
        Label classes: ``nominal``, ``anomaly``, then the session's own anomaly classes.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(path, content)
        self._app: Any = None

    def app(
        self,
        *,
        annotator: str | None = None,
        url: str = "",
        height: int = 800,
        samp: bool = False,
        showings: bool = True,
    ) -> None:
        """Show the labelling app in a notebook; on the command line it is ``astroanomaly serve``.

        Parameters
        ----------
        annotator
            Name that verdicts are given under; None: your user name. On a JupyterHub that is its user name, and nobody
            can enter another on the page.
        url
            Address under which your browser reaches a port of the kernel's computer, with ``{port}`` in it, as in
            ``https://hub.org/user/ann/proxy/{port}/``. Empty: found out, on your computer, on a JupyterHub with
            jupyter-server-proxy, and in VS Code.
        height
            Height of the app, in pixels.
        samp
            Whether *export* offers to connect your browser to TOPCAT or Aladin on its own computer, by SAMP's Web
            Profile.
        showings
            Whether to keep an account of what is shown to whom; see `Session.showings`. The first call decides.

        Raises
        ------
        ConfigError
            If the address or the height cannot be.
        """
        name = annotator or ""
        if self._app is None:  # the app lies above the session, which knows nothing of it but its name
            self._app = importlib.import_module(_NOTEBOOK_MODULE).NotebookApp(
                self, name, showings=as_flag(showings, "showings")
            )
        self._app.show(name, url, height, samp=as_flag(samp, "samp"))
