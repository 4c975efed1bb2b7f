"""Read text tables: comma, semicolon, tab, bar or blanks between the values, a line of names above."""

from __future__ import annotations

import array
import csv
import io
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import numpy as np

from astroanomaly.errors import CatalogError, UnreadableError
from astroanomaly.tables.column_names import (
    ID_NAMES,
    LABEL_NAMES,
    LABELLED_ID_NAMES,
    PIXEL_NAMES,
    SKY_NAMES,
    SKY_TEXT_NAMES,
)
from astroanomaly.tables.escape import FORMULAS_ESCAPED, plain_text
from astroanomaly.tables.stated_frames import frame_in_comments, note_frame

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["TextTable", "read_text", "typed_column"]

_SIGNS = (",", ";", "\t", "|")  # in the order they are tried
_BLANKS = " "  # any number of blanks and tabs
_SNIFFED_LINES = 50
_MAX_LINE_CHARACTERS = 2**24
_MAX_COLUMNS = 10_000
_COOSYS_CHARACTERS = 200  # in which a comment says that it speaks of a frame
_MOST_FRAMES = 100
_NAMES_SHOWN = 20  # in a message
_BLOCK_ROWS = 2**16
_MAX_WIDTH_RATIO = 8  # of the characters of an array of one width to those of its texts
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # 007 is a name
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*))(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf)", re.I)
_WITH_COMMA = re.compile(r"[+-]?[0-9]*,?[0-9]+(?:[eE][+-]?[0-9]+)?")
_EXACT_IN_FLOAT = 2**53
_MAX_DIGITS = 20  # of a whole number that may fit 64 bits, with its sign
_NOTHING = frozenset(("null", "--", "n/a", "none"))  # gaps in a column of numbers
_RULE = re.compile(r":?-+:?")  # the line below the names and units, as VizieR writes it; Markdown puts colons
_FRAME = re.compile(r"[-+=: ]*")
_FRAME_LINE = re.compile(r"[-+=|: \t]*[-=]{3}[-+=|: \t]*")  # of a table drawn with signs, as TOPCAT and psql print it
_ANGLES = (
    "deg", "degree", "degrees", "rad", "radian", "radians", "arcsec", "mas", "h", "hour", "hours", "hourangle", "hms",
    "h:m:s", "d:m:s", "dms",
)  # fmt: skip
_USUAL = {
    name
    for names in (ID_NAMES, LABELLED_ID_NAMES, LABEL_NAMES, SKY_TEXT_NAMES, *SKY_NAMES, *PIXEL_NAMES)
    for name in names
}


@dataclass(frozen=True, eq=False)
class TextTable:
    """A text table, column by column.

    Parameters
    ----------
    where
        How error messages call it.
    names
        Column names, all different.
    units
        Their units, empty where the file has none.
    lines
        Line of the file on which each row ends, for messages.
    decimal
        What stands before decimals: a point, or the comma of tables whose values are separated by semicolons.
    blocks
        For each column the texts of many rows in one, separated by null characters.
    frame
        Frame of the positions, where comments state one (``#Coosys`` of VizieR).
    """

    where: str
    names: list[str]
    units: list[str]
    lines: array.array[int]
    decimal: str
    blocks: list[list[str]]
    frame: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, number: int) -> list[str]:
        """Return the texts of a column, without blanks around them, with a point in its numbers."""
        texts = [text for block in self.blocks[number] for text in block.split("\0")]
        if self.decimal != "." and all(_WITH_COMMA.fullmatch(text) for text in texts if text):
            return [text.replace(self.decimal, ".") for text in texts]
        return texts

    def table(self, is_text: Callable[[str], bool]) -> Table:
        """Return the table; a column becomes numbers where each of its values is one, and `is_text` does not object."""
        from astropy.table import Column, Table

        table = Table()
        note_frame(table, self.frame)
        for number, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            texts = self.column(number)
            values = _texts(texts) if is_text(name) else typed_column(texts)
            table[name] = Column(_texts(values.tolist()) if values.dtype.kind == "O" else values, unit=unit or None)
        return table


def read_text(content: IO[bytes], where: str) -> TextTable:
    """Read a text table.

    Values are separated by commas, semicolons, tabs, bars or blanks: the first of these that gives the first rows as
    many values as there are names. Comments stand above the names, and begin with ``#``; the last of them may be the
    names. Without names, columns are called ``col1``, ``col2`` ... Units and a line of dashes may follow, as in the
    tables of VizieR.

    Parameters
    ----------
    content
        UTF-8 without a byte order mark.

    Raises
    ------
    CatalogError
        If the rows have not all as many values as there are names, or a name occurs twice.
    UnreadableError
        If a line or a value is too long for a table.
    """
    opened = io.TextIOWrapper(content, "utf-8", newline="")
    try:
        return _Reader(opened, where).read()
    finally:
        opened.detach()


def typed_column(values: list[str]) -> np.ndarray:
    """Turn texts into numbers where every one that is not empty is a number.

    Whole numbers become int64; with gaps, or with decimals, they become float64 with NaN in the gaps. Names that look
    like numbers stay text: those with leading zeros, and whole numbers too long for the type they would get.
    """
    given = [value for value in values if value and value.lower() not in _NOTHING]
    if not given or not all(map(_FLOAT.fullmatch, given)):
        return np.array(values, dtype=object)
    if all(map(_INTEGER.fullmatch, given)):
        if max(map(len, given)) > _MAX_DIGITS:
            return np.array(values, dtype=object)
        numbers = [int(value) for value in given]
        largest = max(max(numbers), -min(numbers))
        if len(given) == len(values) and largest < 2**63:
            return np.array(numbers, dtype=np.int64)
        if largest > _EXACT_IN_FLOAT:
            return np.array(values, dtype=object)
    gaps = len(given) < len(values)
    is_gap = (lambda value: not value or value.lower() in _NOTHING) if gaps else (lambda value: False)
    return np.array([math.nan if is_gap(value) else float(value) for value in values], dtype=np.float64)


def _texts(values: Sequence[str]) -> np.ndarray:
    """Texts as an array of one width; of objects, where a few long ones would make it far larger than they are."""
    longest, total = max(map(len, values), default=0), sum(map(len, values))
    if longest * len(values) > _MAX_WIDTH_RATIO * total + 2**20:
        return np.array(values, dtype=object)
    return np.array(values, dtype=str)


class _Reader:
    """Reads one table, line by line."""

    def __init__(self, opened: io.TextIOWrapper, where: str) -> None:
        self._opened, self._where = opened, where
        self._skipped = 0  # lines above the table
        self._comment = ""  # the last of them
        self._frames: list[str] = []  # those that speak of frames

    def read(self) -> TextTable:
        lines = self._lines()
        sample = list(itertools.islice(lines, _SNIFFED_LINES))
        if not sample:
            raise CatalogError(f"{self._where} is empty: expected a header line with the names of the columns")
        self._sign = _sign(sample)
        rows = self._rows(itertools.chain(sample, lines))
        _, first = next(rows)
        self._framed = self._sign == "|" and len(first) > 2 and not (first[0] or first[-1])
        first = self._bare(first)
        names, ahead = self._names(first)
        if len(names) > _MAX_COLUMNS:
            raise CatalogError(f"{self._where} has {len(names)} columns, more than the {_MAX_COLUMNS} that are read")
        ahead += [(line, self._bare(row)) for line, row in itertools.islice(rows, 2)]
        units = [""] * len(names)
        if len(ahead) > 1 and _is_rule(ahead[1][1]) and len(ahead[0][1]) == len(names):
            units, ahead = ahead[0][1], ahead[2:]
        elif ahead and _is_rule(ahead[0][1]):
            ahead = ahead[1:]
        elif len(ahead) > 1 and _are_units(ahead[0][1], ahead[1][1]):
            units, ahead = [text.strip("()[]") for text in ahead[0][1]], ahead[1:]
        blocks: list[list[str]] = [[] for _ in names]
        numbers: array.array[int] = array.array("q")
        body = itertools.chain(ahead, ((line, self._bare(row)) for line, row in rows))
        while part := list(itertools.islice(self._fitting(body, names), _BLOCK_ROWS)):
            numbers.extend(line for line, _ in part)
            for column, texts in zip(blocks, zip(*(row for _, row in part), strict=True), strict=True):
                column.append("\0".join(texts))
        decimal = "," if self._sign == ";" else "."
        frame = frame_in_comments(self._frames)
        return _unescaped(TextTable(self._where, names, units, numbers, decimal, blocks, frame))

    def _lines(self) -> Iterator[str]:
        """Yield the lines from the first on that is no comment, with their ends."""
        above = True
        while line := self._opened.readline(_MAX_LINE_CHARACTERS):
            if len(line) == _MAX_LINE_CHARACTERS:
                raise UnreadableError(
                    f"{self._where} has a line of more than {_MAX_LINE_CHARACTERS >> 20} million characters: it is no "
                    "table that is read"
                )
            if above and (line.startswith("#") or not line.strip() or _FRAME_LINE.fullmatch(line.strip())):
                self._skipped += 1
                self._comment = line[1:] if line.startswith("#") else self._comment
                if "coosys" in line[:_COOSYS_CHARACTERS].lower() and len(self._frames) < _MOST_FRAMES:
                    self._frames.append(line)
                continue
            above = False
            yield line

    def _rows(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the values of each row that is not empty."""
        if self._sign == _BLANKS:
            for number, line in enumerate(lines, self._skipped + 1):
                if row := _split_blanks(line):
                    yield number, row
            return
        reader = csv.reader(lines, delimiter=self._sign)
        try:
            for row in reader:
                if any(row):
                    yield self._skipped + reader.line_num, [value.strip() for value in row]
        except csv.Error as error:
            raise UnreadableError(
                f"{self._where} cannot be read as a table: line {self._skipped + reader.line_num}: {error}"
            ) from error

    def _bare(self, row: list[str]) -> list[str]:
        """Leave out what stands outside of the frame of bars."""
        return row[1:-1] if self._framed and len(row) > 2 and not (row[0] or row[-1]) else row

    def _names(self, first: list[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
        """Return the names, and the first row if it is no line of names."""
        if not any(map(_FLOAT.fullmatch, first)):
            return self._checked(first), []
        above = [name.strip() for name in next(iter(_split([self._comment], self._sign)), [])]
        ahead = [(self._skipped + 1, first)]
        if len(above) == len(first) and not any(map(_FLOAT.fullmatch, above)):
            return self._checked(above), ahead
        decimals = any("." in text and _FLOAT.fullmatch(text) for text in first)
        if all(map(_FLOAT.fullmatch, first)) or (decimals and not any(text.lower() in _USUAL for text in first)):
            return [f"col{number}" for number in range(1, len(first) + 1)], ahead
        return self._checked(first), []

    def _checked(self, names: list[str]) -> list[str]:
        named = [name or f"col{number}" for number, name in enumerate(names, 1)]
        twice = [name for name, number in Counter(named).items() if number > 1]
        if twice:
            raise CatalogError(
                f"{self._where} names the column {twice[0]!r} twice in its header: {', '.join(named[:_NAMES_SHOWN])}"
            )
        return named

    def _fitting(self, rows: Iterable[tuple[int, list[str]]], names: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows, each with as many values as there are names."""
        wanted = len(names)
        for line, row in rows:
            if len(row) > wanted and not any(row[wanted:]):
                row = row[:wanted]
            if len(row) != wanted:
                drawn = _FRAME_LINE.fullmatch(" ".join(row)) or (self._sign == "|" and all(map(_FRAME.fullmatch, row)))
                if row[0].startswith("#") or drawn:
                    continue  # a comment, or the frame of a table drawn with signs
                shown = f" ({', '.join(names)})" if wanted <= _NAMES_SHOWN else ""
                way_out = ". Text above the names begins with #, or is taken out" if line <= _SNIFFED_LINES else ""
                raise CatalogError(
                    f"{self._where}, line {line}: {len(row)} values for {wanted} columns{shown}. Expected a FITS "
                    "table, VOTable, ECSV, CSV or another text table, each row with a value for each name in its header"
                    f"{way_out}"
                )
            yield line, row


def _sign(sample: list[str]) -> str:
    """Tell what separates the values: what gives all the first rows as many of them."""
    heads, goes_on = {}, len(sample) == _SNIFFED_LINES
    sample = [line for line in sample if not _FRAME_LINE.fullmatch(line.strip())] or sample
    for sign in (*_SIGNS, _BLANKS):
        rows = _split(sample, sign)
        heads[sign] = len(rows[0]) if rows else 0
        complete = rows[:-1] if goes_on else rows  # the last row may go on
        if heads[sign] > 1 and all(len(row) == heads[sign] for row in complete):
            return sign
    return next((sign for sign in _SIGNS if heads[sign] > 1), _BLANKS if heads[_BLANKS] > 1 else ",")


def _split(lines: Sequence[str], sign: str) -> list[list[str]]:
    if sign == _BLANKS:
        return [row for row in map(_split_blanks, lines) if row]
    try:
        return [row for row in csv.reader(lines, delimiter=sign) if any(row)]
    except csv.Error:
        return []


def _split_blanks(line: str) -> list[str]:
    if '"' not in line:
        return line.split()
    return list(next(csv.reader([" ".join(line.split())], delimiter=_BLANKS, skipinitialspace=True), []))


def _is_rule(row: Sequence[str]) -> bool:
    return bool(row) and all(map(_RULE.fullmatch, row))


def _are_units(row: Sequence[str], next_row: Sequence[str]) -> bool:
    """Whether the row below the names holds units: words of angles among them, and numbers below each unit."""
    if len(row) != len(next_row) or not any(text.strip("()[]").lower() in _ANGLES for text in row):
        return False
    pairs = [(text, below) for text, below in zip(row, next_row, strict=True) if text.strip("-")]
    return all(not _FLOAT.fullmatch(text) and (not below or below[0] in "+-.0123456789\u2212") for text, below in pairs)


def _unescaped(table: TextTable) -> TextTable:
    """Take off what `formula_text` has put on, where a column says that it has."""
    if FORMULAS_ESCAPED not in table.names:
        return table
    kept = [number for number, name in enumerate(table.names) if name != FORMULAS_ESCAPED]
    return replace(
        table,
        names=[plain_text(table.names[k]) for k in kept],
        units=[table.units[k] for k in kept],
        blocks=[["\0".join(map(plain_text, block.split("\0"))) for block in table.blocks[k]] for k in kept],
    )
