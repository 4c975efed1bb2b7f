"""Values of events as they are stored: one for each object, text, probabilities and times that are checked."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Any

from astroanomaly.errors import LabelError

__all__ = ["checked_probability", "checked_text", "for_each", "to_utc", "utc_now"]


def for_each(value: Any, count: int, what: str) -> list[Any]:
    """Return one value for each of some objects, where one for all or one for each was given.

    Raises
    ------
    LabelError
        If there are more or fewer; ``what`` names them.
    """
    values = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value] * count
    if len(values) != count:
        raise LabelError(f"{len(values)} {what} for {count} objects: give one for all, or one for each")
    return values


def checked_probability(value: float | None) -> float | None:
    """Return a probability that is None or from 0 to 1.

    Raises
    ------
    LabelError
        If it is anything else.
    """
    if value is None:
        return None
    probability = float(value)
    if not (math.isfinite(probability) and 0 <= probability <= 1):
        raise LabelError(f"probability={probability} of having been shown: expected 0 to 1")
    return probability


def checked_text(text: object, what: str, *, empty: bool = False) -> str:
    """Return text that can be stored.

    Raises
    ------
    LabelError
        If it is none, or empty where it must not be, or no valid Unicode.
    """
    if not isinstance(text, str) or not (text or empty):
        raise LabelError(f"{text!r} is no {what}: expected {'text' if empty else 'text that is not empty'}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise LabelError(f"the {what} {text!r} is not valid Unicode: rename it, it cannot be stored") from None
    return str(text)


def to_utc(time: str) -> str:
    """Bring a time to the form in which it is stored."""
    try:
        moment = datetime.datetime.fromisoformat(time.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    except (ValueError, AttributeError, OverflowError):  # the last for years before 1 or after 9999 in UTC
        raise LabelError(f"{time!r} is no time: expected ISO 8601 as in {utc_now()}") from None


def utc_now() -> str:
    """Return the time as it is stored: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
