"""What a report says of the completeness of a search: the audit set, and injections; apart, for they differ."""

from __future__ import annotations

import base64
import tempfile
from html import escape
from pathlib import Path

from astroanomaly.errors import SessionError
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.injection.completeness import Completeness, read_completeness
from astroanomaly.session.injection.efficiency import LEVEL, Axis, Efficiency, Row
from astroanomaly.session.injection.inject import draw
from astroanomaly.session.remaining import remaining

__all__ = ["completeness_html"]


def completeness_html(session: SessionFolder) -> str:
    """Return the section about completeness as HTML; empty where nothing was injected.

    Raises
    ------
    SessionError
        If a file of a result is damaged.
    """
    found = read_completeness(session.path)
    if not found:
        return ""
    parts = "".join(map(_injections, found))
    return (
        f"<section class=completeness><h2>How complete the search is</h2>{_audit(session)}{parts}"
        "<p class=muted>The audit set is a random sample of the real objects: it says how many anomalies are left, of "
        "any kind. Injections are simulated: they say how bright and how large one of their kind must be to be found, "
        "not how many there are. The two are not combined.</p></section>\n"
    )


def _audit(session: SessionFolder) -> str:
    """Say what the audit set says, if it says something."""
    if not session.labels.audit:
        return "<h3>Real objects: the audit set</h3><p>There is no audit set.</p>"
    try:
        left = remaining(session, ())
    except SessionError as error:
        return f"<h3>Real objects: the audit set</h3><p>{escape(str(error))}</p>"
    total = left.total
    sample = f", drawn from {escape(left.sample_of)}" if left.sample_of else ""
    return (
        f"<h3>Real objects: the audit set</h3><p>{left.audit} objects drawn at random{sample} and labelled blind, "
        f"{left.audit_anomalies} of them anomalies. Known beside it: {left.known}. Left among {left.unlabelled} "
        f"objects without a label: {total.expected:.0f} (90 %: {total.low:.0f} to {total.high:.0f}).</p>"
    )


def _injections(found: Completeness) -> str:
    efficiency = found.efficiency
    total, about = efficiency.total, found.about
    rows = _rows(efficiency.brightness, efficiency, "brightness") + _rows(efficiency.size, efficiency, "size")
    facts = "".join(
        f"<br>{escape(name.replace('_', ' '))}: {escape(about[name])}"
        for name in ("hosts", "brightness", "colours", "size", "psf", "noise", "looked_at", "seed")
        if name in about
    )
    return (
        f"<h3>Injections: {escape(found.kind)}, {escape(found.summary)}</h3>"
        f"<p>{total.found} of {total.n} ({_share(total)}) would be among the first {found.top} of {found.objects} "
        f"objects, ranked by {escape(found.ranker)} of round {found.round}; without the light, "
        f"{_share(efficiency.hosts)} of their hosts.</p>"
        f'<p><img alt="share found against brightness and size" src="data:image/png;base64,{_picture(found)}"></p>'
        f"<table><tr><th></th><th>from</th><th>to</th><th>injected</th><th>found</th><th>share ({LEVEL:.0%} interval)"
        f"</th></tr>{rows}</table><p class=muted>Simulated light on real cutouts.{facts}</p>"
    )


def _rows(axis: Axis, efficiency: Efficiency, name: str) -> str:
    return "".join(
        f"<tr><th>{escape(axis.label)}</th><td>{low:.4g}</td><td>{high:.4g}</td><td>{row.n}</td><td>{row.found}</td>"
        f"<td>{_share(row)}</td></tr>"
        for low, high, row in efficiency.rows(name)
    )


def _share(row: Row) -> str:
    return f"{row.fraction:.0%}, {row.low:.0%} to {row.high:.0%}" if row.n else "none injected"


def _picture(found: Completeness) -> str:
    with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
        path = Path(folder) / "efficiency.png"
        draw(found, path)
        return base64.b64encode(path.read_bytes()).decode("ascii")
