"""Catalogue columns that may tell the class of an object: nobody should read them before giving a verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["truth_columns"]

_PARTS = (  # a name that has one of these in it, whatever stands around
    "label", "class", "truth", "anomal", "outlier", "categor", "verdict", "annotat", "morphol", "taxonom",
)  # fmt: skip
_WORDS = {  # a name of which this is a whole word
    "target", "targets", "nominal", "normal", "rare", "rarity", "odd", "oddity", "interesting", "artefact", "artifact",
    "answer", "expected", "kind", "morph", "type", "otype", "spectype", "objtype", "cls", "gt",
}  # fmt: skip
_NAMES = {"y", "true", "y_true", "is_true"}  # a name that is this and nothing more
_NO_CLASS = {"id", "ids", "name", "number", "ra", "dec", "file", "data"}  # as in target_id, target_name, file_type
_VALUES = ("anomaly", "anomalous", "anomalies", "nominal", "normal", "outlier", "inlier")


def truth_columns(columns: Mapping[str, Any], classes: Sequence[str]) -> frozenset[str]:
    """Return the names of the columns that may tell the class: by their name, or since they hold names of classes.

    Rather one too many than one too few: a page shows them to who asks.

    Parameters
    ----------
    columns
        By name, each ``(n,)`` numbers or text.
    classes
        Label classes of the session.
    """
    known = {name.casefold() for name in (*classes, *_VALUES)}
    positions = "x" in {name.casefold() for name in columns}  # then y is no label
    return frozenset(
        name for name, values in columns.items() if _is_named(name, positions) or _holds(np.asarray(values), known)
    )


def _is_named(name: str, has_x: bool) -> bool:
    words = [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    whole = "_".join(words)
    if whole in _NAMES:
        return not (whole == "y" and has_x)
    joined = "".join(words)
    if any(part in joined for part in _PARTS):
        return True
    return bool(_WORDS.intersection(words)) and not _NO_CLASS.intersection(words)


def _holds(values: np.ndarray, known: Iterable[str]) -> bool:
    """Whether a column of text has names of classes in it, or paths with folders named like classes."""
    if values.dtype.kind not in "USO":
        return False
    texts = {
        str(value.decode("utf-8", "replace") if isinstance(value, bytes) else value) for value in set(values.tolist())
    }
    parts = {part.strip().casefold() for text in texts for part in re.split(r"[/\\]", text)}
    return not parts.isdisjoint(known)
