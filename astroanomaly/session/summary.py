"""Anomalies counted: by class, by whether they are known, and by who published them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.records import NOMINAL
from astroanomaly.session.export import selected
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.known import (
    KNOWN,
    NOT_KNOWN,
    NOT_LOOKED_UP,
    best_match,
    known_provenance,
    read_known,
    state_of,
)
from astroanomaly.session.outputs.provenance import public

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["summary"]


def summary(session: SessionFolder, merge_radius_arcsec: float = 1.0) -> QTable:
    """Count the objects labelled as anomalies; see `Session.summary`."""
    from astropy.table import QTable

    known = read_known(session.path)
    counts: Counter[tuple[int, int, str, str]] = Counter()
    states = (KNOWN, NOT_KNOWN, NOT_LOOKED_UP)
    for number, label in enumerate(session.classes):
        if label == NOMINAL:
            continue
        for object_id in selected(session, labelled=label, merge_radius_arcsec=merge_radius_arcsec)["object_id"]:
            matches = best_match(known, str(object_id))
            state = states.index(state_of(known, str(object_id)))
            where = matches[0] if matches else None
            reference = "" if where is None else where[1].reference
            counts[number, state, "" if where is None else where[0].catalog, reference] += 1
    rows = sorted(counts.items(), key=lambda item: (*item[0][:2], -item[1], item[0][2:]))
    table = QTable(
        {
            "label": np.array([session.classes[key[0]] for key, _ in rows], dtype=str),
            "known": np.array([states[key[1]] for key, _ in rows], dtype=str),
            "known_in": np.array([key[2] for key, _ in rows], dtype=str),
            "reference": np.array([key[3] for key, _ in rows], dtype=str),
            "n": np.array([count for _, count in rows], dtype=np.int64),
        }
    )
    for name, ucd, text in (
        ("label", "meta.code.class", "label by the majority of annotators, or their median grade"),
        ("known", "meta.code", f"{KNOWN}; {NOT_KNOWN}: no catalogue that was asked has it; {NOT_LOOKED_UP} in all"),
        ("known_in", "meta.dataset", "catalogue or service that knows the objects"),
        ("reference", "meta.bib", "reference there"),
        ("n", "meta.number", "number of objects, duplicates merged"),
    ):
        table[name].info.description = text
        table[name].info.meta = {"ucd": ucd}
    table.meta = public(known_provenance(known))
    return table
