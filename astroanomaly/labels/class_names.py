"""Names of label classes: which can be, and how tables of labels also call the first two."""

from __future__ import annotations

from collections.abc import Sequence

from astroanomaly.errors import LabelError
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import ANOMALY, NOMINAL

__all__ = ["WORDS", "check_class"]

WORDS = {  # how tables of labels also call the first two classes, in lower case
    "normal": NOMINAL,
    "0": NOMINAL,
    "false": NOMINAL,
    "anomalous": ANOMALY,
    "1": ANOMALY,
    "true": ANOMALY,
}


def check_class(name: str, known: Sequence[str]) -> None:
    """Refuse a name that is no name, is taken, or means something else in a table of labels.

    Raises
    ------
    LabelError
        If it is so.
    """
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise LabelError(f"{name!r} cannot name a label class: expected printable text other than {DISPUTED!r}")
    if name.lower() == DISPUTED or name.lower() in WORDS:
        raise LabelError(f"{name!r} cannot name a label class: the word has a meaning of its own")
    taken = next((other for other in known if other.lower() == name.lower()), None)
    if taken is not None:
        raise LabelError(f"the label class {taken!r} exists already: {name!r} would not differ but in case")
