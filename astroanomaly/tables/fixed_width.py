"""Fixed-width tables with a byte-by-byte description: machine-readable tables of AAS journals, and those of the CDS."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import StorageError
from astroanomaly.files import atomic_path
from astroanomaly.tables.escape import ascii_text
from astroanomaly.tables.units import spell_unit

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["README", "write_cds", "write_mrt"]

README = "ReadMe"  # beside the table, as the CDS calls it
_WIDTH = 80  # of a line of a ReadMe
_RULE, _DOUBLE = "-" * _WIDTH, "=" * _WIDTH
_MOST_FIXED = 22  # characters of a number without an exponent
_LABELS = {"ra": "RAdeg", "dec": "DEdeg"}  # as the standard calls them
_LOOKS_LIKE_A_COLUMN = re.compile(r"\s*(\d+\s*-)?\s*\d+\s+[\w.]+\s+\S+\s+\S+")
_INT64 = 2**63
_LIMIT_DIGITS = 4


@dataclass(frozen=True)
class _Column:
    """A column as texts of one width, and what describes it."""

    label: str
    unit: str
    format: str  # of Fortran
    texts: Sequence[str]
    width: int
    explanation: str


def write_mrt(table: QTable, path: Path, contents: str = "anomalies") -> None:
    """Write a machine-readable table as the AAS journals take it: description and data in one file of ASCII.

    Numbers have all their digits. What is missing or not finite is blank. Text is ASCII, other characters are escaped.

    Parameters
    ----------
    table
        A catalogue, see `astroanomaly.tables.write.build_catalog`.
    path
        File to be written or replaced.
    contents
        What is in the table, in a word.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    columns = _columns(table)
    start, lines = _lines(columns)
    text = [
        "Title:",
        "Authors:",
        f"Table: {contents.capitalize()} by AstroAnomaly, {len(table)} objects",
        _DOUBLE,
        *_byte_by_byte(columns, start, path.name),
        *_notes(table.meta),
        _RULE,
        *lines,
    ]
    _write(path, text)


def write_cds(table: QTable, path: Path, contents: str = "anomalies") -> None:
    """Write a fixed-width table, and beside it the ``ReadMe`` that describes it, as the CDS takes them.

    Title, authors, keywords and abstract of the ReadMe are to be filled in.

    Parameters
    ----------
    table, path, contents
        As in `write_mrt`; the path is that of the data.

    Raises
    ------
    StorageError
        If they cannot be written.
    """
    columns = _columns(table)
    start, lines = _lines(columns)
    longest = max((len(line) for line in lines), default=1)
    name = path.name
    size = max(len(name), 9)
    text = [
        "Title of the paper                                          (Authors, year)",
        _DOUBLE,
        "Authors:",
        "Keywords:",
        "",
        "Abstract:",
        "",
        "Description:",
        *_wrapped(f"{contents.capitalize()} by AstroAnomaly: {len(table)} objects, one in each line.", "    "),
        "",
        "File Summary:",
        _RULE,
        f" {'FileName':<{size}} {'Lrecl':>7} {'Records':>8}  Explanations",
        _RULE,
        f"{README:<{size + 1}} {_WIDTH:>7} {'.':>8}  This file",
        f"{name:<{size + 1}} {longest:>7} {len(lines):>8}  {contents.capitalize()}",
        _RULE,
        "",
        *_byte_by_byte(columns, start, name),
        "",
        *_notes(table.meta),
        _DOUBLE,
        "(End)",
    ]
    _write(path.with_name(README), text)
    _write(path, lines)


def _write(path: Path, lines: Sequence[str]) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")
    except UnicodeEncodeError as error:  # what is written was escaped; the name of the file itself may be anything
        raise StorageError(f"{path}: a file of this kind has a name of ASCII: {error}") from None


# ------------------------------------------------------------------------------------------------------------- columns


def _columns(table: QTable) -> list[_Column]:
    found, taken = [], set[str]()
    for name in table.colnames:
        info = table[name].info
        unit, _, note = spell_unit(info.unit, "cds")
        for part, values in _parts(table[name]):
            label = base = re.sub(r"[^A-Za-z0-9_+\-./()*']", "_", _LABELS.get(name, name) + part) or "_"
            number = 1
            while label.lower() in taken:
                number += 1
                label = f"{base}_{number}"
            taken.add(label.lower())
            texts, fortran, limits = _spelt(values)
            width = max(1, max(map(len, texts), default=1))
            ucd = (info.meta or {}).get("ucd")
            words = [str(info.description or "").strip() or name, note, f"[ucd={ucd}]" if ucd else ""]
            explanation = " ".join(ascii_text(str(word).strip()) for word in words if word) or label
            if not all(texts) or not texts:
                explanation = f"{limits}? {explanation}"
            elif limits:
                explanation = f"{limits} {explanation}"
            elif explanation.startswith(("[", "]", "?")):  # which mean limits, and that there may be none
                explanation = f"- {explanation}"
            spelling = "---" if unit is None else unit.to_string("cds").replace(" ", "") or "---"
            found.append(_Column(label, spelling, fortran.format(width=width), texts, width, explanation))
    return found


def _parts(column: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Give what is appended to the name, and ``(n,)`` values, of a column that may hold a vector for each object."""
    values = np.ma.asanyarray(getattr(column, "value", column))
    if values.ndim <= 1:
        yield "", values
        return
    flat = values.reshape(len(values), -1)
    for number in range(flat.shape[1]):
        yield f"_{number}", flat[:, number]


def _spelt(values: np.ndarray) -> tuple[list[str], str, str]:
    """Return the texts of values, blank where there is none, their Fortran format, and their limits."""
    mask = np.ma.getmaskarray(values)
    plain = np.ma.getdata(values)
    if plain.dtype.kind == "f":
        return _floats(plain, mask | ~np.isfinite(plain))
    if plain.dtype.kind in "iub" and not (plain.dtype.kind == "u" and plain.size and plain.max() >= _INT64):
        numbers = [None if gone else int(value) for value, gone in zip(plain.tolist(), mask.tolist(), strict=True)]
        known = [one for one in numbers if one is not None]
        limits = f"[{min(known)}/{max(known)}]" if known and plain.dtype.kind != "b" else ""
        return ["" if one is None else str(one) for one in numbers], "I{width}", limits
    texts = [
        "" if gone else ascii_text(_text(value)) for value, gone in zip(plain.tolist(), mask.tolist(), strict=True)
    ]
    return texts, "A{width}", ""


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _floats(values: np.ndarray, gone: np.ndarray) -> tuple[list[str], str, str]:
    """Spell numbers with all their digits: in fixed notation where that is short, else with exponents."""
    exact = [None if no else Decimal(str(value)) for value, no in zip(values, gone.tolist(), strict=True)]
    known = [one for one in exact if one is not None]
    if not known:
        return [""] * len(exact), "F{width}.0", ""
    decimals = max(max(0, -int(one.as_tuple().exponent)) for one in known)
    texts = ["" if one is None else f"{one:.{decimals}f}" for one in exact]
    fortran = f"F{{width}}.{decimals}"
    if max(map(len, texts)) > _MOST_FIXED:
        decimals = max(len(one.as_tuple().digits) for one in known) - 1
        texts = ["" if one is None else f"{one:.{decimals}e}" for one in exact]
        fortran = f"E{{width}}.{decimals}"
    return texts, fortran, f"[{_rounded(min(known), ROUND_FLOOR)}/{_rounded(max(known), ROUND_CEILING)}]"


def _rounded(value: Decimal, rounding: str) -> str:
    if not value:
        return "0"
    quantum = Decimal(1).scaleb(max(value.adjusted() - _LIMIT_DIGITS + 1, int(value.as_tuple().exponent)))
    return f"{float(value.quantize(quantum, rounding=rounding)):.{_LIMIT_DIGITS}g}"


def _lines(columns: Sequence[_Column]) -> tuple[int, list[str]]:
    """Return the first byte of the first column, and the lines: numbers to the right, text to the left."""
    cells = [
        [text.ljust(one.width) if one.format[0] == "A" else text.rjust(one.width) for text in one.texts]
        for one in columns
    ]
    lines = [" ".join(row).rstrip() for row in zip(*cells, strict=True)]
    if any(line.startswith(("-------", "=======", "------")) for line in lines):  # would end a section of the file
        return 2, [f" {line}" for line in lines]
    return 1, lines


# -------------------------------------------------------------------------------------------------------- descriptions


def _byte_by_byte(columns: Sequence[_Column], start: int, name: str) -> Iterator[str]:
    yield f"Byte-by-byte Description of file: {ascii_text(name)}"
    yield _RULE
    bytes_, places = start, []
    for one in columns:
        last = bytes_ + one.width - 1
        places.append(f"{bytes_}- {last}" if last > bytes_ else str(last))
        bytes_ = last + 2
    digits = len(str(bytes_))
    place_width = 2 * digits + 2
    formats, units, labels = (
        max([least, *(len(getattr(one, part)) for one in columns)])
        for part, least in (("format", 6), ("unit", 6), ("label", 7))
    )
    yield f"{'Bytes':>{place_width}} {'Format':<{formats}} {'Units':<{units}} {'Label':<{labels}} Explanations"
    yield _RULE
    for one, place in zip(columns, places, strict=True):
        head = f"{place:>{place_width}} {one.format:<{formats}} {one.unit:<{units}} {one.label:<{labels}} "
        indent = " " * min(len(head), _WIDTH // 2)
        words = textwrap.wrap(one.explanation, max(20, _WIDTH - len(indent)), break_on_hyphens=False) or [""]
        yield (head + words[0]).rstrip()
        for line in words[1:]:
            yield indent + (f"... {line}" if _LOOKS_LIKE_A_COLUMN.match(line) else line)
    yield _RULE


def _notes(meta: Mapping[str, Any]) -> Iterator[str]:
    """Say where the table comes from."""
    yield "Note (1): blank where there is no value. Text: printable ASCII, others escaped."
    yield "Note (2): where this comes from:"
    for key, value in meta.items():
        yield from _wrapped(f"{ascii_text(str(key)).replace('_', ' ')}: {ascii_text(str(value))}", "    ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
