"""What the sources say of a request: columns of positions, objects, bands, tiles, scale and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from astroanomaly import Catalog, Fact
from astroanomaly_plugins.shared.columns import is_carried

__all__ = [
    "band_fact",
    "catalog_facts",
    "count_fact",
    "left_out_facts",
    "object_fact",
    "scale_fact",
    "size_fact",
    "uneven_facts",
]

_LISTED = 3  # files of a band, tiles
_BANDS_LISTED = 12


def catalog_facts(catalog: Catalog, use: str = "sky") -> list[Fact]:
    """Say which columns gave the positions and the ids.

    Parameters
    ----------
    use
        ``sky`` or ``pixel``: which positions are used.
    """
    facts = []
    columns = catalog.sky if use == "sky" else catalog.pixel
    if columns is not None:
        value = {
            "columns": list(columns.columns),
            "chosen": columns.chosen,
            "kind": use,
            "frame": columns.frame,
            "unit": columns.unit,
            "unit_stated": columns.stated,
            "origin": columns.origin,
            "unused": [list(pair) for pair in columns.unused],
        }
        facts.append(Fact("positions", columns.text, value))
    column = catalog.found.get("id", "")
    words = f"column {column}" if column else f"numbers of the rows: {catalog.ids[0]} ..., for want of a column of ids"
    facts.append(Fact("ids", words, {"column": column or None}))
    if "tables" in catalog.found:
        words = f"{catalog.found['tables']} of the catalogue, taken together: their columns are the same"
        facts.append(Fact("tables of the catalogue", _cut(words), catalog.found["tables"].split(", ")[:_BANDS_LISTED]))
    wide = [name for name in catalog.columns.colnames if not is_carried(catalog.columns[name])]
    wide += [name for name in catalog.found.get("not_plain", "").split(", ") if name]
    if wide:
        listed = ", ".join(map(_short, wide[:_BANDS_LISTED])) + (" ..." if len(wide) > _BANDS_LISTED else "")
        words = f"{len(wide)} of the catalogue, which hold no single number or text per row: {listed}"
        facts.append(Fact("columns left out", _cut(words), {"number": len(wide), "first": wide[:_BANDS_LISTED]}))
    return facts


def uneven_facts(names: Sequence[str]) -> list[Fact]:
    """Say which columns are left out since not every partition of a catalogue has them; no fact without any."""
    if not names:
        return []
    listed = ", ".join(map(_short, names[:_BANDS_LISTED])) + (" ..." if len(names) > _BANDS_LISTED else "")
    words = f"{len(names)} of the catalogue, which not all of its partitions have: {listed}"
    return [Fact("uneven columns", _cut(words), {"number": len(names), "first": list(names[:_BANDS_LISTED])})]


def left_out_facts(left: Mapping[str, Sequence[str]], counts: Mapping[str, int] | None = None) -> list[Fact]:
    """Say what was found and is not used: how many by reason, and the first few names; no fact where nothing is.

    Parameters
    ----------
    left
        Names by reason.
    counts
        How many there are by reason, where not all names are given.
    """
    numbers = {reason: (counts or {}).get(reason, len(names)) for reason, names in left.items()}
    if not any(numbers.values()):
        return []
    texts, value = [], {}
    for reason, number in sorted(numbers.items(), key=lambda item: -item[1]):
        names = left[reason][:_LISTED]
        more = f" and {number - len(names)} more" if number > len(names) else ""
        texts.append(f"{number} x {reason}: {', '.join(map(_short, names))}{more}")
        value[reason] = {"number": number, "first": list(names)}
    few = dict(list(value.items())[:100])
    return [Fact("left out", _cut("; ".join(texts)), {"total": sum(numbers.values()), "reasons": few})]


def object_fact(total: int, **counts: int) -> Fact:
    """Say how many objects there are, and what is known of some of them: ``outside_the_images=3``."""
    parts = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    return Fact("objects", f"{total}{': ' if parts else ''}{', '.join(parts)}", {"total": total, **counts})


def band_fact(bands: Mapping[str, Sequence[str]], units: Mapping[str, str] | None = None, note: str = "") -> Fact:
    """Say which band comes from which files, images or products.

    Parameters
    ----------
    bands
        For each band what it is made of; the first few are named.
    units
        Units of the pixels by band.
    note
        How the bands got their names.
    """
    units = units or {}
    texts, value = [], {}
    for band, files in bands.items():
        unit = f" [{units[band]}]" if units.get(band) else ""
        more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
        listed = ", ".join(_short(name) for name in files[:_LISTED])
        texts.append(f"{band}{unit}{' from ' + listed + more if files else ''}")
        value[band] = {"unit": units.get(band, ""), "images": len(files), "first": list(files[:_LISTED])}
    words = "; ".join(texts[:_BANDS_LISTED])
    words += f"; and {len(texts) - _BANDS_LISTED} more" if len(texts) > _BANDS_LISTED else ""
    few = dict(list(value.items())[:200])
    return Fact("bands", _cut(f"{words} ({note})" if note else words), few)


def count_fact(name: str, names: Sequence[str], counts: Sequence[int], what: str = "objects") -> Fact:
    """Say how many objects lie on each tile (or other part of a survey): least, median, most, and the first few.

    Parameters
    ----------
    name
        What the parts are called: ``tiles``.
    names, counts
        Their names, and how many objects each has.
    """
    numbers = np.asarray(counts, np.int64)
    used = numbers[numbers > 0]
    order = [k for k in range(len(names)) if numbers[k]][:_LISTED]
    value: dict[str, Any] = {
        "number": len(names),
        "empty": int(len(numbers) - len(used)),
        "first": [{"name": names[k], what: int(numbers[k])} for k in order],
    }
    words = f"{len(names)}"
    if len(used):
        least, median, most = int(used.min()), float(np.median(used)), int(used.max())
        value |= {"least": least, "median": median, "most": most}
        listed = ", ".join(f"{_short(names[k])} {numbers[k]}" for k in order)
        words += f"; {what} on each: {listed}"
        if len(used) > len(order):
            words += f" ...; least {least}, median {median:g}, most {most}"
    if value["empty"]:
        words += f"; {value['empty']} without any"
    return Fact(name, _cut(words), value)


def scale_fact(scales: Sequence[float], note: str = "") -> Fact:
    """Say the pixel scale in arcsec, or its range."""
    low, high = float(min(scales)), float(max(scales))
    words = f"{low:.6g}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.6g} to {high:.6g}"
    return Fact("pixel scale", f"{words} arcsec{note}", {"arcsec": [low, high]})


def size_fact(size_hw: Sequence[int], scale: float | tuple[float, float] | None) -> Fact:
    """Say the size of a cutout in pixels and, where the scale (or the sides of a pixel, x and y) is known, arcsec."""
    height, width = int(size_hw[0]), int(size_hw[1])
    value: dict[str, Any] = {"pixels": [height, width], "arcsec": None}
    words = f"{width} x {height} pixels"
    if scale is not None:
        across, down = scale if isinstance(scale, tuple) else (scale, scale)
        value["arcsec"] = [height * down, width * across]
        words += f" = {width * across:.5g} x {height * down:.5g} arcsec"
    return Fact("size", f"{words} (width x height)", value)


def _short(name: str) -> str:
    """Return the end of a long path."""
    return name if len(name) <= 100 else f"...{name[-97:]}"


def _cut(text: str) -> str:
    return text if len(text) <= 1900 else f"{text[:1900]} ..."
