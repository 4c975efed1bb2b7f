"""How a table of labels is to be read: its columns, their frame and unit, what its words mean, what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from astroanomaly.arguments import as_flag, as_mapping, as_number, as_text
from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError

__all__ = ["LabelOptions"]


@dataclass(frozen=True)
class LabelOptions:
    """How a table of labels or of the truth is read, and its rows are matched to objects.

    Attributes
    ----------
    label
        Column of the labels; None: a usual name.
    ra, dec
        Columns of positions; named, they are used in place of ids.
    frame, unit
        Frame and unit of the positions, as in `read_catalog`.
    words
        What words of the table mean: the label of each, or an empty text for no label.
    skip_unmatched
        Leave out rows that match no object.
    match_radius_arcsec
        How far a labelled position may be from its object.
    """

    label: str | None = None
    ra: str | None = None
    dec: str | None = None
    frame: str | None = None
    unit: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    skip_unmatched: bool = False
    match_radius_arcsec: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any] | Self | None) -> Self:
        """Check options that were given by name; None: all as usual.

        Raises
        ------
        ConfigError
            If there is no option of a name, or a value is of the wrong kind.
        """
        if isinstance(given, cls):
            return given
        values = dict(as_mapping(given, "label_options"))
        known = [one.name for one in fields(cls)]
        for name, value in values.items():
            if name not in known:
                raise ConfigError(
                    f"label_options has no {name!r}{nearest(str(name), known)} (known: {', '.join(known)})"
                )
            if name == "words":
                as_mapping(value, "label_options['words']")
            elif name == "skip_unmatched":
                values[name] = as_flag(value, name)
            elif name == "match_radius_arcsec":
                values[name] = as_number(value, name, 0)
            elif value is not None:
                values[name] = as_text(value, name)
        values["words"] = values.get("words") or {}
        return cls(**values)

    @property
    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of `import_labels`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["radius_arcsec"] = values.pop("match_radius_arcsec")
        return values
